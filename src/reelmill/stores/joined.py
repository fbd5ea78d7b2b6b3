"""Writes that arrive together are made together: one transaction, one wait for the disk, fewer statements.

Nothing waits for company. Who finds nobody at work begins at once; whoever comes meanwhile is in the next round.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class _Entry(Generic[T, R]):
    __slots__ = ("done", "error", "item", "result", "woken")

    def __init__(self, item: T) -> None:
        self.item = item
        self.done = False
        self.result: R | None = None
        self.error: BaseException | None = None
        self.woken = threading.Event()


class Joined(Generic[T, R]):
    """Calls of one function, from many threads of this process, made in rounds of up to `most`.

    act: is given the items of a round, in the order of arrival, and returns for each a result or the error to raise;
    an error that it raises itself is everybody's.
    """

    def __init__(self, act: Callable[[Sequence[T]], Sequence[R | BaseException]], most: int) -> None:
        self._act = act
        self._most = most
        self._waiting: deque[_Entry[T, R]] = deque()
        self._turn = threading.Lock()

    def __call__(self, item: T) -> R:
        mine: _Entry[T, R] = _Entry(item)
        self._waiting.append(mine)
        while not mine.done:
            if self._turn.acquire(blocking=False):
                try:
                    if not mine.done:
                        self._round()
                finally:
                    self._turn.release()
                # Whoever came while the turn was taken sleeps: the first of them is the next.
                with suppress(IndexError):
                    self._waiting[0].woken.set()
            else:
                mine.woken.wait()
                mine.woken.clear()
        if mine.error is not None:
            raise mine.error
        return mine.result  # type: ignore[return-value]  # R may itself be None

    def _round(self) -> None:
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
        for entry in entries:
            entry.done = True
            entry.woken.set()
