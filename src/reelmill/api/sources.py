"""What a video's source looks and sounds like, and where it plays: for whoever chooses what becomes of it.

Pictures and peaks are made when they are first asked for, a few at a time, and kept on the disk within a bound. A
source never changes once it was verified, so neither do they.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from reelmill.api.access import Guarded, Platform, VideoId, Who, needs
from reelmill.api.delivery import VARY, outside
from reelmill.api.kept import Kept
from reelmill.api.passes import Signer
from reelmill.api.ranges import has_tag
from reelmill.api.sending import StoredSource, through_us
from reelmill.errors import (
    ChildCrashed,
    DeadlineExceeded,
    EncodeFailed,
    NotFound,
    OutputRejected,
    OverviewFailed,
    ResourceLimit,
    SourceGone,
    UploadNeeded,
)
from reelmill.jobs.lifecycle import UploadStatus
from reelmill.jobs.locks import KeyedLock
from reelmill.jobs.model import ObjectInfo, Video
from reelmill.media import Limits, Source
from reelmill.media.overview import filmstrip, waveform
from reelmill.media.pictures import narrowed
from reelmill.media.storyboard import still
from reelmill.schemas import PlayReply, WaveformReply
from reelmill.wiring import App

router = APIRouter(prefix="/api/v1/videos", tags=["videos"], route_class=Guarded)

MAKERS = 2  #: overviews that are made at a time
LIMITS = Limits(deadline_s=300, cpu_s=300, file_size_bytes=1 << 30, resident_bytes=2 << 30)
FRESH_S = 86_400  #: seconds for which a browser needn't ask again
POSTER_SIDE = 720  #: pixels of the shorter side of the largest poster
POSTER_AT = 0.2  #: of the film: behind titles that fade in
POSTER_WIDTHS = (160, 320, 480, 640, 960, 1280)
TILE_WIDTHS = (80, 120, 160, 240, 320)
BUCKETS = 2000  #: that are measured; fewer are made of these
FORM = 1  #: raised when what is kept must be made anew

#: Media types by demuxer: what a client announced is never served, for it might be a page.
TYPES = {
    "mov": "video/mp4", "matroska": "video/x-matroska", "avi": "video/x-msvideo", "mpegts": "video/mp2t",
    "png_pipe": "image/png", "jpeg_pipe": "image/jpeg", "webp_pipe": "image/webp",
}  # fmt: skip

MADE: dict[int | str, dict[str, Any]] = {304: {"description": "The client's copy is still good."}}
PICTURE: dict[int | str, dict[str, Any]] = {**MADE, 200: {"content": {"image/jpeg": {}}, "description": "A JPEG."}}
REFUSED = (NotFound, UploadNeeded, SourceGone, OverviewFailed)


class Overviews:
    """Makes pictures and peaks of sources, each once, and keeps them."""

    def __init__(self, app: App, kept: Kept) -> None:
        self._app = app
        self._kept = kept
        self._making = KeyedLock()
        self._slots = CapacityLimiter(MAKERS)

    async def get(self, video: Video, kind: str, make: Callable[[str, Source, Path], bytes]) -> bytes:
        """Return what is kept, or made by `make(location, source, scratch)`. Raises OverviewFailed, StorageProblem."""
        name = hashlib.sha256(f"{FORM} {video.id} {kind}".encode()).hexdigest()
        found = await run_in_threadpool(self._kept.read, name)
        return found if found is not None else await to_thread.run_sync(
            self._made, video, name, make, limiter=self._slots
        )  # fmt: skip

    def _made(self, video: Video, name: str, make: Callable[[str, Source, Path], bytes]) -> bytes:
        with self._making(name):
            if (found := self._kept.read(name)) is not None:  # by who came just before
                return found
            try:
                with self._scratch() as scratch:
                    location = str(self._app.objects.locate(video.key))
                    content = make(location, Source.from_json(dict(video.source or {})), scratch)
            except (ChildCrashed, DeadlineExceeded, EncodeFailed, OutputRejected, ResourceLimit) as problem:
                raise OverviewFailed(problem.detail) from problem
            self._kept.write(name, content)
            return content

    @contextmanager
    def _scratch(self) -> Iterator[Path]:
        name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex}"  # cleared by the next start, if we die
        path = self._app.settings.data / "scratch" / name
        path.mkdir(parents=True)
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)


def uploaded(app: App, video_id: str, tenant: str) -> Video:
    """Return a video whose source is there. Raises NotFound, UploadNeeded, SourceGone."""
    video = app.store.video(video_id, tenant)
    if video.upload_status is UploadStatus.GONE:
        raise SourceGone
    if video.source is None:
        raise UploadNeeded
    return video


def wide(width: int, steps: tuple[int, ...]) -> int:
    """Return the width that is made for this one: few are."""
    return next((step for step in steps if step >= width), steps[-1])


# ── pictures and peaks ────────────────────────────────────────────────────────────────────────


@router.get("/{video_id}/poster", response_class=Response, responses=PICTURE)
@needs("jobs:read", *REFUSED)
async def get_poster(
    request: Request,
    app: Platform,
    who: Who,
    video_id: VideoId,
    width: Annotated[
        int, Query(ge=1, le=1280, description="Pixels: 160, 320, 480, 640, 960 or 1280; others are rounded up.")
    ] = 640,
) -> Response:
    """Get a picture of an uploaded video: the key frame nearest to a fifth of its length; never enlarged."""
    video = await run_in_threadpool(uploaded, app, video_id, who.tenant)
    step = wide(width, POSTER_WIDTHS)

    def make(location: str, source: Source, scratch: Path) -> bytes:
        out = scratch / "poster.jpg"
        at_s = source.duration_s * POSTER_AT
        still(location, source, at_s, POSTER_SIDE, out, ffmpeg=app.tools.ffmpeg, scratch=scratch, limits=LIMITS)
        return narrowed(out.read_bytes(), step)

    return await _answer(request, video, f"poster {step}", make, "image/jpeg")


@router.get("/{video_id}/filmstrip", response_class=Response, responses=PICTURE)
@needs("jobs:read", *REFUSED)
async def get_filmstrip(
    request: Request,
    app: Platform,
    who: Who,
    video_id: VideoId,
    count: Annotated[int, Query(ge=1, le=100, description="Pictures, side by side.")] = 24,
    width: Annotated[
        int, Query(ge=1, le=320, description="Pixels of each: 80, 120, 160, 240 or 320; others are rounded up.")
    ] = 160,
) -> Response:
    """Get one picture with `count` of an uploaded video's frames, each from the middle of an equal part of it.

    They are the nearest key frames; of a short film with few of them, the very frames.
    """
    video = await run_in_threadpool(uploaded, app, video_id, who.tenant)
    step = wide(width, TILE_WIDTHS)

    def make(location: str, source: Source, scratch: Path) -> bytes:
        out = scratch / "filmstrip.jpg"
        filmstrip(location, source, count, step, out, ffmpeg=app.tools.ffmpeg, scratch=scratch, limits=LIMITS)
        return out.read_bytes()

    return await _answer(request, video, f"filmstrip {count} {step}", make, "image/jpeg")


@router.get("/{video_id}/waveform", response_model=WaveformReply, responses=MADE)
@needs("jobs:read", *REFUSED)
async def get_waveform(
    request: Request,
    app: Platform,
    who: Who,
    video_id: VideoId,
    buckets: Annotated[int, Query(ge=1, le=BUCKETS, description="Equal parts of the film.")] = 1000,
) -> Response:
    """Get the peaks of an uploaded video's first sound track, to draw a waveform with. No picture is decoded."""
    video = await run_in_threadpool(uploaded, app, video_id, who.tenant)

    def make(location: str, source: Source, scratch: Path) -> bytes:
        peaks = waveform(location, source, BUCKETS, ffmpeg=app.tools.ffmpeg, scratch=scratch, limits=LIMITS)
        return json.dumps({"duration_s": source.duration_s, "peaks": peaks}).encode()

    def folded(content: bytes) -> bytes:
        told = json.loads(content)
        reply = WaveformReply(
            video_id=video_id,
            duration_s=told["duration_s"],
            has_sound=bool(told["peaks"]),
            peaks=loudest(told["peaks"], buckets),
        )
        return reply.model_dump_json().encode()

    return await _answer(request, video, "waveform", make, "application/json", tag=str(buckets), shown=folded)


def loudest(peaks: list[float], buckets: int) -> list[float]:
    """Return at most so many parts, each as loud as the loudest of those that it is made of."""
    if len(peaks) <= buckets:
        return peaks
    edges = [len(peaks) * n // buckets for n in range(buckets + 1)]
    return [max(peaks[first:after]) for first, after in pairwise(edges)]


async def _answer(
    request: Request,
    video: Video,
    kind: str,
    make: Callable[[str, Source, Path], bytes],
    media_type: str,
    *,
    tag: str = "",
    shown: Callable[[bytes], bytes] = bytes,
) -> Response:
    etag = f'"{hashlib.sha256(f"{FORM} {video.id} {kind} {tag}".encode()).hexdigest()[:32]}"'
    headers = {"ETag": etag, "Cache-Control": f"private, max-age={FRESH_S}", "Vary": VARY}
    if has_tag(request.headers.get("if-none-match", ""), etag):
        return Response(status_code=304, headers=headers)
    overviews: Overviews = request.app.state.overviews
    content = await overviews.get(video, kind, make)
    return Response(shown(content), media_type=media_type, headers=headers)


# ── the source itself ─────────────────────────────────────────────────────────────────────────


@router.get("/{video_id}/play")
@needs("jobs:read", NotFound, UploadNeeded, SourceGone)
def play_video(
    request: Request,
    app: Platform,
    who: Who,
    video_id: VideoId,
    life_s: Annotated[
        int | None, Query(ge=60, le=604_800, description="Seconds for which the URL works; a stream's by default.")
    ] = None,
) -> PlayReply:
    """Get a signed URL of an uploaded video's source, for a player or a friend; it works with Range, without a key."""
    video = uploaded(app, video_id, who.tenant)
    life_s = life_s or app.settings.stream_ttl_s
    kind = media_type(video)
    if app.settings.delivery == "store":
        url = app.objects.generate_presigned_download_url(app.objects.bucket, video.key, life_s, content_type=kind)
    else:
        signer: Signer = request.app.state.signer
        url = f"{outside(request)}/streams/{signer.sign_source(video.id, life_s)}/{quote(video.filename)}"
    return PlayReply(
        video_id=video.id,
        url=url,
        content_type=kind,
        size=video.size_bytes,
        expires_at=datetime.now(UTC) + timedelta(seconds=life_s),
    )


def send_source(request: Request, app: App, video_id: str) -> Response:
    """Hand a source out through this server, to whoever has a pass. Raises NotFound, SourceGone, RangeUnsatisfiable."""
    video = app.store.video(video_id)
    if video.deleted_at is not None:
        raise NotFound(f"There is no video {video_id}.")
    video = uploaded(app, video_id, video.tenant)
    assert video.uploaded_at is not None, "it was uploaded"
    etag = f'"{hashlib.sha256(f"source {video.id}".encode()).hexdigest()[:32]}"'
    info = ObjectInfo(
        key=video.key,
        size_bytes=video.size_bytes,
        sha256=video.sha256,
        content_type=media_type(video),
        modified_at=video.uploaded_at,
        etag=etag,
    )
    headers = {"Content-Type": info.content_type, "Content-Disposition": "inline", "Cache-Control": "private, no-cache"}
    return through_us(request, app, StoredSource(app.files, info), headers, stored=True)


def media_type(video: Video) -> str:
    """Return the media type of what was found in the file, whatever the client had called it."""
    source = video.source or {}
    if source.get("demuxer") == "matroska" and (source.get("video") or {}).get("codec") in ("vp8", "vp9", "av1"):
        return "video/webm"
    return TYPES.get(str(source.get("demuxer")), "application/octet-stream")
