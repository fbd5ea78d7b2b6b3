"""A job has ended: told once, by whoever wrote it."""

from __future__ import annotations

import structlog

from reelmill.jobs.lifecycle import Status
from reelmill.jobs.model import Job
from reelmill.jobs.ports import Observer

log: structlog.typing.FilteringBoundLogger = structlog.get_logger("reelmill.jobs")


def tell_end(observer: Observer, job: Job) -> None:
    """Log and count the end of a job, which the caller has just written."""
    seconds = None
    if job.queued_at is not None and job.completed_at is not None:
        seconds = max(0.0, (job.completed_at - job.queued_at).total_seconds())
        observer.observe("job_seconds", seconds, pipeline=job.pipeline, status=str(job.status))
    observer.count("jobs_ended", pipeline=job.pipeline, status=str(job.status), code=job.error_code or "")
    line = log.warning if job.status is Status.FAILED else log.info
    line(
        "job ended",
        job_id=job.id,
        user_id=job.user_id,
        tenant=job.tenant,
        correlation_id=job.correlation_id,
        pipeline=job.pipeline,
        status=str(job.status),
        code=job.error_code,
        detail=job.error_detail,
        seconds=seconds,
    )
