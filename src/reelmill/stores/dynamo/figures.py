"""How things stand, counted along the indexes: all that is under way, and ended jobs now and then.

DynamoDB counts nothing by itself, so who asks how many there are reads them. Ended jobs are the only ones that become
many: what was counted of them is kept for a while, so that asking every few seconds costs little.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime

from reelmill.jobs.lifecycle import Status, StepStatus
from reelmill.jobs.model import Figures, Waiting
from reelmill.stores.dynamo import items
from reelmill.stores.dynamo.items import Item
from reelmill.stores.dynamo.reads import Reads
from reelmill.stores.figures import GONE_AFTER_S

ENDED_FOR_S = 300.0  #: for so long a count of ended jobs is taken for good

JobCounts = Counter[tuple[str, Status]]


class DynamoFigures(Reads):
    """The part of JobStore that counts."""

    _ended: tuple[float, JobCounts] | None = None  #: since when, by our monotonic clock

    def figures(self, *, stuck_after_s: float) -> Figures:
        at = self.at()
        tenants = list(self.table.query("tenants"))
        under_way = ["waiting", "running", "unswept", *(items.queued(tenant["sk"]) for tenant in tenants)]
        jobs = _count(job for where in under_way for job in self.table.index("by_watch", where)) + self._ended_jobs()
        held = (step for step in self.table.index("by_watch", "held") if step["status"] == StepStatus.RUNNING)
        uploads = list(self.table.index("by_watch", "awaiting"))
        spool = list(self.table.index("by_watch", "spool"))
        stuck = sum((at - upload["created_at"]).total_seconds() > stuck_after_s for upload in uploads)
        return Figures(
            jobs=dict(jobs),
            ready=self._ready_now(tenants, at),
            running=dict(Counter(step["queue"] for step in held)),
            uploads=_waiting((upload["created_at"] for upload in uploads), at),
            uploads_stuck=stuck,
            spool=_waiting((made["created_at"] for made in spool), at),
            spool_bytes=sum(made["size_bytes"] for made in spool),
            workers=dict(Counter(_state(worker, at) for worker in self.table.query("workers"))),
        )

    def _ended_jobs(self) -> JobCounts:
        here = self.table.clock.ticks()
        if self._ended is None or here - self._ended[0] > ENDED_FOR_S:
            self._ended = here, _count(self.table.index("by_watch", "ended"))
        return self._ended[1]

    def _ready_now(self, tenants: Iterable[Item], at: datetime) -> dict[str, Waiting]:
        since: dict[str, list[datetime]] = {}
        for tenant in tenants:
            for queue in tenant["queues"]:
                ready = self.table.index("by_turn", items.lane(tenant["sk"], queue))
                since.setdefault(queue, []).extend(step["not_before"] for step in ready)
        return {queue: _waiting(moments, at) for queue, moments in since.items() if moments}


def _count(jobs: Iterable[Item]) -> JobCounts:
    return Counter((job["pipeline"], Status(job["status"])) for job in jobs)


def _waiting(since: Iterable[datetime], at: datetime) -> Waiting:
    moments = list(since)
    if not moments:
        return Waiting()
    return Waiting(count=len(moments), oldest_s=max(0.0, (at - min(moments)).total_seconds()))


def _state(worker: Item, at: datetime) -> str:
    if (at - worker["seen_at"]).total_seconds() > GONE_AFTER_S:
        return "gone"
    return "alive" if worker["draining_at"] is None else "draining"
