"""The gate before claiming: work is begun only while there is room for it, and a place for what it makes."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Sequence
from pathlib import Path

import structlog

from reelmill.errors import DiskLow, ReelmillError
from reelmill.jobs.files import Files

log: structlog.typing.FilteringBoundLogger = structlog.get_logger("reelmill.gate")

MIB = 1 << 20
FULL = (errno.ENOSPC, errno.EDQUOT)
FULL_WORDS = "No space left on device"  # as media tools say it


class Gate:
    """Closed while a disk is nearly full, or storage is away and no spool can take its place."""

    def __init__(self, files: Files, folders: Sequence[Path], reserve_bytes: int) -> None:
        """folders: that are written to. reserve_bytes: least free space of each one's disk."""
        self._files = files
        self._folders = folders
        self._reserve = reserve_bytes
        self._told: str | None = None
        self._guard = threading.Lock()

    def closed(self) -> ReelmillError | None:
        """Return why nothing may be begun now; None when all is well. Tells the log when that changes."""
        problem = self.full() or self._files.stuck()
        code = problem.code if problem else None
        with self._guard:
            changed, self._told = code != self._told, code
        if changed and problem:
            log.warning("claims pause", code=code, detail=problem.detail, remedy=problem.remedy)
        elif changed:
            log.info("claims go on")
        return problem

    def full(self) -> DiskLow | None:
        """Return which disk has less than the reserve; None when all have more."""
        for folder in self._folders:
            free = free_bytes(folder)
            if free is not None and free < self._reserve:
                return DiskLow(
                    f"{free // MIB} MiB are free for {folder.name}; REELMILL_DISK_RESERVE_MB asks for "
                    f"{self._reserve // MIB}."
                )
        return None


def free_bytes(folder: Path) -> int | None:
    """Return how much may still be written where this folder is, or will be; None when nobody can tell."""
    try:
        there = next(parent for parent in (folder, *folder.parents) if parent.exists())
        disk = os.statvfs(there)
    except OSError:
        return None
    return disk.f_bavail * disk.f_frsize


def ran_full(error: BaseException) -> bool:
    """Tell whether an error is a full disk's, in whatever words."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in FULL:
            return True
        cause = cause.__cause__
    extra = getattr(error, "extra", {})
    return FULL_WORDS in f"{error} {extra.get('stderr') or ''}"
