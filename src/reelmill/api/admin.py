"""What operators do: many jobs at once, stuck uploads, what failed for good, switches; and what a tenant uses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Path, Query

from reelmill.api.access import Guarded, JobId, Platform, Who, needs
from reelmill.api.errors import described
from reelmill.api.videos import Cursor, Limit
from reelmill.errors import (
    CursorInvalid,
    NotFound,
    NotOffered,
    PipelineUnknown,
    ResultsGone,
    SourceGone,
    StorageDenied,
    StorageUnavailable,
    UploadNeeded,
)
from reelmill.jobs.lifecycle import Status, StepStatus, UploadStatus
from reelmill.jobs.model import Attempt, Job, Step, Switch
from reelmill.jobs.operations import JobFilter, Rechecked, Reprocessed, recheck_uploads, reprocess
from reelmill.schemas import (
    DeadLetter,
    DeadLetterPage,
    DeadLetterStep,
    RecheckedUpload,
    RecheckReply,
    RecheckRequest,
    ReprocessedJob,
    ReprocessReply,
    ReprocessRequest,
    SwitchReply,
    SwitchRequest,
    UsageReply,
)
from reelmill.wiring import App, offered

router = APIRouter(prefix="/api/v1/admin", tags=["admin"], route_class=Guarded)
Pipeline = Annotated[str, Path(min_length=1, max_length=64, description="The pipeline's name.")]
usage_routes = APIRouter(prefix="/api/v1/usage", tags=["admin"], route_class=Guarded)


@router.post("/jobs/reprocess")
@needs("admin", CursorInvalid)
def reprocess_jobs(app: Platform, who: Who, wanted: ReprocessRequest) -> ReprocessReply:
    """Retry all failed (or cancelled) jobs that a filter finds, each from its first missing step.

    One that can't be retried is told with its reason and holds up no other.
    """
    done, cursor = reprocess(
        app.service,
        who,
        JobFilter(
            status=Status(wanted.status),
            error_code=wanted.error_code,
            pipeline=wanted.pipeline,
            created_after=wanted.created_after,
            created_before=wanted.created_before,
            labels=wanted.labels,
        ),
        limit=wanted.limit,
        cursor=wanted.cursor,
        dry_run=wanted.dry_run,
    )
    if not wanted.dry_run:
        told = wanted.model_dump(mode="json", exclude={"dry_run", "cursor"}, exclude_defaults=True)
        retried = [one.job.id for one in done if one.outcome == "retried"]
        app.access.audit(who, action="jobs.reprocess", target="jobs", data={"filter": told, "retried": retried})
    return ReprocessReply(items=[_reprocessed(one) for one in done], next_cursor=cursor)


@router.post("/jobs/recheck-uploads")
@needs("admin", CursorInvalid, StorageDenied, StorageUnavailable)
def recheck_stuck_uploads(app: Platform, who: Who, wanted: RecheckRequest) -> RecheckReply:
    """Look after uploads that were begun and never completed: those whose file is there are verified and completed.

    Nothing is queued that wasn't verified, and what isn't there is only reported.
    """
    done, cursor = recheck_uploads(
        app.service,
        who,
        older_than_s=wanted.older_than_s,
        limit=wanted.limit,
        cursor=wanted.cursor,
        dry_run=wanted.dry_run,
    )
    if not wanted.dry_run:
        verified = [one.video.id for one in done if one.outcome == "verified"]
        app.access.audit(who, action="uploads.recheck", target="uploads", data={"verified": verified})
    return RecheckReply(items=[_rechecked(one) for one in done], next_cursor=cursor)


@router.get("/dead-letters")
@needs("admin", CursorInvalid)
def list_dead_letters(
    app: Platform,
    who: Who,
    code: Annotated[str | None, Query(max_length=64, description="Only jobs that failed with this code.")] = None,
    pipeline: Annotated[str | None, Query(max_length=64)] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> DeadLetterPage:
    """List jobs that failed for good, newest first, with the commands, outputs and versions of what failed."""
    page = app.store.jobs(
        who.tenant, status=Status.FAILED, error_code=code, pipeline=pipeline, cursor=cursor, limit=limit
    )
    return DeadLetterPage(items=[_dead_letter(app, job) for job in page.items], next_cursor=page.next_cursor)


@router.get("/dead-letters/{job_id}")
@needs("admin", NotFound)
def get_dead_letter(app: Platform, who: Who, job_id: JobId) -> DeadLetter:
    """Get one job that failed for good, with what failed in it."""
    job = app.store.job(job_id, who.tenant)
    if job.status is not Status.FAILED:
        raise NotFound(f"The job {job_id} is {job.status}.")
    return _dead_letter(app, job)


@router.get("/pipelines/{name}/switch")
@needs("admin", PipelineUnknown, NotOffered)
def get_switch(app: Platform, who: Who, name: Pipeline) -> SwitchReply:
    """See whether a pipeline takes new jobs."""
    app.planner.pipeline(name)
    return _switch(name, offered(app.rules).switches(who.tenant))


@router.put("/pipelines/{name}/switch")
@needs("admin", PipelineUnknown, NotOffered)
def switch_off(app: Platform, who: Who, name: Pipeline, wanted: SwitchRequest) -> SwitchReply:
    """Switch a pipeline off: new jobs and retries are refused with the reason; queued and running ones go on."""
    app.planner.pipeline(name)
    offered(app.rules).switch_off(name, who.tenant, wanted.reason, who)
    return _switch(name, offered(app.rules).switches(who.tenant))


@router.delete("/pipelines/{name}/switch")
@needs("admin", PipelineUnknown, NotOffered)
def switch_on(app: Platform, who: Who, name: Pipeline) -> SwitchReply:
    """Let a pipeline take jobs again. What an operator has switched off for all tenants stays off."""
    app.planner.pipeline(name)
    offered(app.rules).switch_on(name, who.tenant, who)
    return _switch(name, offered(app.rules).switches(who.tenant))


@usage_routes.get("")
@needs("jobs:read", NotOffered)
def get_usage(app: Platform, who: Who) -> UsageReply:
    """See what the tenant stores and runs, and what it may."""
    used = offered(app.keeping).usage(who.tenant)
    limits = app.service.admission.limits(who.tenant)
    return UsageReply(
        source_bytes=used.source_bytes,
        output_bytes=used.output_bytes,
        jobs_in_flight=used.jobs_in_flight,
        quota_bytes=limits.quota_bytes or None,
        quota_jobs=limits.quota_jobs or None,
    )


# ── as the API shows them ─────────────────────────────────────────────────────────────────────


def _reprocessed(one: Reprocessed) -> ReprocessedJob:
    problem = one.problem
    return ReprocessedJob(
        job_id=one.job.id,
        video_id=one.job.video_id,
        outcome=one.outcome,
        error=described(problem.code, problem.detail) if problem else None,
    )


def _rechecked(one: Rechecked) -> RecheckedUpload:
    problem = one.problem
    return RecheckedUpload(
        video_id=one.video.id,
        job_id=one.job.id if one.job else None,
        initiated_at=one.video.created_at,
        outcome=one.outcome,
        error=described(problem.code, problem.detail) if problem else None,
    )


def _dead_letter(app: App, job: Job) -> DeadLetter:
    attempts: dict[str, list[Attempt]] = {}
    for attempt in app.store.attempts(job.id):
        attempts.setdefault(attempt.step_id, []).append(attempt)
    error = described(job.error_code, job.error_detail)
    assert error is not None and job.completed_at is not None, "a failed job has both"
    same = "video_id user_id pipeline pipeline_version run stage correlation_id created_at"
    return DeadLetter(
        **{name: getattr(job, name) for name in same.split()},
        job_id=job.id,
        error=error,
        failed_at=job.completed_at,
        retry_refused=_refusal(app, job),
        steps=[
            _failed_step(step, attempts.get(step.id, []))
            for step in app.store.steps(job.id)
            if step.status is StepStatus.FAILED
        ],
    )


def _refusal(app: App, job: Job) -> str | None:
    """Return the code by which a retry would be refused, whatever else changes."""
    upload = app.store.video(job.video_id).upload_status
    if upload is UploadStatus.GONE:
        return SourceGone.code
    if job.outputs_removed_at is not None:
        return ResultsGone.code
    return None if upload is UploadStatus.UPLOADED else UploadNeeded.code


def _failed_step(step: Step, attempts: Sequence[Attempt]) -> DeadLetterStep:
    last = max(attempts, key=lambda one: one.attempt, default=None)
    return DeadLetterStep(
        step_id=step.id,
        kind=step.kind,
        attempts=step.attempt,
        worker_id=last.worker_id if last else None,
        command=last.command if last else None,
        stderr=last.stderr if last else None,
        versions=dict(last.versions) if last and last.versions is not None else None,
        error=described(step.error_code, step.error_detail),
    )


def _switch(pipeline: str, switches: Sequence[Switch]) -> SwitchReply:
    """Return what holds: what is off for all goes before what is off for the tenant alone."""
    off = next((one for one in switches if one.pipeline == pipeline), None)  # "" comes before any tenant's name
    return SwitchReply(
        pipeline=pipeline,
        off=off is not None,
        reason=off.reason if off else None,
        by=off.actor if off else None,
        since=off.since if off else None,
        all_tenants=off is not None and off.tenant is None,
    )
