"""The guarded moves of which the SQL store's writes are made: each runs inside its caller's transaction."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from reelmill.errors import NotFound, ResultsGone, SourceGone, StaleAttempt, TransitionRefused, UploadNeeded
from reelmill.jobs.lifecycle import (
    CLAIMABLE,
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
from reelmill.jobs.model import Claim, Job, Json
from reelmill.jobs.ports import Failure, Held, NewJob, Opening, Outcome
from reelmill.stores import rows
from reelmill.stores.schema import artifacts, attempts, events, jobs, now, steps, videos

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


def has_open_step() -> sa.ColumnElement[bool]:
    return sa.exists().where(steps.c.job_id == jobs.c.id, steps.c.status.in_(OPEN_STEPS)).correlate(jobs)


def claimable() -> sa.ColumnElement[bool]:
    return sa.and_(steps.c.status == StepStatus.READY, steps.c.not_before <= now(), jobs.c.status.in_(list(CLAIMABLE)))


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
        there = tx.execute(sa.select(jobs.c.status, jobs.c.run).where(jobs.c.id == job_id)).one_or_none()
        if there is None:
            raise NotFound(f"There is no job {job_id}.")
        raise TransitionRefused(
            f"The job is {there.status} (run {there.run}), which doesn't allow '{event}'.", status=there.status
        )
    record(tx, row, events_)
    return rows.to_job(row)


def record(tx: Connection, job: rows.Row, events_: Events) -> None:
    """Insert events whose seqs were already taken from the job's row: the last of them is its last_seq."""
    first = job["last_seq"] - len(events_) + 1
    for i, (kind, data) in enumerate(events_):
        tx.execute(
            sa.insert(events).values(job_id=job["id"], seq=first + i, type=kind, data=dict(data), created_at=now())
        )


def note(tx: Connection, job: rows.Row, events_: Events) -> rows.Row:
    """Take seqs from a job row that this transaction holds, and record the events."""
    row = returned(tx, sa.update(jobs).where(jobs.c.id == job["id"]).values(last_seq=jobs.c.last_seq + len(events_)))
    assert row is not None
    record(tx, row, events_)
    return row


def insert_job(tx: Connection, job: NewJob, status: Status, opening: Opening | None = None) -> Job:
    queued = status is Status.QUEUED
    made: Events = [("job.created", {"pipeline": job.pipeline})]
    if opening is not None:
        made = [*made, ("job.queued", {"stage": opening.stage, "steps": len(opening.specs)})]
    row = returned(
        tx,
        sa.insert(jobs).values(
            id=job.id,
            video_id=job.video_id,
            tenant=job.tenant,
            user_id=job.user_id,
            pipeline=job.pipeline,
            pipeline_version=job.pipeline_version,
            params=dict(job.params),
            stages=[[stage.name, stage.weight] for stage in job.stages],
            status=status,
            run=1,
            **(opened(opening) if opening else {"stage": None, "steps_planned": 0, "steps_done": 0}),
            progress_pct=0.0,
            message="Queued" if queued else "Waiting for the upload",
            warnings=[],
            priority=job.priority,
            last_seq=len(made),
            correlation_id=job.correlation_id,
            created_at=now(),
            queued_at=now() if queued else None,
        ),
    )
    assert row is not None
    record(tx, row, made)
    return rows.to_job(row)


def opened(opening: Opening) -> dict[str, Any]:
    return {"stage": opening.stage, "steps_planned": len(opening.specs), "steps_done": 0}


def insert_steps(tx: Connection, job_id: str, stage_no: int, opening: Opening) -> None:
    if not opening.specs:
        return
    planned = [
        {
            "id": f"{job_id}:{opening.stage}:{spec.index}",
            "job_id": job_id,
            "stage": opening.stage,
            "stage_no": stage_no,
            "index": spec.index,
            "kind": spec.kind,
            "params": dict(spec.params),
            "digest": spec.digest,
            "optional": spec.optional,
            "status": StepStatus.READY,
            "run": 0,
            "attempt": 0,
            "tries": 0,
            "crashes": 0,
            "progress": 0.0,
        }
        for spec in opening.specs
    ]
    tx.execute(sa.insert(steps).values(created_at=now(), not_before=now()), planned)


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


def follow(tx: Connection, job: Job) -> None:
    """Let the video follow its driver; the ends of other jobs don't touch it."""
    error = None
    if job.status is Status.FAILED:
        error = job.error_code
    elif job.status is Status.CANCELLED:
        error = "cancelled"
    ended = job.status in (Status.COMPLETED, Status.FAILED, Status.CANCELLED)
    tx.execute(
        sa.update(videos)
        .where(videos.c.id == job.video_id, videos.c.processing_job_id == job.id)
        .values(
            processing_status=PROCESSING_OF[job.status],
            processing_error=error,
            processing_completed_at=now() if ended else None,
        )
    )


def finish(tx: Connection, job_id: str, run: int | None) -> Job:
    locked(tx, job_id)
    return move(
        tx,
        job_id,
        Event.FINISH,
        run=run,
        where=[~has_open_step()],
        values={
            "progress_pct": 100.0,
            "message": "Completed",
            "started_at": sa.func.coalesce(jobs.c.started_at, now()),
            "completed_at": now(),
        },
        events_=[("job.completed", {})],
    )


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
        if refused.extra.get("status") in sources(Event.RETRY):
            raise _why_not_again(tx, job_id) from refused
        raise
    if opening is not None:
        insert_steps(tx, job_id, 0, opening)
    again = sa.and_(
        steps.c.job_id == job_id,
        steps.c.stage == job.stage,
        steps.c.status.in_(list(step_sources(StepEvent.RETRY))),
    )
    failed = tx.execute(sa.select(steps.c.kind, steps.c.index, steps.c.error_detail).where(again, steps.c.optional))
    taken_back = {warning_of(*row) for row in failed}
    tx.execute(
        sa.update(steps)
        .where(again)
        .values(
            status=StepStatus.READY,
            tries=0,
            crashes=0,
            progress=0.0,
            not_before=now(),
            rung_at=None,
            finished_at=None,
            error_code=None,
            error_detail=None,
        )
    )
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


def _why_not_again(tx: Connection, job_id: str) -> Exception:
    """Return why an ended job can't be retried: what its steps need isn't there, or isn't there any more."""
    query = sa.select(jobs.c.outputs_removed_at, jobs.c.deleted_at, videos.c.upload_status)
    row = tx.execute(query.join(videos, videos.c.id == jobs.c.video_id).where(jobs.c.id == job_id)).one()
    if row.deleted_at is not None:
        return NotFound(f"There is no job {job_id}.")
    if row.upload_status == UploadStatus.GONE:
        return SourceGone()
    return UploadNeeded() if row.outputs_removed_at is None else ResultsGone()


def begin(tx: Connection, job_id: str) -> rows.Row | None:
    """Hold the job for a claim, moving it to running if it is queued; None when it may not be worked on."""
    began = returned(
        tx,
        sa.update(jobs)
        .where(jobs.c.id == job_id, jobs.c.status.in_([Status.QUEUED]))
        .values(
            status=target(Event.CLAIM),
            started_at=sa.func.coalesce(jobs.c.started_at, now()),
            message="Running",
            last_seq=jobs.c.last_seq + 1,
        ),
    )
    if began is not None:
        record(tx, began, [("job.started", {"run": began["run"]})])
        return began
    return (
        tx.execute(
            sa.select(jobs).where(jobs.c.id == job_id, jobs.c.status == Status.RUNNING).with_for_update(read=True)
        )
        .mappings()
        .one_or_none()
    )


def take(
    tx: Connection, step_id: str, job: rows.Row, worker_id: str, lease_s: float, engine_task_id: str | None
) -> Claim:
    """Claim a step whose row and job this transaction holds. A new run forgets the tries of the one before."""
    same_run = steps.c.run == job["run"]
    row = returned(
        tx,
        sa.update(steps)
        .where(steps.c.id == step_id, steps.c.status == StepStatus.READY)
        .values(
            status=step_after(StepStatus.READY, StepEvent.CLAIM),
            run=job["run"],
            attempt=steps.c.attempt + 1,
            tries=sa.case((same_run, steps.c.tries), else_=0),
            crashes=sa.case((same_run, steps.c.crashes), else_=0),
            worker_id=worker_id,
            lease_until=now(lease_s),
            started_at=now(),
            progress=0.0,
            error_code=None,
            error_detail=None,
        ),
    )
    assert row is not None
    tx.execute(
        sa.insert(attempts).values(
            step_id=step_id,
            attempt=row["attempt"],
            job_id=job["id"],
            run=job["run"],
            worker_id=worker_id,
            engine_task_id=engine_task_id,
            started_at=now(),
        )
    )
    video = tx.execute(sa.select(videos).where(videos.c.id == job["video_id"])).mappings().one()
    return Claim(step=rows.to_step(row), job=rows.to_job(job), video=rows.to_video(video), worker_id=worker_id)


def locked(tx: Connection, job_id: str) -> rows.Row:
    """Lock a job's row, whatever its status. Raises NotFound.

    A guard that looks at other tables (`has_open_step`) needs it: on PostgreSQL an UPDATE that waited for the row
    sees its new values, but the other tables still as they were before the wait.
    """
    row = tx.execute(sa.select(jobs).where(jobs.c.id == job_id).with_for_update()).mappings().one_or_none()
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


def fence(tx: Connection, claim: Claim) -> rows.Row:
    """Lock the claim's job if it is still running in the claim's run. Raises StaleAttempt."""
    row = hold(tx, claim.job.id, claim.run)
    if row is None:
        raise StaleAttempt
    return row


def of_claim(claim: Claim) -> sa.Update:
    return sa.update(steps).where(of(Held(claim.step.id, claim.attempt)), steps.c.worker_id == claim.worker_id)


def freed(event: StepEvent) -> dict[str, Any]:
    return {
        "status": step_after(StepStatus.RUNNING, event),
        "worker_id": None,
        "lease_until": None,
        "progress": 0.0,
        "rung_at": None,
    }


def close_step(tx: Connection, claim: Claim, outcome: Outcome) -> rows.Row | None:
    values = freed(outcome.event)
    if outcome.failure is not None:
        values |= {"error_code": outcome.failure.code, "error_detail": outcome.failure.detail}
    match outcome.event:
        case StepEvent.FINISH:
            assert outcome.result is not None
            values |= {"output": dict(outcome.result.output), "progress": 1.0, "finished_at": now()}
        case StepEvent.FAIL:
            values |= {"finished_at": now()}
        case StepEvent.AGAIN:
            values |= {"tries": steps.c.tries + 1, "not_before": now(outcome.delay_s)}
        case StepEvent.CRASH:
            values |= {"crashes": steps.c.crashes + 1, "not_before": now(outcome.delay_s)}
        case _:
            values |= {"not_before": now()}
    return returned(tx, of_claim(claim).values(values))


def end_attempt(
    tx: Connection,
    step_id: str,
    attempt: int,
    event: StepEvent,
    failure: Failure | None,
    command: str | None = None,
    stderr: str | None = None,
    versions: Json | None = None,
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
            versions=dict(versions) if versions is not None else None,
        )
    )


def insert_artifacts(tx: Connection, claim: Claim, job: rows.Row, outcome: Outcome) -> None:
    assert outcome.result is not None
    stage_no = [name for name, _ in job["stages"]].index(claim.step.stage)
    for made in outcome.result.artifacts:
        tx.execute(
            sa.insert(artifacts).values(
                id=str(uuid.uuid4()),
                job_id=claim.job.id,
                step_id=claim.step.id,
                stage=claim.step.stage,
                stage_no=stage_no,
                index=claim.step.index,
                run=claim.run,
                attempt=claim.attempt,
                kind=made.kind,
                name=made.name,
                key=made.key,
                size_bytes=made.size_bytes,
                sha256=made.sha256,
                content_type=made.content_type,
                meta=dict(made.meta),
                primary=made.primary,
                created_at=now(),
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
