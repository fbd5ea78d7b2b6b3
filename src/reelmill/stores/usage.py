"""What tenants have used, written beside the transactions that claim and close.

A tenant's row is written by each of its claims. On PostgreSQL a claim that wrote it itself would hold it until its
commit is on the disk, and all other claims would wait in line for that. So there it is written afterwards, in a
connection of its own that needn't wait for the disk; what a crash of the server loses of it are seconds of estimates.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import structlog
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError, TimeoutError

from reelmill.stores import lanes
from reelmill.stores.engine import open_beside

log: structlog.typing.FilteringBoundLogger = structlog.get_logger("reelmill.usage")


class Usage:
    """Charges tenants: within the transaction on SQLite, after it on PostgreSQL."""

    def __init__(self, engine: Engine) -> None:
        self._beside = open_beside(engine)
        self._waiting: list[lanes.Charge] = []
        self._guard = threading.Lock()
        self._writer = threading.Lock()

    def charge(self, tx: Connection, charges: Sequence[lanes.Charge]) -> None:
        """Charge now, or note it for `settle`."""
        if not charges:
            return
        if self._beside is None:
            lanes.charge(tx, charges)
            return
        self.note(charges)

    def note(self, charges: Sequence[lanes.Charge]) -> None:
        """Leave charges to the next `settle`, on PostgreSQL."""
        with self._guard:
            self._waiting += charges

    def settle(self) -> None:
        """Write what was noted: after each claim, so that the next one knows; what was closed since comes with it.

        Threads that come while one writes leave theirs to it.
        """
        while self._beside is not None and self._waiting and self._writer.acquire(blocking=False):
            try:
                with self._guard:
                    charges, self._waiting = self._waiting, []
                if charges:
                    with self._beside.use() as connection:
                        lanes.charge(connection, charges)
            except (DBAPIError, TimeoutError) as error:
                log.warning("usage not charged", detail=str(error).splitlines()[0])
            finally:
                self._writer.release()

    def close(self) -> None:
        if self._beside is not None:
            self._beside.close()
