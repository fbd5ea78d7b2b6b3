"""View C: cameras ("pins") of malls, and their proxies. A job is pending, running, completed or failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, get_args

from fastapi import Query
from fastapi import Request as HttpRequest
from pydantic import AfterValidator, Field, StringConstraints

from reelmill.api.access import Platform, VideoId, Who, needs
from reelmill.api.aliases.calls import (
    COMPLETING,
    INITIATING,
    OlderComplete,
    OlderInitiate,
    OlderInitiated,
    View,
    begin,
    error_message,
    finish,
)
from reelmill.api.errors import check_value
from reelmill.api.videos import Cursor, Limit, labels_of
from reelmill.errors import CursorInvalid, NotFound
from reelmill.jobs.lifecycle import Status
from reelmill.jobs.model import Artifact, Job, Video
from reelmill.schemas import Listing, ProcessingName, Reply, UploadStatusName
from reelmill.wiring import App

PinWord = Literal["pending", "running", "completed", "failed"]
WORDS: dict[Status, PinWord] = {
    Status.AWAITING_UPLOAD: "pending",
    Status.QUEUED: "pending",
    Status.RUNNING: "running",
    Status.COMPLETED: "completed",
    Status.FAILED: "failed",
    Status.CANCELLED: "failed",
}

C = View(name="C", pipeline="proxy", words=get_args(PinWord))


def _storable(value: str) -> str:
    check_value("path", value)
    return value


PlaceId = Annotated[str, StringConstraints(min_length=1, max_length=256), AfterValidator(_storable)]


class PinInitiated(OlderInitiated):
    upload_status: UploadStatusName


class PinCompleted(Reply):
    """The upload was verified; `processing_job_id` is the job that works on it."""

    video_id: str
    processing_job_id: str | None
    upload_status: UploadStatusName
    processing_status: ProcessingName
    message: str


class PinJob(Reply):
    """The video's newest job."""

    job_id: str
    job_type: str = Field(description="The pipeline.")
    status: PinWord
    parameters: dict[str, Any]
    celery_task_id: str | None = Field(description="The queue's own id of the newest attempt; finds nothing.")
    result_data: dict[str, Any] | None = Field(description="`output_s3_keys` and `artifacts`; null unless completed.")
    error_message: str | None = Field(description="Why it failed; `cancelled` for a cancelled job.")
    created_at: datetime
    queued_at: datetime | None
    started_at: datetime | None
    completed_at: datetime | None


class PinVideo(Reply):
    id: str
    mall_id: str | None
    pin_id: str | None
    labels: dict[str, str]
    filename: str
    original_path: str = Field(description="Its key in storage.")
    proxy_path: str | None = Field(description="Key of the newest artifact of kind `proxy` that its jobs made.")
    file_size_bytes: int
    upload_status: UploadStatusName
    uploaded_at: datetime | None
    processing_status: ProcessingName
    processing_job_id: str | None
    processing_completed_at: datetime | None
    processing_error: str | None
    created_at: datetime


class PinVideoWithJob(PinVideo):
    job: PinJob | None


class PinVideoPage(Listing[PinVideo]):
    pass


@needs("upload", *INITIATING)
def initiate(
    request: HttpRequest, app: Platform, who: Who, mall_id: PlaceId, pin_id: PlaceId, wanted: OlderInitiate
) -> PinInitiated:
    """Announce a file of one camera; the path's ids become its labels `mall` and `pin`."""
    begun, fields = begin(request, app, who, wanted, C, _labels(mall_id, pin_id))
    return PinInitiated(**fields, upload_status=begun.video.upload_status.value)


@needs("upload", *COMPLETING)
async def complete(
    request: HttpRequest, app: Platform, who: Who, mall_id: PlaceId, pin_id: PlaceId, wanted: OlderComplete
) -> PinCompleted:
    """Say that the file was sent. An upload of another mall or pin isn't known here."""
    done = await finish(request, app, who, wanted, C, _labels(mall_id, pin_id))
    return PinCompleted(
        video_id=done.video.id,
        processing_job_id=done.video.processing_job_id,
        upload_status=done.video.upload_status.value,
        processing_status=done.video.processing_status.value,
        message=done.message,
    )


@needs("jobs:read", CursorInvalid)
def list_videos(
    app: Platform,
    who: Who,
    processing_status: ProcessingName | None = None,
    upload_status: UploadStatusName | None = None,
    mall_id: Annotated[str | None, Query(max_length=256)] = None,
    pin_id: Annotated[str | None, Query(max_length=256)] = None,
    label: Annotated[
        list[str] | None, Query(max_length=32, description="`name:value`; given more than once, all must match.")
    ] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> PinVideoPage:
    """List videos, newest first."""
    place = {"mall": mall_id, "pin": pin_id}
    page = app.store.videos(
        who.tenant,
        processing_status=processing_status,
        upload_status=upload_status,
        labels={**labels_of(label or ()), **{name: value for name, value in place.items() if value is not None}},
        cursor=cursor,
        limit=limit,
    )
    return PinVideoPage(items=[PinVideo(**_shown(app, video)) for video in page.items], next_cursor=page.next_cursor)


@needs("jobs:read", NotFound)
def get_video(app: Platform, who: Who, video_id: VideoId) -> PinVideoWithJob:
    """Get one video with its newest job."""
    app.store.video(video_id, who.tenant)
    video, job = app.store.video_and_job(video_id)
    return PinVideoWithJob(**_shown(app, video), job=_job(app, job) if job else None)


def _labels(mall_id: str, pin_id: str) -> Mapping[str, str]:
    return {"mall": mall_id, "pin": pin_id}


def _shown(app: App, video: Video) -> dict[str, Any]:
    same = (
        "id filename labels uploaded_at processing_job_id processing_completed_at processing_error created_at "
        "upload_status processing_status"
    )
    return {
        **{name: getattr(video, name) for name in same.split()},
        "mall_id": video.labels.get("mall"),
        "pin_id": video.labels.get("pin"),
        "original_path": video.key,
        "proxy_path": _proxy_path(app, video),
        "file_size_bytes": video.size_bytes,
    }


def _proxy_path(app: App, video: Video) -> str | None:
    if video.processing_job_id is None:
        return None
    done = app.store.jobs(video.tenant, status=Status.COMPLETED, video_id=video.id).items
    made = (artifact for job in done for artifact in app.store.artifacts(job.id))
    return next((artifact.key for artifact in made if artifact.kind == "proxy"), None)


def _job(app: App, job: Job) -> PinJob:
    same = "created_at queued_at started_at completed_at"
    engine_ids = [one.engine_task_id for one in sorted(app.store.attempts(job.id), key=lambda one: one.started_at)]
    return PinJob(
        **{name: getattr(job, name) for name in same.split()},
        job_id=job.id,
        job_type=job.pipeline,
        status=WORDS[job.status],
        parameters=job.params,
        celery_task_id=engine_ids[-1] if engine_ids else None,
        result_data=_result(app.store.artifacts(job.id)) if job.status is Status.COMPLETED else None,
        error_message=error_message(job),
    )


def _result(artifacts: Sequence[Artifact]) -> dict[str, Any]:
    return {
        "output_s3_keys": [artifact.key for artifact in artifacts if artifact.primary],
        "artifacts": [
            {name: getattr(artifact, name) for name in ("kind", "name", "key", "size_bytes", "sha256", "content_type")}
            for artifact in artifacts
        ],
    }
