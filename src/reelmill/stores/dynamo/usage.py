"""What tenants have used lately, by the model of `stores/lanes.py`: a logarithm in each tenant's item.

It is written after the step, and may be lost with the process: what is lost are seconds of estimates.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from datetime import datetime

import structlog

from reelmill.errors import DatabaseRefused, DatabaseUnavailable, TableUnfit
from reelmill.stores.dynamo.core import Core
from reelmill.stores.dynamo.items import Item
from reelmill.stores.lanes import ESTIMATE_S, UNUSED, Charge
from reelmill.stores.schema import AGE_S

log: structlog.typing.FilteringBoundLogger = structlog.get_logger("reelmill.usage")


def usage_of(tenant: Item, at: datetime) -> float:
    """Return a tenant's usage; that of one that has used nothing yet is the least there is."""
    return float(tenant["usage"]) if tenant["usage"] is not None else _moment(at) + UNUSED


def with_one_more(usage: float, at: datetime) -> float:
    """Return the usage when one more step has been claimed."""
    return _charged(usage, Charge("", ESTIMATE_S), at)


def _moment(at: datetime) -> float:
    return at.timestamp() / AGE_S


def _charged(usage: float, charge: Charge, at: datetime) -> float:
    now = _moment(at)
    back_s = charge.estimate_s * math.exp(max(charge.since - now, UNUSED))
    left_s = math.exp(max(usage - now, UNUSED)) + charge.cpu_s - back_s
    return now + math.log(max(left_s, math.exp(UNUSED)))


class Usage:
    """Charges tenants. Threads that come while one writes leave theirs to it."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._waiting: list[Charge] = []
        self._guard = threading.Lock()
        self._writer = threading.Lock()

    def charge(self, charges: Sequence[Charge]) -> None:
        """Change tenants' usage. Never raises what an outage raises: the steps are claimed, or closed, already."""
        with self._guard:
            self._waiting += charges
        while self._waiting and self._writer.acquire(blocking=False):
            try:
                with self._guard:
                    mine, self._waiting = self._waiting, []
                self._write(mine)
            except (DatabaseUnavailable, DatabaseRefused, TableUnfit) as error:
                log.warning("usage not charged", detail=str(error))
            finally:
                self._writer.release()

    def _write(self, charges: Sequence[Charge]) -> None:
        for name in sorted({charge.tenant for charge in charges}):
            theirs = [charge for charge in charges if charge.tenant == name]

            def count(tenant: Item, at: datetime, theirs: list[Charge] = theirs) -> bool:
                usage = usage_of(tenant, at)
                for charge in theirs:
                    usage = _charged(usage, charge, at)
                tenant["usage"] = usage
                return True

            self._core.change("tenants", name, count)
