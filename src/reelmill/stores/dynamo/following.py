"""What follows completed jobs, and which done steps later ones may take their results from."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from itertools import islice

from reelmill.errors import NotFound
from reelmill.jobs.lifecycle import Status, StepStatus
from reelmill.jobs.model import Claim, Job, Json, Step
from reelmill.stores.dynamo import items
from reelmill.stores.dynamo.core import Core, Events, writing
from reelmill.stores.dynamo.items import Item
from reelmill.stores.moves import told_followed


class Following(Core):
    """`unfollowed`, `followed` and `made_before` of `JobStore`."""

    def unfollowed(self, limit: int = 10) -> list[Job]:
        found = []
        for mark in islice(self.table.index("by_turn", "unfollowed"), limit):
            with suppress(NotFound):
                job = self.read_job(mark["pk"])
                if job["followed_at"] is None:  # the index may be behind
                    found.append(items.to_job(job))
        return found

    @writing
    def followed(self, job_id: str, then: Sequence[Json]) -> Job | None:
        mine: list[datetime] = []

        def record(job: Item, at: datetime) -> Events | None:
            mine.clear()
            if job["status"] != Status.COMPLETED or job["followed_at"] is not None:
                return None
            job.update(then=list(then), followed_at=at)
            mine.append(at)
            return [told_followed(then)]

        with suppress(NotFound):
            job = self.change_job(job_id, record)
            return items.to_job(job) if mine else None
        return None

    def made_before(self, tenant: str, digest: str) -> list[Step]:
        known = self.table.get(*made_key(tenant, digest))
        step = self.table.get(*items.key_of(known["id"])) if known is not None else None
        if step is None or step["status"] != StepStatus.DONE or (step["tenant"], step["digest"]) != (tenant, digest):
            return []
        return [items.to_step(step)]

    def note_made(self, claim: Claim) -> None:
        """Let later steps of its digest find a step that was done; it takes the place of the one before."""
        key = made_key(claim.job.tenant, claim.step.digest)
        if not self.table.add(Item(pk=key[0], sk=key[1], id=claim.step.id)):
            self.change(*key, lambda there, _: bool(there.update(id=claim.step.id) is None))

    def forget_made(self, step: Item) -> None:
        """Remove what leads to a step that goes."""
        self.table.remove(*made_key(step["tenant"], step["digest"]), id=step["id"])


def made_key(tenant: str, digest: str) -> tuple[str, str]:
    return f"made#{digest}", tenant
