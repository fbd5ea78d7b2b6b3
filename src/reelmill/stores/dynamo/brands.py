"""What tenants keep by name: presets of texts.

brands#{tenant}    {kind}#{name}    one of them
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from reelmill.errors import NameTaken, NotFound
from reelmill.jobs.model import Brand, Caller, Json
from reelmill.stores import rows
from reelmill.stores.dynamo.core import Core, writing
from reelmill.stores.dynamo.items import Item
from reelmill.stores.dynamo.notes import new_note


class DynamoBrands(Core, ABC):
    """BrandStore on DynamoDB. Its audit entries are written after what they tell of."""

    @writing
    def add_brand(self, brand_id: str, kind: str, name: str, data: Json, by: Caller) -> Brand:
        at = self.at()
        new = Item(
            pk=_place(by.tenant), sk=f"{kind}#{name}", id=brand_id, tenant=by.tenant, kind=kind, name=name,
            data=dict(data), created_at=at, updated_at=at, stamped_at=at,
        )  # fmt: skip
        if not self.table.add(new):
            raise NameTaken(f"There is a {kind} {name!r} already.")
        self._log(new_note(by, f"{kind}.create", brand_id, by.tenant, {"name": name}, at))
        return rows.to_brand(new)

    def brands(self, tenant: str, kind: str) -> list[Brand]:
        found = [rows.to_brand(item) for item in self.table.query(_place(tenant), f"{kind}#")]
        return sorted(found, key=lambda brand: brand.name)

    def find_brand(self, tenant: str, kind: str, name: str) -> Brand | None:
        item = self.table.get(_place(tenant), f"{kind}#{name}")
        return None if item is None else rows.to_brand(item)

    @writing
    def change_brand(self, brand_id: str, kind: str, data: Json, by: Caller) -> Brand:
        known = self._known(brand_id, kind, by.tenant)

        def change(item: Item, at: datetime) -> bool:
            if item["id"] != brand_id:  # removed, and made anew, in the meantime
                return False
            item.update(data=dict(data), updated_at=at)
            return True

        changed = self.change(_place(by.tenant), f"{kind}#{known.name}", change)
        if changed is None or changed["id"] != brand_id:
            raise NotFound(f"There is no {kind} {brand_id}.")
        self._log(new_note(by, f"{kind}.change", brand_id, by.tenant, {"name": known.name}, self.at()))
        return rows.to_brand(changed)

    @writing
    def remove_brand(self, brand_id: str, kind: str, by: Caller) -> Brand:
        known = self._known(brand_id, kind, by.tenant)
        self.table.remove(_place(by.tenant), f"{kind}#{known.name}")
        self._log(new_note(by, f"{kind}.delete", brand_id, by.tenant, {"name": known.name}, self.at()))
        return known

    def _known(self, brand_id: str, kind: str, tenant: str) -> Brand:
        found = next((brand for brand in self.brands(tenant, kind) if brand.id == brand_id), None)
        if found is None:
            raise NotFound(f"There is no {kind} {brand_id}.")
        return found

    @abstractmethod
    def _log(self, note: Mapping[str, Any] | None) -> None:
        """Write a note to the audit log."""


def _place(tenant: str) -> str:
    return f"brands#{tenant}"
