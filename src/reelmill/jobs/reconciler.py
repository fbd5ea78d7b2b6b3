"""Moves what waits in the spool of this machine to the object store, as soon as that answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from reelmill.errors import BodyMismatch, DatabaseUnavailable, NotFound, ObjectMissing, StorageProblem
from reelmill.jobs.files import LONGEST_REST_S, Files, once
from reelmill.jobs.keys import job_of, run_of
from reelmill.jobs.lifecycle import CLAIMABLE, ENDED
from reelmill.jobs.model import Artifact, Job
from reelmill.jobs.ports import JobStore, Spool

log: structlog.typing.FilteringBoundLogger = structlog.get_logger("reelmill.reconciler")

PURGE_EVERY_S = 3600.0


class Reconciler:
    """A thread in every process with a spool; for each spool one at a time is at work, by a lease row."""

    def __init__(
        self, *, store: JobStore, files: Files, advance: Callable[[Job], None], every_s: float, holder: str
    ) -> None:
        """every_s: how often it looks. advance: opens a job's next stage or finishes it."""
        self.store = store
        self.files = files
        self.advance = advance
        self.every_s = every_s
        self.holder = holder
        self._rest_s = every_s
        self._purged_at = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._reconcile_on, name="reconciler", daemon=True)

    def start(self) -> None:
        if self.files.spool is not None:
            self._thread.start()

    def alive(self) -> bool:
        return self.files.spool is None or self._thread.is_alive()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    def _reconcile_on(self) -> None:
        spool = self.files.spool
        assert spool is not None, "the thread is started for a spool"
        while not self._stop.wait(self.every_s):
            try:
                spool.announce()
                lease_s = max(3 * self.every_s, LONGEST_REST_S)
                if time.monotonic() >= self.files.rest_until and self.store.lease(
                    f"spool:{spool.id}", self.holder, lease_s
                ):
                    self.reconcile(spool)
                    self._rest_s = self.every_s
            except StorageProblem as problem:
                self._rest_s = min(2 * self._rest_s, LONGEST_REST_S)
                self.files.rest_until = time.monotonic() + self._rest_s
                log.warning("spool isn't emptied yet", code=problem.code, detail=problem.detail, rest_s=self._rest_s)
            except DatabaseUnavailable as problem:
                log.warning("spool isn't looked at", code=problem.code, detail=problem.detail)
            except Exception:  # one bad row must not end all care; the next round tries again
                log.exception("reconciling failed")

    def reconcile(self, spool: Spool) -> None:
        """Do one round. Every part is repeatable and guarded: two at once do no harm. Raises StorageProblem."""
        for artifact in self.store.spooled(spool.id):
            if self._stop.is_set():
                return
            self.move(artifact, spool)
        self.clean(spool)
        if time.monotonic() - self._purged_at > PURGE_EVERY_S:
            self._purged_at = time.monotonic()
            spool.purge_incoming()

    def move(self, artifact: Artifact, spool: Spool) -> None:
        """Store one spooled file, checked, and record it; one that is gone or damaged is made anew."""
        began = time.monotonic()
        told = log.bind(job_id=artifact.job_id, key=artifact.key, bytes=artifact.size_bytes)
        try:
            path = spool.locate(artifact.key)
            assert isinstance(path, Path), "a spool is a folder"
            self.files.objects.put_file(
                artifact.key, path, content_type=artifact.content_type, sha256=artifact.sha256, patience=once
            )
        except (ObjectMissing, BodyMismatch, FileNotFoundError) as problem:
            if not self._is_stored(artifact):
                job = self.store.redo(artifact)
                if job is not None:
                    told.error("spooled file is lost; its step runs again", detail=str(problem))
                spool.delete(artifact.key)
                return
        try:
            job = self.store.moved(artifact)
        except NotFound:
            job = None  # its video was purged meanwhile
        if job is None and artifact.key not in {one.key for one in self.store.artifacts(artifact.job_id)}:
            self.files.delete(artifact.key)  # removed by what it was kept for no longer; stored again just now
            return
        told.info("output moved from the spool to storage", seconds=round(time.monotonic() - began, 3))
        if job is not None and job.status in CLAIMABLE and not job.spooled:
            self.advance(job)

    def _is_stored(self, artifact: Artifact) -> bool:
        """Tell whether an earlier round stored the file and was ended before it could record that."""
        try:
            there = self.files.objects.head(artifact.key)
        except ObjectMissing:
            return False
        return there.size_bytes == artifact.size_bytes and there.sha256 in (None, artifact.sha256)

    def clean(self, spool: Spool) -> None:
        """Delete files of ended jobs that no longer wait here: moved ones, and leftovers of lost attempts.

        Those of jobs at work stay: a step may read them, or be about to record them.
        """
        keys: dict[str, list[str]] = {}
        for key in spool.keys(""):
            if (job_id := job_of(key)) is not None:
                keys.setdefault(job_id, []).append(key)
        jobs = {job.id: job for job in self.store.jobs_by_id(list(keys))} if keys else {}
        for job_id, found in keys.items():
            job = jobs.get(job_id)
            if job is not None and job.status not in ENDED:
                continue
            waiting = {one.key for one in self.store.artifacts(job_id) if one.place == "spool"}
            for key in found:
                if key not in waiting and (job is None or run_of(key) <= job.run):
                    spool.delete(key)
