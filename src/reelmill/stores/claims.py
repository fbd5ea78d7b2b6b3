"""Taking steps and closing them: what a worker does thousands of times, in statements that are built once.

To build a statement costs several times what SQLite needs to run it; so these are constants with parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from reelmill.errors import StaleAttempt
from reelmill.jobs.lifecycle import ENDED, Event, Status, StepEvent, StepStatus, step_after, target
from reelmill.jobs.model import Claim, Job, Step, StepResult, Video
from reelmill.jobs.ports import Outcome
from reelmill.stores import lanes, moves, published, rows
from reelmill.stores.prepared import Prepared, among, greatest, least, one_of
from reelmill.stores.schema import Json, attempts, jobs, now, steps, videos

SAID = {
    StepEvent.FINISH: "step.done",
    StepEvent.FAIL: "step.failed",
    StepEvent.AGAIN: "step.again",
    StepEvent.CRASH: "step.crashed",
    StepEvent.RELEASE: "step.released",
}
RUNNING = steps.c.status == sa.literal_column("'running'")

# ── Taking ────────────────────────────────────────────────────────────────────────────────────

BEGINS: dict[str, Any] = {
    "status": target(Event.CLAIM),
    "started_at": sa.func.coalesce(jobs.c.started_at, now()),
    "message": "Running",
    "last_seq": jobs.c.last_seq + 1,
}
JOB, VIDEO, STEP = (rows.names_of(kind) for kind in (Job, Video, Step))
_begin = Prepared(
    sa.update(jobs)
    .where(jobs.c.id == sa.bindparam("its_job"), jobs.c.status == Status.QUEUED)
    .values(BEGINS)
    .returning(*(jobs.c[name] for name in JOB))
)
_share = Prepared(
    sa.select(*(jobs.c[name] for name in JOB), *(videos.c[name] for name in VIDEO))
    .join(videos, videos.c.id == jobs.c.video_id)
    .where(among(jobs.c.id, "their_jobs"), jobs.c.status == Status.RUNNING)
    .order_by(jobs.c.id)
    .with_for_update(read=True, of=jobs)
)
_video = Prepared(sa.select(*(videos.c[name] for name in VIDEO)).where(videos.c.id == sa.bindparam("its_video")))
_ended = Prepared(
    sa.select(jobs.c.id)
    .where(among(jobs.c.id, "their_jobs"), one_of(jobs.c.status, ENDED))
    .order_by(jobs.c.id)
    .with_for_update(read=True)
)
_lay_down = Prepared(
    sa.update(steps)
    .where(among(steps.c.id, "their_ids"), among(steps.c.job_id, "their_jobs"), steps.c.status == StepStatus.READY)
    .values(status=StepStatus.CANCELLED, rung_at=None, finished_at=now())
)


def taken(run: sa.ColumnElement[int]) -> dict[str, Any]:
    """Return what a claim writes to a step of a job in this run."""
    same_run = steps.c.run == run
    return {
        "status": step_after(StepStatus.READY, StepEvent.CLAIM),
        "run": run,
        "attempt": steps.c.attempt + 1,
        "tries": sa.case((same_run, steps.c.tries), else_=0),  # a new run forgets the tries of the one before
        "crashes": sa.case((same_run, steps.c.crashes), else_=0),
        "worker_id": sa.bindparam("worker"),
        "lease_until": now(sa.bindparam("lease_s", type_=sa.Float)),
        "started_at": now(),
        "progress": 0.0,
        "error_code": None,
        "error_detail": None,
    }


_take = Prepared(
    sa.update(steps)
    .where(among(steps.c.id, "their_ids"), steps.c.status == StepStatus.READY, steps.c.job_id == jobs.c.id)
    .values(taken(jobs.c.run))
    .returning(*(steps.c[name] for name in STEP))
)
_note_attempt = Prepared(
    sa.insert(attempts).values(
        step_id=sa.bindparam("its_id"),
        attempt=sa.bindparam("its_attempt"),
        job_id=sa.bindparam("its_job"),
        run=sa.bindparam("its_run"),
        worker_id=sa.bindparam("worker"),
        engine_task_id=sa.bindparam("engine_task"),
        started_at=now(),
    )
)


def take(
    tx: Connection, chosen: Sequence[Any], tasks: Sequence[str | None], worker_id: str, lease_s: float
) -> list[Claim]:
    """Claim ready steps whose rows this transaction holds; a step whose job has ended is laid down instead.

    tasks: the queue engine's own id for each step.
    """
    working = _begun(tx, sorted({row.job_id for row in chosen}))
    ids = [row.id for row in chosen if row.job_id in working]
    if len(ids) < len(chosen):
        # They were held by a claimer while their job was cancelled. No retry may come in between: jobs first.
        left = [row for row in chosen if row.job_id not in working]
        ended = [job_id for (job_id,) in _ended.all(tx, {"their_jobs": [row.job_id for row in left]})]
        _lay_down.write(tx, {"their_ids": [row.id for row in left], "their_jobs": ended})
    if not ids:
        return []
    asked = {"their_ids": ids, "worker": worker_id, "lease_s": lease_s}
    task_of = {row.id: task for row, task in zip(chosen, tasks, strict=True)}
    got = {row["id"]: rows.to_step(row) for row in _take.rows(tx, asked)}
    _note_attempt.write_each(
        tx,
        [
            {
                "its_id": step.id, "its_attempt": step.attempt, "its_job": step.job_id, "its_run": step.run,
                "worker": worker_id, "engine_task": task_of[step.id],
            }
            for step in got.values()
        ],
    )  # fmt: skip
    return [
        Claim(step=got[step_id], job=job, video=video, worker_id=worker_id)
        for step_id in ids
        for job, video in [working[got[step_id].job_id]]
    ]


def _begun(tx: Connection, job_ids: Sequence[str]) -> dict[str, tuple[Job, Video]]:
    """Hold the jobs for a claim, moving those that are queued to running; without those that have ended."""
    working: dict[str, tuple[Job, Video]] = {}
    # Running ones are only shared, and first: whoever then waits for a queued one is waited for by nobody.
    for again in (False, True):
        left = [job_id for job_id in job_ids if job_id not in working]
        if not left:
            break
        for values in _share.all(tx, {"their_jobs": left}):
            job = rows.to_job(dict(zip(JOB, values, strict=False)))
            working[job.id] = job, rows.to_video(dict(zip(VIDEO, values[len(JOB) :], strict=True)))
        for job_id in left:
            if again or job_id in working:
                continue
            began = _begin.row(tx, {"its_job": job_id})
            if began is not None:
                moves.record(tx, began, [("job.started", {"run": began["run"]})])
                (its,) = _video.rows(tx, {"its_video": began["video_id"]})
                working[job_id] = rows.to_job(began), rows.to_video(its)
    return working


# ── Closing ───────────────────────────────────────────────────────────────────────────────────

_others = sa.select(sa.func.coalesce(sa.func.sum(steps.c.progress), 0.0)).where(
    steps.c.job_id == jobs.c.id,
    RUNNING,
    sa.not_(among(steps.c.id, "their_ids")),
    steps.c.stage == jobs.c.stage,
)


def reached(done: Any, base_pct: Any, weight: Any) -> sa.ColumnElement[Any]:
    """Return a job's progress, as lifecycle.progress_pct has it.

    But for the weights: these don't change while a stage is worked on. done: of its steps, those that run in part.
    """
    part = least(sa.cast(done, sa.Float) / greatest(jobs.c.steps_planned, 1), 1.0)
    return sa.func.round(least(base_pct + weight * part, 99.9) * 10) / 10.0


_reached = reached(
    jobs.c.steps_done + sa.bindparam("more_done", type_=sa.Integer) + _others.scalar_subquery(),
    sa.bindparam("base_pct", type_=sa.Float),
    sa.bindparam("weight", type_=sa.Float),
)
_of_run = sa.and_(
    jobs.c.id == sa.bindparam("its_job"), jobs.c.run == sa.bindparam("its_run"), jobs.c.status == Status.RUNNING
)
_counted = {
    "spooled": jobs.c.spooled + sa.bindparam("more_spooled", type_=sa.Integer),
    "steps_done": jobs.c.steps_done + sa.bindparam("more_done", type_=sa.Integer),
    "last_seq": jobs.c.last_seq + sa.bindparam("more_events", type_=sa.Integer),
    "message": sa.func.coalesce(sa.bindparam("its_message", type_=sa.Text), jobs.c.message),
    "progress_pct": greatest(_reached, jobs.c.progress_pct),
}
_hold = Prepared(sa.select(jobs.c.warnings).where(jobs.c.id == sa.bindparam("its_job")).with_for_update())
_count = sa.update(jobs).where(_of_run).returning(*(jobs.c[name] for name in JOB))
_count_plain = Prepared(_count.values(_counted))
_count_warned = Prepared(_count.values({**_counted, "warnings": sa.bindparam("all_warnings")}))

_by_event: dict[StepEvent, dict[str, Any]] = {
    StepEvent.FINISH: {"output": sa.bindparam("its_output"), "progress": 1.0, "finished_at": now(), "waits": False},
    StepEvent.FAIL: {"finished_at": now()},
    StepEvent.AGAIN: {"tries": steps.c.tries + 1},
    StepEvent.CRASH: {"crashes": steps.c.crashes + 1},
    StepEvent.RELEASE: {},
}
_back = {
    "not_before": now(sa.bindparam("delay_s", type_=sa.Float)),
    "waits": sa.bindparam("delay_s", type_=sa.Float) > 0,
    "rank": sa.bindparam("its_rank", type_=sa.Integer),
}
_failed: dict[str, Any] = {
    "error_code": sa.bindparam("its_code", type_=sa.Text),
    "error_detail": sa.bindparam("its_detail", type_=sa.Text),
}


def freed(event: StepEvent) -> dict[str, Any]:
    """Return what the end of an attempt writes to its step."""
    values = {
        "status": step_after(StepStatus.RUNNING, event),
        "worker_id": None,
        "lease_until": None,
        "progress": 0.0,
        "rung_at": None,
        **_by_event[event],
    }
    if values["status"] is StepStatus.READY:
        values |= _back
    if event in (StepEvent.FAIL, StepEvent.AGAIN, StepEvent.CRASH):
        values |= _failed
    if event is StepEvent.RELEASE:  # what it waits for, if it does; else what is known stays
        values |= {name: sa.func.coalesce(said, steps.c[name]) for name, said in _failed.items()}
    return values


def _closing(event: StepEvent) -> sa.Update:
    held = (
        steps.c.id == sa.bindparam("its_id"),
        steps.c.attempt == sa.bindparam("its_attempt"),
        steps.c.status == StepStatus.RUNNING,
        steps.c.worker_id == sa.bindparam("its_worker"),
    )
    return sa.update(steps).where(*held).values(freed(event))


_finish = Prepared(_closing(StepEvent.FINISH))
_close = {
    event: Prepared(_closing(event).returning(steps.c.tenant, steps.c.queue, steps.c.rank)) for event in _by_event
}
_end_attempt = Prepared(
    sa.update(attempts)
    .where(attempts.c.step_id == sa.bindparam("its_id"), attempts.c.attempt == sa.bindparam("its_attempt"))
    .values(
        ended_at=now(),
        outcome=sa.bindparam("its_outcome"),
        error_code=sa.bindparam("its_code"),
        error_detail=sa.bindparam("its_detail"),
        command=sa.bindparam("its_command"),
        stderr=sa.bindparam("its_stderr"),
        versions=sa.bindparam("its_versions", type_=Json),
    )
)


@dataclass(frozen=True, slots=True)
class Ended:
    """An end of an attempt that is to be recorded. finish: its job, too, when this was all that it waited for."""

    claim: Claim
    outcome: Outcome
    finish: bool = False

    @property
    def result(self) -> StepResult:
        """What a finished step gave."""
        assert self.outcome.result is not None
        return self.outcome.result


def share(claim: Claim) -> tuple[float, float]:
    """Return the progress at which a step's stage begins, and what the stage adds to it; percent."""
    base_pct = 0.0
    for stage in claim.job.stages:
        if stage.name == claim.step.stage:
            break
        base_pct += stage.weight
    return base_pct, float(stage.weight)


def seen_before(job: Job, behind: int) -> Job:
    """Return a job as it was before the last `behind` of the ends that were recorded together.

    So each sees its job as if they had come one by one: one alone has ended the stage's last step, or the job.
    """
    if not behind:
        return job
    earlier: dict[str, Any] = {"steps_done": job.steps_done - behind, "last_seq": job.last_seq - behind}
    if job.status is not Status.RUNNING:
        earlier |= {"status": Status.RUNNING, "last_seq": job.last_seq - behind - 1, "completed_at": None}
    return replace(job, **earlier)


def count(
    tx: Connection,
    ended: Sequence[Claim],
    *,
    done: int,
    spooled: int = 0,
    message: str | None = None,
    warnings: Sequence[str] = (),
) -> rows.Row:
    """Fence ends of attempts of one job by its run, count them in the job and take a seq for each.

    Raises StaleAttempt.
    """
    claim = ended[0]
    if warnings:
        ((held,),) = _hold.all(tx, {"its_job": claim.job.id})
    base_pct, weight = share(claim)
    asked: dict[str, Any] = {
        "its_job": claim.job.id, "its_run": claim.run, "their_ids": [one.step.id for one in ended], "more_done": done,
        "more_spooled": spooled, "more_events": len(ended), "its_message": message, "base_pct": base_pct,
        "weight": weight,
    }  # fmt: skip
    if warnings:
        asked["all_warnings"] = [*held, *warnings]
    row = (_count_warned if warnings else _count_plain).row(tx, asked)
    if row is None:
        raise StaleAttempt
    return row


def finish(tx: Connection, ended: Sequence[Ended]) -> Job:
    """Finish steps of one job that warn of nothing, their files, and the job, if it waits for nothing else.

    Return the job. Raises StaleAttempt if one isn't held.
    """
    said = [one.result.message for one in ended if one.result.message]
    row = count(
        tx,
        [one.claim for one in ended],
        done=len(ended),
        spooled=sum(spooled(one.outcome) for one in ended),
        message=said[-1] if said else None,
    )
    if _finish.write_each(tx, [_asked_to_close(one.claim, one.outcome) for one in ended]) != len(ended):
        raise StaleAttempt
    _end_attempt.write_each(tx, [_asked_to_end(one.claim, one.outcome) for one in ended])
    first = row["last_seq"] - len(ended) + 1
    moves.INSERT_EVENT.write_each(
        tx, [_asked_to_tell(one.claim, one.outcome, first + n) for n, one in enumerate(ended)]
    )
    published.insert_artifacts(tx, [(one.claim, one.outcome) for one in ended])
    last = moves.finish_last(tx, row) if any(one.finish for one in ended) else None
    return last or rows.to_job(row)


def spooled(outcome: Outcome) -> int:
    """Return how many of an attempt's files wait in a spool."""
    return sum(made.place == "spool" for made in outcome.result.artifacts) if outcome.result else 0


def close(tx: Connection, claim: Claim, outcome: Outcome, job: rows.Row) -> None:
    """End an attempt of a counted step: its step, its row in the history, its event. Raises StaleAttempt."""
    closed = _close[outcome.event].row(tx, _asked_to_close(claim, outcome, job["priority"]))
    if closed is None:
        raise StaleAttempt
    _end_attempt.write(tx, _asked_to_end(claim, outcome))
    moves.INSERT_EVENT.write(tx, _asked_to_tell(claim, outcome, job["last_seq"]))
    if outcome.event in (StepEvent.AGAIN, StepEvent.CRASH, StepEvent.RELEASE) and not outcome.delay_s > 0:
        lanes.open_lanes(tx, [(closed["tenant"], closed["queue"], closed["rank"])])


def _asked_to_close(claim: Claim, outcome: Outcome, priority: int = 0) -> dict[str, Any]:
    asked: dict[str, Any] = {"its_id": claim.step.id, "its_attempt": claim.attempt, "its_worker": claim.worker_id}
    if outcome.event is StepEvent.FINISH:
        assert outcome.result is not None
        asked["its_output"] = dict(outcome.result.output)
    elif outcome.event is not StepEvent.FAIL:
        asked |= {"delay_s": outcome.delay_s, "its_rank": -priority}
    if outcome.event is not StepEvent.FINISH:
        asked |= _why(outcome)
    return asked


def _asked_to_end(claim: Claim, outcome: Outcome) -> dict[str, Any]:
    return {
        "its_id": claim.step.id, "its_attempt": claim.attempt, **_why(outcome), "its_command": outcome.command,
        "its_outcome": "done" if outcome.event is StepEvent.FINISH else outcome.event, "its_stderr": outcome.stderr,
        "its_versions": dict(outcome.versions) if outcome.versions is not None else None,
    }  # fmt: skip


def _asked_to_tell(claim: Claim, outcome: Outcome, seq: int) -> dict[str, Any]:
    told = brief(claim, outcome)
    return {"its_job": claim.job.id, "its_seq": seq, "its_type": SAID[outcome.event], "its_data": told}


def brief(claim: Claim, outcome: Outcome) -> dict[str, Any]:
    """Return what the event of an end tells."""
    told: dict[str, Any] = {"step": claim.step.id, "attempt": claim.attempt}
    if outcome.failure:
        told |= {"code": outcome.failure.code, "detail": outcome.failure.detail}
    return told


def _why(outcome: Outcome) -> dict[str, str | None]:
    failure = outcome.failure
    return {"its_code": failure.code if failure else None, "its_detail": failure.detail if failure else None}
