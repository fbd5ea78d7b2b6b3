"""Workers as threads of one process: claim, run, close. A step's media work happens in child processes.

Whatever ends a step, one `match` in `decide` turns it into one outcome, and one guarded write records it.
"""

from __future__ import annotations

import hashlib
import os
import random
import shlex
import shutil
import socket
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from reelmill.errors import (
    ChildCrashed,
    DatabaseUnavailable,
    InternalError,
    NotFound,
    ReelmillError,
    StaleAttempt,
    Stopped,
    StorageProblem,
)
from reelmill.jobs.keys import output_key
from reelmill.jobs.lifecycle import Status, StepEvent
from reelmill.jobs.model import Claim, Job, Json, Located, NewArtifact, Step
from reelmill.jobs.ports import Dispatcher, Failure, Held, JobStore, ObjectStore, Outcome, Pipeline

log: structlog.stdlib.BoundLogger = structlog.get_logger("reelmill.runner")


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
    grace_s: float = 30.0


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
        case ReelmillError():
            failure = Failure(error.code, error.detail)
            retryable = error.retryable
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
        objects: ObjectStore,
        pipelines: Mapping[str, Pipeline],
        dispatcher: Dispatcher,
        advance: Callable[[Job], None],
        policy: WorkPolicy,
        scratch: Path,
        versions: Mapping[str, str] | None = None,
    ) -> None:
        """versions: of reelmill and its tools; noted with each attempt."""
        self.versions = versions
        self.store = store
        self.objects = objects
        self.pipelines = pipelines
        self.dispatcher = dispatcher
        self.advance = advance
        self.policy = policy
        self.worker_id = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._scratch = scratch / self.worker_id.replace(":", "-")
        self._works: dict[Held, StepWork] = {}
        self._works_guard = threading.Lock()
        self._draining = threading.Event()
        self._ended = threading.Event()
        self._look = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, slots: int) -> None:
        """Start `slots` workers and the thread that keeps their leases."""
        self._scratch.mkdir(parents=True, exist_ok=True)
        named = [(f"worker-{n}", self._claim_on) for n in range(slots)] + [("leases", self._keep_leases)]
        for name, target in named:
            thread = threading.Thread(target=target, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Claim nothing more, give running steps `grace_s` to end, then stop and release them, uncharged."""
        if not self._threads:
            return  # it was never started
        self._draining.set()
        self.dispatcher.ring(len(self._threads))
        deadline = time.monotonic() + self.policy.grace_s
        while self._works and time.monotonic() < deadline:
            time.sleep(0.05)
        for work in self._held_works().values():
            work.stop.set()
        for thread in self._threads[:-1]:
            thread.join(timeout=10)
        self._ended.set()
        self._look.set()
        self._threads[-1].join(timeout=10)
        shutil.rmtree(self._scratch, ignore_errors=True)

    def look(self) -> None:
        """Look at once whether the running steps are still ours: one of their jobs was cancelled just now."""
        self._look.set()

    def alive(self) -> bool:
        """Return whether every worker, and the thread that keeps the leases, is at its work."""
        return bool(self._threads) and all(thread.is_alive() for thread in self._threads)

    # ── claiming ──────────────────────────────────────────────────────────────────────────────

    def _claim_on(self) -> None:
        while not self._draining.is_set():
            try:
                claims = self.store.claim(self.worker_id, limit=1, lease_s=self.policy.lease_s)
            except DatabaseUnavailable as error:
                log.warning("claim failed", code=error.code, detail=error.detail)
                self._draining.wait(min(self.policy.poll_s, 1.0))
                continue
            for claim in claims:
                self.run(claim)
            if not claims:
                self.dispatcher.wait(self.policy.poll_s)

    def run(self, claim: Claim) -> None:
        """Do one claimed step to its recorded end; never raises."""
        held = Held(claim.step.id, claim.attempt)
        with structlog.contextvars.bound_contextvars(
            job_id=claim.job.id,
            step=claim.step.id,
            attempt=claim.attempt,
            user_id=claim.job.user_id,
            correlation_id=claim.job.correlation_id,
        ):
            log.info("step started", worker=self.worker_id, kind=claim.step.kind)
            work = StepWork(self, claim, self._scratch / uuid.uuid4().hex)
            with self._works_guard:
                self._works[held] = work
            began = time.monotonic()
            try:
                self._run(claim, work)
            except Exception:  # the worker must outlive whatever happened; the lease brings the step back
                log.exception("step could not be closed")
            finally:
                with self._works_guard:
                    del self._works[held]
                shutil.rmtree(work.scratch, ignore_errors=True)
                log.info("step ended", seconds=round(time.monotonic() - began, 3))

    def _run(self, claim: Claim, work: StepWork) -> None:
        try:
            work.scratch.mkdir(parents=True)
            if claim.job.pipeline not in self.pipelines:
                raise NotFound(f"The pipeline {claim.job.pipeline!r} isn't installed on this worker.")
            result = self.pipelines[claim.job.pipeline].run(claim.step, work)
            outcome: Outcome | None = Outcome(event=StepEvent.FINISH, result=result, command=work.commands())
        except Exception as error:
            if not isinstance(error, ReelmillError):
                log.exception("step failed unexpectedly")
            outcome = decide(
                error,
                claim.step,
                self.policy,
                draining=self._draining.is_set(),
                jitter=random.random(),  # noqa: S311 - spreads retries, not a secret
            )
            log.info(
                "step not done",
                code=getattr(error, "code", "internal_error"),
                detail=str(error),
                outcome=str(outcome.event) if outcome else "dropped",
            )
        job = None
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
            return
        if outcome.event in (StepEvent.CRASH, StepEvent.RELEASE):
            self.dispatcher.ring()
        if job.status is Status.RUNNING and job.steps_done >= job.steps_planned:
            self.advance(job)

    def _close(self, claim: Claim, outcome: Outcome) -> Job | None:
        """Record an outcome, waiting out a database that is away for less than the lease; None when it was stale."""
        deadline = time.monotonic() + self.policy.lease_s
        while True:
            try:
                return self.store.close(claim, replace(outcome, versions=self.versions))
            except StaleAttempt:
                log.warning("write refused: the step belongs to a newer attempt or its job has moved on")
                return None
            except DatabaseUnavailable:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    # ── leases ────────────────────────────────────────────────────────────────────────────────

    def _held_works(self) -> dict[Held, StepWork]:
        with self._works_guard:
            return dict(self._works)

    def _keep_leases(self) -> None:
        """Beat, and set the stop flag of steps that aren't ours any more."""
        beaten = known = time.monotonic()
        while not self._ended.is_set():
            self._look.wait(self.policy.watch_s)
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
                kept = frozenset(works) if moment - known < self.policy.lease_s else frozenset()
            except Exception:  # a defect here must not end the heartbeat of all other steps
                log.exception("lease check failed unexpectedly")
                continue
            for held, work in works.items():
                if held not in kept:
                    work.stop.set()


def clear_dead_scratch(scratch: Path) -> None:
    """Remove the scratch folders of workers of this machine whose processes are gone."""
    for folder in scratch.glob(f"{socket.gethostname()}-*-*"):
        pid = folder.name.rsplit("-", 2)[1]
        if pid.isdigit() and not _lives(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class StepWork:
    """The `Work` of one claimed step."""

    def __init__(self, runner: Runner, claim: Claim, scratch: Path) -> None:
        self.claim = claim
        self.scratch = scratch
        self.stop = threading.Event()
        self._runner = runner
        self._commands: list[str] = []
        self._published: list[str] = []
        self._reported_at = 0.0

    def locate(self, key: str) -> Located:
        return self._runner.objects.locate(key)

    def fetch(self, key: str, name: str) -> Path:
        path = self.scratch / name
        with path.open("wb") as file:
            for block in self._runner.objects.open(key):
                file.write(block)
        return path

    def progress(self, fraction: float, message: str | None = None) -> None:
        self._check()
        moment = time.monotonic()
        if moment - self._reported_at < self._runner.policy.report_s:
            return
        self._reported_at = moment
        with suppress(DatabaseUnavailable):  # progress may be late; the step must not suffer
            try:
                self._runner.store.report(self.claim, fraction, message)
            except StaleAttempt:
                self.stop.set()
                self._check()

    def command(self, argv: Sequence[str]) -> None:
        self._commands.append(shown_command(argv))

    def commands(self) -> str | None:
        """Return the recorded commands, a line each."""
        return "\n".join(self._commands) or None

    def publish(
        self,
        path: Path,
        *,
        kind: str,
        name: str,
        content_type: str,
        meta: Json | None = None,
        primary: bool = False,
    ) -> NewArtifact:
        self._check()
        key = output_key(self.claim, name)
        sha256 = _sha256(path)
        size_bytes = path.stat().st_size
        self._published.append(key)
        self._runner.objects.put_file(key, path, content_type=content_type, sha256=sha256)
        return NewArtifact(
            kind=kind,
            name=name,
            key=key,
            size_bytes=size_bytes,
            sha256=sha256,
            content_type=content_type,
            meta=meta or {},
            primary=primary,
        )

    def discard(self) -> None:
        """Remove what was published for nothing; what can't be removed now is swept later."""
        for key in self._published:
            with suppress(StorageProblem):
                self._runner.objects.delete(key)

    def _check(self) -> None:
        if self.stop.is_set():
            raise Stopped


def shown_command(argv: Sequence[str]) -> str:
    """Return a command to read and to paste; signed URLs lose their queries, which are secrets."""
    return shlex.join(w.split("?", 1)[0] if w.startswith(("http://", "https://")) else w for w in argv)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
