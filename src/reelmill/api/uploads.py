"""Uploads: announce a file, send it straight to storage, say that it is there."""

from __future__ import annotations

from anyio import to_thread
from fastapi import APIRouter, Request

from reelmill.api import idempotency
from reelmill.api.access import Guarded, Platform, VideoId, Who, known_form, needs
from reelmill.errors import (
    DiskFull,
    JobsQuotaReached,
    MediaRejected,
    NotAVideo,
    NotFound,
    ObjectMissing,
    ParamsInvalid,
    PipelineOff,
    PipelineUnknown,
    StorageDenied,
    StorageQuotaReached,
    StorageUnavailable,
    TextDoesNotFit,
    TooManySteps,
    TransitionRefused,
    UploadMismatch,
    UploadMissing,
)
from reelmill.jobs.lifecycle import UploadStatus
from reelmill.jobs.model import SignedRequest
from reelmill.jobs.multipart import OPEN_UPLOADS, part_count
from reelmill.schemas import (
    ArrivedPart,
    CompleteRequest,
    InitiateReply,
    InitiateRequest,
    JobCreatedResponse,
    PartsReply,
    PartsRequest,
    PartsUpload,
    SignedPart,
    SignReply,
    SignRequest,
    Upload,
    UploadReply,
)

#: why an upload isn't taken, or its job can't begin
UNVERIFIED = (
    NotFound,
    TransitionRefused,
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

#: why a file isn't waited for
INITIATING = (
    NotFound,
    TransitionRefused,
    ParamsInvalid,
    PipelineUnknown,
    PipelineOff,
    JobsQuotaReached,
    StorageQuotaReached,
    DiskFull,
    StorageDenied,
    StorageUnavailable,
)

router = APIRouter(prefix="/api/v1/uploads", tags=["uploads"], route_class=Guarded)


@router.post("/initiate", status_code=201)
@needs("upload", *INITIATING)
def initiate_upload(request: Request, app: Platform, who: Who, wanted: InitiateRequest) -> InitiateReply:
    """Announce a file and get the signed request that sends it; with `pipeline`, its job is made too and waits."""
    begun = idempotency.made_before(request, lambda video_id: app.service.upload(who, video_id))
    if begun is None:
        begun = app.service.initiate(
            who,
            filename=wanted.filename,
            size_bytes=wanted.size,
            content_type=wanted.content_type,
            sha256=wanted.sha256,
            labels=wanted.labels,
            pipeline=wanted.pipeline,
            params=wanted.params,
            multipart=wanted.multipart,
            part_size=wanted.part_size,
            video_id=idempotency.reserved(request),
            reuse=wanted.reuse,
            then=[one.model_dump() for one in wanted.then],
        )
    idempotency.remember(request, begun.video.id)  # signed URLs are never stored: a replay signs afresh
    video = begun.video
    if video.upload_status not in OPEN_UPLOADS:
        raise TransitionRefused(f"The upload {video.id} of this Idempotency-Key wants no bytes any more.")
    return InitiateReply(
        video_id=video.id,
        job_id=begun.job.id if begun.job else None,
        upload=_shown(begun.upload)
        if begun.upload is not None
        else PartsUpload(
            part_size=video.part_size or video.size_bytes,
            part_count=part_count(video),
            expires_at=video.upload_expires_at,
        ),
    )


@router.get("/{video_id}")
@needs("upload", NotFound, StorageDenied, StorageUnavailable)
def get_upload(app: Platform, who: Who, video_id: VideoId) -> UploadReply:
    """See where an upload stands: a fresh URL while bytes are wanted, or which parts have arrived."""
    there = app.service.upload(who, video_id)
    video = there.video
    try:
        arrived: int | None = app.objects.head(video.key).size_bytes
    except ObjectMissing:
        arrived = sum(part.size_bytes for part in there.parts) or None
    return UploadReply(
        video_id=video_id,
        job_id=there.job.id if there.job else None,
        upload_status=video.upload_status.value,
        size=video.size_bytes,
        arrived_bytes=arrived,
        part_size=video.part_size,
        part_count=part_count(video) if video.part_size else None,
        parts=[ArrivedPart(number=part.number, size=part.size_bytes, sha256=part.sha256) for part in there.parts],
        upload=_shown(there.upload) if there.upload else None,
        upload_expires_at=video.upload_expires_at,
    )


@router.post("/{video_id}/parts")
@needs("upload", NotFound, TransitionRefused, StorageDenied, StorageUnavailable)
def sign_parts(request: Request, app: Platform, who: Who, video_id: VideoId, wanted: PartsRequest) -> PartsReply:
    """Get the signed requests that send these parts; a part may be signed and sent again."""
    signed = app.service.sign_parts(who, video_id, {part.number: part.sha256 for part in wanted.parts})
    parts = [
        SignedPart(number=part.number, size=part.size_bytes, **_shown(part.request).model_dump()) for part in signed
    ]
    idempotency.remember(request, video_id)
    return PartsReply(parts=parts)


@router.post("/{video_id}/sign")
@needs("upload", NotFound, TransitionRefused, StorageDenied, StorageUnavailable)
def sign_operation(request: Request, app: Platform, who: Who, video_id: VideoId, wanted: SignRequest) -> SignReply:
    """Sign one S3 operation for a browser's uploader: the body is what Uppy's `signRequest` is called with."""
    video, signed = app.service.sign_operation(
        who, video_id, wanted.method, multipart_id=wanted.upload_id, number=wanted.part_number
    )
    idempotency.remember(request, video_id)
    return SignReply(url=signed.url, key=video.key, headers=dict(signed.headers))


@router.delete("/{video_id}")
@needs("upload", NotFound, TransitionRefused, StorageDenied, StorageUnavailable)
def abort_upload(app: Platform, who: Who, video_id: VideoId) -> UploadReply:
    """Give an upload up: its waiting job is cancelled, and what has arrived is removed. Repeating changes nothing."""
    before = app.store.video(video_id, who.tenant).upload_status
    app.service.abort_upload(who, video_id)
    if before is not UploadStatus.ABORTED:
        app.access.audit(who, action="upload.abort", target=video_id)
    return get_upload(app, who, video_id)


@router.post("/complete")
@needs("upload", *UNVERIFIED)
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
