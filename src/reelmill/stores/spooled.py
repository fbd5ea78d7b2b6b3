"""Artifacts that wait in a spool: the guarded moves of which the SQL store's writes are made; see `moves.py`."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from reelmill.jobs.lifecycle import CLAIMABLE, StepEvent, StepStatus, step_after
from reelmill.jobs.model import Artifact, Job
from reelmill.stores import lanes, rows
from reelmill.stores.moves import locked, note, returned
from reelmill.stores.schema import artifacts, attempts, jobs, now, steps


def take(tx: Connection, artifact: Artifact) -> rows.Row | None:
    """Lock the artifact's job if the artifact is still in its spool; return the job's row, else None."""
    row = locked(tx, artifact.job_id)
    there = sa.select(artifacts.c.id).where(
        artifacts.c.id == artifact.id, artifacts.c.place == "spool", artifacts.c.spool == artifact.spool
    )
    return row if tx.execute(there.with_for_update()).one_or_none() is not None else None


def moved(tx: Connection, job: rows.Row, artifact: Artifact) -> Job:
    """Record that an artifact is in storage."""
    here = sa.update(artifacts).where(artifacts.c.id == artifact.id)
    tx.execute(here.values(place="stored", spool=None, stored_at=now()))
    tx.execute(sa.update(jobs).where(jobs.c.id == job["id"]).values(spooled=jobs.c.spooled - 1))
    return rows.to_job(note(tx, job, [("artifact.stored", {"name": artifact.name})]))


def redo(tx: Connection, job: rows.Row, artifact: Artifact) -> Job:
    """Set the step of a lost artifact ready again, and forget what was planned from it."""
    mine = tx.execute(sa.select(steps).where(steps.c.id == artifact.step_id).with_for_update()).mappings().one()
    later = sa.select(steps.c.id).where(steps.c.job_id == job["id"], steps.c.stage_no > mine["stage_no"])
    forgotten = list(tx.execute(later).scalars())
    tx.execute(sa.delete(artifacts).where(artifacts.c.step_id.in_([*forgotten, mine["id"]])))
    tx.execute(sa.delete(attempts).where(attempts.c.step_id.in_(forgotten)))
    tx.execute(sa.delete(steps).where(steps.c.id.in_(forgotten)))
    ready = step_after(StepStatus.DONE, StepEvent.REDO)
    runs = job["status"] in CLAIMABLE
    again = {"tries": 0, "crashes": 0, "progress": 0.0, "output": None, "rung_at": None, "not_before": now(),
             "waits": False}  # fmt: skip
    freed = tx.execute(
        sa.update(steps)
        .where(steps.c.id == mine["id"], steps.c.status == StepStatus.DONE)
        .values(
            status=ready if runs else step_after(ready, StepEvent.CANCEL),
            rank=-job["priority"],
            finished_at=None,
            **again,
        )
        .returning(steps.c.tenant, steps.c.queue, steps.c.rank)
    ).all()
    of_stage = sa.and_(steps.c.job_id == job["id"], steps.c.stage == mine["stage"])
    counted = sa.select(sa.func.count()).where(of_stage)
    left = sa.select(sa.func.count()).where(artifacts.c.job_id == job["id"], artifacts.c.place == "spool")
    row = returned(
        tx,
        sa.update(jobs)
        .where(jobs.c.id == job["id"])
        .values(
            stage=mine["stage"],
            steps_planned=counted.scalar_subquery(),
            steps_done=counted.where(steps.c.status == StepStatus.DONE).scalar_subquery(),
            spooled=left.scalar_subquery(),
        ),
    )
    assert row is not None
    told = note(tx, row, [("step.redo", {"step": mine["id"], "lost": artifact.name})])
    if runs:
        lanes.open_lanes(tx, [(step.tenant, step.queue, step.rank) for step in freed])
    return rows.to_job(told)
