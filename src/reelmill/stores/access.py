"""API keys and idempotent requests, in the same database as the jobs."""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from reelmill.errors import IdempotencyInProgress, IdempotencyMismatch, NotFound
from reelmill.jobs.model import ApiKey
from reelmill.jobs.ports import StoredReply
from reelmill.stores import rows
from reelmill.stores.engine import reading, writing
from reelmill.stores.schema import api_keys, now, requests

ABANDONED_AFTER_S = 60.0


class SqlAccess:
    """AccessStore on SQLAlchemy Core."""

    def __init__(self, engine: Engine, on_commit: Callable[[], None] | None = None) -> None:
        self.engine = engine
        self.on_commit = on_commit or (lambda: None)

    @writing
    def add_key(self, tx: Connection, key: ApiKey, sha256: str) -> ApiKey:
        row = tx.execute(
            sa.insert(api_keys)
            .values(
                id=key.id,
                name=key.name,
                prefix=key.prefix,
                sha256=sha256,
                scopes=list(key.scopes),
                subject=key.subject,
                tenant=key.tenant,
                created_at=now(),
            )
            .returning(api_keys)
        )
        return rows.to_key(row.mappings().one())

    @reading
    def find_key(self, tx: Connection, sha256: str) -> ApiKey | None:
        query = sa.select(api_keys).where(api_keys.c.sha256 == sha256, api_keys.c.revoked_at.is_(None))
        row = tx.execute(query).mappings().one_or_none()
        return rows.to_key(row) if row else None

    @reading
    def keys(self, tx: Connection, tenant: str | None = None) -> list[ApiKey]:
        query = sa.select(api_keys).order_by(api_keys.c.created_at, api_keys.c.id)
        if tenant is not None:
            query = query.where(api_keys.c.tenant == tenant)
        return [rows.to_key(row) for row in tx.execute(query).mappings()]

    @writing
    def revoke_key(self, tx: Connection, key_id: str, tenant: str | None = None) -> ApiKey:
        revoke = sa.update(api_keys).where(api_keys.c.id == key_id)
        if tenant is not None:
            revoke = revoke.where(api_keys.c.tenant == tenant)
        row = tx.execute(
            revoke.values(revoked_at=sa.func.coalesce(api_keys.c.revoked_at, now())).returning(api_keys)
        ).mappings()
        found = row.one_or_none()
        if found is None:
            raise NotFound(f"There is no API key {key_id}.")
        return rows.to_key(found)

    @writing
    def begin_request(self, tx: Connection, tenant: str, path: str, key: str, body_sha256: str) -> StoredReply | None:
        reserve = {"tenant": tenant, "path": path, "key": key, "body_sha256": body_sha256}
        try:
            with tx.begin_nested():
                tx.execute(sa.insert(requests).values(**reserve, created_at=now()))
        except sa.exc.IntegrityError:
            pass  # the key is known: its row decides below
        else:
            return None
        mine = _request(tenant, path, key)
        row = tx.execute(sa.select(requests).where(mine)).mappings().one_or_none()
        if row is None:
            raise IdempotencyInProgress  # dropped between the two statements: the client may repeat
        if row["body_sha256"] != body_sha256:
            raise IdempotencyMismatch
        if row["status_code"] is not None:
            return StoredReply(row["status_code"], row["body"], row["content_type"])
        taken_over = tx.execute(
            sa.update(requests)
            .where(mine, requests.c.status_code.is_(None), requests.c.created_at < now(-ABANDONED_AFTER_S))
            .values(created_at=now())
        )
        if taken_over.rowcount == 0:
            raise IdempotencyInProgress
        return None

    @writing
    def finish_request(self, tx: Connection, tenant: str, path: str, key: str, reply: StoredReply) -> None:
        tx.execute(
            sa.update(requests)
            .where(_request(tenant, path, key))
            .values(status_code=reply.status_code, body=reply.body, content_type=reply.content_type)
        )

    @writing
    def drop_request(self, tx: Connection, tenant: str, path: str, key: str) -> None:
        tx.execute(sa.delete(requests).where(_request(tenant, path, key), requests.c.status_code.is_(None)))

    @writing
    def purge_requests(self, tx: Connection, older_than_s: float = 86400.0) -> int:
        return tx.execute(sa.delete(requests).where(requests.c.created_at < now(-older_than_s))).rowcount


def _request(tenant: str, path: str, key: str) -> sa.ColumnElement[bool]:
    return sa.and_(requests.c.tenant == tenant, requests.c.path == path, requests.c.key == key)
