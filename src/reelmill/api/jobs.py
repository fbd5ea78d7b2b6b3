"""Jobs: run a pipeline on a video, see how it stands, take the results, stop it, run it again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response

from reelmill.api import idempotency
from reelmill.api.access import Guarded, JobId, Platform, Who, known_form, needs
from reelmill.api.errors import described
from reelmill.api.videos import Cursor, Limit
from reelmill.errors import (
    CursorInvalid,
    JobsQuotaReached,
    NotFound,
    ParamsInvalid,
    PipelineOff,
    PipelineUnknown,
    ResultsGone,
    SourceGone,
    TextDoesNotFit,
    TooManySteps,
    TransitionRefused,
    UploadNeeded,
)
from reelmill.jobs.chain import checked as checked_chain
from reelmill.jobs.chain import follower_of
from reelmill.jobs.lifecycle import Status
from reelmill.jobs.model import Artifact, Attempt, Job, Stage, Step
from reelmill.jobs.results import has_results
from reelmill.schemas import (
    ArtifactList,
    ArtifactReply,
    AttemptReply,
    FollowerReply,
    JobPage,
    JobReply,
    JobRequest,
    JobStatus,
    JobStatusName,
    JobSummary,
    PipelineList,
    PipelineReply,
    PlanReply,
    PriorityRequest,
    StageReply,
    StepReply,
)
from reelmill.wiring import App

router = APIRouter(prefix="/api/v1/jobs", tags=["jobs"], route_class=Guarded)
pipelines = APIRouter(prefix="/api/v1/pipelines", tags=["pipelines"], route_class=Guarded)

NOT_LET_IN = (PipelineOff, JobsQuotaReached)


@pipelines.get("")
@needs("jobs:read")
def list_pipelines(app: Platform) -> PipelineList:
    """List what can be run, with the JSON schema of each pipeline's parameters."""
    return PipelineList(
        items=[
            PipelineReply(
                name=pipeline.name,
                title=pipeline.title,
                version=pipeline.version,
                stages=_stages(pipeline.stages),
                params=pipeline.Params.model_json_schema(),
            )
            for pipeline in app.pipelines.values()
        ]
    )


@router.post(
    "",
    status_code=201,
    responses={200: {"model": PlanReply, "description": "With `dry_run=true`: the plan; nothing was created."}},
)
@needs(
    "jobs:write",
    NotFound,
    PipelineUnknown,
    ParamsInvalid,
    TextDoesNotFit,
    TooManySteps,
    UploadNeeded,
    SourceGone,
    *NOT_LET_IN,
)
def create_job(
    request: Request,
    response: Response,
    app: Platform,
    who: Who,
    wanted: JobRequest,
    dry_run: Annotated[bool, Query(description="Only say what the job would make.")] = False,
) -> JobStatus | PlanReply:
    """Run a pipeline on an uploaded video."""
    video_id = known_form("video")(wanted.video_id)
    then = [one.model_dump() for one in wanted.then]
    if dry_run:
        checked_chain(app.planner, then, who.tenant)
        chosen = app.planner.pipeline(wanted.pipeline)
        # Checked once: what is left open, as a seed, is settled then, and the plan tells what was settled.
        params = app.planner.checked(chosen, wanted.params, who.tenant).model_dump(mode="json")
        plan = app.service.preview(who, video_id, wanted.pipeline, params)
        response.status_code = 200
        return PlanReply(
            video_id=video_id,
            pipeline=chosen.name,
            pipeline_version=chosen.version,
            params=params,
            steps=plan["steps"],
            plan={name: value for name, value in plan.items() if name != "steps"},
        )
    job = idempotency.made_before(request, lambda job_id: app.store.job(job_id, who.tenant))
    if job is None:
        job = app.service.create_job(
            who,
            video_id,
            wanted.pipeline,
            wanted.params,
            priority=wanted.priority,
            job_id=idempotency.reserved(request),
            reuse=wanted.reuse,
            then=then,
        )
    status = status_of(app, job)
    idempotency.keep(request, status.model_copy(update={"download_urls": []}))  # signed URLs are never stored
    return status


@router.get("")
@needs("jobs:read", CursorInvalid)
def list_jobs(
    app: Platform,
    who: Who,
    status: JobStatusName | None = None,
    pipeline: Annotated[str | None, Query(max_length=64)] = None,
    video_id: Annotated[str | None, Query(max_length=64)] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> JobPage:
    """List jobs, newest first."""
    page = app.store.jobs(
        who.tenant,
        status=Status(status) if status else None,
        pipeline=pipeline,
        video_id=video_id,
        cursor=cursor,
        limit=limit,
    )
    return JobPage(items=[JobSummary(**_summary(job)) for job in page.items], next_cursor=page.next_cursor)


@router.get("/{job_id}")
@needs("jobs:read", NotFound)
def get_job(app: Platform, who: Who, job_id: JobId) -> JobReply:
    """Get all about a job: its steps, the exact commands, what went wrong, its place in the queue."""
    job = app.store.job(job_id, who.tenant)
    attempts: dict[str, list[Attempt]] = {}
    for attempt in app.store.attempts(job_id):
        attempts.setdefault(attempt.step_id, []).append(attempt)
    steps = app.store.steps(job_id)
    return JobReply(
        **_summary(job),
        queue_position=_queue_position(app, job),
        stages=_stages(job.stages),
        steps_planned=job.steps_planned,
        steps_done=job.steps_done,
        last_seq=job.last_seq,
        reuse=job.reuse,
        reused=sum(step.reused_from is not None for step in steps),
        follows=job.follows,
        then=[FollowerReply(**follower_of(one, job)) for one in job.then],
        steps=[_step(step, attempts.get(step.id, [])) for step in steps],
    )


@router.get("/{job_id}/status")
@needs("jobs:read", NotFound)
def get_job_status(app: Platform, who: Who, job_id: JobId) -> JobStatus:
    """Get where a job stands; once it is completed, with a signed URL for each result."""
    return status_of(app, app.store.job(job_id, who.tenant))


@router.get("/{job_id}/artifacts")
@needs("jobs:read", NotFound, ResultsGone)
def list_artifacts(app: Platform, who: Who, job_id: JobId) -> ArtifactList:
    """List every file that the job has made so far; they have URLs once it is completed, or only stores them."""
    job = app.store.job(job_id, who.tenant)
    if job.outputs_removed_at is not None:
        raise ResultsGone(f"The job's files were removed at {job.outputs_removed_at.isoformat()}.")
    done = has_results(job)
    return ArtifactList(
        items=[
            _artifact(artifact, app.files.url(artifact) if done else None) for artifact in app.store.artifacts(job_id)
        ]
    )


@router.post("/{job_id}/cancel")
@needs("jobs:write", NotFound, TransitionRefused)
def cancel_job(app: Platform, who: Who, job_id: JobId) -> JobStatus:
    """Stop a job; its processes are gone within seconds."""
    return status_of(app, app.service.cancel(who, job_id))


@router.post("/{job_id}/priority")
@needs("jobs:write", NotFound, TransitionRefused)
def set_priority(app: Platform, who: Who, job_id: JobId, wanted: PriorityRequest) -> JobStatus:
    """Let a job that hasn't ended be worked on earlier or later than others; what is being worked on, goes on."""
    return status_of(app, app.service.set_priority(who, job_id, wanted.priority))


@router.post("/{job_id}/retry")
@needs(
    "jobs:write",
    NotFound,
    TransitionRefused,
    UploadNeeded,
    SourceGone,
    ResultsGone,
    ParamsInvalid,
    TextDoesNotFit,
    TooManySteps,
    *NOT_LET_IN,
)
def retry_job(request: Request, app: Platform, who: Who, job_id: JobId) -> JobStatus:
    """Run a failed or cancelled job again, from its first missing step."""
    status = status_of(app, app.service.retry(who, job_id))
    idempotency.keep(request, status.model_copy(update={"download_urls": []}))  # signed URLs are never stored
    return status


# ── as the API shows them ─────────────────────────────────────────────────────────────────────


def status_of(app: App, job: Job) -> JobStatus:
    """Return what a client polls."""
    urls, job = app.service.download_urls(job), job.shown()
    return JobStatus(
        job_id=job.id,
        video_id=job.video_id,
        pipeline=job.pipeline,
        status=job.status.value,
        stage=job.stage,
        progress_pct=job.progress_pct,
        message=job.message,
        run=job.run,
        queue_position=_queue_position(app, job),
        warnings=list(job.warnings),
        error=described(job.error_code, job.error_detail),
        download_urls=urls,
        created_at=job.created_at,
        queued_at=job.queued_at,
        started_at=job.started_at,
        completed_at=job.completed_at,
        results_removed_at=job.outputs_removed_at,
    )


def _queue_position(app: App, job: Job) -> int | None:
    return app.store.queue_position(job.id) if job.status is Status.QUEUED else None


def _summary(job: Job) -> dict[str, Any]:
    same = (
        "video_id user_id pipeline pipeline_version params status stage run priority progress_pct message "
        "correlation_id created_at queued_at started_at completed_at"
    )
    job = job.shown()
    return {
        **{name: getattr(job, name) for name in same.split()},
        "job_id": job.id,
        "warnings": list(job.warnings),
        "error": described(job.error_code, job.error_detail),
    }


def _stages(stages: Sequence[Stage]) -> list[StageReply]:
    return [StageReply(name=stage.name, weight=stage.weight) for stage in stages]


def _step(step: Step, attempts: Sequence[Attempt]) -> StepReply:
    same = (
        "stage index kind optional run attempt tries crashes progress worker_id digest params output reused_from "
        "created_at started_at finished_at"
    )
    status: Literal["ready", "running", "done", "failed", "cancelled"] = step.status.value
    return StepReply(
        **{name: getattr(step, name) for name in same.split()},
        step_id=step.id,
        status=status,
        error=described(step.error_code, step.error_detail),
        attempts=[_attempt(attempt) for attempt in attempts],
    )


def _attempt(attempt: Attempt) -> AttemptReply:
    same = "attempt run worker_id engine_task_id started_at ended_at outcome command stderr versions"
    return AttemptReply(
        **{name: getattr(attempt, name) for name in same.split()},
        error=described(attempt.error_code, attempt.error_detail),
    )


def _artifact(artifact: Artifact, url: str | None) -> ArtifactReply:
    same = "id job_id stage index kind name key sha256 content_type meta primary place retries created_at stored_at"
    return ArtifactReply(**{name: getattr(artifact, name) for name in same.split()}, size=artifact.size_bytes, url=url)
