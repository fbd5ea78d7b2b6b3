"""The child processes that a test itself has started; servers that the session runs beside it are strangers."""

from __future__ import annotations

import psutil

_strangers: set[int] = set()


def note_strangers() -> None:
    """Take note of what runs before the test begins."""
    _strangers.clear()
    _strangers.update(child.pid for child in psutil.Process().children(recursive=True))


def children() -> list[psutil.Process]:
    """Return what the test has started and what still lives."""
    return [
        child
        for child in psutil.Process().children(recursive=True)
        if child.pid not in _strangers and name_of(child) is not None
    ]


def name_of(process: psutil.Process) -> str | None:
    """Return a process's name; None when it has ended, be it just now."""
    try:
        return None if process.status() == psutil.STATUS_ZOMBIE else str(process.name())
    except psutil.NoSuchProcess:
        return None
