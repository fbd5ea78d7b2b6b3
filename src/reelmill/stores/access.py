"""API keys, the audit log and idempotent requests, in the same database as the jobs."""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from reelmill.errors import IdempotencyInProgress, IdempotencyMismatch, KeyRevoked, NotFound
from reelmill.jobs.model import OPERATOR, ApiKey, AuditEntry, Caller, Json, Page, Switch, TenantLimits
from reelmill.jobs.ports import FreshSecret, Reservation, StoredReply
from reelmill.stores import rows
from reelmill.stores.brands import SqlBrands
from reelmill.stores.engine import reading, writing
from reelmill.stores.notes import note
from reelmill.stores.reads import page_of
from reelmill.stores.schema import api_keys, audit, now, requests, signed_out, switches, tenant_limits
from reelmill.stores.shares import SqlShares

ABANDONED_AFTER_S = 60.0

# A key that is being replaced has its end in the future: only the database's clock says whether it has come.
# Not for RETURNING: SQLite 3.40 gives NULL for `IS NULL` of a column that an INSERT left out.
ACTIVE = sa.or_(api_keys.c.revoked_at.is_(None), api_keys.c.revoked_at > now())
SHOWN = (api_keys, ACTIVE.label("active"))


class SqlAccess(SqlShares, SqlBrands):
    """AccessStore on SQLAlchemy Core."""

    def __init__(self, engine: Engine, on_commit: Callable[[], None] | None = None) -> None:
        self.engine = engine
        self.on_commit = on_commit or (lambda: None)

    # ── keys ──────────────────────────────────────────────────────────────────────────────────

    @writing
    def add_key(self, tx: Connection, key: ApiKey, sha256: str, by: Caller = OPERATOR) -> ApiKey:
        added = _insert_key(tx, key, FreshSecret(key.id, key.prefix, sha256))
        note(tx, by, "key.create", added.id, added.tenant, _about(added))
        return added

    @reading
    def find_key(self, tx: Connection, sha256: str) -> ApiKey | None:
        query = sa.select(*SHOWN).where(api_keys.c.sha256 == sha256, ACTIVE)
        row = tx.execute(query).mappings().one_or_none()
        return rows.to_key(row) if row else None

    @reading
    def keys(self, tx: Connection, tenant: str | None = None) -> list[ApiKey]:
        query = sa.select(*SHOWN).order_by(api_keys.c.created_at, api_keys.c.id)
        if tenant is not None:
            query = query.where(api_keys.c.tenant == tenant)
        return [rows.to_key(row) for row in tx.execute(query).mappings()]

    @writing
    def rotate_key(
        self,
        tx: Connection,
        key_id: str,
        fresh: FreshSecret,
        overlap_s: int,
        tenant: str | None = None,
        by: Caller = OPERATOR,
    ) -> tuple[ApiKey, ApiKey]:
        end = sa.update(api_keys).where(_key(key_id, tenant), api_keys.c.revoked_at.is_(None))
        ended = tx.execute(end.values(revoked_at=now(overlap_s))).rowcount
        old = _one_key(tx, key_id, tenant)
        if not ended:
            assert old.revoked_at is not None, "else the guard would have let it pass"
            raise KeyRevoked(f"The API key {key_id} has an end already: {old.revoked_at.isoformat()}.")
        new = _insert_key(tx, old, fresh)
        told = {**_about(old), "new_key_id": new.id, "overlap_s": overlap_s}
        note(tx, by, "key.rotate", old.id, old.tenant, told)
        return new, old

    @writing
    def revoke_key(self, tx: Connection, key_id: str, tenant: str | None = None, by: Caller = OPERATOR) -> ApiKey:
        revoke = sa.update(api_keys).where(_key(key_id, tenant), ACTIVE)
        stopped = tx.execute(revoke.values(revoked_at=now())).rowcount
        key = _one_key(tx, key_id, tenant)
        if stopped:
            note(tx, by, "key.revoke", key.id, key.tenant, _about(key))
        return key

    # ── browsers ──────────────────────────────────────────────────────────────────────────────

    @writing
    def sign_out(self, tx: Connection, cookie_sha256: str, life_s: int, by: Caller) -> None:
        tx.execute(sa.delete(signed_out).where(signed_out.c.until < now()))
        if not _is_signed_out(tx, cookie_sha256):
            tx.execute(sa.insert(signed_out).values(sha256=cookie_sha256, until=now(life_s)))
            note(tx, by, "browser.signout", by.user_id, by.tenant)

    @reading
    def signed_out(self, tx: Connection, cookie_sha256: str) -> bool:
        return _is_signed_out(tx, cookie_sha256)

    # ── audit ─────────────────────────────────────────────────────────────────────────────────

    @writing
    def audit(self, tx: Connection, by: Caller, *, action: str, target: str, data: Json | None = None) -> None:
        note(tx, by, action, target, by.tenant, data)

    @reading
    def audit_log(
        self,
        tx: Connection,
        tenant: str | None = None,
        *,
        action: str | None = None,
        target: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[AuditEntry]:
        given = {audit.c.action: action, audit.c.target: target}
        wanted = [column == value for column, value in given.items() if value is not None]
        return page_of(tx, audit, rows.to_audit, tenant, wanted, cursor, limit)

    @writing
    def expire_audit(self, tx: Connection, older_than_s: float, limit: int = 1000) -> int:
        old = sa.select(audit.c.id).where(audit.c.created_at < now(-older_than_s)).order_by(audit.c.created_at)
        return tx.execute(sa.delete(audit).where(audit.c.id.in_(old.limit(limit)))).rowcount

    # ── switches and limits ───────────────────────────────────────────────────────────────────

    @writing
    def switch_off(
        self, tx: Connection, pipeline: str, tenant: str | None, reason: str, by: Caller = OPERATOR
    ) -> Switch:
        values = {"reason": reason, "actor": by.user_id, "since": now()}
        tx.execute(sa.delete(switches).where(_switch(pipeline, tenant)))
        tx.execute(sa.insert(switches).values(pipeline=pipeline, tenant=tenant or "", **values))
        told = {"reason": reason, "all_tenants": tenant is None}
        note(tx, by, "pipeline.off", pipeline, tenant or by.tenant, told)
        return _to_switch(tx.execute(sa.select(switches).where(_switch(pipeline, tenant))).mappings().one())

    @writing
    def switch_on(self, tx: Connection, pipeline: str, tenant: str | None, by: Caller = OPERATOR) -> None:
        if tx.execute(sa.delete(switches).where(_switch(pipeline, tenant))).rowcount:
            note(tx, by, "pipeline.on", pipeline, tenant or by.tenant, {"all_tenants": tenant is None})

    @reading
    def switches(self, tx: Connection, tenant: str | None = None) -> list[Switch]:
        query = sa.select(switches).order_by(switches.c.pipeline, switches.c.tenant)
        if tenant is not None:
            query = query.where(switches.c.tenant.in_(["", tenant]))
        return [_to_switch(row) for row in tx.execute(query).mappings()]

    @writing
    def set_limits(self, tx: Connection, limits: TenantLimits, by: Caller = OPERATOR) -> TenantLimits:
        told = {"quota_bytes": limits.quota_bytes, "quota_jobs": limits.quota_jobs}
        tx.execute(sa.delete(tenant_limits).where(tenant_limits.c.tenant == limits.tenant))
        tx.execute(sa.insert(tenant_limits).values(tenant=limits.tenant, **told))
        note(tx, by, "tenant.limits", limits.tenant, limits.tenant, told)
        return limits

    @reading
    def limits(self, tx: Connection, tenant: str) -> TenantLimits:
        row = tx.execute(sa.select(tenant_limits).where(tenant_limits.c.tenant == tenant)).mappings().one_or_none()
        return TenantLimits(**row) if row is not None else TenantLimits(tenant)

    @reading
    def all_limits(self, tx: Connection) -> list[TenantLimits]:
        query = sa.select(tenant_limits).order_by(tenant_limits.c.tenant)
        return [TenantLimits(**row) for row in tx.execute(query).mappings()]

    # ── idempotent requests ───────────────────────────────────────────────────────────────────

    @writing
    def begin_request(
        self, tx: Connection, tenant: str, path: str, key: str, body_sha256: str, made: str
    ) -> StoredReply | Reservation:
        reserve = {"tenant": tenant, "path": path, "key": key, "body_sha256": body_sha256, "made": made}
        try:
            with tx.begin_nested():
                tx.execute(sa.insert(requests).values(**reserve, created_at=now()))
        except sa.exc.IntegrityError:
            pass  # the key is known: its row decides below
        else:
            return Reservation(made, again=False)
        mine = _request(tenant, path, key)
        row = tx.execute(sa.select(requests).where(mine)).mappings().one_or_none()
        if row is None:
            raise IdempotencyInProgress  # purged between the two statements: the client may repeat
        if row["body_sha256"] != body_sha256:
            raise IdempotencyMismatch
        if row["status_code"] is not None:
            return StoredReply(row["status_code"], row["body"], row["content_type"])
        taken_over = tx.execute(
            sa.update(requests)
            .where(mine, requests.c.status_code.is_(None), requests.c.created_at < now(-ABANDONED_AFTER_S))
            .values(created_at=now(), made=sa.func.coalesce(requests.c.made, made))
            .returning(requests.c.made)
        ).scalar_one_or_none()
        if taken_over is None:
            raise IdempotencyInProgress
        return Reservation(taken_over, again=True)

    @writing
    def finish_request(self, tx: Connection, tenant: str, path: str, key: str, reply: StoredReply) -> None:
        tx.execute(
            sa.update(requests)
            .where(_request(tenant, path, key))
            .values(status_code=reply.status_code, body=reply.body, content_type=reply.content_type)
        )

    @writing
    def drop_request(self, tx: Connection, tenant: str, path: str, key: str) -> None:
        mine = _request(tenant, path, key)
        abandoned = now(-ABANDONED_AFTER_S - 1)
        tx.execute(sa.update(requests).where(mine, requests.c.status_code.is_(None)).values(created_at=abandoned))

    @writing
    def purge_requests(self, tx: Connection, older_than_s: float = 86400.0) -> int:
        return tx.execute(sa.delete(requests).where(requests.c.created_at < now(-older_than_s))).rowcount


def _request(tenant: str, path: str, key: str) -> sa.ColumnElement[bool]:
    return sa.and_(requests.c.tenant == tenant, requests.c.path == path, requests.c.key == key)


def _switch(pipeline: str, tenant: str | None) -> sa.ColumnElement[bool]:
    return sa.and_(switches.c.pipeline == pipeline, switches.c.tenant == (tenant or ""))


def _to_switch(row: rows.Row) -> Switch:
    return Switch(row["pipeline"], row["tenant"] or None, row["reason"], row["actor"], row["since"])


def _key(key_id: str, tenant: str | None) -> sa.ColumnElement[bool]:
    mine = api_keys.c.id == key_id
    return mine if tenant is None else sa.and_(mine, api_keys.c.tenant == tenant)


def _one_key(tx: Connection, key_id: str, tenant: str | None) -> ApiKey:
    row = tx.execute(sa.select(*SHOWN).where(_key(key_id, tenant))).mappings().one_or_none()
    if row is None:
        raise NotFound(f"There is no API key {key_id}.")
    return rows.to_key(row)


def _insert_key(tx: Connection, like: ApiKey, fresh: FreshSecret) -> ApiKey:
    tx.execute(
        sa.insert(api_keys).values(
            id=fresh.id,
            name=like.name,
            prefix=fresh.prefix,
            sha256=fresh.sha256,
            scopes=list(like.scopes),
            subject=like.subject,
            tenant=like.tenant,
            created_at=now(),
        )
    )
    return _one_key(tx, fresh.id, None)


def _about(key: ApiKey) -> Json:
    return {"name": key.name, "scopes": list(key.scopes), "subject": key.subject}


def _is_signed_out(tx: Connection, cookie_sha256: str) -> bool:
    return tx.execute(sa.select(signed_out.c.sha256).where(signed_out.c.sha256 == cookie_sha256)).first() is not None
