"""The guarded moves of which the SQL store's writes are made: each runs inside its caller's transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from reelmill.errors import NotFound, ResultsGone, SourceGone, TransitionRefused, UploadNeeded
from reelmill.jobs.lifecycle import (
    ENDED,
    PROCESSING_OF,
    UPLOAD_ERRORS,
    Event,
    Status,
    StepEvent,
    StepStatus,
    UploadStatus,
    progress_pct,
    sources,
    step_after,
    step_sources,
    target,
)
from reelmill.jobs.model import Job, Json
from reelmill.jobs.ports import Failure, Held, NewJob, Opening
from reelmill.stores import lanes, rows
from reelmill.stores.prepared import Prepared, new, one_of
from reelmill.stores.schema import attempts, events, jobs, now, steps, videos

COMPLETED = "Completed"
OPEN_STEPS = [StepStatus.READY, StepStatus.RUNNING]

Events = Sequence[tuple[str, Json]]


def returned(tx: Connection, statement: Any) -> rows.Row | None:
    """Run a guarded write; return the row that it wrote, or None when the guard refused."""
    table = statement.table
    return tx.execute(statement.returning(table)).mappings().one_or_none()


def read_job(tx: Connection, job_id: str) -> Job:
    """Raises NotFound."""
    row = tx.execute(sa.select(jobs).where(jobs.c.id == job_id)).mappings().one_or_none()
    if row is None:
        raise NotFound(f"There is no job {job_id}.")
    return rows.to_job(row)


def warning_of(kind: str, index: int, detail: str | None) -> str:
    """Return what a failed optional step says on its job."""
    return f"{kind} {index}: {detail}"


def told_followed(then: Sequence[Json]) -> tuple[str, Json]:
    """Return the event that says what a completed job was followed by."""
    return "job.followed", {"jobs": [job_id for one in then for job_id in one.get("jobs", ())]}


def has_open_step() -> sa.ColumnElement[bool]:
    return sa.exists().where(steps.c.job_id == jobs.c.id, one_of(steps.c.status, OPEN_STEPS)).correlate(jobs)


def has_spooled() -> sa.ColumnElement[bool]:
    return jobs.c.spooled > 0


def move(
    tx: Connection,
    job_id: str,
    event: Event,
    *,
    run: int | None = None,
    where: Iterable[sa.ColumnElement[bool]] = (),
    values: dict[str, Any],
    events_: Events,
) -> Job:
    """Move a job along one edge by one guarded write. Raises TransitionRefused, NotFound."""
    guards = [jobs.c.id == job_id, jobs.c.status.in_(list(sources(event))), *where]
    if run is not None:
        guards.append(jobs.c.run == run)
    row = returned(
        tx,
        sa.update(jobs).where(*guards).values(status=target(event), last_seq=jobs.c.last_seq + len(events_), **values),
    )
    if row is None:
        raise refusal(tx, job_id, event)
    record(tx, row, events_)
    return rows.to_job(row)


def refusal(tx: Connection, job_id: str, event: Event) -> TransitionRefused | NotFound:
    """Return the error that says why a guarded write found nothing to write."""
    there = tx.execute(sa.select(jobs.c.status, jobs.c.run).where(jobs.c.id == job_id)).one_or_none()
    if there is None:
        return NotFound(f"There is no job {job_id}.")
    return TransitionRefused(
        f"The job is {there.status} (run {there.run}), which doesn't allow '{event}'.", status=there.status
    )


INSERT_EVENT = Prepared(
    sa.insert(events).values(
        job_id=sa.bindparam("its_job"),
        seq=sa.bindparam("its_seq"),
        type=sa.bindparam("its_type"),
        data=sa.bindparam("its_data"),
        created_at=now(),
    )
)


def record(tx: Connection, job: rows.Row, events_: Events) -> None:
    """Insert events whose seqs were already taken from the job's row: the last of them is its last_seq."""
    first = job["last_seq"] - len(events_) + 1
    told = [
        {"its_job": job["id"], "its_seq": first + i, "its_type": kind, "its_data": dict(data)}
        for i, (kind, data) in enumerate(events_)
    ]
    INSERT_EVENT.write_each(tx, told)


def note(tx: Connection, job: rows.Row, events_: Events) -> rows.Row:
    """Take seqs from a job row that this transaction holds, and record the events."""
    row = returned(tx, sa.update(jobs).where(jobs.c.id == job["id"]).values(last_seq=jobs.c.last_seq + len(events_)))
    assert row is not None
    record(tx, row, events_)
    return row


_insert_job = Prepared(
    sa.insert(jobs)
    .values(
        **new(jobs, "id", "video_id", "tenant", "user_id", "pipeline", "pipeline_version", "params", "stages",
              "status", "stage", "steps_planned", "message", "priority", "last_seq", "correlation_id",
              "trace_context", "reuse", "then", "follows"),
        run=1,
        steps_done=0,
        progress_pct=0.0,
        warnings=[],
        created_at=now(),
        queued_at=sa.case((sa.bindparam("is_queued", type_=sa.Boolean), now())),
    )
    .returning(jobs)
)  # fmt: skip


def insert_job(tx: Connection, job: NewJob, status: Status, opening: Opening | None = None) -> Job:
    queued = status is Status.QUEUED
    made: Events = [("job.created", {"pipeline": job.pipeline})]
    if opening is not None:
        made = [*made, ("job.queued", {"stage": opening.stage, "steps": len(opening.specs)})]
    (row,) = _insert_job.rows(
        tx,
        {
            "new_id": job.id,
            "new_video_id": job.video_id,
            "new_tenant": job.tenant,
            "new_user_id": job.user_id,
            "new_pipeline": job.pipeline,
            "new_pipeline_version": job.pipeline_version,
            "new_params": dict(job.params),
            "new_stages": [[stage.name, stage.weight] for stage in job.stages],
            "new_status": status,
            "new_stage": opening.stage if opening else None,
            "new_steps_planned": len(opening.specs) if opening else 0,
            "new_message": "Queued" if queued else "Waiting for the upload",
            "new_priority": job.priority,
            "new_last_seq": len(made),
            "new_correlation_id": job.correlation_id,
            "new_trace_context": job.trace_context,
            "new_reuse": job.reuse,
            "new_then": list(job.then) or None,
            "new_follows": job.follows,
            "is_queued": queued,
        },
    )
    record(tx, row, made)
    return rows.to_job(row)


def opened(opening: Opening) -> dict[str, Any]:
    return {"stage": opening.stage, "steps_planned": len(opening.specs), "steps_done": 0}


_insert_step = Prepared(
    sa.insert(steps).values(
        **new(steps, "id", "job_id", "stage", "stage_no", "index", "kind", "params", "digest", "optional", "tenant",
              "queue", "rank", "later", "queued_at"),
        **dict.fromkeys(("run", "attempt", "tries", "crashes"), 0),
        status=StepStatus.READY,
        progress=0.0,
        waits=False,
        created_at=now(),
        not_before=now(),
    )
)  # fmt: skip


def insert_steps(tx: Connection, job: Job, opening: Opening) -> None:
    if not opening.specs:
        return
    stage_no = [stage.name for stage in job.stages].index(opening.stage)
    planned = [
        {
            "new_id": f"{job.id}:{opening.stage}:{spec.index}",
            "new_job_id": job.id,
            "new_stage": opening.stage,
            "new_stage_no": stage_no,
            "new_index": spec.index,
            "new_kind": spec.kind,
            "new_params": dict(spec.params),
            "new_digest": spec.digest,
            "new_optional": spec.optional,
            "new_tenant": job.tenant,
            "new_queue": spec.queue,
            "new_rank": -job.priority,
            "new_later": not spec.first,
            "new_queued_at": job.queued_at,
        }
        for spec in opening.specs
    ]
    _insert_step.write_each(tx, planned)
    lanes.open_lanes(tx, [(job.tenant, spec.queue, -job.priority) for spec in opening.specs])


def fail_waiting(tx: Connection, job_id: str, failure: Failure) -> Job | None:
    """Fail a job that waits for its upload, also again; leave any other job as it is."""
    waiting = sa.or_(
        jobs.c.status == Status.AWAITING_UPLOAD,
        sa.and_(jobs.c.status == Status.FAILED, jobs.c.error_code.in_(UPLOAD_ERRORS)),
    )
    row = returned(
        tx,
        sa.update(jobs)
        .where(jobs.c.id == job_id, waiting)
        .values(
            status=Status.FAILED,
            error_code=failure.code,
            error_detail=failure.detail,
            message=failure.detail,
            completed_at=now(),
            last_seq=jobs.c.last_seq + 1,
        ),
    )
    if row is None:
        return None
    record(tx, row, [("job.failed", {"code": failure.code, "detail": failure.detail})])
    return rows.to_job(row)


_follow = Prepared(
    sa.update(videos)
    .where(videos.c.id == sa.bindparam("its_video"), videos.c.processing_job_id == sa.bindparam("its_job"))
    .values(
        processing_status=sa.bindparam("its_status"),
        processing_error=sa.bindparam("its_error"),
        processing_completed_at=sa.case((sa.bindparam("has_ended", type_=sa.Boolean), now())),
    )
)


def follow(tx: Connection, job: Job) -> None:
    """Let the video follow its driver; the ends of other jobs don't touch it."""
    error = None
    if job.status is Status.FAILED:
        error = job.error_code
    elif job.status is Status.CANCELLED:
        error = "cancelled"
    told = {"its_status": PROCESSING_OF[job.status], "its_error": error, "has_ended": job.status in ENDED}
    _follow.write(tx, {"its_video": job.video_id, "its_job": job.id, **told})


# Built once, like what is in claims.py: every job ends by it.
_finish = Prepared(
    sa.update(jobs)
    .where(
        jobs.c.id == sa.bindparam("its_job"),
        one_of(jobs.c.status, sources(Event.FINISH)),
        sa.func.coalesce(sa.bindparam("its_run", type_=sa.Integer), jobs.c.run) == jobs.c.run,
        ~has_open_step(),
        ~has_spooled(),
    )
    .values(
        status=target(Event.FINISH),
        last_seq=jobs.c.last_seq + 1,
        progress_pct=100.0,
        message=COMPLETED,
        started_at=sa.func.coalesce(jobs.c.started_at, now()),
        completed_at=now(),
    )
    .returning(jobs)
)


def finish(tx: Connection, job_id: str, run: int | None) -> Job:
    locked(tx, job_id)
    row = _finish.row(tx, {"its_job": job_id, "its_run": run})
    if row is None:
        raise refusal(tx, job_id, Event.FINISH)
    record(tx, row, [("job.completed", {})])
    return rows.to_job(row)


def finish_last(tx: Connection, job: rows.Row) -> Job | None:
    """Finish a job whose row this transaction holds, and let its video follow; None while it waits for anything."""
    if job["steps_done"] < job["steps_planned"]:
        return None
    row = _finish.row(tx, {"its_job": job["id"], "its_run": job["run"]})
    if row is None:
        return None
    record(tx, row, [("job.completed", {})])
    finished = rows.to_job(row)
    follow(tx, finished)
    return finished


def fail(tx: Connection, job_id: str, run: int | None, failure: Failure) -> Job:
    job = move(
        tx,
        job_id,
        Event.FAIL,
        run=run,
        values={
            "error_code": failure.code,
            "error_detail": failure.detail,
            "message": failure.detail,
            "completed_at": now(),
        },
        events_=[("job.failed", {"code": failure.code, "detail": failure.detail})],
    )
    cancel_steps(tx, job)
    return job


def cancel(tx: Connection, job_id: str, run: int | None) -> Job:
    job = move(
        tx, job_id, Event.CANCEL, run=run,
        values={"message": "Cancelled", "completed_at": now()}, events_=[("job.cancelled", {})],
    )  # fmt: skip
    cancel_steps(tx, job)
    return job


def cancel_steps(tx: Connection, job: Job) -> None:
    """Cancel what is open. A ready step that a claimer holds just now is skipped: it will find the job ended."""
    chosen = (
        sa.select(steps.c.id)
        .where(steps.c.job_id == job.id, steps.c.status == StepStatus.READY)
        .with_for_update(skip_locked=True)
    )
    open_ = sa.or_(sa.and_(steps.c.job_id == job.id, steps.c.status == StepStatus.RUNNING), steps.c.id.in_(chosen))
    running = sa.select(steps.c.id, steps.c.attempt).where(
        steps.c.job_id == job.id, steps.c.status == StepStatus.RUNNING
    )
    for step_id, attempt in tx.execute(running).all():
        end_attempt(tx, step_id, attempt, StepEvent.CANCEL, None)
    tx.execute(sa.update(steps).where(open_).values(freed(StepEvent.CANCEL) | {"finished_at": now()}))


def retry(tx: Connection, job_id: str, run: int | None, opening: Opening | None) -> Job:
    locked(tx, job_id)  # its source may be expiring just now
    uploaded = sa.exists().where(videos.c.id == jobs.c.video_id, videos.c.upload_status == UploadStatus.UPLOADED)
    try:
        job = move(
            tx,
            job_id,
            Event.RETRY,
            run=run,
            where=[uploaded, jobs.c.outputs_removed_at.is_(None), jobs.c.deleted_at.is_(None)],
            values={
                "run": jobs.c.run + 1,
                "error_code": None,
                "error_detail": None,
                "message": "Queued again",
                "queued_at": now(),
                "started_at": None,
                "completed_at": None,
                "swept_at": None,
                "events_removed_at": None,
                "progress_pct": 0.0,
                **(opened(opening) if opening else {}),
            },
            events_=[("job.retried", {})],
        )
    except TransitionRefused as refused:
        # Its status alone doesn't tell: another run may have ended, and nothing is missing.
        if refused.extra.get("status") in sources(Event.RETRY) and (why := _why_not_again(tx, job_id)) is not None:
            raise why from refused
        raise
    if opening is not None:
        insert_steps(tx, job, opening)
    again = sa.and_(
        steps.c.job_id == job_id,
        steps.c.stage == job.stage,
        steps.c.status.in_(list(step_sources(StepEvent.RETRY))),
    )
    failed = tx.execute(sa.select(steps.c.kind, steps.c.index, steps.c.error_detail).where(again, steps.c.optional))
    taken_back = {warning_of(*row) for row in failed}
    ready = tx.execute(
        sa.update(steps)
        .where(again)
        .values(
            status=StepStatus.READY,
            rank=-job.priority,
            queued_at=job.queued_at,
            waits=False,
            tries=0,
            crashes=0,
            progress=0.0,
            not_before=now(),
            rung_at=None,
            finished_at=None,
            error_code=None,
            error_detail=None,
        )
        .returning(steps.c.tenant, steps.c.queue, steps.c.rank)
    ).all()
    lanes.open_lanes(tx, [(row.tenant, row.queue, row.rank) for row in ready])
    done = sa.select(sa.func.count()).where(
        steps.c.job_id == job_id, steps.c.stage == job.stage, steps.c.status == StepStatus.DONE
    )
    row = returned(
        tx,
        sa.update(jobs)
        .where(jobs.c.id == job_id)
        .values(
            steps_done=done.scalar_subquery(),
            warnings=[warning for warning in job.warnings if warning not in taken_back],
        ),
    )
    assert row is not None
    return rows.to_job(progress(tx, row))


def _why_not_again(tx: Connection, job_id: str) -> Exception | None:
    """Return which thing an ended job's steps need that isn't there, or isn't there any more; None when all is."""
    query = sa.select(jobs.c.outputs_removed_at, jobs.c.deleted_at, videos.c.upload_status)
    row = tx.execute(query.join(videos, videos.c.id == jobs.c.video_id).where(jobs.c.id == job_id)).one()
    if row.deleted_at is not None:
        return NotFound(f"There is no job {job_id}.")
    if row.upload_status == UploadStatus.GONE:
        return SourceGone()
    if row.outputs_removed_at is not None:
        return ResultsGone()
    return UploadNeeded() if row.upload_status != UploadStatus.UPLOADED else None


_lock = Prepared(sa.select(jobs).where(jobs.c.id == sa.bindparam("its_job")).with_for_update())


def locked(tx: Connection, job_id: str) -> rows.Row:
    """Lock a job's row, whatever its status. Raises NotFound.

    A guard that looks at other tables (`has_open_step`) needs it: on PostgreSQL an UPDATE that waited for the row
    sees its new values, but the other tables still as they were before the wait.
    """
    row = _lock.row(tx, {"its_job": job_id})
    if row is None:
        raise NotFound(f"There is no job {job_id}.")
    return row


def idle_job(tx: Connection, job_id: str) -> rows.Row | None:
    """Lock a running job's row if nobody else holds it just now; None when somebody does, or it isn't running."""
    query = sa.select(jobs).where(jobs.c.id == job_id, jobs.c.status == Status.RUNNING)
    return tx.execute(query.with_for_update(skip_locked=True)).mappings().one_or_none()


def hold(tx: Connection, job_id: str, run: int | None = None) -> rows.Row | None:
    """Lock a running job's row, unchanged; None when it isn't running, or not in this run."""
    guards = [jobs.c.id == job_id, jobs.c.status == Status.RUNNING]
    if run is not None:
        guards.append(jobs.c.run == run)
    return returned(tx, sa.update(jobs).where(*guards).values(last_seq=jobs.c.last_seq))


def of(held: Held) -> sa.ColumnElement[bool]:
    """The condition that a step is still running in this attempt."""
    return sa.and_(steps.c.id == held.step_id, steps.c.attempt == held.attempt, steps.c.status == StepStatus.RUNNING)


def freed(event: StepEvent) -> dict[str, Any]:
    return {
        "status": step_after(StepStatus.RUNNING, event),
        "worker_id": None,
        "lease_until": None,
        "progress": 0.0,
        "rung_at": None,
        "waits": False,
    }


def set_priority(tx: Connection, job_id: str, priority: int, tenant: str | None) -> Job:
    """Let a job that hasn't ended, and its open steps, be claimed earlier or later. Raises NotFound, TransitionRefused.

    A ready step that a claimer holds just now is skipped: when it comes back it gets the job's priority.
    """
    whose = [jobs.c.id == job_id]
    if tenant is not None:
        whose += [jobs.c.tenant == tenant, jobs.c.deleted_at.is_(None)]
    row = returned(
        tx,
        sa.update(jobs)
        .where(*whose, jobs.c.status.not_in(list(ENDED)))
        .values(priority=priority, last_seq=jobs.c.last_seq + 1),
    )
    if row is None:
        status = tx.execute(sa.select(jobs.c.status).where(*whose)).scalar()
        if status is None:
            raise NotFound(f"There is no job {job_id}.")
        raise TransitionRefused(f"The job is {status}: its priority has no meaning any more.", status=status)
    record(tx, row, [("job.priority", {"priority": priority})])
    ready = sa.select(steps.c.id).where(steps.c.job_id == job_id, steps.c.status == StepStatus.READY)
    moved = tx.execute(
        sa.update(steps)
        .where(steps.c.id.in_(ready.with_for_update(skip_locked=True)))
        .values(rank=-priority)
        .returning(steps.c.tenant, steps.c.queue, steps.c.rank)
    ).all()
    lanes.open_lanes(tx, [(step.tenant, step.queue, step.rank) for step in moved])
    return rows.to_job(row)


def end_attempt(
    tx: Connection,
    step_id: str,
    attempt: int,
    event: StepEvent,
    failure: Failure | None,
    command: str | None = None,
    stderr: str | None = None,
) -> None:
    tx.execute(
        sa.update(attempts)
        .where(attempts.c.step_id == step_id, attempts.c.attempt == attempt)
        .values(
            ended_at=now(),
            outcome="done" if event is StepEvent.FINISH else event,
            error_code=failure.code if failure else None,
            error_detail=failure.detail if failure else None,
            command=command,
            stderr=stderr,
        )
    )


def count_done(
    tx: Connection, job: rows.Row, *, message: str | None = None, warnings: list[str] | None = None
) -> rows.Row:
    row = returned(
        tx,
        sa.update(jobs)
        .where(jobs.c.id == job["id"])
        .values(
            steps_done=jobs.c.steps_done + 1,
            message=message if message is not None else jobs.c.message,
            warnings=warnings if warnings is not None else jobs.c.warnings,
        ),
    )
    assert row is not None
    return row


def progress(tx: Connection, job: rows.Row, *, message: str | None = None) -> rows.Row:
    """Write the progress of a job whose row this transaction holds: never lower than it was."""
    running = tx.execute(
        sa.select(sa.func.coalesce(sa.func.sum(steps.c.progress), 0.0)).where(
            steps.c.job_id == job["id"], steps.c.stage == job["stage"], steps.c.status == StepStatus.RUNNING
        )
    ).scalar_one()
    reached = progress_pct(
        job["stages"], job["stage"], done=job["steps_done"], planned=job["steps_planned"], running=float(running)
    )
    row = returned(
        tx,
        sa.update(jobs)
        .where(jobs.c.id == job["id"])
        .values(
            progress_pct=max(reached, job["progress_pct"]),
            message=message if message is not None else jobs.c.message,
        ),
    )
    assert row is not None
    return row
