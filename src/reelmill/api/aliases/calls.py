"""What older clients ask for, and the service calls that answer it; the views beside this only word the replies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Annotated, Any

from anyio import to_thread
from fastapi import Request as HttpRequest
from pydantic import AliasChoices, Field, StringConstraints, model_validator

from reelmill.api import idempotency
from reelmill.api.access import known_form
from reelmill.api.jobs import status_of
from reelmill.api.uploads import INITIATING as INITIATING
from reelmill.api.uploads import UNVERIFIED
from reelmill.errors import JobsQuotaReached, NotFound, PipelineOff, PipelineUnknown, TransitionRefused
from reelmill.jobs.lifecycle import Status
from reelmill.jobs.model import Job, Video
from reelmill.jobs.results import has_results
from reelmill.jobs.service import Caller, Completed, Initiated
from reelmill.schemas import (
    LARGEST_INTEGER,
    ContentType,
    ErrorReply,
    Filename,
    Id,
    LabelName,
    LabelValue,
    PipelineName,
    Reply,
    Request,
    Sha256,
    Upload,
)
from reelmill.wiring import App

COMPLETING = (PipelineUnknown, PipelineOff, JobsQuotaReached, *UNVERIFIED)

S3Key = Annotated[str, StringConstraints(min_length=1, max_length=1024)]


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One generation of clients."""

    name: str
    pipeline: str  #: what an upload runs unless the request names another
    words: tuple[str, ...]  #: in which it tells where a job stands


# ── what they send ────────────────────────────────────────────────────────────────────────────


class OlderInitiate(Request):
    """Announce a file. Its job is made with it, by the view's own pipeline unless `pipeline` names another."""

    filename: Filename = Field(
        validation_alias=AliasChoices("filename", "file_name", "fileName"), description="Also `file_name`, `fileName`."
    )
    size: int = Field(
        strict=True,
        ge=1,
        le=LARGEST_INTEGER,
        validation_alias=AliasChoices("size", "file_size", "fileSize", "file_size_bytes"),
        description="Bytes. Also `file_size`, `fileSize`, `file_size_bytes`.",
    )
    content_type: ContentType = Field(
        "application/octet-stream",
        validation_alias=AliasChoices("content_type", "contentType", "file_type", "fileType"),
        description="Also `contentType`, `file_type`, `fileType`.",
    )
    sha256: Sha256 | None = Field(None, description="In hex; then storage takes exactly this file.")
    labels: dict[LabelName, LabelValue] = Field(default_factory=dict, max_length=32)
    pipeline: PipelineName | None = None
    params: dict[str, Any] = Field(
        default_factory=dict,
        validation_alias=AliasChoices("params", "parameters"),
        description="The pipeline's parameters. Also `parameters`.",
    )


class Which(Request):
    """One upload, by one of the three names that it has."""

    job_id: Id | None = Field(
        None, validation_alias=AliasChoices("job_id", "jobId"), description="As initiate gave it. Also `jobId`."
    )
    video_id: Id | None = Field(
        None, validation_alias=AliasChoices("video_id", "videoId"), description="As initiate gave it. Also `videoId`."
    )
    s3_key: S3Key | None = Field(
        None,
        validation_alias=AliasChoices("s3_key", "s3Key", "key"),
        description="Where the file lies in storage. Also `s3Key`, `key`.",
    )

    @model_validator(mode="after")
    def _one_of_them(self) -> Which:
        if sum(name is not None for name in (self.job_id, self.video_id, self.s3_key)) != 1:
            raise ValueError("exactly one of job_id, video_id and s3_key is needed")
        return self


class OlderComplete(Which):
    """Say that the file was sent. `pipeline`, `params` and `labels` are for an `s3_key` that no initiate announced."""

    pipeline: PipelineName | None = None
    params: dict[str, Any] = Field(
        default_factory=dict, validation_alias=AliasChoices("params", "parameters"), description="Also `parameters`."
    )
    labels: dict[LabelName, LabelValue] = Field(default_factory=dict, max_length=32)

    @model_validator(mode="after")
    def _only_a_bare_key_takes_more(self) -> OlderComplete:
        if self.s3_key is None and (self.pipeline or self.params or self.labels):
            raise ValueError("pipeline, params and labels were settled at initiate; only a bare s3_key takes them")
        return self


# ── what is done ──────────────────────────────────────────────────────────────────────────────


def begin(
    request: HttpRequest,
    app: App,
    who: Caller,
    wanted: OlderInitiate,
    view: View,
    labels: Mapping[str, str] | None = None,
) -> tuple[Initiated, dict[str, Any]]:
    """Announce the file; return what was made, and the fields of the reply that all views share."""
    begun = idempotency.made_before(request, lambda video_id: app.service.upload(who, video_id))
    if begun is None:
        begun = app.service.initiate(
            who,
            filename=wanted.filename,
            size_bytes=wanted.size,
            content_type=wanted.content_type,
            sha256=wanted.sha256,
            labels={**wanted.labels, **(labels or {})},
            pipeline=wanted.pipeline or view.pipeline,
            params=wanted.params,
            video_id=idempotency.reserved(request),
        )
    idempotency.remember(request, begun.video.id)  # signed URLs are never stored: a replay signs afresh
    signed = begun.upload
    if signed is None:
        raise TransitionRefused(f"The upload {begun.video.id} of this Idempotency-Key wants no bytes any more.")
    assert begun.job is not None, "made with a pipeline; until the upload is verified there is no other"
    return begun, {
        "job_id": begun.job.id,
        "video_id": begun.video.id,
        "s3_key": begun.video.key,
        "upload_url": signed.url,
        "upload": Upload(
            method=signed.method, url=signed.url, headers=dict(signed.headers), expires_at=signed.expires_at
        ),
    }


async def finish(
    request: HttpRequest,
    app: App,
    who: Caller,
    wanted: OlderComplete,
    view: View,
    labels: Mapping[str, str] | None = None,
) -> Completed:
    """Verify the upload and queue its job, in a thread as the canonical path does.

    labels: the upload must have them; one that others own is as good as unknown. Raises what COMPLETING lists.
    """
    work = partial(_finish, app, who, wanted, view, labels or {})
    return await to_thread.run_sync(work, limiter=request.app.state.completing)


def _finish(app: App, who: Caller, wanted: OlderComplete, view: View, labels: Mapping[str, str]) -> Completed:
    try:
        video = video_of(app, who, wanted)
    except NotFound:
        if wanted.s3_key is None:
            raise
        return app.service.adopt(
            who,
            wanted.s3_key,
            pipeline=wanted.pipeline or view.pipeline,
            params=wanted.params,
            labels={**wanted.labels, **labels},
        )
    if not labels.items() <= video.labels.items():
        raise _unknown(wanted)
    done = app.service.complete(who, video.id)
    if wanted.job_id is not None and (done.job is None or done.job.id != wanted.job_id):
        return replace(done, job=app.store.job(wanted.job_id))  # a newer job drives the video; this one was asked for
    return done


def video_of(app: App, who: Caller, wanted: Which) -> Video:
    """Return the video that is meant. Raises NotFound, also for another tenant's."""
    if wanted.s3_key is not None:
        return app.store.video_at(wanted.s3_key, who.tenant)
    if wanted.job_id is not None:
        job = app.store.job(known_form("job")(wanted.job_id), who.tenant)
        return app.store.video(job.video_id)
    return app.store.video(known_form("video")(wanted.video_id or ""), who.tenant)


def _unknown(wanted: Which) -> NotFound:
    if wanted.s3_key is not None:
        return NotFound(f"There is no upload {wanted.s3_key}.")
    return NotFound(f"There is no job {wanted.job_id}." if wanted.job_id else f"There is no video {wanted.video_id}.")


# ── what they get ─────────────────────────────────────────────────────────────────────────────


class OlderInitiated(Reply):
    """Send the file by the request in `upload`: to `upload_url`, with these headers."""

    job_id: str
    video_id: str
    s3_key: str
    upload_url: str
    upload: Upload


class OlderStatus(Reply):
    """Where a job stands, in fields that all older clients share."""

    job_id: str
    video_id: str
    pipeline: str
    status: str
    stage: str | None
    progress_pct: float = Field(description="0–100, never lower within a run.")
    message: str
    warnings: list[str]
    error: ErrorReply | None
    error_message: str | None = Field(description="Why it failed; `cancelled` for a cancelled job.")
    download_urls: list[str] | None = Field(description="Freshly signed, one for each result; null unless completed.")
    created_at: datetime
    queued_at: datetime | None
    started_at: datetime | None
    completed_at: datetime | None


def told(app: App, job: Job) -> dict[str, Any]:
    """Return the fields of OlderStatus; `status` and `stage` are the canonical ones."""
    status = status_of(app, job)
    urls = status.download_urls if has_results(job) else None
    shown = {name: getattr(status, name) for name in OlderStatus.model_fields if hasattr(status, name)}
    return {**shown, "download_urls": urls, "error_message": error_message(job)}


def error_message(job: Job) -> str | None:
    """Return why a job failed, in one sentence; older clients know no cancelled jobs."""
    return "cancelled" if job.status is Status.CANCELLED else job.error_detail
