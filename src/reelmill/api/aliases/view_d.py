"""View D: sessions of a two-pass analysis; `quick` results come first, `deep` ones follow."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from fastapi import Request as HttpRequest
from pydantic import AliasChoices, Field, StringConstraints

from reelmill.api.access import JobId, Platform, Who, needs
from reelmill.api.aliases.calls import (
    COMPLETING,
    INITIATING,
    OlderComplete,
    OlderInitiate,
    OlderInitiated,
    OlderStatus,
    View,
    begin,
    finish,
    told,
)
from reelmill.errors import NotFound
from reelmill.jobs.lifecycle import Status, StepStatus
from reelmill.jobs.model import Job, Video
from reelmill.schemas import JobCreatedResponse
from reelmill.wiring import App

SessionId = Annotated[str, StringConstraints(min_length=1, max_length=256)]
SESSION = "session"  #: the label that keeps a session's id

SessionWord = Literal["awaiting_upload", "queued", "quick_running", "quick_done", "deep_running", "done", "failed"]
WORDS: dict[Status, SessionWord] = {
    Status.AWAITING_UPLOAD: "awaiting_upload",
    Status.QUEUED: "queued",
    Status.COMPLETED: "done",
    Status.FAILED: "failed",
    Status.CANCELLED: "failed",
}


def word(app: App, job: Job) -> SessionWord:
    """Return where an analysis stands: `quick` is the stage of that name, or the pipeline's first; the rest is `deep`.

    `quick_done`: the quick stage has no open step, and no deep step was claimed yet.
    """
    if job.status is not Status.RUNNING:
        return WORDS[job.status]
    names = [stage.name for stage in job.stages]
    quick = names[: names.index("quick") + 1 if "quick" in names else 1]
    steps = app.store.steps(job.id)
    if any(step.attempt for step in steps if step.stage not in quick):
        return "deep_running"
    is_open = any(step.status in (StepStatus.READY, StepStatus.RUNNING) for step in steps if step.stage in quick)
    return "quick_running" if is_open or job.stage in quick[:-1] else "quick_done"


D = View(name="D", pipeline="analysis", words=get_args(SessionWord))


class SessionInitiate(OlderInitiate):
    session_id: SessionId | None = Field(
        None,
        validation_alias=AliasChoices("session_id", "sessionId"),
        description="The client's own name for it, kept as the label `session`. Also `sessionId`.",
    )


class SessionInitiated(OlderInitiated):
    session_id: str = Field(description="As the client gave it, else the job's id.")
    status: Literal["awaiting_upload"] = "awaiting_upload"
    stage: Literal["AWAITING_UPLOAD"] = "AWAITING_UPLOAD"


class SessionCompleted(JobCreatedResponse):
    session_id: str | None
    stage: str | None = Field(description="The status in capitals; null without a job.")


class SessionStatus(OlderStatus):
    session_id: str = Field(description="As the client gave it at initiate, else the job's id.")
    status: SessionWord
    stage: str = Field(description="The status in capitals: AWAITING_UPLOAD, QUEUED, …, FAILED.")


@needs("upload", *INITIATING)
def initiate(request: HttpRequest, app: Platform, who: Who, wanted: SessionInitiate) -> SessionInitiated:
    """Announce a file; its job waits in `awaiting_upload`, where no worker can claim it."""
    named = {SESSION: wanted.session_id} if wanted.session_id else None
    begun, fields = begin(request, app, who, wanted, D, named)
    return SessionInitiated(**fields, session_id=_session(begun.video, fields["job_id"]))


@needs("upload", *COMPLETING)
async def complete(request: HttpRequest, app: Platform, who: Who, wanted: OlderComplete) -> SessionCompleted:
    """Say that the file was sent. It is verified, and the waiting job is queued. Calling again changes nothing."""
    done = await finish(request, app, who, wanted, D)
    now = word(app, done.job) if done.job else None
    return SessionCompleted(
        job_id=done.job.id if done.job else None,
        video_id=done.video.id,
        session_id=_session(done.video, done.job.id) if done.job else None,
        status=now or done.video.upload_status.value,
        stage=now.upper() if now else None,
        message=done.message,
    )


@needs("jobs:read", NotFound)
def status(app: Platform, who: Who, job_id: JobId) -> SessionStatus:
    """Get where an analysis stands; once it is done, with a signed URL for each result."""
    job = app.store.job(job_id, who.tenant)
    now = word(app, job)
    session = _session(app.store.video(job.video_id), job.id)
    return SessionStatus(**{**told(app, job), "session_id": session, "status": now, "stage": now.upper()})


def _session(video: Video, job_id: str) -> str:
    return str(video.labels.get(SESSION, job_id))
