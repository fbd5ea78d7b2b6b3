"""Writes that arrive together are made together: one transaction, one wait for the disk, fewer statements.

Nothing waits for company. Who finds nobody at work begins at once; whoever comes meanwhile is in the next round.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

MOST_JOINED = 32  #: claims, ends or announcements in one transaction

T = TypeVar("T")
R = TypeVar("R")


class _Entry(Generic[T, R]):
    __slots__ = ("done", "error", "item", "result", "woken")

    def __init__(self, item: T) -> None:
        self.item = item
        self.done = False
        self.result: R | None = None
        self.error: BaseException | None = None
        # A lock that its maker waits for: an Event costs several times as much.
        self.woken = threading.Lock()
        self.woken.acquire()


class Joined(Generic[T, R]):
    """Calls of one function, from many threads of this process, made in rounds of up to `most`.

    act: is given the items of a round, in the order of arrival, and returns for each a result or the error to raise;
    an error that it raises itself is everybody's.
    """

    def __init__(self, act: Callable[[Sequence[T]], Sequence[R | BaseException]], most: int) -> None:
        self._act = act
        self._most = most
        self._waiting: deque[_Entry[T, R]] = deque()
        self._led = False  # somebody is at work, or was told to be
        self._guard = threading.Lock()

    def __call__(self, item: T) -> R:
        mine: _Entry[T, R] = _Entry(item)
        with self._guard:
            self._waiting.append(mine)
            leads, self._led = not self._led, True
        if not leads:
            mine.woken.acquire()  # each is woken once: because it is done, or to lead the next round
        if not mine.done:
            self._round()
        if mine.error is not None:
            raise mine.error
        return mine.result  # type: ignore[return-value]  # R may itself be None

    def _round(self) -> None:
        """Make a round, the caller's entry first in it; then let the next begin."""
        with self._guard:
            entries = [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]
        try:
            for entry, result in zip(entries, self._act([entry.item for entry in entries]), strict=True):
                if isinstance(result, BaseException):
                    entry.error = result
                else:
                    entry.result = result
        except BaseException as error:  # KeyboardInterrupt, too: the others must not wait for ever
            for entry in entries:
                entry.error = entry.error or error
        with self._guard:
            following = self._waiting[0] if self._waiting else None
            self._led = following is not None
        for entry in entries:
            entry.done = True
        if following is not None:
            following.woken.release()
        for entry in entries[1:]:
            entry.woken.release()
