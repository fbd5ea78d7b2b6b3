"""Artifacts that wait in a spool. The job decides, as it does about all that it counts; `settle` does the rest."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from reelmill.jobs.lifecycle import StepStatus
from reelmill.jobs.model import Artifact, Job
from reelmill.stores.dynamo import items, moves
from reelmill.stores.dynamo.core import Events, writing
from reelmill.stores.dynamo.items import Item
from reelmill.stores.dynamo.reads import Reads, batches, counts
from reelmill.stores.dynamo.settle import Settling


class _Busy(Exception):
    """What the job decided before must be settled first."""


class Spooled(Reads, Settling):
    """The part of JobStore that knows the spools."""

    def spooled(self, spool: str, limit: int = 100) -> list[Artifact]:
        found: list[Artifact] = []
        marks = self.table.index("by_watch", "spool", prefix=f"{spool}#", limit=limit)
        for some in batches(marks, limit):
            made = self.table.get_many((mark["pk"], mark["sk"]) for mark in some)
            steps = self.table.get_many(items.key_of(one["step_id"]) for one in made.values())  # after their files
            for mark in some:
                one = made.get((mark["pk"], mark["sk"]))
                if one is None or one["place"] != "spool" or one["spool"] != spool:
                    continue
                step = steps.get(items.key_of(one["step_id"]))
                if counts(one, step):
                    found.append(items.to_artifact(one))
                elif not _may_count(one, step):
                    self.table.remove(one["pk"], one["sk"], version=one["version"])
            if len(found) >= limit:
                break
        return found[:limit]

    @writing
    def moved(self, artifact: Artifact) -> Job | None:
        def store(job: Item, lost: Item, _: Item, __: datetime) -> Events:
            return moves.store(job, lost)

        return self._of_spooled(artifact, store)

    @writing
    def redo(self, artifact: Artifact) -> Job | None:
        def again(job: Item, lost: Item, step: Item, _: datetime) -> Events:
            steps = list(self.table.query(job["id"], "step#"))
            by_id = {one["id"]: one for one in steps}
            left = [
                one
                for one in self.table.query(job["id"], "artifact#")
                if one["place"] == "spool" and one["step_id"] != step["id"] and one["stage_no"] <= step["stage_no"]
                and counts(one, by_id.get(one["step_id"])) and moves.is_told(job, by_id[one["step_id"]])
            ]  # fmt: skip
            return moves.redo(job, step, lost, [one for one in steps if one["status"] != items.PLANNED], len(left))

        return self._of_spooled(artifact, again)

    def _of_spooled(self, artifact: Artifact, act: Callable[[Item, Item, Item, datetime], Events]) -> Job | None:
        """Change the job of an artifact while the artifact is in its spool; None when it isn't, or doesn't count.

        act: given the job, the artifact and its step. What was decided before is settled, so that the items that
        `act` reads are where the job says; a change of them that comes later changes the job, too.
        """
        key = artifact.job_id, f"artifact#{artifact.name}"
        done: list[Events] = []

        def change(job: Item, at: datetime) -> Events | None:
            done.clear()
            if job["due"] is not None:
                raise _Busy
            there = self.table.get(*key)
            if there is None or (there["id"], there["place"]) != (artifact.id, "spool"):
                return None
            step = self.table.get(*items.key_of(artifact.step_id))
            if there["spool"] != artifact.spool or step is None or not counts(there, step):
                return None
            if not moves.is_told(job, step):
                raise _Busy
            done.append(act(job, there, step, at))
            return done[0]

        while True:
            try:
                self.change_job(artifact.job_id, change)
            except _Busy:
                self.settle(artifact.job_id)
                continue
            return items.to_job(self.settle(artifact.job_id)) if done else None


def _may_count(artifact: Item, step: Item | None) -> bool:
    """Whether the attempt that published a file may still come to its end."""
    if step is None or step["status"] != StepStatus.RUNNING:
        return False
    return bool((step["attempt"], step["redos"]) == (artifact["attempt"], artifact["redos"]))
