"""What tenants keep by name: presets of texts."""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from reelmill.errors import NameTaken, NotFound
from reelmill.jobs.model import Brand, Caller, Json
from reelmill.stores import rows
from reelmill.stores.engine import reading, writing
from reelmill.stores.notes import note
from reelmill.stores.schema import brands, now


class SqlBrands:
    """BrandStore on SQLAlchemy Core."""

    engine: Engine
    on_commit: Callable[[], None]

    @writing
    def add_brand(self, tx: Connection, brand_id: str, kind: str, name: str, data: Json, by: Caller) -> Brand:
        values = {"id": brand_id, "tenant": by.tenant, "kind": kind, "name": name, "data": dict(data)}
        try:
            with tx.begin_nested():
                tx.execute(sa.insert(brands).values(**values, created_at=now(), updated_at=now()))
        except sa.exc.IntegrityError as taken:
            raise NameTaken(f"There is a {kind} {name!r} already.") from taken
        note(tx, by, f"{kind}.create", brand_id, by.tenant, {"name": name})
        return _one(tx, brand_id, kind, by.tenant)

    @reading
    def brands(self, tx: Connection, tenant: str, kind: str) -> list[Brand]:
        query = sa.select(brands).where(brands.c.tenant == tenant, brands.c.kind == kind)
        found = [rows.to_brand(row) for row in tx.execute(query).mappings()]
        return sorted(found, key=lambda brand: brand.name)  # databases sort letters in their own ways

    @reading
    def find_brand(self, tx: Connection, tenant: str, kind: str, name: str) -> Brand | None:
        query = sa.select(brands).where(brands.c.tenant == tenant, brands.c.kind == kind, brands.c.name == name)
        row = tx.execute(query).mappings().one_or_none()
        return rows.to_brand(row) if row else None

    @writing
    def change_brand(self, tx: Connection, brand_id: str, kind: str, data: Json, by: Caller) -> Brand:
        change = sa.update(brands).where(_brand(brand_id, kind, by.tenant))
        tx.execute(change.values(data=dict(data), updated_at=now()))
        changed = _one(tx, brand_id, kind, by.tenant)
        note(tx, by, f"{kind}.change", brand_id, by.tenant, {"name": changed.name})
        return changed

    @writing
    def remove_brand(self, tx: Connection, brand_id: str, kind: str, by: Caller) -> Brand:
        gone = _one(tx, brand_id, kind, by.tenant)
        tx.execute(sa.delete(brands).where(_brand(brand_id, kind, by.tenant)))
        note(tx, by, f"{kind}.delete", brand_id, by.tenant, {"name": gone.name})
        return gone


def _brand(brand_id: str, kind: str, tenant: str) -> sa.ColumnElement[bool]:
    return sa.and_(brands.c.id == brand_id, brands.c.kind == kind, brands.c.tenant == tenant)


def _one(tx: Connection, brand_id: str, kind: str, tenant: str) -> Brand:
    row = tx.execute(sa.select(brands).where(_brand(brand_id, kind, tenant))).mappings().one_or_none()
    if row is None:
        raise NotFound(f"There is no {kind} {brand_id}.")
    return rows.to_brand(row)
