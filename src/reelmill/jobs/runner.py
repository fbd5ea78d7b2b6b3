"""Workers as threads of one process: claim, run, close. A step's media work happens in child processes.

Whatever ends a step, one `match` in `decide` turns it into one outcome, and one guarded write records it.
"""

from __future__ import annotations

import os
import random
import shutil
import socket
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import structlog

from reelmill import __version__
from reelmill.errors import (
    ChildCrashed,
    DatabaseUnavailable,
    DiskLow,
    InternalError,
    MediaProblem,
    NotFound,
    ReelmillError,
    StaleAttempt,
    Stopped,
    StorageDenied,
    StorageUnavailable,
)
from reelmill.jobs.endings import tell_end
from reelmill.jobs.files import Files
from reelmill.jobs.gate import Gate, ran_full
from reelmill.jobs.lifecycle import Status, StepEvent
from reelmill.jobs.model import Claim, Job, Step
from reelmill.jobs.ports import (
    UNOBSERVED,
    Dispatcher,
    Failure,
    Held,
    JobStore,
    Observer,
    Outcome,
    Pipeline,
    WorkerSeen,
)
from reelmill.jobs.reuse import is_reusable, made_before, with_warnings
from reelmill.jobs.work import StepWork, shown_command

log: structlog.typing.FilteringBoundLogger = structlog.get_logger("reelmill.runner")

RELEASE_S = 5.0  #: of the grace: for ending processes and handing their steps back
UNTROUBLED = {StepEvent.FINISH, StepEvent.RELEASE}


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkPolicy:
    """How steps are held and tried again; seconds."""

    lease_s: float = 60.0
    heartbeat_s: float = 10.0
    watch_s: float = 1.0
    poll_s: float = 30.0
    report_s: float = 0.5  #: least time between two stored progress reports of a step
    max_retries: int = 3
    max_crashes: int = 3
    backoff_s: float = 2.0
    wait_s: float = 15.0  #: before a step that waits for storage, database or disk may be claimed again
    grace_s: float = 30.0
    queues: tuple[str, ...] | None = None  #: that steps are taken of; None: all
    reuse: bool = True  #: results of earlier steps of the same digest are taken over
    engine: str = "embedded"  #: what wakes the workers, as the register of workers tells


def decide(error: BaseException, step: Step, policy: WorkPolicy, *, draining: bool, jitter: float) -> Outcome | None:
    """Return what becomes of an attempt that raised; None when it isn't ours any more.

    jitter: 0–1, spreads retries that failed together.
    """
    extra = getattr(error, "extra", {})
    argv, stderr = extra.get("command"), extra.get("stderr")
    command = shown_command(argv) if argv else None
    match error:
        case StaleAttempt():
            return None
        case Stopped():
            return Outcome(event=StepEvent.RELEASE) if draining else None
        case ChildCrashed():
            failure = Failure(error.code, error.detail)
            if step.crashes + 1 >= policy.max_crashes:
                worn = Failure("worker_crashed", f"Its processes died {policy.max_crashes} times: {error.detail}")
                return Outcome(event=StepEvent.FAIL, failure=worn, command=command, stderr=stderr)
            return Outcome(event=StepEvent.CRASH, failure=failure, command=command, stderr=stderr)
        case StorageUnavailable() | DatabaseUnavailable() | DiskLow():  # nobody's fault: an outage waits, never fails
            waits = Failure(error.code, f"{error.code}: {error.detail}")
            return Outcome(event=StepEvent.RELEASE, failure=waits, delay_s=policy.wait_s * (1 + jitter))
        case ReelmillError():
            failure = Failure(error.code, error.detail)
            retryable = error.retryable or bool(extra.get("may_pass"))
        case _:
            failure = Failure(InternalError.code, f"{type(error).__name__}: {error}")
            retryable = isinstance(error, OSError | MemoryError)  # any other is a defect, and will come again
    if retryable and step.tries < policy.max_retries:
        delay_s = policy.backoff_s * 2**step.tries * (1 + jitter)
        return Outcome(event=StepEvent.AGAIN, failure=failure, delay_s=delay_s, command=command, stderr=stderr)
    return Outcome(event=StepEvent.FAIL, failure=failure, command=command, stderr=stderr)


class Runner:
    """The workers of this process: `slots` threads that claim, and one that keeps their leases."""

    def __init__(
        self,
        *,
        store: JobStore,
        files: Files,
        gate: Gate,
        pipelines: Mapping[str, Pipeline],
        dispatcher: Dispatcher,
        advance: Callable[[Job], None],
        policy: WorkPolicy,
        scratch: Path,
        metered: Callable[[], AbstractContextManager[Callable[[], float]]],
        versions: Mapping[str, str] | None = None,
        observer: Observer = UNOBSERVED,
    ) -> None:
        """Set up, without starting.

        metered: counts the processor seconds of the child processes that a step starts.
        versions: of reelmill and its tools; noted with each attempt.
        """
        self.on_end: Callable[[Job], None] = lambda _: None  #: called after a job has ended here
        self._metered = metered
        self._versions = versions
        self.store = store
        self.files = files
        self.gate = gate
        self.pipelines = pipelines
        self.dispatcher = dispatcher
        self.advance = advance
        self.policy = policy
        self.observer = observer
        self.slots = 0
        self.worker_id = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._scratch = scratch / self.worker_id.replace(":", "-")
        self._works: dict[Held, StepWork] = {}
        self._works_guard = threading.Lock()
        self._draining = threading.Event()
        self._hurried = threading.Event()
        self._ended = threading.Event()
        self._seen_at = time.monotonic()  # when the store last answered our heartbeat
        self.ended = 0  #: steps that this process has worked on
        self._look = threading.Event()
        self._threads: list[threading.Thread] = []
        self._waiting_since: dict[str, datetime] = {}  #: what steps wait for, by its code

    def start(self, slots: int) -> None:
        """Start `slots` workers and the thread that keeps their leases."""
        self.slots = slots
        self._scratch.mkdir(parents=True, exist_ok=True)
        self._seen_at = time.monotonic()
        named = [(f"worker-{n}", self._claim_on) for n in range(slots)] + [("leases", self._keep_leases)]
        for name, target in named:
            thread = threading.Thread(target=target, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Claim nothing more; within `grace_s` running steps end, or are stopped and released, uncharged."""
        if not self._threads or self._ended.is_set():
            return
        self.drain()
        deadline = time.monotonic() + max(self.policy.grace_s - RELEASE_S, self.policy.grace_s / 2)
        while self._works and time.monotonic() < deadline and not self._hurried.is_set():
            time.sleep(0.05)
        self.hurry()
        for work in self._held_works().values():
            work.stop.set()
        for thread in self._threads[:-1]:
            thread.join(timeout=10)
        self._ended.set()
        self._look.set()
        self._threads[-1].join(timeout=10)
        with suppress(DatabaseUnavailable):
            self.store.forget_worker(self.worker_id)
        shutil.rmtree(self._scratch, ignore_errors=True)

    def drain(self) -> None:
        """Claim nothing more; running steps go on."""
        self._draining.set()
        self.dispatcher.wake(len(self._threads))

    def hurry(self) -> None:
        """Let `stop` wait no longer: running steps are released now."""
        self._hurried.set()

    @property
    def drained(self) -> bool:
        """Whether nothing more is claimed and nothing runs."""
        return self._draining.is_set() and not any(thread.is_alive() for thread in self._threads[:-1])

    def look(self) -> None:
        """Look at once whether the running steps are still ours: one of their jobs was cancelled just now."""
        self._look.set()

    def busy(self) -> int:
        """Return how many steps are being worked on."""
        return len(self._works)

    def beat(self) -> list[Held]:
        """Lengthen the leases of all that runs here; return what that is. Raises DatabaseUnavailable."""
        held = list(self._held_works())
        self.store.beat(held, lease_s=self.policy.lease_s)
        return held

    def alive(self) -> bool:
        """Return whether every worker, and the thread that keeps the leases, is at its work."""
        if self._draining.is_set():
            return True
        return bool(self._threads) and all(thread.is_alive() for thread in self._threads)

    def silent_s(self) -> float:
        """Return for how long the store hasn't answered our heartbeat."""
        return time.monotonic() - self._seen_at

    # ── claiming ──────────────────────────────────────────────────────────────────────────────

    def _claim_on(self) -> None:
        rung_by: str | None = None  # the engine's id of the ring that made us look, until nothing is left
        while not self._draining.is_set():
            if self.gate.closed() is not None:
                self._draining.wait(min(self.policy.poll_s, 1.0))
                continue
            try:
                claims = self.store.claim(
                    self.worker_id,
                    limit=1,
                    lease_s=self.policy.lease_s,
                    engine_task_id=rung_by,
                    queues=self.policy.queues,
                )
            except DatabaseUnavailable as error:
                log.warning("claim failed", code=error.code, detail=error.detail)
                self._draining.wait(min(self.policy.poll_s, 1.0))
                continue
            for claim in claims:
                self.run(claim)
            if not claims:
                rung_by = self.dispatcher.wait(self.policy.poll_s)

    def run(self, claim: Claim) -> None:
        """Do one claimed step to its recorded end; never raises."""
        held = Held(claim.step.id, claim.attempt)
        with structlog.contextvars.bound_contextvars(
            job_id=claim.job.id,
            step=claim.step.id,
            attempt=claim.attempt,
            video_id=claim.video.id,
            user_id=claim.job.user_id,
            tenant=claim.job.tenant,
            correlation_id=claim.job.correlation_id,
        ), self.observer.span(
            f"step {claim.job.pipeline}/{claim.step.kind}", trace_context=claim.job.trace_context, kind="consumer",
            job_id=claim.job.id, step=claim.step.id, attempt=claim.attempt,
        ) as span:  # fmt: skip
            self._tell_claim(claim)
            work = StepWork(
                claim, self._scratch / uuid.uuid4().hex, store=self.store, files=self.files, observer=self.observer,
                report_s=self.policy.report_s,
            )  # fmt: skip
            with self._works_guard:
                self._works[held] = work
            began = time.monotonic()
            became = "lost"
            try:
                became = self._run(claim, work)
            except Exception:  # the worker must outlive whatever happened; the lease brings the step back
                log.exception("step could not be closed")
            finally:
                with self._works_guard:
                    del self._works[held]
                    self.ended += 1
                shutil.rmtree(work.scratch, ignore_errors=True)
                seconds = time.monotonic() - began
                kind, pipeline = claim.step.kind, claim.job.pipeline
                self.observer.observe("step_seconds", seconds, pipeline=pipeline, kind=kind, outcome=became)
                span.tell(outcome=became, **({} if became in UNTROUBLED else {"error": became}))
                log.info("step ended", kind=kind, outcome=became, seconds=round(seconds, 3))

    def _tell_claim(self, claim: Claim) -> None:
        step, waited_s = claim.step, None
        if step.attempt == 1 and step.started_at is not None:
            waited_s = max(0.0, (step.started_at - step.created_at).total_seconds())
            self.observer.observe("step_wait_seconds", waited_s, pipeline=claim.job.pipeline)
        log.info("step started", worker=self.worker_id, kind=step.kind, waited_s=waited_s)

    def _run(self, claim: Claim, work: StepWork) -> str:
        """Do the step and record what became of it; return that: `finish`, `again`, `crash`, …, or `lost`."""
        began_s = time.thread_time()
        with self._metered() as children_s:
            outcome = self._attempt(claim, work)
        if outcome is not None:
            outcome = replace(outcome, cpu_s=children_s() + time.thread_time() - began_s)
        # Before the record: what fills the disk here may be what keeps the database from writing.
        shutil.rmtree(work.scratch, ignore_errors=True)
        job = None
        work.closing = True
        if outcome is not None:
            try:
                job = self._close(claim, outcome)
            except ReelmillError:
                raise
            except Exception as error:  # what the step made can't be recorded: that is its failure, not a lost lease
                log.exception("step could not be recorded")
                detail = f"{type(error).__name__} when the result was to be recorded; the log has the words."
                outcome = Outcome(event=StepEvent.FAIL, failure=Failure(InternalError.code, detail))
                job = self._close(claim, outcome)
        if job is None or outcome is None or outcome.event is not StepEvent.FINISH:
            work.discard()
        if job is None or outcome is None:
            return "lost"
        if outcome.event is StepEvent.FINISH:
            self._waiting_since.clear()
        if outcome.event in (StepEvent.CRASH, StepEvent.RELEASE) and not outcome.delay_s:
            self.dispatcher.ring(job_id=job.id, queue=claim.step.queue)
        if job.status is Status.RUNNING and job.steps_done >= job.steps_planned:
            self.advance(job)
        elif job.completed_at is not None:
            tell_end(self.observer, job)
            self.on_end(job)
        return str(outcome.event)

    def _cause(self, error: Exception) -> Exception:
        """Return what is behind an error: media tools fail when the disk is full or their source can't be read."""
        if ran_full(error):
            return self.gate.full() or DiskLow(f"The disk ran full: {error}")
        if isinstance(error, MediaProblem) and error.retryable and not self.files.answers():
            return StorageUnavailable(f"{StorageUnavailable.what} {error.detail}")
        if isinstance(error, StorageDenied) and self.files.has_worked:
            error.extra["may_pass"] = True  # some stores deny everything for a moment while they start
        return error

    def _timed(self, outcome: Outcome | None) -> Outcome | None:
        """Add to what a step waits for since when this process knows of it."""
        if outcome is None or outcome.event is not StepEvent.RELEASE or outcome.failure is None:
            return outcome
        code, detail = outcome.failure.code, outcome.failure.detail.removeprefix(f"{outcome.failure.code}: ")
        since = self._waiting_since.setdefault(code, datetime.now(UTC))
        told = f"{code}: waiting since {since:%Y-%m-%d %H:%M} UTC. {detail}"
        return replace(outcome, failure=Failure(code, told))

    def _attempt(self, claim: Claim, work: StepWork) -> Outcome | None:
        """Do the step; return what becomes of the attempt, None when it isn't ours any more."""
        try:
            work.scratch.mkdir(parents=True)
            if claim.job.pipeline not in self.pipelines:
                raise NotFound(f"The pipeline {claim.job.pipeline!r} isn't installed on this worker.")
            pipeline = self.pipelines[claim.job.pipeline]
            reusable = is_reusable(pipeline, claim.step)
            reuse = reusable and self.policy.reuse and claim.job.reuse
            made = made_before(self.store, work, pipeline) if reuse else None
            if made is not None:
                self.observer.count("steps_reused", pipeline=pipeline.name, kind=claim.step.kind)
                return Outcome(event=StepEvent.FINISH, result=made, reusable=True)
            result = pipeline.run(claim.step, work)
            if reusable:
                result = with_warnings(result)
            return Outcome(event=StepEvent.FINISH, result=result, command=work.commands(), reusable=reusable)
        except Exception as error:
            if not isinstance(error, ReelmillError):
                log.exception("step failed unexpectedly")
            outcome = self._timed(
                decide(
                    self._cause(error),
                    claim.step,
                    self.policy,
                    draining=self._draining.is_set() or work.silent,
                    jitter=random.random(),  # noqa: S311 - spreads retries, not a secret
                )
            )
            log.info(
                "step not done",
                code=getattr(error, "code", "internal_error"),
                detail=str(error),
                outcome=str(outcome.event) if outcome else "dropped",
            )
            return outcome

    def _close(self, claim: Claim, outcome: Outcome) -> Job | None:
        """Record an outcome, waiting out a database that is away; None when it was stale.

        However late it comes, the fence decides. Only a worker that shall end gives up: the lease brings the step back.
        """
        deadline = time.monotonic() + self.policy.lease_s
        last_stage = claim.step.stage == claim.job.stages[-1].name
        while True:
            try:
                return self.store.close(claim, replace(outcome, versions=self._versions), finish=last_stage)
            except StaleAttempt:
                self.observer.count("stale_writes")
                log.warning("write refused: the step belongs to a newer attempt or its job has moved on")
                return None
            except DatabaseUnavailable:
                if self._hurried.is_set() or (self._draining.is_set() and time.monotonic() > deadline):
                    raise
                self._hurried.wait(0.5)

    # ── leases ────────────────────────────────────────────────────────────────────────────────

    def _held_works(self) -> dict[Held, StepWork]:
        with self._works_guard:
            return dict(self._works)

    def _keep_leases(self) -> None:
        """Beat, and set the stop flag of steps that aren't ours any more."""
        beaten = known = time.monotonic()
        seen = -self.policy.heartbeat_s
        while not self._ended.is_set():
            if time.monotonic() - seen >= self.policy.heartbeat_s:
                seen = time.monotonic()
                self._register()
            self._look.wait(min(self.policy.watch_s, self.policy.heartbeat_s))
            self._look.clear()
            works = self._held_works()
            moment = time.monotonic()
            if not works:
                known = moment
                continue
            try:
                if moment - beaten >= self.policy.heartbeat_s:
                    kept = self.store.beat(list(works), lease_s=self.policy.lease_s)
                    beaten = moment
                else:
                    kept = self.store.still_held(list(works))
                known = moment
            except DatabaseUnavailable as error:
                log.warning("lease check failed", detail=error.detail)
                # Silent for a whole lease: others may hold our steps by now, so we must let go.
                kept = frozenset(works)
                if moment - known >= self.policy.lease_s:
                    kept = frozenset()
                    for work in works.values():
                        work.silent = True
            except Exception:  # a defect here must not end the heartbeat of all other steps
                log.exception("lease check failed unexpectedly")
                continue
            for held, work in works.items():
                if held not in kept and not work.closing:
                    if not work.stop.is_set():
                        log.warning("step isn't ours any more", job_id=work.claim.job.id, step=held.step_id)
                    work.stop.set()

    def _register(self) -> None:
        """Say that we live, and hear whether we shall drain. A process that does no steps isn't a worker."""
        if not self.slots:
            self._seen_at = time.monotonic()
            return
        about = WorkerSeen(
            id=self.worker_id,
            host=socket.gethostname(),
            pid=os.getpid(),
            slots=self.slots,
            queues=self.policy.queues or (),
            version=__version__,
            engine=self.policy.engine,
        )
        try:
            known = self.store.see_worker(about)
        except DatabaseUnavailable as error:
            log.warning("heartbeat failed", detail=error.detail)
            return
        except Exception:  # the leases must be kept whatever is wrong with the register
            log.exception("heartbeat failed unexpectedly")
            return
        self._seen_at = time.monotonic()
        if known.draining_at is not None and not self._draining.is_set():
            log.info("draining, as somebody asked", worker=self.worker_id)
            self.drain()
