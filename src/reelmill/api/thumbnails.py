"""Thumbnails in other widths: made when they are first asked for, kept on the disk within a bound."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path

import structlog

from reelmill.errors import OutputRejected
from reelmill.jobs.files import Files
from reelmill.jobs.model import Artifact
from reelmill.media.pictures import narrowed

log: structlog.typing.FilteringBoundLogger = structlog.get_logger("reelmill.api")

WIDTHS = (160, 320, 480, 640, 960, 1280, 1920)  #: pixels; any other is rounded up, so that few are made
LARGEST = 32 << 20  #: bytes of a picture that is made smaller
MAKERS = 2  #: pictures that are made at a time
KEPT = 0.8  #: of the bound, after it was reached


class Thumbnails:
    """Pictures of any job by their SHA-256 and width; safe to share between threads and processes."""

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self._folder = folder
        self._most = most_bytes
        self._makers = threading.BoundedSemaphore(MAKERS)
        self._guard = threading.Lock()
        self._bytes: int | None = None  #: as far as this process knows

    def get(self, files: Files, artifact: Artifact, width: int) -> bytes | None:
        """Return the picture at most `width` pixels wide; None when only the whole will do. Raises StorageProblem."""
        if artifact.size_bytes > LARGEST:
            return None
        path = self._folder / artifact.sha256[:2] / f"{artifact.sha256}-{width}"
        with suppress(OSError):
            content = path.read_bytes()
            os.utime(path)  # what is asked for stays
            return content
        with self._makers:
            try:
                content = narrowed(b"".join(files.open(artifact.key)), width)
            except OutputRejected as problem:
                log.warning("no thumbnail in another width", key=artifact.key, detail=problem.detail)
                return None
        with suppress(OSError):  # a full disk: it is made again next time
            self._keep(path, content)
        return content

    def _keep(self, path: Path, content: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.part")
        try:
            part.write_bytes(content)
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        with self._guard:
            if self._bytes is not None:
                self._bytes += len(content)
            if self._bytes is None or self._bytes > self._most:
                self._bytes = self._trimmed()

    def _trimmed(self) -> int:
        """Remove what wasn't asked for longest, if there is too much; return how many bytes are left."""
        found = []
        for path in self._folder.glob("*/*"):
            with suppress(OSError):  # another process trims, too
                told = path.stat()
                found.append((told.st_mtime_ns, told.st_size, path))
        total = sum(size for _, size, _ in found)
        if total <= self._most:
            return total
        for _, size, path in sorted(found):
            if total <= self._most * KEPT:
                break
            with suppress(OSError):
                path.unlink()
            total -= size
        return total


def step_of(width: int) -> int:
    """Return the width that is made for this one."""
    return next((step for step in WIDTHS if step >= width), WIDTHS[-1])
