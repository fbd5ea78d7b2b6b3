"""Live events: one poller in a process feeds all its streams.

It looks at once when a write of this process has committed, and every `poll_s` for what other processes wrote.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from reelmill.errors import DatabaseUnavailable
from reelmill.jobs.model import Job, JobEvent
from reelmill.jobs.ports import JobStore

log: structlog.typing.FilteringBoundLogger = structlog.get_logger("reelmill.feed")

Listener = Callable[[list[JobEvent], Job], None]
BATCH = 500


class Feed:
    """Hands new events and progress of the followed jobs to their listeners, each event once and in order."""

    def __init__(self, store: JobStore, poll_s: float = 0.5) -> None:
        self._store = store
        self._poll_s = poll_s
        self._guard = threading.Lock()
        self._followers: dict[object, _Follower] = {}
        self._bell = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._poll_on, name="feed", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def alive(self) -> bool:
        """Return whether it is at work; one that was never started, in a process without streams, has none."""
        return self._thread.ident is None or self._thread.is_alive()

    def stop(self) -> None:
        self._stop.set()
        self._bell.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    def wake(self) -> None:
        """Say that something was written; called after each commit of this process."""
        if self._followers:  # a needless look would take the processor from who is at work
            self._bell.set()

    @contextmanager
    def follow(self, job_id: str, after_seq: int, listener: Listener) -> Iterator[None]:
        """Call `listener` (in the feed's thread) with what is new: events after `after_seq`, and the job's progress."""
        token = object()
        with self._guard:
            self._followers[token] = _Follower(job_id, after_seq, listener)
        self.wake()
        try:
            yield
        finally:
            with self._guard:
                del self._followers[token]

    def _poll_on(self) -> None:
        while not self._stop.is_set():
            self._bell.wait(self._poll_s)
            self._bell.clear()
            try:
                self._poll()
            except DatabaseUnavailable as error:
                log.warning("feed waits for the database", detail=error.detail)
                self._stop.wait(self._poll_s)
            except Exception:  # one bad listener must not end all streams
                log.exception("feed failed")
                self._stop.wait(self._poll_s)
            self._stop.wait(0.02)  # many commits in a burst are one look

    def _poll(self) -> None:
        with self._guard:
            followers = list(self._followers.values())
        if not followers:
            return
        seen: dict[str, int] = {}
        for follower in followers:
            seen[follower.job_id] = min(follower.seq, seen.get(follower.job_id, follower.seq))
        # The jobs first: an event that a job's state already shows is then surely among those read next.
        jobs = {job.id: job for job in self._store.jobs_by_id(list(seen))}
        fresh = self._store.events_after(seen, BATCH)
        if len(fresh) == BATCH:
            self._bell.set()
        for follower in followers:
            job = jobs.get(follower.job_id)
            events = [e for e in fresh if e.job_id == follower.job_id and e.seq > follower.seq]
            if job is not None and (events or follower.shown != (job.progress_pct, job.message, job.status)):
                follower.seq = events[-1].seq if events else follower.seq
                follower.shown = (job.progress_pct, job.message, job.status)
                follower.listener(events, job)


class _Follower:
    def __init__(self, job_id: str, seq: int, listener: Listener) -> None:
        self.job_id = job_id
        self.seq = seq
        self.listener = listener
        self.shown: tuple[float, str, str] | None = None
