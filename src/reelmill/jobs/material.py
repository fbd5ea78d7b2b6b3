"""What a job is given besides its own video: other uploads of its tenant, pictures among them.

A picture goes through the same door as a video and has a `video_id`. Its probe says `"still": true`: no pipeline runs
on it, but jobs are given it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from reelmill.errors import NotFound, ParamsInvalid, SourceGone, UploadNeeded
from reelmill.jobs.lifecycle import UploadStatus
from reelmill.jobs.model import Json
from reelmill.jobs.ports import JobStore


def is_picture(content_type: str) -> bool:
    """Tell whether a file was announced as a picture; a GIF is a film."""
    kind = content_type.lower()
    return kind.startswith("image/") and kind != "image/gif"


def media_of(store: JobStore, tenant: str, video_ids: Iterable[str]) -> dict[str, Json]:
    """Return the probes of uploads with their keys, by id. Raises NotFound, UploadNeeded, SourceGone."""
    media: dict[str, Json] = {}
    for video_id in video_ids:
        video = store.video(video_id, tenant)
        if video.upload_status is UploadStatus.GONE:
            raise SourceGone(f"The source of video {video_id} was removed.")
        if video.source is None or "video" not in video.source:
            raise UploadNeeded(f"Video {video_id} isn't there yet.")
        media[video_id] = {**{k: v for k, v in video.source.items() if k != "media"}, "key": video.key}
    return media


def check_pictures(store: JobStore, tenant: str, wanted: Mapping[str, str]) -> None:
    """Look for the pictures that parameters name. wanted: video ids by the names of parameters. Raises ParamsInvalid.

    Another tenant's is told of in the words of one that there isn't.
    """
    for field, video_id in wanted.items():
        try:
            still = media_of(store, tenant, [video_id])[video_id].get("still")
        except NotFound as problem:
            raise _unfit(field, f"there is no picture {video_id}") from problem
        except (UploadNeeded, SourceGone) as problem:
            raise _unfit(field, problem.detail.rstrip(".")) from problem
        if not still:
            raise _unfit(field, f"{video_id} is a video; upload a picture, announced as image/png or image/jpeg")


def _unfit(field: str, message: str) -> ParamsInvalid:
    return ParamsInvalid(f"{field}: {message}.", errors=[{"field": field, "message": message}])
