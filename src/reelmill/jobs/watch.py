"""What all jobs of a tenant do, live: for lists that stay fresh. Only a job's latest state is told, not each event.

One thread looks for all who watch: at once when this process has written, and every `poll_s` for what others wrote.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import structlog

from reelmill.errors import DatabaseUnavailable
from reelmill.jobs.lifecycle import Status
from reelmill.jobs.model import Job
from reelmill.jobs.ports import JobStore

log: structlog.typing.FilteringBoundLogger = structlog.get_logger("reelmill.watch")

Listener = Callable[[list[Job]], None]
MOST = 200  #: jobs of a status that are looked at; of more, the rest is seen when its turn has come
PAUSE_S = 0.25  #: between two looks


class Watch:
    """Tells those who watch a tenant which of its jobs have changed."""

    def __init__(self, store: JobStore, poll_s: float = 1.0) -> None:
        self._store = store
        self._poll_s = poll_s
        self._guard = threading.Lock()
        self._tenants: dict[str, _Tenant] = {}
        self._bell = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look_on, name="watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._bell.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    def alive(self) -> bool:
        """Return whether it is at work; one that was never started has none."""
        return self._thread.ident is None or self._thread.is_alive()

    def wake(self) -> None:
        """Say that something was written; called after each commit of this process."""
        if self._tenants:
            self._bell.set()

    @contextmanager
    def follow(self, tenant: str, listener: Listener) -> Iterator[None]:
        """Call `listener` (in the watch's thread) with the jobs that have changed since the last look."""
        token = object()
        with self._guard:
            self._tenants.setdefault(tenant, _Tenant()).listeners[token] = listener
        self._bell.set()
        try:
            yield
        finally:
            with self._guard:
                watched = self._tenants[tenant]
                del watched.listeners[token]
                if not watched.listeners:
                    del self._tenants[tenant]

    def _look_on(self) -> None:
        while not self._stop.is_set():
            self._bell.wait(self._poll_s if self._tenants else None)
            self._bell.clear()
            with self._guard:
                watched = dict(self._tenants)
            for tenant, known in watched.items():
                try:
                    self._look(tenant, known)
                except DatabaseUnavailable as error:
                    log.warning("watch waits for the database", detail=error.detail)
                except Exception:  # one bad listener must not end all streams
                    log.exception("watch failed")
            self._stop.wait(PAUSE_S)

    def _look(self, tenant: str, known: _Tenant) -> None:
        newest = self._store.jobs(tenant, limit=20).items
        busy = [
            job for status in (Status.QUEUED, Status.RUNNING)
            for job in self._store.jobs(tenant, status=status, limit=MOST).items
        ]  # fmt: skip
        seen = {job.id: job for job in (*newest, *busy)}
        gone = [job_id for job_id in known.shown if job_id not in seen]
        seen |= {job.id: job for job in self._store.jobs_by_id(gone)} if gone else {}
        changed = [job for job in seen.values() if known.shown.get(job.id) != _face(job)]
        first = not known.shown
        known.shown = {job.id: _face(job) for job in (*newest, *busy)}
        if changed and not first:
            with self._guard:
                listeners = list(known.listeners.values())
            for listener in listeners:
                listener(changed)


@dataclass(slots=True)
class _Tenant:
    listeners: dict[object, Listener] = field(default_factory=dict)
    shown: dict[str, tuple[object, ...]] = field(default_factory=dict)  #: by job, what was told of it last


def _face(job: Job) -> tuple[object, ...]:
    return job.status, job.run, job.stage, job.progress_pct, job.message
