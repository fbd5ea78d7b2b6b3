"""Uploads: announce a file, send it straight to storage, say that it is there."""

from __future__ import annotations

from anyio import to_thread
from fastapi import APIRouter, Request

from reelmill.api import idempotency
from reelmill.api.access import Guarded, Platform, VideoId, Who, known_form, needs
from reelmill.errors import (
    MediaRejected,
    NotAVideo,
    NotFound,
    ObjectMissing,
    ParamsInvalid,
    PipelineUnknown,
    StorageDenied,
    StorageUnavailable,
    TextDoesNotFit,
    TooManySteps,
    TransitionRefused,
    UploadMismatch,
    UploadMissing,
)
from reelmill.jobs.model import SignedRequest
from reelmill.schemas import (
    CompleteRequest,
    InitiateReply,
    InitiateRequest,
    JobCreatedResponse,
    Upload,
    UploadReply,
)

router = APIRouter(prefix="/api/v1/uploads", tags=["uploads"], route_class=Guarded)


@router.post("/initiate", status_code=201)
@needs("upload", NotFound, TransitionRefused, ParamsInvalid, PipelineUnknown, StorageDenied, StorageUnavailable)
def initiate_upload(request: Request, app: Platform, who: Who, wanted: InitiateRequest) -> InitiateReply:
    """Announce a file and get the signed request that sends it; with `pipeline`, its job is made too and waits."""
    if (video_id := idempotency.remembered(request)) is not None:
        begun = app.service.upload(who, video_id)
    else:
        begun = app.service.initiate(
            who,
            filename=wanted.filename,
            size_bytes=wanted.size,
            content_type=wanted.content_type,
            sha256=wanted.sha256,
            labels=wanted.labels,
            pipeline=wanted.pipeline,
            params=wanted.params,
        )
        idempotency.remember(request, begun.video.id)  # signed URLs are never stored: a replay signs afresh
    if begun.upload is None:
        raise TransitionRefused(f"The upload {begun.video.id} of this Idempotency-Key wants no bytes any more.")
    return InitiateReply(
        video_id=begun.video.id, job_id=begun.job.id if begun.job else None, upload=_shown(begun.upload)
    )


@router.get("/{video_id}")
@needs("upload", NotFound, StorageDenied, StorageUnavailable)
def get_upload(app: Platform, who: Who, video_id: VideoId) -> UploadReply:
    """See where an upload stands; while bytes are wanted, a fresh URL comes with it."""
    there = app.service.upload(who, video_id)
    try:
        arrived: int | None = app.objects.head(there.video.key).size_bytes
    except ObjectMissing:
        arrived = None
    return UploadReply(
        video_id=video_id,
        job_id=there.job.id if there.job else None,
        upload_status=there.video.upload_status.value,
        size=there.video.size_bytes,
        arrived_bytes=arrived,
        upload=_shown(there.upload) if there.upload else None,
        upload_expires_at=there.video.upload_expires_at,
    )


@router.post("/complete")
@needs(
    "upload",
    NotFound,
    UploadMissing,
    UploadMismatch,
    NotAVideo,
    MediaRejected,
    ParamsInvalid,
    TextDoesNotFit,
    TooManySteps,
    StorageDenied,
    StorageUnavailable,
)
async def complete_upload(request: Request, app: Platform, who: Who, wanted: CompleteRequest) -> JobCreatedResponse:
    """Say that the file was sent. It is verified, and the waiting job is queued. Calling again changes nothing."""
    video_id = known_form("video")(wanted.video_id)
    # A long film is probed for long: in threads of their own, so that many can't hold up the rest of the API.
    done = await to_thread.run_sync(app.service.complete, who, video_id, limiter=request.app.state.completing)
    return JobCreatedResponse(
        job_id=done.job.id if done.job else None,
        video_id=done.video.id,
        status=str(done.job.status if done.job else done.video.upload_status),
        message=done.message,
    )


def _shown(request: SignedRequest) -> Upload:
    return Upload(method=request.method, url=request.url, headers=dict(request.headers), expires_at=request.expires_at)
