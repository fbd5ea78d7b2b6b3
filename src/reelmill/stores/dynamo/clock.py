"""The time of a database that has no clock of its own: ours, kept within what the `Date` of its replies allows.

A reply's `Date` has whole seconds and may come from a server's cache, so each reply says only between which bounds
the database's time lies; many together narrow them. While our clock is within, it is taken as it is: clocks that
follow a time server agree with each other far better than a second. One that is off is moved to the nearer bound.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

RESOLUTION_S = 2.0  #: a `Date` is cut to a second, and servers keep one for up to another


class Clock:
    """The database's time, from its replies."""

    def __init__(self, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._guard = threading.Lock()
        self._low = float("-inf")  #: least and most of (database's time − our monotonic clock)
        self._high = float("inf")

    def hear(self, date: str, asked: float) -> None:
        """Take a reply's `Date` into account. asked: our monotonic clock when the request was sent."""
        answered = self._monotonic()
        said = parsedate_to_datetime(date).timestamp()
        low, high = said - answered, said + RESOLUTION_S - asked
        with self._guard:
            if low > self._high or high < self._low:  # one of the clocks was set, or this machine slept
                self._low, self._high = low, high
            else:
                self._low, self._high = max(low, self._low), min(high, self._high)

    def heard(self) -> bool:
        """Whether any reply has come."""
        return self._low > float("-inf")

    def at(self, offset_s: float = 0.0) -> datetime:
        """Return the database's time, `offset_s` seconds on (or back)."""
        with self._guard:
            here = self._monotonic()
            moment = min(max(self._wall(), here + self._low), here + self._high)
        return datetime.fromtimestamp(moment, UTC) + timedelta(seconds=offset_s)

    def ticks(self) -> float:
        """Return our monotonic clock, in seconds: for how long something was seen unchanged."""
        return self._monotonic()
