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
        if child.pid not in _strangers and child.status() != psutil.STATUS_ZOMBIE
    ]
