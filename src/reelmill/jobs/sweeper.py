"""What must happen even if nobody asks: a thread in every API and worker process, one at work at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from reelmill.errors import DatabaseUnavailable, StorageProblem
from reelmill.jobs.keys import output_prefix, run_of
from reelmill.jobs.model import Job, Video
from reelmill.jobs.ports import AccessStore, Dispatcher, JobStore, ObjectStore

log: structlog.stdlib.BoundLogger = structlog.get_logger("reelmill.sweeper")

LEASE = "sweeper"
PURGE_EVERY_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPolicy:
    """How often and how much; seconds."""

    sweep_s: float = 5.0
    ring_again_s: float = 30.0
    rings: int = 8  #: at most so many steps are rung for in one sweep: 2 × free slots
    max_crashes: int = 3
    remove_s: float = 60.0  #: between two looks for what is due to be removed
    incoming_s: float = 2 * 86_400.0  #: age at which what broken uploads left is removed; more than an upload's life


class Sweeper:
    """Sees to lost leases, stalled jobs, unrung steps, old uploads and files that no row names."""

    def __init__(
        self,
        *,
        store: JobStore,
        access: AccessStore,
        objects: ObjectStore,
        dispatcher: Dispatcher,
        advance: Callable[[Job], None],
        drop_parts: Callable[[Video], None],
        remove: Callable[[], bool],
        policy: SweepPolicy,
        holder: str,
    ) -> None:
        """remove: what is due, a batch; tells whether there may be more."""
        self.store = store
        self.access = access
        self.objects = objects
        self.dispatcher = dispatcher
        self.advance = advance
        self.drop_parts = drop_parts
        self.remove = remove
        self.policy = policy
        self.holder = holder
        self._purged_at = 0.0
        self._removed_at = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sweep_on, name="sweeper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def alive(self) -> bool:
        return self._thread.is_alive()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    def _sweep_on(self) -> None:
        while not self._stop.is_set():
            try:
                if self.store.lease(LEASE, self.holder, self.policy.sweep_s * 3):
                    self.sweep()
            except (DatabaseUnavailable, StorageProblem) as error:
                log.warning("sweep put off", code=error.code, detail=error.detail)
            except Exception:  # one bad row must not end all care; the next sweep tries again
                log.exception("sweep failed")
            self._stop.wait(self.policy.sweep_s)

    def sweep(self) -> None:
        """Do one round. Every part is repeatable and guarded: two sweepers at once do no harm."""
        for held in self.store.lose_dead(max_crashes=self.policy.max_crashes):
            log.warning("lease lost", step=held.step_id, attempt=held.attempt)
        for job in self.store.stalled():
            self.advance(job)
        rung = self.store.to_ring(self.policy.rings, again_after_s=self.policy.ring_again_s)
        if rung:
            self.dispatcher.ring(len(rung))
        for job in self.store.expire_uploads():
            log.info("upload expired", job_id=job.id)
        for video in self.store.left_multiparts():
            self.drop_parts(video)
            log.info("parts of an ended upload dropped", video_id=video.id)
        for job in self.store.unswept():
            self.sweep_outputs(job)
        if time.monotonic() - self._removed_at > self.policy.remove_s and not self.remove():
            self._removed_at = time.monotonic()
        if time.monotonic() - self._purged_at > PURGE_EVERY_S:
            self._purged_at = time.monotonic()
            self.access.purge_requests()
            self.objects.purge_incoming(self.policy.incoming_s)

    def sweep_outputs(self, job: Job) -> None:
        """Delete stored outputs of an ended job that no artifact names: leftovers of attempts that were lost."""
        named = {artifact.key for artifact in self.store.artifacts(job.id)}
        for key in self.objects.keys(output_prefix(job)):
            # A retry may have begun since `job` was read: files of newer runs are none of our business.
            if key not in named and run_of(key) <= job.run:
                self.objects.delete(key)
                log.info("output swept", job_id=job.id, key=key)
        self.store.mark_swept(job.id)
