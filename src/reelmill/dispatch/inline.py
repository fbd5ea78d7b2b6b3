"""The doorbell of one process: a counter under a condition variable."""

from __future__ import annotations

import threading


class InlineDispatcher:
    """Dispatcher for workers that are threads of this process."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._rings = 0

    def ring(self, count: int = 1) -> None:
        with self._condition:
            self._rings = min(self._rings + count, 1000)  # a bound: too many rings only make idle looks
            self._condition.notify(count)

    def wait(self, timeout_s: float) -> bool:
        with self._condition:
            heard = self._condition.wait_for(lambda: self._rings > 0, timeout_s)
            if heard:
                self._rings -= 1
            return heard
