"""How things stand on the whole platform: a few counts, each answered from an index.

- Jobs are counted along (status, pipeline), ready and running steps along indexes that hold these alone: what has ended
  is never read.
- Uploads that wait, and files in the spool, are few: they expire, and are moved.
"""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from reelmill.jobs.lifecycle import CLAIMABLE, Status, StepStatus, UploadStatus
from reelmill.jobs.model import Figures, Waiting
from reelmill.stores import lanes
from reelmill.stores.schema import artifacts, jobs, now, steps, videos, workers

GONE_AFTER_S = 60.0  #: a worker that was silent for so long


def read(tx: Connection, stuck_after_s: float) -> Figures:
    """Return the figures as one transaction sees them."""
    by_status = sa.select(jobs.c.pipeline, jobs.c.status, sa.func.count()).group_by(jobs.c.status, jobs.c.pipeline)
    spool, spool_bytes = _spool(tx)
    awaiting, stuck = _uploads(tx, stuck_after_s)
    return Figures(
        jobs={(pipeline, Status(status)): count for pipeline, status, count in tx.execute(by_status)},
        ready=_ready(tx),
        running=_by_queue(tx, steps.c.status == StepStatus.RUNNING),
        uploads=awaiting,
        uploads_stuck=stuck,
        spool=spool,
        spool_bytes=spool_bytes,
        workers=_workers(tx),
    )


def _ready(tx: Connection) -> dict[str, Waiting]:
    oldest = sa.func.min(steps.c.not_before)
    open_ = sa.and_(lanes.READY, jobs.c.status.in_(list(CLAIMABLE)))  # a claimer may hold what a cancel left ready
    query = sa.select(steps.c.queue, sa.func.count(), oldest, now()).join(jobs, jobs.c.id == steps.c.job_id)
    query = query.where(open_).group_by(steps.c.queue)
    return {queue: Waiting(count=count, oldest_s=_since_s(then, at)) for queue, count, then, at in tx.execute(query)}


def _by_queue(tx: Connection, wanted: sa.ColumnElement[bool]) -> dict[str, int]:
    query = sa.select(steps.c.queue, sa.func.count()).where(wanted).group_by(steps.c.queue)
    return dict(tx.execute(query).all())


def _uploads(tx: Connection, stuck_after_s: float) -> tuple[Waiting, int]:
    v = videos.c
    waits = v.upload_status == UploadStatus.AWAITING
    stuck = sa.func.count().filter(v.created_at < now(-stuck_after_s))
    count, old = tx.execute(sa.select(sa.func.count(), stuck).where(waits)).one()
    oldest = _age_s(tx, sa.select(sa.func.min(v.created_at)).where(waits).scalar_subquery())
    return Waiting(count=count, oldest_s=oldest), old


def _spool(tx: Connection) -> tuple[Waiting, int]:
    spooled = artifacts.c.spool > ""  # along its index: SQLite takes none for IS NOT NULL
    size = sa.func.coalesce(sa.func.sum(artifacts.c.size_bytes), 0)
    count, size_bytes = tx.execute(sa.select(sa.func.count(), size).where(spooled)).one()
    oldest = _age_s(tx, sa.select(sa.func.min(artifacts.c.created_at)).where(spooled).scalar_subquery())
    return Waiting(count=count, oldest_s=oldest), int(size_bytes)


def _workers(tx: Connection) -> dict[str, int]:
    state = sa.case(
        (workers.c.seen_at < now(-GONE_AFTER_S), "gone"),
        (workers.c.draining_at.is_not(None), "draining"),
        else_="alive",
    ).label("state")
    query = sa.select(state, sa.func.count()).group_by(sa.text("1"))
    return dict(tx.execute(query).all())


def _age_s(tx: Connection, moment: sa.ScalarSelect[datetime]) -> float:
    """Return for how many seconds a moment lies behind the database's clock; 0 without one."""
    then, at = tx.execute(sa.select(moment, now())).one()
    return _since_s(then, at)


def _since_s(then: datetime | None, at: datetime) -> float:
    return max(0.0, (at - then).total_seconds()) if then is not None else 0.0
