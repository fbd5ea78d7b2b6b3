"""Videos: what was uploaded, what became of it, and what cutting it would give."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query

from reelmill.api.access import Guarded, Platform, VideoId, Who, known_form, needs
from reelmill.errors import (
    CursorInvalid,
    NotFound,
    NotOffered,
    ParamsInvalid,
    PipelineUnknown,
    RequestInvalid,
    SourceGone,
    TooManySteps,
    UploadNeeded,
)
from reelmill.jobs.model import Json, Video
from reelmill.schemas import (
    AnalyzeDurationReply,
    AnalyzeDurationRequest,
    DeletedVideo,
    ProcessingName,
    Segment,
    UploadStatusName,
    VideoPage,
    VideoReply,
    VideoTechnical,
)
from reelmill.wiring import offered

router = APIRouter(prefix="/api/v1/videos", tags=["videos"], route_class=Guarded)

LABEL = re.compile(r"(?P<name>[a-z0-9_.-]{1,64}):(?P<value>.{0,256})", re.DOTALL)
Cursor = Annotated[str | None, Query(max_length=500, description="`next_cursor` of the page before.")]
Limit = Annotated[int, Query(ge=1, le=200, description="Most items of the page.")]


@router.post("/analyze-duration")
@needs("jobs:read", NotFound, UploadNeeded, SourceGone, ParamsInvalid, TooManySteps, PipelineUnknown)
def analyze_duration(app: Platform, who: Who, wanted: AnalyzeDurationRequest) -> AnalyzeDurationReply:
    """Get an uploaded video's duration and the exact cut list that a job would make."""
    video_id = known_form("video")(wanted.video_id)
    preview = app.service.preview(who, video_id, "clips", {"cutting": wanted.cutting})
    return AnalyzeDurationReply(
        video_id=video_id,
        duration_s=preview["duration_s"],
        segment_count=len(preview["clips"]),
        at_most=preview.get("at_most"),
        segments=[Segment.model_validate(clip) for clip in preview["clips"]],
    )


@router.get("")
@needs("jobs:read", CursorInvalid)
def list_videos(
    app: Platform,
    who: Who,
    processing_status: ProcessingName | None = None,
    upload_status: UploadStatusName | None = None,
    label: Annotated[
        list[str] | None, Query(max_length=32, description="`name:value`; given more than once, all must match.")
    ] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> VideoPage:
    """List videos, newest first."""
    page = app.store.videos(
        who.tenant,
        processing_status=processing_status,
        upload_status=upload_status,
        labels=labels_of(label or ()),
        cursor=cursor,
        limit=limit,
    )
    return VideoPage(items=[shown(video) for video in page.items], next_cursor=page.next_cursor)


@router.get("/{video_id}")
@needs("jobs:read", NotFound)
def get_video(app: Platform, who: Who, video_id: VideoId) -> VideoReply:
    """Get one video."""
    return shown(app.store.video(video_id, who.tenant))


@router.delete("/{video_id}")
@needs("jobs:write", NotFound, NotOffered)
def delete_video(app: Platform, who: Who, video_id: VideoId) -> DeletedVideo:
    """Delete a video with its jobs and results: hidden at once, and for a while POST …/restore brings it back.

    Jobs in flight are cancelled. Later its files and rows are removed for good.
    """
    gone = offered(app.removal).delete(who, video_id)
    assert gone.deleted_at is not None and gone.purge_after is not None, "it was deleted just now"
    return DeletedVideo(video_id=video_id, deleted_at=gone.deleted_at, restore_until=gone.purge_after)


@router.post("/{video_id}/restore")
@needs("jobs:write", NotFound, NotOffered)
def restore_video(app: Platform, who: Who, video_id: VideoId) -> VideoReply:
    """Bring a deleted video back, with its jobs and results. Jobs that deleting cancelled stay cancelled."""
    return shown(offered(app.removal).restore(who, video_id))


def shown(video: Video) -> VideoReply:
    """Return a video as the API shows it."""
    picture: Json = (video.source or {}).get("video") or {}
    return VideoReply(
        id=video.id,
        filename=video.filename,
        size=video.size_bytes,
        content_type=video.content_type,
        sha256=video.sha256,
        labels=dict(video.labels),
        upload_status=video.upload_status.value,
        processing_status=video.processing_status.value,
        processing_job_id=video.processing_job_id,
        processing_completed_at=video.processing_completed_at,
        processing_error=video.processing_error,
        duration=None if (video.source or {}).get("still") else _duration_s(picture),
        width=picture.get("width"),
        height=picture.get("height"),
        technical=_technical(video.source) if video.source else None,
        user_id=video.user_id,
        created_at=video.created_at,
        uploaded_at=video.uploaded_at,
        source_removed_at=video.source_removed_at,
    )


def _technical(source: Json) -> VideoTechnical:
    picture: Json = source.get("video") or {}
    sound: Json = next(iter(source.get("audio_tracks") or ()), {})
    return VideoTechnical(
        container=source.get("container"),
        video_codec=picture.get("codec"),
        pixel_format=picture.get("pixel_format"),
        frame_rate=_text(picture.get("frame_rate")),
        frame_count=picture.get("frame_count"),
        variable_frame_rate=picture.get("is_vfr"),
        rotation=picture.get("rotation"),
        hdr=picture.get("hdr"),
        audio_codec=sound.get("codec"),
        audio_sample_rate=sound.get("sample_rate"),
        audio_channels=sound.get("channels"),
    )


def _duration_s(picture: Json) -> float | None:
    if not {"start_tick", "end_tick", "time_base"} <= picture.keys():
        return None
    over, _, under = str(picture["time_base"]).partition("/")
    return float((picture["end_tick"] - picture["start_tick"]) * int(over) / int(under or 1))


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def labels_of(given: Sequence[str]) -> dict[str, str]:
    """Return the labels that a listing is filtered by. Raises RequestInvalid."""
    labels: dict[str, str] = {}
    for n, text in enumerate(given):
        found = LABEL.fullmatch(text)
        if found is None or labels.get(found["name"], found["value"]) != found["value"]:
            message = "it must be name:value, with each name once"
            raise RequestInvalid(f"label: {message}.", errors=[{"field": f"query.label.{n}", "message": message}])
        labels[found["name"]] = found["value"]
    return labels
