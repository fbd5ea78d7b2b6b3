"""What a job made, handed out: its files, a stream, what is known of them, a picture, and links to share."""

from __future__ import annotations

import hashlib
import json
import time
from fractions import Fraction
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import AfterValidator, StringConstraints

from reelmill.api import idempotency
from reelmill.api.access import Guarded, JobId, Platform, Who, base_path, known_form, needs
from reelmill.api.errors import described
from reelmill.api.passes import AUTO, QUALITY, Signer, new_id
from reelmill.api.ranges import BlocksResponse, has_tag
from reelmill.api.sending import Via, send
from reelmill.api.thumbnails import Thumbnails, step_of
from reelmill.api.zips import member_name, zipped, zipped_length
from reelmill.errors import NotFound, NotReady, RangeUnsatisfiable, ResultsGone
from reelmill.jobs import playlists, results
from reelmill.jobs.lifecycle import Status
from reelmill.jobs.model import Artifact, Job, Share
from reelmill.schemas import (
    Dimensions,
    JobMetadata,
    ShareList,
    ShareReply,
    ShareRequest,
    StoredOutput,
    StreamingInfo,
    StreamVariant,
    TechnicalMetadata,
)
from reelmill.wiring import App

router = APIRouter(prefix="/api/v1/jobs", tags=["jobs"], route_class=Guarded)

VARY = "Authorization, X-API-Key, Cookie"
PICTURE_S = 300  #: seconds for which a browser needn't ask again for a thumbnail

ShareId = Annotated[str, AfterValidator(known_form("share"))]
Which = Annotated[str | None, Query(max_length=255, description="One artifact's name or id.")]
Several = Annotated[
    list[Annotated[str, StringConstraints(max_length=255)]] | None,
    Query(max_length=2000, description="Artifacts' names or ids; given more than once, they come in one archive."),
]
How = Annotated[
    Via | None,
    Query(description="`store`: by a redirect to storage. `api`: through this server. By default, as it is set up."),
]
FILE: dict[int | str, dict[str, Any]] = {
    200: {"description": "The whole file.", "content": {"*/*": {}}},
    206: {"description": "The part that Range asked for."},
    304: {"description": "The client's copy is still good."},
    307: {"description": "Its signed URL is in Location."},
}


# ── files ─────────────────────────────────────────────────────────────────────────────────────


@router.get(
    "/{job_id}/download",
    response_class=Response,
    responses={
        **FILE,
        200: {"description": "The file; several as a ZIP archive.", "content": {"*/*": {}, "application/zip": {}}},
    },
)
@needs("jobs:read", NotFound, NotReady, ResultsGone, RangeUnsatisfiable)
def download(
    request: Request, app: Platform, who: Who, job_id: JobId, artifact: Several = None, via: How = None
) -> Response:
    """Take the results: the file if there is one, a ZIP archive if there are more.

    Those that are named by `artifact` can be taken as soon as their steps are done, while the job still runs.
    """
    job, made = app.service.results(who, job_id, early=artifact is not None)
    if artifact is None:
        chosen = [one for one in made if one.primary]
    else:
        found = [results.named(made, name) for name in artifact]
        chosen = list({one.id: one for one in found}.values())  # one may be named by its name and its id
    if not chosen:
        raise NotFound("The job made no results to download.")
    if len(chosen) == 1:
        return send(request, app, chosen[0], attachment=True, via=via)
    for one in chosen:
        if not app.files.is_near(one):
            raise NotReady(f"{one.name} is kept on another machine until storage answers.")
    length = zipped_length([(member_name(one.name), one.size_bytes) for one in chosen])
    headers = {
        "Content-Type": "application/zip",
        "Content-Disposition": f'attachment; filename="{job.pipeline}-{job.id[:8]}.zip"',
        "Content-Length": str(length),
        "Accept-Ranges": "none",
    }
    if request.method == "HEAD":
        return Response(headers=headers)
    return BlocksResponse(zipped(app.files.open, chosen), length, lambda: None, 200, headers)


@router.get("/{job_id}/stream", response_class=Response, responses=FILE)
@needs("jobs:read", NotFound, NotReady, ResultsGone, RangeUnsatisfiable)
def stream(
    request: Request,
    app: Platform,
    who: Who,
    job_id: JobId,
    quality: Annotated[
        str, Query(max_length=32, pattern=QUALITY.pattern, description="`auto`, `720p`, `1080p`: see the metadata.")
    ] = AUTO,
    artifact: Which = None,
    via: How = None,
) -> Response:
    """Play the result: a redirect to the adaptive playlist, or to a file in one quality.

    The playlist and all that it names can be fetched without a key, for a limited time. A job that has no adaptive
    stream gives its film; of several, the one in the best quality, or that which `artifact` names.
    """
    job, made = app.service.results(who, job_id)
    master = results.of_kind(made, results.MASTER)
    if artifact is not None:
        return send(request, app, results.named(made, artifact), via=via, life_s=app.settings.stream_ttl_s)
    film = results.best(made) if quality == AUTO else results.by_quality(made).get(quality)
    if master is not None and (quality == AUTO or film is None):
        if quality != AUTO:
            playlists.only(text_of(app, master), quality)  # what there isn't is said here, not to the player
        target = f"{base_path(request)}{stream_path(request, app, job, master, quality)}"
        return RedirectResponse(target, status_code=307, headers={"Cache-Control": "no-store"})
    if film is None:
        there = ", ".join([AUTO, *qualities(app, made)]) if results.films(made) else "no film"
        raise NotFound(f"The job has nothing to play in {quality}; it has: {there}.")
    return send(request, app, film, via=via, life_s=app.settings.stream_ttl_s)


# ── what is known of them ─────────────────────────────────────────────────────────────────────


@router.get(
    "/{job_id}/metadata",
    response_model=JobMetadata,
    responses={304: {"description": "What the client has is still good."}},
)
@needs("jobs:read", NotFound, NotReady, ResultsGone)
def metadata(request: Request, app: Platform, who: Who, job_id: JobId) -> Response:
    """Get what a completed job made, with fresh URLs. An ETag is good for as long as the URLs surely live."""
    job, made = app.service.results(who, job_id)
    # Signed URLs differ each time. Who comes again within half of their life has good ones.
    window_s = max(1, app.settings.get_ttl_s // 2)
    told = _metadata(request, app, job, made)
    stable = told.model_dump(mode="json", exclude={"video_urls", "thumbnail_urls", "streaming_info", "outputs"})
    stable["outputs"] = [one.model_dump(mode="json", exclude={"url"}) for one in told.outputs]
    text = json.dumps([stable, int(time.time()) // window_s], sort_keys=True)
    etag = f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'
    headers = {"ETag": etag, "Cache-Control": "private, no-cache", "Vary": VARY}
    if has_tag(request.headers.get("if-none-match", ""), etag):
        return Response(status_code=304, headers=headers)
    return Response(told.model_dump_json(), media_type="application/json", headers=headers)


def _metadata(request: Request, app: App, job: Job, made: list[Artifact]) -> JobMetadata:
    outputs = [one for one in made if one.primary]
    film, master = results.best(made), results.of_kind(made, results.MASTER)
    shown = job.shown()
    return JobMetadata(
        job_id=job.id,
        video_id=job.video_id,
        pipeline=job.pipeline,
        pipeline_version=job.pipeline_version,
        run=job.run,
        success=job.status is Status.COMPLETED,
        warnings=list(shown.warnings),
        error=described(job.error_code, job.error_detail),
        created_at=job.created_at,
        completed_at=job.completed_at,
        processing_time=_seconds(job),
        video_urls={
            name: url
            for name, one in results.by_quality(made).items()
            if (url := url_of(request, app, one, app.settings.get_ttl_s))
        },
        thumbnail_urls=[
            url
            for one in made
            if one.kind in ("poster", "thumbnail") and (url := url_of(request, app, one, app.settings.get_ttl_s))
        ],
        technical_metadata=_technical(film) if film else None,
        streaming_info=StreamingInfo(
            hls_url=f"{outside(request)}{stream_path(request, app, job, master)}" if master else None,
            qualities=qualities(app, made),
            variants=_variants(made) if master else [],
        ),
        s3_keys=[one.key for one in outputs],
        outputs=[_output(request, app, one) for one in outputs],
        file_size=sum(one.size_bytes for one in outputs),
        duration=_duration(film) if film else None,
        dimensions=_dimensions(film) if film else None,
    )


def _seconds(job: Job) -> float | None:
    if job.started_at is None or job.completed_at is None:
        return None
    return round((job.completed_at - job.started_at).total_seconds(), 3)


def _duration(film: Artifact) -> float | None:
    return results.number(film, "duration_s", "clip_duration_s")


def _dimensions(film: Artifact) -> Dimensions | None:
    width, height = _whole(film, "width"), _whole(film, "height")
    return Dimensions(width=width, height=height) if width and height else None


def _whole(artifact: Artifact, *names: str) -> int | None:
    value = results.number(artifact, *names)
    return None if value is None else round(value)


def _technical(film: Artifact) -> TechnicalMetadata:
    duration = _duration(film)
    measured = round(film.size_bytes * 8 / duration) if duration else None
    return TechnicalMetadata(
        content_type=film.content_type,
        video_codec=results.text_of(film, "video_codec"),
        audio_codec=results.text_of(film, "audio_codec"),
        frame_rate=_frame_rate(film),
        bit_rate=_whole(film, "bit_rate") or measured,
    )


def _frame_rate(film: Artifact) -> str | None:
    told = results.text_of(film, "frame_rate")
    frames, seconds = results.number(film, "frames"), _duration(film)
    if told is None and frames and seconds:  # the nearest with a denominator that frame rates have
        return str(Fraction(frames / seconds).limit_denominator(1001))
    return told


def _variants(made: list[Artifact]) -> list[StreamVariant]:
    media = [one for one in made if one.kind == results.MEDIA and results.quality(one)]
    return [
        StreamVariant(
            quality=results.quality(one),
            width=_whole(one, "width"),
            height=_whole(one, "height"),
            bandwidth=_whole(one, "bandwidth"),
            codecs=results.text_of(one, "codecs"),
        )
        for one in media
    ]


def _output(request: Request, app: App, one: Artifact) -> StoredOutput:
    return StoredOutput(
        id=one.id,
        name=one.name,
        kind=one.kind,
        quality=results.quality(one),
        key=one.key,
        size=one.size_bytes,
        sha256=one.sha256,
        content_type=one.content_type,
        width=_whole(one, "width"),
        height=_whole(one, "height"),
        duration=_duration(one),
        uploaded_at=one.stored_at,
        retries=one.retries,
        url=url_of(request, app, one, app.settings.get_ttl_s),
    )


# ── a picture ─────────────────────────────────────────────────────────────────────────────────


@router.get("/{job_id}/thumbnail", response_class=Response, responses={**FILE, 307: {"description": "Never."}})
@needs("jobs:read", NotFound, NotReady, ResultsGone, RangeUnsatisfiable)
def thumbnail(
    request: Request,
    app: Platform,
    who: Who,
    job_id: JobId,
    width: Annotated[
        int | None,
        Query(ge=1, le=4096, description="Pixels: 160, 320, 480, 640, 960, 1280 or 1920; others are rounded up."),
    ] = None,
    artifact: Which = None,
) -> Response:
    """Get the picture that stands for the job, as soon as it is made; never wider than it was made."""
    _, made = app.service.results(who, job_id, early=True)
    chosen = results.picture(made) if artifact is None else results.named(made, artifact)
    if chosen is None or not chosen.content_type.startswith("image/"):
        raise NotFound("The job has no thumbnail.")
    headers = {"Cache-Control": f"private, max-age={PICTURE_S}", "Vary": VARY}
    if width is None:
        return send(request, app, chosen, via="api", headers=headers)
    step = step_of(width)
    etag = f'"{chosen.sha256[:32]}-{step}"'
    if has_tag(request.headers.get("if-none-match", ""), etag):
        return Response(status_code=304, headers={"ETag": etag, **headers})
    pictures: Thumbnails = request.app.state.thumbnails
    small = pictures.get(app.files, chosen, step)
    if small is None:
        return send(request, app, chosen, via="api", headers=headers)
    return Response(small, media_type=chosen.content_type, headers={"ETag": etag, **headers})


# ── links for those without a key ─────────────────────────────────────────────────────────────


@router.post("/{job_id}/share", status_code=201)
@needs("jobs:write", NotFound, NotReady, ResultsGone)
def share_job(request: Request, app: Platform, who: Who, job_id: JobId, wanted: ShareRequest) -> ShareReply:
    """Make a link by which anybody may watch the results, until it ends or is revoked."""
    job, _ = app.service.results(who, job_id)

    def look(share_id: str) -> Share:
        share = next((one for one in app.access.shares(job_id) if one.id == share_id), None)
        if share is None:
            raise NotFound(f"There is no share {share_id}.")
        return share

    share = idempotency.made_before(request, look)
    if share is None:
        named = idempotency.reserved(request) or new_id()
        share = app.access.add_share(named, job, life_s=wanted.life_s, embed=wanted.embed, by=who)
    idempotency.remember(request, share.id)  # links are never stored: a replay signs again
    return _shown(request, share)


@router.get("/{job_id}/share")
@needs("jobs:read", NotFound)
def list_shares(request: Request, app: Platform, who: Who, job_id: JobId) -> ShareList:
    """List the links to a job's results, oldest first, those that have ended too."""
    app.store.job(job_id, who.tenant)
    return ShareList(items=[_shown(request, share) for share in app.access.shares(job_id)])


@router.delete("/{job_id}/share/{share_id}")
@needs("jobs:write", NotFound)
def revoke_share(request: Request, app: Platform, who: Who, job_id: JobId, share_id: ShareId) -> ShareReply:
    """End a link now; again changes nothing. What a viewer has loaded stays with them."""
    app.store.job(job_id, who.tenant)
    return _shown(request, app.access.revoke_share(job_id, share_id, who))


def _shown(request: Request, share: Share) -> ShareReply:
    signer: Signer = request.app.state.signer
    return ShareReply(
        id=share.id,
        job_id=share.job_id,
        url=f"{outside(request)}/share/{signer.token(share.job_id, share.id)}",
        embed=list(share.embed),
        actor=share.actor,
        created_at=share.created_at,
        expires_at=share.expires_at,
        revoked_at=share.revoked_at,
    )


# ── parts ─────────────────────────────────────────────────────────────────────────────────────


def outside(request: Request) -> str:
    """Return what precedes our paths for whoever reads the reply."""
    app: App = request.app.state.platform
    return (app.settings.public_url or str(request.base_url)).rstrip("/")


def stream_path(request: Request, app: App, job: Job, master: Artifact, quality: str = AUTO) -> str:
    """Return the path of a job's playlist, which needs no key for a while."""
    signer: Signer = request.app.state.signer
    return f"/streams/{signer.sign(job.id, app.settings.stream_ttl_s, quality)}/{quote(master.name)}"


def url_of(request: Request, app: App, artifact: Artifact, life_s: int) -> str | None:
    """Return a signed URL of a file, at the storage or here; None of one that is kept on another machine."""
    if app.settings.delivery == "store" or not app.files.is_near(artifact):
        return app.files.url(artifact, life_s=life_s)
    signer: Signer = request.app.state.signer
    return f"{outside(request)}/streams/{signer.sign(artifact.job_id, life_s)}/{quote(artifact.name)}"


def text_of(app: App, playlist: Artifact) -> str:
    """Return a stored playlist. Raises NotFound when it can't be one."""
    if playlist.size_bytes > playlists.LARGEST:
        raise NotFound(f"{playlist.name} is too large for a playlist.")
    return b"".join(app.files.open(playlist.key)).decode("utf-8", "replace")


def qualities(app: App, made: list[Artifact]) -> list[str]:
    """Return what a viewer may choose from, lowest first."""
    master = results.of_kind(made, results.MASTER)
    streams = [results.quality(one) for one in made if one.kind == results.MEDIA]
    if master is not None and not any(streams):  # what the rows don't tell, the playlist does
        streams = list(playlists.levels(text_of(app, master)))
    levels = [*results.by_quality(made), *filter(None, streams)]
    return sorted(dict.fromkeys(levels), key=_by_size)


def _by_size(name: str) -> tuple[int, str]:
    digits = "".join(filter(str.isdigit, name))
    return (int(digits[:9]) if digits and name.endswith("p") else 0), name


HEADED: tuple[Any, ...] = (download, stream, metadata, thumbnail)  #: which HEAD asks for, too
for _handler in HEADED:
    router.add_api_route(
        f"/{{job_id}}/{_handler.__name__}", _handler, methods=["HEAD"], name=f"head_{_handler.__name__}",
        include_in_schema=False, response_class=Response, response_model=None,
    )  # fmt: skip
