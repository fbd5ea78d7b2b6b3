"""Thumbnails in other widths: made when they are first asked for."""

from __future__ import annotations

import threading

import structlog

from reelmill.api.kept import Kept
from reelmill.errors import OutputRejected
from reelmill.jobs.files import Files
from reelmill.jobs.model import Artifact
from reelmill.media.pictures import narrowed

log: structlog.typing.FilteringBoundLogger = structlog.get_logger("reelmill.api")

WIDTHS = (160, 320, 480, 640, 960, 1280, 1920)  #: pixels; any other is rounded up, so that few are made
LARGEST = 32 << 20  #: bytes of a picture that is made smaller
MAKERS = 2  #: pictures that are made at a time


class Thumbnails:
    """Pictures of any job by their SHA-256 and width; safe to share between threads and processes."""

    def __init__(self, kept: Kept) -> None:
        self._kept = kept
        self._makers = threading.BoundedSemaphore(MAKERS)

    def get(self, files: Files, artifact: Artifact, width: int) -> bytes | None:
        """Return the picture at most `width` pixels wide; None when only the whole will do. Raises StorageProblem."""
        if artifact.size_bytes > LARGEST:
            return None
        name = f"{artifact.sha256}-{width}"
        if (content := self._kept.read(name)) is not None:
            return content
        with self._makers:
            try:
                content = narrowed(b"".join(files.open(artifact.key)), width)
            except OutputRejected as problem:
                log.warning("no thumbnail in another width", key=artifact.key, detail=problem.detail)
                return None
        self._kept.write(name, content)
        return content


def step_of(width: int) -> int:
    """Return the width that is made for this one."""
    return next((step for step in WIDTHS if step >= width), WIDTHS[-1])
