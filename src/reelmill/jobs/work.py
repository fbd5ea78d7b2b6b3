"""What a step's run is given, and what is left of it when it ends otherwise."""

from __future__ import annotations

import shlex
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from reelmill.errors import DatabaseUnavailable, ObjectMissing, StaleAttempt, Stopped, StorageUnavailable
from reelmill.jobs.files import Files, sha256_of
from reelmill.jobs.generating import become
from reelmill.jobs.keys import is_beside, output_key
from reelmill.jobs.lifecycle import Status, StepStatus
from reelmill.jobs.material import media_of
from reelmill.jobs.model import Artifact, Claim, Json, Located, NewArtifact
from reelmill.jobs.ports import UNOBSERVED, Held, JobStore, Observer

LOOKED_AT = 20  #: a video's newest jobs that may have done what a step asks for


class StepWork:
    """The `Work` of one claimed step."""

    def __init__(
        self,
        claim: Claim,
        scratch: Path,
        *,
        store: JobStore,
        files: Files,
        observer: Observer = UNOBSERVED,
        report_s: float = 0.5,
    ) -> None:
        """report_s: least time between two stored progress reports."""
        self.claim = claim
        self.scratch = scratch
        self.stop = threading.Event()
        self.silent = False  #: stopped because the database was away too long: handed back when it answers
        self.closing = False  #: done, and being recorded: that it isn't ours any more may be our own doing
        self._store = store
        self._files = files
        self._observer = observer
        self._report_s = report_s
        self._commands: list[str] = []
        self._published: list[str] = []
        self._reported_at = 0.0

    def locate(self, key: str) -> Located:
        with self._or_elsewhere(key):
            return self._files.locate(key)

    def fetch(self, key: str, name: str) -> Path:
        path = self.scratch / name
        with path.open("wb") as file, self._or_elsewhere(key):
            for block in self._files.open(key):
                file.write(block)
        return path

    def media(self, video_id: str) -> Json:
        return media_of(self._store, self.claim.job.tenant, [video_id])[video_id]

    def done_before(self, kind: str) -> list[Json]:
        job = self.claim.job
        others = self._store.jobs(job.tenant, status=Status.COMPLETED, video_id=job.video_id, limit=LOOKED_AT).items
        for one in (job, *others):
            steps = [step for step in self._store.steps(one.id) if step.kind == kind]
            if steps and all(step.status is StepStatus.DONE for step in steps):
                return [step.output or {} for step in steps]
        return []

    @contextmanager
    def _or_elsewhere(self, key: str) -> Iterator[None]:
        """Let a step wait for a file that lies in another machine's spool. Raises StorageUnavailable for it."""
        try:
            yield
        except ObjectMissing as missing:
            if any(made.key == key and made.place == "spool" for made in self._store.artifacts(self.claim.job.id)):
                raise StorageUnavailable(f"{key} is kept on another machine until storage answers") from missing
            raise

    def progress(self, fraction: float, message: str | None = None) -> None:
        self._check()
        moment = time.monotonic()
        if moment - self._reported_at < self._report_s:
            return
        self._reported_at = moment
        with suppress(DatabaseUnavailable):  # progress may be late; the step must not suffer
            try:
                self._store.report(self.claim, fraction, message)
            except StaleAttempt:
                self._observer.count("stale_writes")
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
        beside_source: bool = False,
    ) -> NewArtifact:
        self._check_held()
        made = NewArtifact(
            kind=kind,
            name=name,
            key=output_key(self.claim, name, beside_source=beside_source),
            size_bytes=path.stat().st_size,
            sha256=sha256_of(path),
            content_type=content_type,
            meta=meta or {},
            primary=primary,
        )
        self._published.append(made.key)
        self._observer.observe("artifact_bytes", made.size_bytes, pipeline=self.claim.job.pipeline, kind=kind)
        return self._files.put(path, made, self.stop)

    def take_over(self, made: Artifact) -> NewArtifact:
        """Copy a file of an earlier step, checked, under a key of this attempt. Raises Stopped, StorageProblem."""
        self._check_held()
        key = output_key(self.claim, made.name, beside_source=is_beside(made.key))
        self._published.append(key)
        self._files.objects.copy(
            made.key, key, size_bytes=made.size_bytes, content_type=made.content_type, sha256=made.sha256
        )
        kept = {name: getattr(made, name) for name in ("kind", "name", "size_bytes", "sha256", "content_type", "meta")}
        return NewArtifact(**kept, key=key, primary=made.primary)

    def keep(self, path: Path, name: str) -> str:
        made = self.publish(path, kind="kept", name=name, content_type="application/octet-stream")
        if made.place == "spool":  # later steps may run on machines that don't see it
            self._files.delete(made.key)
            raise StorageUnavailable(f"{name} is for other machines, which storage alone reaches")
        return made.key

    def become(self, path: Path, source: Json) -> None:
        self._check_held()
        become(self._store, self._files.objects, self.claim.video, path, source)

    def discard(self) -> None:
        """Remove what was published for nothing; what can't be removed now is swept later.

        What a row names stays: the closing write whose reply was lost was done, and then refused as a second one.
        """
        if not self._published:
            return
        try:
            named = {artifact.key for artifact in self._store.artifacts(self.claim.job.id)}
        except DatabaseUnavailable:
            return
        for key in self._published:
            if key not in named:
                self._files.delete(key)

    def _check_held(self) -> None:
        """Raises Stopped when the step isn't ours any more: a worker that was frozen must store nothing."""
        self._check()
        held = Held(self.claim.step.id, self.claim.attempt)
        with suppress(DatabaseUnavailable):  # then the closing write will tell
            if held not in self._store.still_held([held]):
                self.stop.set()
        self._check()

    def _check(self) -> None:
        if self.stop.is_set():
            raise Stopped


def shown_command(argv: Sequence[str]) -> str:
    """Return a command to read and to paste; signed URLs lose their queries, which are secrets."""
    return shlex.join(w.split("?", 1)[0] if w.startswith(("http://", "https://")) else w for w in argv)
