"""What follows completed jobs, and which done steps later ones may take their results from."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from reelmill.jobs.lifecycle import Status
from reelmill.jobs.model import Job, Json, Step
from reelmill.stores import moves, rows
from reelmill.stores.engine import reading, writing
from reelmill.stores.prepared import Prepared
from reelmill.stores.schema import UNFOLLOWED_WORDS, jobs, now, steps

SOME_STEPS = 3  #: whose files may be gone by the time that they are wanted

# Asked for each step that may be reused: compiled once.
_made_before = Prepared(
    sa.select(*(steps.c[name] for name in rows.names_of(Step)))
    .join(jobs, jobs.c.id == steps.c.job_id)
    .where(
        steps.c.tenant == sa.bindparam("its_tenant"),
        steps.c.digest == sa.bindparam("its_digest"),
        steps.c.status == sa.literal_column("'done'"),
        jobs.c.deleted_at.is_(None),
        jobs.c.outputs_removed_at.is_(None),
    )
    .order_by(steps.c.finished_at.desc())
    .limit(sa.literal_column(str(SOME_STEPS), sa.Integer))
)


class SqlFollowing:
    """`unfollowed`, `followed` and `made_before` of `JobStore`, on SQLAlchemy Core."""

    engine: Engine
    on_commit: Callable[[], None]

    @reading
    def unfollowed(self, tx: Connection, limit: int = 10) -> list[Job]:
        waits = sa.text(UNFOLLOWED_WORDS), jobs.c.status == Status.COMPLETED, jobs.c.deleted_at.is_(None)
        found = tx.execute(sa.select(jobs).where(*waits).order_by(jobs.c.id).limit(limit))
        return [rows.to_job(row) for row in found.mappings()]

    @writing
    def followed(self, tx: Connection, job_id: str, then: Sequence[Json]) -> Job | None:
        row = moves.returned(
            tx,
            sa.update(jobs)
            .where(jobs.c.id == job_id, jobs.c.status == Status.COMPLETED, jobs.c.followed_at.is_(None))
            .values(then=list(then), followed_at=now(), last_seq=jobs.c.last_seq + 1),
        )
        if row is None:
            return None
        moves.record(tx, row, [moves.told_followed(then)])
        return rows.to_job(row)

    @reading
    def made_before(self, tx: Connection, tenant: str, digest: str) -> list[Step]:
        found = _made_before.rows(tx, {"its_tenant": tenant, "its_digest": digest})
        return [rows.to_step(row) for row in found]
