"""PostgreSQL's busiest ways in one statement each: take a lane's first steps, and record ends of steps.

A statement of its own is a transaction: one way to the server and back, and locks for no longer than the server needs.
The moves, and the order of locks, are those of `claims.py`, of whose parts these are made. What they can't do is left
to it: `take` returns fewer than were asked for, `finish` leaves out what wasn't held.

Invariants:
- a lock that had to be waited for shows its own row as it is now, but other tables as they were before the wait. So
  nothing is decided here by another table that somebody may have written meanwhile, but that steps are still open:
  then nobody finishes the job here, and whoever asked does it by `apply`;
- who closes a running step knows that no stage can be opened and no retry begin before it has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, aggregate_order_by
from sqlalchemy.engine import Connection

from reelmill.jobs.lifecycle import PROCESSING_OF, Event, Status, StepEvent, StepStatus, target
from reelmill.jobs.model import Claim, Job
from reelmill.stores import claims, moves, published, rows
from reelmill.stores.claims import JOB, STEP, VIDEO, Ended
from reelmill.stores.lanes import ORDER, READY, Next
from reelmill.stores.prepared import Prepared, greatest, one_of
from reelmill.stores.schema import artifacts, attempts, events, jobs, now, steps, videos

STATUS = sa.func.coalesce(jobs.c.status, "")  #: past the indexes on it: these jobs are found by their ids

# ── Taking ────────────────────────────────────────────────────────────────────────────────────


def _taking() -> sa.Select[Any]:
    chosen = (
        sa.select(*{column.key: column for column in (steps.c.id, *ORDER)}.values())
        .where(
            steps.c.queue == sa.bindparam("its_queue"),
            steps.c.tenant == sa.bindparam("its_tenant"),
            steps.c.rank == sa.bindparam("its_rank"),
            READY,
        )
        .order_by(*ORDER)
        .limit(sa.bindparam("most"))
        .with_for_update(skip_locked=True)
        .cte("chosen")
    )
    place = sa.func.row_number().over(order_by=[chosen.c[column.key] for column in ORDER])
    placed = sa.select(chosen.c.id, sa.cast(place - 1, sa.Integer).label("place")).cte("placed")
    its_jobs = sa.select(chosen.c.job_id)
    # Running ones are only shared, and first: whoever then waits for a queued one is waited for by nobody.
    shared = (
        sa.select(*(jobs.c[name] for name in JOB))
        .where(jobs.c.id.in_(its_jobs), STATUS == Status.RUNNING)
        .order_by(jobs.c.id)
        .with_for_update(read=True)
        .cte("shared")
    )
    begun = (
        sa.update(jobs)
        .where(jobs.c.id.in_(its_jobs), jobs.c.id.not_in(sa.select(shared.c.id)), STATUS == Status.QUEUED)
        .values(claims.BEGINS)
        .returning(*(jobs.c[name] for name in JOB))
        .cte("begun")
    )
    working = sa.union_all(sa.select(shared), sa.select(begun)).cte("working")
    taken = (
        sa.update(steps)
        .where(steps.c.id == chosen.c.id, steps.c.status == StepStatus.READY, steps.c.job_id == working.c.id)
        .values(claims.taken(working.c.run))
        .returning(*(steps.c[name] for name in STEP))
        .cte("taken")
    )
    told = _insert(
        events,
        job_id=begun.c.id,
        seq=begun.c.last_seq,
        type=sa.literal_column("'job.started'"),
        data=sa.func.jsonb_build_object("run", begun.c.run),
        created_at=now(),
    ).cte("told")
    noted = _insert(
        attempts,
        _from=taken.join(placed, placed.c.id == taken.c.id),
        step_id=taken.c.id,
        attempt=taken.c.attempt,
        job_id=taken.c.job_id,
        run=taken.c.run,
        worker_id=taken.c.worker_id,
        engine_task_id=sa.func.jsonb_array_element_text(sa.bindparam("tasks", type_=JSONB), placed.c.place),
        started_at=taken.c.started_at,
    ).cte("noted")
    return (
        sa.select(
            placed.c.place,
            *(taken.c[name] for name in STEP),
            *(working.c[name] for name in JOB),
            *(videos.c[name] for name in VIDEO),
        )
        .select_from(taken)
        .join(placed, placed.c.id == taken.c.id)
        .join(working, working.c.id == taken.c.job_id)
        .join(videos, videos.c.id == working.c.video_id)
        .order_by(placed.c.place)
        .add_cte(told, noted)
    )


def _insert(table: sa.Table, _from: Any = None, **columns: Any) -> sa.Insert:
    """Return an insert of what a query finds; its columns by the table's."""
    query = sa.select(*columns.values())
    return sa.insert(table).from_select(list(columns), query if _from is None else query.select_from(_from))


_take = Prepared(_taking())


def take(
    tx: Connection, lane: Next, tasks: Sequence[str | None], worker_id: str, lease_s: float
) -> list[tuple[int, Claim]]:
    """Claim a lane's first steps, one for each of `tasks`, the engine's own ids; return each with its number there.

    A step that stands aside, because somebody else has just moved its job, is left as it is.
    """
    asked = {
        "its_queue": lane.queue, "its_tenant": lane.tenant, "its_rank": lane.rank, "most": len(tasks),
        "worker": worker_id, "lease_s": lease_s, "tasks": list(tasks),
    }  # fmt: skip
    taken = []
    known: dict[str, tuple[Any, Any]] = {}
    for place, *values in _take.all(tx, asked):
        step = rows.to_step(dict(zip(STEP, values, strict=False)))
        if step.job_id not in known:
            job = rows.to_job(dict(zip(JOB, values[len(STEP) :], strict=False)))
            video = rows.to_video(dict(zip(VIDEO, values[len(STEP) + len(JOB) :], strict=True)))
            known[step.job_id] = job, video
        job, video = known[step.job_id]
        taken.append((place, Claim(step=step, job=job, video=video, worker_id=worker_id)))
    return taken


# ── Closing ───────────────────────────────────────────────────────────────────────────────────

FILE = tuple(column.key for column in artifacts.c if column.key not in ("created_at", "stored_at"))


def _recordset(given: str, columns: Mapping[str, sa.types.TypeEngine[Any]]) -> sa.CTE:
    """Return the rows of a list that is bound as one JSON value."""
    told = sa.func.jsonb_to_recordset(sa.bindparam(given, type_=JSONB))
    table = told.table_valued(*(sa.column(key, kind) for key, kind in columns.items()), name=f"{given}_given")
    return sa.select(table.render_derived(with_types=True)).cte(given)


def _closing() -> sa.Select[Any]:
    given: dict[str, sa.types.TypeEngine[Any]] = {
        "no": sa.Integer(), "step": sa.Text(), "attempt": sa.Integer(), "worker": sa.Text(), "job": sa.Text(),
        "run": sa.Integer(), "output": JSONB(), "message": sa.Text(), "spooled": sa.Integer(),
        "base_pct": sa.Float(), "weight": sa.Float(), "finish": sa.Boolean(), "command": sa.Text(),
        "stderr": sa.Text(), "versions": JSONB(), "told": JSONB(),
    }  # fmt: skip
    ended = _recordset("ended", given)
    files = _recordset("files", {"no": sa.Integer()} | {name: artifacts.c[name].type for name in FILE})
    held = (
        sa.select(jobs.c.id, jobs.c.run, jobs.c.steps_done, jobs.c.steps_planned, jobs.c.spooled)
        .where(jobs.c.id.in_(sa.select(ended.c.job)), STATUS == Status.RUNNING)
        .order_by(jobs.c.id)
        .with_for_update()
        .cte("held")
    )
    closed = (
        sa.update(steps)
        .where(
            held.c.id == ended.c.job,
            held.c.run == ended.c.run,
            steps.c.id == ended.c.step,
            steps.c.attempt == ended.c.attempt,
            steps.c.status == StepStatus.RUNNING,
            steps.c.worker_id == ended.c.worker,
        )
        .values({**claims.freed(StepEvent.FINISH), "output": ended.c.output})
        .returning(steps.c.id, ended.c.no)
        .cte("closed")
    )
    their = ended.join(closed, closed.c.no == ended.c.no)  # an end that came twice is one of them
    message = aggregate_order_by(ended.c.message, ended.c.no.desc())
    tally = (
        sa.select(
            ended.c.job,
            sa.func.count().label("done"),
            sa.func.sum(ended.c.spooled).label("spooled"),
            sa.func.max(ended.c.base_pct).label("base_pct"),
            sa.func.max(ended.c.weight).label("weight"),
            sa.type_coerce(sa.func.array_agg(message).filter(ended.c.message.is_not(None)), ARRAY(sa.Text()))[1].label(
                "message"
            ),
            sa.func.array_agg(aggregate_order_by(ended.c.no, ended.c.no)).label("numbers"),
            sa.func.bool_or(ended.c.finish).label("finish"),
        )
        .select_from(their)
        .group_by(ended.c.job)
        .cte("tally")
    )
    open_ = sa.exists().where(
        steps.c.job_id == held.c.id,
        one_of(steps.c.status, moves.OPEN_STEPS),
        steps.c.id.not_in(sa.select(closed.c.id)),
    )
    last = sa.and_(
        tally.c.finish,
        held.c.steps_done + tally.c.done >= held.c.steps_planned,
        held.c.spooled + tally.c.spooled == 0,
    )
    # A CASE, so that a job's steps are read with its last one only.
    ending = (
        sa.select(tally, sa.case((last, ~open_), else_=sa.false()).label("finished"))
        .join(held, held.c.id == tally.c.job)
        .cte("ending")
        .prefix_with("MATERIALIZED")
    )
    running = (
        sa.select(sa.func.coalesce(sa.func.sum(steps.c.progress), 0.0))
        .where(
            steps.c.job_id == jobs.c.id,
            claims.RUNNING,
            steps.c.id.not_in(sa.select(closed.c.id)),
            steps.c.stage == jobs.c.stage,
        )
        .correlate(jobs)
        .scalar_subquery()
    )
    done, ends = jobs.c.steps_done + ending.c.done, ending.c.finished
    reached = claims.reached(done + running, ending.c.base_pct, ending.c.weight)
    counted = (
        sa.update(jobs)
        .where(jobs.c.id == ending.c.job)
        .values(
            spooled=jobs.c.spooled + ending.c.spooled,
            steps_done=done,
            last_seq=jobs.c.last_seq + ending.c.done + sa.case((ends, 1), else_=0),
            status=sa.case((ends, target(Event.FINISH)), else_=jobs.c.status),
            message=sa.case((ends, moves.COMPLETED), else_=sa.func.coalesce(ending.c.message, jobs.c.message)),
            progress_pct=sa.case((ends, 100.0), else_=greatest(reached, jobs.c.progress_pct)),
            completed_at=sa.case((ends, now()), else_=jobs.c.completed_at),
        )
        .returning(*(jobs.c[name] for name in JOB), ending.c.done.label("done"), ending.c.numbers.label("numbers"))
        .cte("counted")
    )
    finished = counted.c.status == target(Event.FINISH)
    before = counted.c.last_seq - counted.c.done - sa.case((finished, 1), else_=0)
    nth = sa.func.row_number().over(partition_by=ended.c.job, order_by=ended.c.no)
    told = _insert(
        events,
        _from=their.join(counted, counted.c.id == ended.c.job),
        job_id=counted.c.id,
        seq=before + nth,
        type=sa.literal_column(f"'{claims.SAID[StepEvent.FINISH]}'"),
        data=ended.c.told,
        created_at=now(),
    ).cte("told")
    completed = (
        sa.insert(events)
        .from_select(
            ["job_id", "seq", "type", "data", "created_at"],
            sa.select(
                counted.c.id, counted.c.last_seq, sa.literal_column("'job.completed'"), sa.literal({}, JSONB), now()
            ).where(finished),
        )
        .cte("completed")
    )
    followed = (
        sa.update(videos)
        .where(videos.c.id == counted.c.video_id, videos.c.processing_job_id == counted.c.id, finished)
        .values(processing_status=PROCESSING_OF[Status.COMPLETED], processing_error=None, processing_completed_at=now())
        .cte("followed")
    )
    noted = (
        sa.update(attempts)
        .where(
            closed.c.no == ended.c.no, attempts.c.step_id == ended.c.step, attempts.c.attempt == ended.c.attempt
        )
        .values(
            ended_at=now(), outcome="done", error_code=None, error_detail=None, command=ended.c.command,
            stderr=ended.c.stderr, versions=ended.c.versions,
        )
        .cte("noted")
    )  # fmt: skip
    stored = (
        sa.insert(artifacts)
        .from_select(
            [*FILE, "created_at", "stored_at"],
            sa.select(*(files.c[name] for name in FILE), now(), sa.case((files.c.place == "stored", now()))).where(
                files.c.no.in_(sa.select(closed.c.no))
            ),
        )
        .cte("stored")
    )
    return sa.select(counted).add_cte(told, completed, followed, noted, stored)


_finish = Prepared(_closing())


def finish(tx: Connection, ended: Sequence[Ended]) -> Mapping[int, Job]:
    """Finish steps that warn of nothing, and the jobs that wait for nothing else; return the job that each sees.

    By the number in `ended`; one that isn't held has none, and nothing of it was written.
    """
    given = [_given(number, one) for number, one in enumerate(ended)]
    files = [
        {"no": number, **published.artifact_row(one.claim, made)}
        for number, one in enumerate(ended)
        for made in one.result.artifacts
    ]
    seen: dict[int, Job] = {}
    for row in _finish.rows(tx, {"ended": given, "files": files}):
        job = rows.to_job(row)
        for behind, number in enumerate(reversed(row["numbers"])):
            seen[number] = claims.seen_before(job, behind)
    return seen


def _given(number: int, one: Ended) -> dict[str, Any]:
    claim, outcome = one.claim, one.outcome
    base_pct, weight = claims.share(claim)
    return {
        "no": number, "step": claim.step.id, "attempt": claim.attempt, "worker": claim.worker_id,
        "job": claim.job.id, "run": claim.run, "output": dict(one.result.output),
        "message": one.result.message or None, "spooled": claims.spooled(outcome), "base_pct": base_pct,
        "weight": weight, "finish": one.finish, "command": outcome.command, "stderr": outcome.stderr,
        "versions": dict(outcome.versions) if outcome.versions is not None else None,
        "told": claims.brief(claim, outcome),
    }  # fmt: skip
