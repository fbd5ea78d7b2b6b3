"""View A/B: clips from an upload. A status is PENDING, PROCESSING, COMPLETED or FAILED."""

from __future__ import annotations

from typing import Any, Literal, get_args

from fastapi import Request as HttpRequest
from pydantic import AliasChoices, Field

from reelmill.api import videos
from reelmill.api.access import JobId, Platform, Who, needs
from reelmill.api.aliases.calls import (
    COMPLETING,
    INITIATING,
    OlderComplete,
    OlderInitiate,
    OlderInitiated,
    OlderStatus,
    View,
    Which,
    begin,
    finish,
    told,
    video_of,
)
from reelmill.errors import NotFound, ParamsInvalid, PipelineUnknown, TooManySteps, UploadNeeded
from reelmill.jobs.lifecycle import Status
from reelmill.schemas import AnalyzeDurationReply, AnalyzeDurationRequest, JobCreatedResponse

ClipWord = Literal["PENDING", "PROCESSING", "COMPLETED", "FAILED"]
WORDS: dict[Status, ClipWord] = {
    Status.AWAITING_UPLOAD: "PENDING",
    Status.QUEUED: "PENDING",
    Status.RUNNING: "PROCESSING",
    Status.COMPLETED: "COMPLETED",
    Status.FAILED: "FAILED",
    Status.CANCELLED: "FAILED",
}

AB = View(name="A/B", pipeline="clips", words=get_args(ClipWord))


class ClipInitiated(OlderInitiated):
    status: Literal["PENDING"] = "PENDING"


class ClipStatus(OlderStatus):
    status: ClipWord
    stage: str | None = Field(description="The pipeline's own stage; null before the upload was verified.")


class OlderAnalyzeDuration(Which):
    cutting: dict[str, Any] = Field(
        default_factory=dict,
        validation_alias=AliasChoices("cutting", "cutting_params", "cuttingParams"),
        description="`CuttingParams` of the pipeline `clips`. Also `cutting_params`, `cuttingParams`.",
    )


@needs("upload", *INITIATING)
def initiate(request: HttpRequest, app: Platform, who: Who, wanted: OlderInitiate) -> ClipInitiated:
    """Announce a file; get its job's id and the signed request that sends it."""
    _, fields = begin(request, app, who, wanted, AB)
    return ClipInitiated(**fields)


@needs("upload", *COMPLETING)
async def complete(request: HttpRequest, app: Platform, who: Who, wanted: OlderComplete) -> JobCreatedResponse:
    """Say that the file was sent: by its job, its video or its key in storage alone."""
    done = await finish(request, app, who, wanted, AB)
    return JobCreatedResponse(
        job_id=done.job.id if done.job else None,
        video_id=done.video.id,
        status=WORDS[done.job.status] if done.job else done.video.upload_status.value,
        message=done.message,
    )


@needs("jobs:read", NotFound, UploadNeeded, ParamsInvalid, TooManySteps, PipelineUnknown)
def analyze_duration(app: Platform, who: Who, wanted: OlderAnalyzeDuration) -> AnalyzeDurationReply:
    """Get an uploaded video's duration and the exact cut list that a job would make."""
    video = video_of(app, who, wanted)
    return videos.analyze_duration(app, who, AnalyzeDurationRequest(video_id=video.id, cutting=wanted.cutting))


@needs("jobs:read", NotFound)
def status(app: Platform, who: Who, job_id: JobId) -> ClipStatus:
    """Get where a job stands; once it is COMPLETED, with a signed URL for each result."""
    job = app.store.job(job_id, who.tenant)
    return ClipStatus(**{**told(app, job), "status": WORDS[job.status]})
