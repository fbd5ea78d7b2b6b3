"""What an operator does to many jobs and uploads at once. Each item is decided by itself; nothing is queued blindly."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from reelmill.errors import ReelmillError, StorageProblem
from reelmill.jobs.lifecycle import Status, UploadStatus
from reelmill.jobs.model import Caller, Job, Json, Video
from reelmill.jobs.service import Service


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Which ended jobs are meant."""

    status: Status = Status.FAILED  #: or CANCELLED
    error_code: str | None = None
    pipeline: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    labels: Json | None = None  #: of their videos


@dataclass(frozen=True, slots=True, kw_only=True)
class Reprocessed:
    """What became of one job."""

    job: Job
    outcome: Literal["retried", "matched", "refused"]
    problem: ReelmillError | None = None  #: with `refused`


@dataclass(frozen=True, slots=True, kw_only=True)
class Rechecked:
    """What became of one stuck upload."""

    video: Video
    job: Job | None
    outcome: Literal["verified", "arrived", "missing", "refused"]
    problem: ReelmillError | None = None  #: with `refused`


def reprocess(
    service: Service, caller: Caller, wanted: JobFilter, *, limit: int, cursor: str | None = None, dry_run: bool = False
) -> tuple[list[Reprocessed], str | None]:
    """Retry the jobs of the caller's tenant that the filter finds, newest first; return also the next page's cursor.

    A job that can't be retried is refused with its reason and holds up no other. dry_run: only find them.
    Raises CursorInvalid.
    """
    page = service.store.jobs(
        caller.tenant,
        status=wanted.status,
        error_code=wanted.error_code,
        pipeline=wanted.pipeline,
        created_after=wanted.created_after,
        created_before=wanted.created_before,
        labels=wanted.labels,
        cursor=cursor,
        limit=limit,
    )
    return [_retry(service, caller, job, dry_run) for job in page.items], page.next_cursor


def _retry(service: Service, caller: Caller, job: Job, dry_run: bool) -> Reprocessed:
    if dry_run:
        return Reprocessed(job=job, outcome="matched")
    try:
        return Reprocessed(job=service.retry(caller, job.id), outcome="retried")
    except ReelmillError as problem:
        return Reprocessed(job=job, outcome="refused", problem=problem)


def recheck_uploads(
    service: Service,
    caller: Caller,
    *,
    older_than_s: float,
    limit: int,
    cursor: str | None = None,
    dry_run: bool = False,
) -> tuple[list[Rechecked], str | None]:
    """Look for the files of uploads that were begun so long ago and never completed; complete those that are there.

    They are verified as `complete` does it. One that isn't there is only reported: it may still come, and expires
    otherwise. dry_run: only look. Raises CursorInvalid, and StorageProblem when storage can't tell: nothing is known.
    """
    page = service.store.videos(
        caller.tenant, upload_status=UploadStatus.AWAITING, older_than_s=older_than_s, cursor=cursor, limit=limit
    )
    return [_recheck(service, caller, video, dry_run) for video in page.items], page.next_cursor


def _recheck(service: Service, caller: Caller, video: Video, dry_run: bool) -> Rechecked:
    job = service.store.job(video.processing_job_id) if video.processing_job_id is not None else None
    if not service.parts.whole(video):
        return Rechecked(video=video, job=job, outcome="missing")
    if dry_run:
        return Rechecked(video=video, job=job, outcome="arrived")
    try:
        done = service.complete(caller, video.id)
    except StorageProblem:
        raise
    except ReelmillError as problem:
        now = service.store.job(job.id) if job is not None else None
        return Rechecked(video=service.store.video(video.id), job=now, outcome="refused", problem=problem)
    return Rechecked(video=done.video, job=done.job, outcome="verified")
