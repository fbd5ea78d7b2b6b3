"""What every writing method is made of: changing one item while nobody else has, and a job together with its events.

Events are written with the change that they tell of, into the job's `outbox`; the next change puts them under keys of
their own and takes the outbox for its own events. So an event is there as soon as its change is, numbers have no gaps,
and a process that dies between two writes loses none.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from reelmill.errors import DatabaseUnavailable, NotFound
from reelmill.jobs.model import Json
from reelmill.stores.dynamo import items
from reelmill.stores.dynamo.items import Item
from reelmill.stores.dynamo.table import Table, Written

GIVE_UP_S = 20.0  #: an item that others write all the time
STRIPES = 64

Events = list[tuple[str, Json]]
P = ParamSpec("P")
R = TypeVar("R")


class Core:
    """A table, and how an item of it is changed."""

    def __init__(self, table: Table, on_commit: Callable[[], None] | None = None) -> None:
        self.table = table
        self.on_commit = on_commit or (lambda: None)
        self._stripes = [threading.Lock() for _ in range(STRIPES)]

    def at(self, offset_s: float = 0.0) -> datetime:
        """Return the database's time, `offset_s` seconds on (or back)."""
        if not self.table.clock.heard():
            self.table.get("clock", "-")
        return self.table.clock.at(offset_s)

    def change(self, pk: str, sk: str, act: Callable[[Item, datetime], bool]) -> Item | None:
        """Let `act` change an item and write it while it is as `act` saw it; None when there is no such item.

        act: given the item and the stamp of this change, never before that of the last; tells whether to write.
        It may be called again, when somebody else was faster. Returns the item as it then is.
        """
        until = self.table.clock.ticks() + GIVE_UP_S
        pause_s = 0.001
        while self.table.clock.ticks() < until:
            with self._turn(pk, sk):
                item = self.table.get(pk, sk)
                if item is None:
                    return None
                at = self.at() if item["stamped_at"] is None else max(self.at(), item["stamped_at"])
                if not act(item, at):
                    return item
                item["stamped_at"] = at
                try:
                    return self.table.replace(item)
                except Written:
                    pass
            time.sleep(random.uniform(0, pause_s))  # noqa: S311 - jitter, not a secret
            pause_s = min(2 * pause_s, 0.1)
        raise DatabaseUnavailable(f"Too many write {sk} of {pk} at the same time.")

    def change_job(self, job_id: str, act: Callable[[Item, datetime], Events | None]) -> Item:
        """Change a job; `act` returns the events of the change, or None to leave the job alone. Raises NotFound."""

        def write(job: Item, at: datetime) -> bool:
            told = act(job, at)
            if told is None:
                return False
            if told:
                for seq, each in self.outbox(job):
                    self.table.add(Item(pk=job_id, sk=items.event_key(seq), data=each))
                job["outbox"] = [items.event(kind, at, data) for kind, data in told]
                job["last_seq"] += len(told)
            items.place_job(job)
            return True

        job = self.change(job_id, "job", write)
        if job is None:
            raise NotFound(f"There is no job {job_id}.")
        return job

    def outbox(self, job: Item) -> list[tuple[int, Any]]:
        """Return the events that have no item of their own yet, each with its number."""
        first = job["last_seq"] - len(job["outbox"]) + 1
        return list(enumerate(job["outbox"], first))

    def read_job(self, job_id: str) -> Item:
        """Raises NotFound."""
        job = self.table.get(job_id, "job")
        if job is None:
            raise NotFound(f"There is no job {job_id}.")
        return job

    def _turn(self, pk: str, sk: str) -> AbstractContextManager[Any]:
        """Let this process's writers of one job take turns, instead of all reading what only one can write."""
        return self._stripes[hash(pk) % STRIPES] if sk == "job" else nullcontext()


S = TypeVar("S", bound=Core)


def writing(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """Tell `on_commit` after the method has written."""

    @wraps(method)
    def run(self: S, *args: P.args, **kwargs: P.kwargs) -> R:
        result = method(self, *args, **kwargs)
        self.on_commit()
        return result

    return cast(Callable[Concatenate[S, P], R], run)
