"""The register of workers: an item for each process that claims steps, kept fresh by its heartbeat."""

from __future__ import annotations

from datetime import datetime

from reelmill.errors import NotFound
from reelmill.jobs.model import Worker
from reelmill.jobs.ports import WorkerSeen
from reelmill.stores import rows
from reelmill.stores.dynamo.core import Core, writing
from reelmill.stores.dynamo.items import Item


class Workers(Core):
    """The part of JobStore that knows the workers."""

    @writing
    def see_worker(self, worker: WorkerSeen) -> Worker:
        told = {"slots": worker.slots, "queues": list(worker.queues), "release": worker.version}

        def see(item: Item, at: datetime) -> bool:
            item.update(told, seen_at=at)
            return True

        while True:
            seen = self.change("workers", worker.id, see)
            if seen is not None:
                return _shown(seen, seen["seen_at"])
            at = self.at()
            new = Item(told, pk="workers", sk=worker.id, id=worker.id, host=worker.host, pid=worker.pid,
                       engine=worker.engine, started_at=at, seen_at=at, stamped_at=at)  # fmt: skip
            if self.table.add(new):
                return _shown(new, at)

    @writing
    def forget_worker(self, worker_id: str) -> None:
        self.table.remove("workers", worker_id)

    @writing
    def forget_silent_workers(self, silent_s: float) -> int:
        since = self.at(-silent_s)
        silent = [worker for worker in self.table.query("workers") if worker["seen_at"] < since]
        return sum(self.table.remove("workers", worker["sk"], version=worker["version"]) for worker in silent)

    def workers(self) -> list[Worker]:
        at = self.at()
        found = [_shown(worker, at) for worker in self.table.query("workers")]
        return sorted(found, key=lambda worker: (worker.started_at, worker.id))

    @writing
    def drain_worker(self, worker_id: str) -> Worker:
        def drain(worker: Item, at: datetime) -> bool:
            if worker["draining_at"] is not None:
                return False
            worker["draining_at"] = at
            return True

        worker = self.change("workers", worker_id, drain)
        if worker is None:
            raise NotFound(f"There is no worker {worker_id}.")
        return _shown(worker, self.at())


def _shown(worker: Item, at: datetime) -> Worker:
    return rows.to_worker(Item(worker, version=worker["release"]), at)  # an item's `version` counts its writes
