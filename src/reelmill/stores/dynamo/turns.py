"""The order in which steps are claimed, as `stores/lanes.py` has it: priority, use, what plays first, age.

A lane is what one tenant has in one queue: a partition of `by_turn`, in which its ready steps stand in their order.
Which lane is next is decided here, from the heads of all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from reelmill.stores.dynamo import items
from reelmill.stores.dynamo.items import Item
from reelmill.stores.dynamo.table import Table
from reelmill.stores.dynamo.usage import usage_of, with_one_more


class Lane:
    """A lane's next ready step."""

    def __init__(self, tenant: str, places: Iterator[Item]) -> None:
        self.tenant = tenant
        self._places = places
        self.head: Item | None = None

    def advance(self) -> None:
        self.head = next(self._places, None)


class Turns:
    """The places of ready steps, in the order of claims, as the index has them."""

    def __init__(self, table: Table, at: datetime, queues: Sequence[str] | None, page: int) -> None:
        """page: places that are read at a time."""
        tenants = list(table.query("tenants"))
        self._at = at
        self._usage = {tenant["sk"]: usage_of(tenant, at) for tenant in tenants}
        self._lanes = [
            Lane(tenant["sk"], table.index("by_turn", items.lane(tenant["sk"], queue), limit=page))
            for tenant in tenants
            for queue in tenant["queues"]
            if queues is None or queue in queues
        ]
        table.each(Lane.advance, self._lanes)

    def __iter__(self) -> Iterator[tuple[str, Item]]:
        """Yield tenants and places. Who takes one tells it by `take` before it asks for the next."""
        open_ = [lane for lane in self._lanes if lane.head is not None]
        while open_:
            lane = min(open_, key=self._order)
            assert lane.head is not None
            place = lane.head
            lane.advance()
            if lane.head is None:
                open_.remove(lane)
            yield lane.tenant, place

    def take(self, tenant: str) -> None:
        """Count a step for its tenant: another's may be next."""
        self._usage[tenant] = with_one_more(self._usage[tenant], self._at)

    def _order(self, lane: Lane) -> tuple[str, float, str, str]:
        assert lane.head is not None
        place: str = lane.head["turn_at"]
        return place.split("#", 1)[0], self._usage[lane.tenant], lane.tenant, place
