"""What must happen even if nobody asks: a thread in every API and worker process, one at work at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import structlog

from reelmill.errors import DatabaseUnavailable, StorageProblem
from reelmill.jobs.endings import tell_end
from reelmill.jobs.keys import output_prefixes, run_of
from reelmill.jobs.lifecycle import Status
from reelmill.jobs.model import Job, Step, Video
from reelmill.jobs.ports import UNOBSERVED, AccessStore, Dispatcher, Held, JobStore, ObjectStore, Observer

log: structlog.typing.FilteringBoundLogger = structlog.get_logger("reelmill.sweeper")

LEASE = "sweeper"
PURGE_EVERY_S = 3600.0
WORKERS_KEPT_S = 86_400.0  #: killed workers are listed for so long


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPolicy:
    """How often and how much; seconds."""

    sweep_s: float = 5.0
    ring_again_s: float = 30.0
    silent_s: float = 60.0  #: a worker that wasn't heard of for so long isn't counted on
    max_crashes: int = 3
    lease_s: float = 60.0  #: of steps
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
        beat: Callable[[], Collection[Held]],
        remove: Callable[[], bool],
        follow: Callable[[Job], None],
        policy: SweepPolicy,
        holder: str,
        observer: Observer = UNOBSERVED,
    ) -> None:
        """beat: keep the leases of this process's own steps, and name these.

        remove: what is due, a batch; tells whether there may be more. follow: start what follows a completed job.
        """
        self.store = store
        self.access = access
        self.objects = objects
        self.dispatcher = dispatcher
        self.advance = advance
        self.drop_parts = drop_parts
        self.beat = beat
        self.remove = remove
        self.follow = follow
        self.policy = policy
        self.holder = holder
        self.observer = observer
        self._purged_at = 0.0
        self._blind_until = 0.0
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
                    began = time.monotonic()
                    self.sweep()
                    self.observer.observe("sweep_seconds", time.monotonic() - began)
            except (DatabaseUnavailable, StorageProblem) as error:
                if isinstance(error, DatabaseUnavailable):
                    # Workers couldn't reach the database either: their silence is no crash. They hand back what
                    # they couldn't keep as soon as it answers.
                    self._blind_until = time.monotonic() + self.policy.lease_s
                log.warning("sweep put off", code=error.code, detail=error.detail)
            except Exception:  # one bad row must not end all care; the next sweep tries again
                log.exception("sweep failed")
            self._stop.wait(self.policy.sweep_s)

    def sweep(self) -> None:
        """Do one round. Every part is repeatable and guarded: two sweepers at once do no harm."""
        own = self.beat()  # we live: a clock that jumps, or a machine that slept, mustn't make our own steps look dead
        if time.monotonic() >= self._blind_until:
            for held in self.store.lose_dead(max_crashes=self.policy.max_crashes, spare=own):
                job = self.store.job(held.step_id.split(":", 1)[0])
                self.observer.count("leases_lost")
                log.warning("lease lost", job_id=job.id, step=held.step_id, attempt=held.attempt, user_id=job.user_id)
                if job.error_code == "worker_crashed":
                    tell_end(self.observer, job)
        for job in self.store.stalled():
            self.advance(job)
        for job in self.store.unfollowed():
            self.follow(job)
        if slots := self._slots():
            for step in self.store.to_ring(2 * slots, again_after_s=self.policy.ring_again_s):
                self.dispatcher.ring(job_id=step.job_id, queue=step.queue)
        for job in self.store.expire_uploads():
            tell_end(self.observer, job)
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
            self.store.forget_silent_workers(WORKERS_KEPT_S)
            self.objects.purge_incoming(self.policy.incoming_s)

    def _slots(self) -> int:
        """How many steps can run at a time now. Without any worker, rings would only pile up at the broker."""
        working = [w for w in self.store.workers() if w.draining_at is None and w.silent_s < self.policy.silent_s]
        return sum(worker.slots for worker in working)

    def sweep_outputs(self, job: Job) -> None:
        """Delete stored outputs of an ended job that no artifact names: leftovers of attempts that were lost."""
        named = {artifact.key for artifact in self.store.artifacts(job.id)}
        # A retry goes on with what done steps kept.
        if job.status is not Status.COMPLETED and job.outputs_removed_at is None:
            named |= kept_keys(self.store.steps(job.id))
        for prefix in output_prefixes(job, self.store.video(job.video_id).key):
            for key in self.objects.keys(prefix):
                # A retry may have begun since `job` was read: files of newer runs are none of our business.
                if key not in named and run_of(key) <= job.run:
                    self.objects.delete(key)
                    log.info("output swept", job_id=job.id, key=key)
        self.store.mark_swept(job.id)


def kept_keys(steps: Sequence[Step]) -> set[str]:
    """Return the keys of the files that done steps kept for later ones."""
    return {str(key) for step in steps if step.output for key in step.output.get("kept", ())}
