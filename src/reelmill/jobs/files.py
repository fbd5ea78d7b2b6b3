"""Where a job's files are: in the object store, or in the spool while that is away.

An output is sent once, and again up to `UPLOAD_RETRIES` times; then it goes to the spool, if an API hands out what
lies there. Without such a spool the step waits, uncharged, and nothing is begun until the store answers.
"""

from __future__ import annotations

import hashlib
import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import structlog

from reelmill.errors import ObjectMissing, ReelmillError, Stopped, StorageProblem, StorageUnavailable
from reelmill.jobs.model import Artifact, Located, NewArtifact, Output
from reelmill.jobs.ports import ObjectStore, Spool

log: structlog.typing.FilteringBoundLogger = structlog.get_logger("reelmill.files")

UPLOAD_RETRIES = 3
LONGEST_REST_S = 60.0
NOTHING = ".probe/answers"  #: a key that no object has

T = TypeVar("T")


class Files:
    """The object store with its spool, for workers, the service and the reconciler of one process."""

    def __init__(
        self,
        objects: ObjectStore,
        spool: Spool | None,
        *,
        backoff_s: float,
        get_ttl_s: int = 3600,
        on_retry: Callable[[], None] = lambda: None,
    ) -> None:
        """backoff_s: before the first retry of an upload; doubles each time. get_ttl_s: life of URLs, in seconds."""
        self.objects = objects
        self.spool = spool
        self.backoff_s = backoff_s
        self.get_ttl_s = get_ttl_s
        self.on_retry = on_retry
        #: When the spool may first be emptied, by the monotonic clock: the back-off goes on after the last try.
        self.rest_until = 0.0
        self.has_worked = False  #: whether storage has done anything for this process
        self._stuck: StorageUnavailable | None = None
        self._ask_again_at = 0.0
        self._guard = threading.Lock()

    # ── writing ───────────────────────────────────────────────────────────────────────────────

    def put(self, path: Path, artifact: NewArtifact, stop: threading.Event) -> NewArtifact:
        """Store a file as `artifact` describes it; return that with its place and retries. May move the file.

        Raises Stopped, StorageUnavailable (the spool can't take it either: wait), StorageProblem.
        """
        told = log.bind(key=artifact.key, bytes=artifact.size_bytes)
        patience = Retrying(self.backoff_s, stop, told, self.on_retry)
        began = time.monotonic()
        told.info("upload begun")
        try:
            self.objects.put_file(
                artifact.key, path, content_type=artifact.content_type, sha256=artifact.sha256, patience=patience
            )
        except StorageUnavailable as problem:
            outcome, kept = "spooled", self._keep(path, artifact, problem)
        except ReelmillError as problem:
            told.warning("upload ended", outcome=problem.code, detail=problem.detail, retries=patience.retries)
            raise
        else:
            outcome, kept = "stored", artifact
            self._stuck, self.has_worked = None, True
        seconds = round(time.monotonic() - began, 3)
        told.info("upload ended", outcome=outcome, retries=patience.retries, seconds=seconds)
        return replace(kept, retries=patience.retries)

    def _keep(self, path: Path, artifact: NewArtifact, problem: StorageUnavailable) -> NewArtifact:
        """Put a file into the spool. Raises StorageUnavailable when there is none that an API reads, or it is full."""
        try:
            if self.spool is None or not self.spool.is_readable():
                raise StorageUnavailable(f"{problem.detail}; and there is no spool that the API can read")
            self.spool.put_file(artifact.key, path, content_type=artifact.content_type, sha256=artifact.sha256)
        except StorageProblem as second:
            self._stuck = StorageUnavailable(
                second.detail if isinstance(second, StorageUnavailable) else f"{problem.detail}; {second.detail}"
            )
            log.error("upload ended", key=artifact.key, outcome="waits", detail=self._stuck.detail)
            raise self._stuck from second
        self.rest_until = time.monotonic() + min(self.backoff_s * 2 ** (UPLOAD_RETRIES + 1), LONGEST_REST_S)
        log.warning("output kept locally: storage is away", key=artifact.key, detail=problem.detail)
        return replace(artifact, place="spool", spool=self.spool.id)

    def delete(self, key: str) -> None:
        """Remove a file wherever it is; what can't be removed now is swept later."""
        for store in (self.spool, self.objects):
            if store is not None:
                with suppress(StorageProblem):
                    store.delete(key)

    # ── reading ───────────────────────────────────────────────────────────────────────────────

    def locate(self, key: str) -> Located:
        """Return where ffmpeg reads a file. Raises ObjectMissing, StorageUnavailable."""
        if (found := self._spooled(key)) is not None:
            return found.locate(key)
        located = self.objects.locate(key)
        self.has_worked = True
        return located

    def open(self, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Yield a file's bytes in blocks. Raises ObjectMissing, StorageUnavailable."""
        return (self._spooled(key) or self.objects).open(key, start, length)

    def url(self, artifact: Artifact | Output, *, attachment: bool = False, life_s: int | None = None) -> str | None:
        """Return a signed GET URL; None for a file in a spool that this process doesn't see. life_s: seconds."""
        store: ObjectStore = self.objects
        if artifact.place == "spool":
            if self.spool is None or self.spool.id != artifact.spool:
                return None
            store = self.spool
        return store.generate_presigned_download_url(
            store.bucket,
            artifact.key,
            self.get_ttl_s if life_s is None else life_s,
            filename=artifact.name if attachment else None,
            content_type=artifact.content_type,
        )

    def is_near(self, artifact: Artifact) -> bool:
        """Tell whether this process can read a file: it is stored, or in a spool that it sees."""
        return artifact.place == "stored" or (self.spool is not None and self.spool.id == artifact.spool)

    def _spooled(self, key: str) -> Spool | None:
        if self.spool is None:
            return None
        try:
            self.spool.head(key)
        except ObjectMissing:
            return None
        return self.spool

    # ── is it there? ──────────────────────────────────────────────────────────────────────────

    def answers(self) -> bool:
        """Ask the object store for an object that isn't there."""
        try:
            self.objects.head(NOTHING)
        except StorageUnavailable:
            return False
        except StorageProblem:
            pass  # it said something
        return True

    def stuck(self) -> StorageUnavailable | None:
        """Return why finished files have nowhere to go; None once the store answers again, or a spool can be read."""
        problem = self._stuck
        if problem is None:
            return None
        with self._guard:
            if time.monotonic() >= self._ask_again_at:
                if self.answers():
                    self._stuck = None
                self._ask_again_at = time.monotonic() + min(self.backoff_s, LONGEST_REST_S)
            return self._stuck


class Retrying:
    """A `Patience`: each request once, and again up to `UPLOAD_RETRIES` times, with growing waits and jitter."""

    def __init__(
        self,
        backoff_s: float,
        stop: threading.Event,
        told: structlog.typing.FilteringBoundLogger,
        on_retry: Callable[[], None] = lambda: None,
    ) -> None:
        self.retries = 0  #: of all requests of this file
        self._backoff_s = backoff_s
        self._stop = stop
        self._log = told
        self._on_retry = on_retry
        self._guard = threading.Lock()

    def __call__(self, what: str, act: Callable[[], T]) -> T:
        for tries in itertools.count():
            if self._stop.is_set():
                raise Stopped
            try:
                return act()
            except StorageUnavailable as problem:
                if tries == UPLOAD_RETRIES:
                    raise
                delay_s = self._backoff_s * 2**tries * (1 + random.random())  # noqa: S311 - spreads, no secret
                self._log.warning("upload is tried again", request=what, delay_s=round(delay_s, 3), why=problem.detail)
            with self._guard:
                self.retries += 1
            self._on_retry()
            self._stop.wait(delay_s)
        raise AssertionError("unreachable: the last try returns or raises")


def once(_what: str, act: Callable[[], T]) -> T:
    """A `Patience` of one try: who calls comes again by itself."""
    return act()


def sha256_at(objects: ObjectStore, key: str) -> str:
    """Return an object's, read through."""
    digest = hashlib.sha256()
    for block in objects.open(key):
        digest.update(block)
    return digest.hexdigest()


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
