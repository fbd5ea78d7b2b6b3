"""What is handed out without a key: shares of results, and the secret that signs for all processes."""

from __future__ import annotations

import secrets as random
from collections.abc import Callable, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from reelmill.errors import NotFound
from reelmill.jobs.model import OPERATOR, Caller, Job, Share
from reelmill.stores import rows
from reelmill.stores.engine import reading, writing
from reelmill.stores.notes import note
from reelmill.stores.schema import now, secrets, shares

SIGNING = "signing"
SECRET_BYTES = 32


class SqlShares:
    """The part of `AccessStore` that shares are in."""

    engine: Engine
    on_commit: Callable[[], None]

    def signing_secret(self) -> bytes:
        return self._known_secret() or self._made_secret()

    @reading
    def _known_secret(self, tx: Connection) -> bytes | None:
        value = tx.execute(sa.select(secrets.c.value).where(secrets.c.name == SIGNING)).scalar_one_or_none()
        return bytes.fromhex(value) if value else None

    @writing
    def _made_secret(self, tx: Connection) -> bytes:
        try:
            with tx.begin_nested():
                tx.execute(sa.insert(secrets).values(name=SIGNING, value=random.token_hex(SECRET_BYTES)))
        except sa.exc.IntegrityError:
            pass  # another process was faster
        return bytes.fromhex(tx.execute(sa.select(secrets.c.value).where(secrets.c.name == SIGNING)).scalar_one())

    @writing
    def add_share(
        self,
        tx: Connection,
        share_id: str,
        job: Job,
        *,
        life_s: int,
        embed: Sequence[str] = (),
        by: Caller = OPERATOR,
    ) -> Share:
        values = {"id": share_id, "job_id": job.id, "tenant": job.tenant, "actor": by.user_id, "embed": list(embed)}
        tx.execute(sa.insert(shares).values(**values, created_at=now(), expires_at=now(life_s)))
        note(tx, by, "share.create", job.id, job.tenant, {"share_id": share_id, "life_s": life_s})
        return _one(tx, job.id, share_id)

    @reading
    def find_share(self, tx: Connection, job_id: str, share_id: str) -> Share | None:
        open_ = sa.and_(_share(job_id, share_id), shares.c.revoked_at.is_(None), shares.c.expires_at > now())
        row = tx.execute(sa.select(shares).where(open_)).mappings().one_or_none()
        return rows.to_share(row) if row else None

    @reading
    def shares(self, tx: Connection, job_id: str) -> list[Share]:
        query = sa.select(shares).where(shares.c.job_id == job_id).order_by(shares.c.created_at, shares.c.id)
        return [rows.to_share(row) for row in tx.execute(query).mappings()]

    @writing
    def revoke_share(self, tx: Connection, job_id: str, share_id: str, by: Caller = OPERATOR) -> Share:
        end = sa.update(shares).where(_share(job_id, share_id), shares.c.revoked_at.is_(None))
        ended = tx.execute(end.values(revoked_at=now())).rowcount
        share = _one(tx, job_id, share_id)
        if ended:
            note(tx, by, "share.revoke", job_id, share.tenant, {"share_id": share_id})
        return share


def _share(job_id: str, share_id: str) -> sa.ColumnElement[bool]:
    return sa.and_(shares.c.id == share_id, shares.c.job_id == job_id)


def _one(tx: Connection, job_id: str, share_id: str) -> Share:
    row = tx.execute(sa.select(shares).where(_share(job_id, share_id))).mappings().one_or_none()
    if row is None:
        raise NotFound(f"There is no share {share_id}.")
    return rows.to_share(row)
