"""The doorbell of one process: rings under a condition variable, for the threads that wait for them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

MOST = 1000  #: rings that are kept: more would only make idle looks


class InlineDispatcher:
    """Dispatcher for workers that are threads of this process."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._rings: deque[str | None] = deque(maxlen=MOST)
        self._waiting = 0
        self.on_idle: Callable[[], None] = lambda: None  #: called when another thread begins to wait

    def ring(self, count: int = 1, *, job_id: str = "", queue: str = "cpu") -> None:  # noqa: ARG002 - hints for others
        self._add([None] * min(count, MOST))

    def wake(self, count: int) -> None:
        self._add([None] * count)

    def wait(self, timeout_s: float) -> str | None:
        with self._condition:
            self._waiting += 1
            self._condition.notify_all()  # `hand_over` may wait for us
        self.on_idle()
        with self._condition:
            try:
                heard = self._condition.wait_for(lambda: bool(self._rings), timeout_s)
                return self._rings.popleft() if heard else None
            finally:
                self._waiting -= 1

    def close(self) -> None:
        """Nothing is left to be sent."""

    # ── for an engine that brings rings from elsewhere ────────────────────────────────────────

    @property
    def idle(self) -> int:
        """How many threads wait for whom there is no ring yet."""
        with self._condition:
            return self._waiting - len(self._rings)

    def hand_over(self, engine_task_id: str, closing: threading.Event) -> bool:
        """Give a ring to a thread that waits for one; return False when none did before `closing` was set."""
        with self._condition:
            while not closing.is_set():
                if self._condition.wait_for(lambda: self._waiting > len(self._rings), 0.5):
                    self._rings.append(engine_task_id)
                    self._condition.notify_all()
                    return True
        return False

    def _add(self, rings: list[str | None]) -> None:
        with self._condition:
            self._rings.extend(rings)
            self._condition.notify_all()
