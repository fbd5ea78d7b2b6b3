"""The register of workers: a row for each process that claims steps, kept fresh by its heartbeat."""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine, RowMapping
from sqlalchemy.exc import IntegrityError

from reelmill.errors import NotFound
from reelmill.jobs.model import Worker
from reelmill.jobs.ports import WorkerSeen
from reelmill.stores import moves, rows
from reelmill.stores.engine import reading, writing
from reelmill.stores.schema import now, workers


class SqlWorkers:
    """The part of JobStore that knows the workers."""

    engine: Engine
    on_commit: Callable[[], None]

    @writing
    def see_worker(self, tx: Connection, worker: WorkerSeen) -> Worker:
        told = {"slots": worker.slots, "queues": list(worker.queues), "version": worker.version, "seen_at": now()}
        seen = sa.update(workers).where(workers.c.id == worker.id).values(told)
        row = moves.returned(tx, seen)
        if row is None:
            new = {"id": worker.id, "host": worker.host, "pid": worker.pid, "engine": worker.engine}
            try:
                with tx.begin_nested():
                    row = moves.returned(tx, sa.insert(workers).values(**new, **told, started_at=now()))
            except IntegrityError:
                row = moves.returned(tx, seen)  # its other thread was quicker
        assert row is not None
        return rows.to_worker(row, row["seen_at"])

    @writing
    def forget_worker(self, tx: Connection, worker_id: str) -> None:
        tx.execute(sa.delete(workers).where(workers.c.id == worker_id))

    @writing
    def forget_silent_workers(self, tx: Connection, silent_s: float) -> int:
        return tx.execute(sa.delete(workers).where(workers.c.seen_at < now(-silent_s))).rowcount

    @reading
    def workers(self, tx: Connection) -> list[Worker]:
        query = sa.select(workers, now().label("asked_at")).order_by(workers.c.started_at, workers.c.id)
        return [_shown(row) for row in tx.execute(query).mappings()]

    @writing
    def drain_worker(self, tx: Connection, worker_id: str) -> Worker:
        since = sa.func.coalesce(workers.c.draining_at, now())
        told = moves.returned(tx, sa.update(workers).where(workers.c.id == worker_id).values(draining_at=since))
        if told is None:
            raise NotFound(f"There is no worker {worker_id}.")
        query = sa.select(workers, now().label("asked_at")).where(workers.c.id == worker_id)
        return _shown(tx.execute(query).mappings().one())


def _shown(row: RowMapping) -> Worker:
    return rows.to_worker(row, row["asked_at"])
