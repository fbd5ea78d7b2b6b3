"""Videos that are made here: out of scenes, a script or a topic."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from reelmill.api import idempotency
from reelmill.api.access import Guarded, Platform, Who, needs
from reelmill.api.jobs import NOT_LET_IN, status_of
from reelmill.errors import (
    NotFound,
    ParamsInvalid,
    PipelineUnknown,
    SourceGone,
    TextModelNeeded,
    TooManySteps,
    UploadNeeded,
    VoiceNeeded,
)
from reelmill.jobs.lifecycle import Status
from reelmill.jobs.model import Job
from reelmill.schemas import GenerateRequest, GenerationPlan, JobStatus
from reelmill.wiring import App

router = APIRouter(prefix="/api/v1/videos", tags=["videos"], route_class=Guarded)


@router.post(
    "/generate",
    status_code=201,
    responses={200: {"model": GenerationPlan, "description": "With `dry_run=true`: the plan; nothing was created."}},
)
@needs(
    "jobs:write",
    NotFound,
    PipelineUnknown,
    ParamsInvalid,
    TooManySteps,
    UploadNeeded,
    SourceGone,
    VoiceNeeded,
    TextModelNeeded,
    *NOT_LET_IN,
)
def generate_video(
    request: Request,
    response: Response,
    app: Platform,
    who: Who,
    wanted: GenerateRequest,
    dry_run: Annotated[bool, Query(description="Only say what the job would make.")] = False,
) -> JobStatus | GenerationPlan:
    """Make a video out of scenes, a script or a topic.

    The reply has the new video's id and its job's. Once the job is completed, the video is one like any other.
    """
    if dry_run:
        chosen = app.planner.pipeline(wanted.pipeline)
        plan = app.service.plan_generation(who, wanted.pipeline, wanted.params)
        response.status_code = 200
        return GenerationPlan(
            pipeline=chosen.name,
            pipeline_version=chosen.version,
            params=app.planner.checked(chosen, wanted.params).model_dump(mode="json"),
            steps=plan["steps"],
            plan={name: value for name, value in plan.items() if name != "steps"},
        )
    job = idempotency.made_before(request, lambda video_id: _job_of(app, video_id))
    if job is None:
        job = app.service.generate(
            who,
            wanted.params,
            pipeline=wanted.pipeline,
            labels=wanted.labels,
            priority=wanted.priority,
            video_id=idempotency.reserved(request),
        )
    status = status_of(app, job)
    idempotency.keep(request, status.model_copy(update={"download_urls": []}))  # signed URLs are never stored
    return status


def _job_of(app: App, video_id: str) -> Job:
    """Return the job that makes a video. Raises NotFound, also when the request ended before it was queued."""
    _, job = app.store.video_and_job(video_id)
    if job is None or job.status is Status.AWAITING_UPLOAD:
        raise NotFound
    return job
