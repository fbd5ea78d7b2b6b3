"""Entries of the audit log."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from reelmill.jobs.model import Caller, Json
from reelmill.stores.schema import audit, now


def note(tx: Connection, by: Caller, action: str, target: str, tenant: str, data: Json | None = None) -> None:
    """Write one entry of the audit log, in the transaction of what it tells of. tenant: of the target."""
    entry: Mapping[str, Any] = {
        "id": str(uuid.uuid4()),
        "tenant": tenant,
        "action": action,
        "target": target,
        "actor": by.user_id,
        "actor_key_id": by.key_id,
        "correlation_id": by.correlation_id,
        "data": dict(data or {}),
    }
    tx.execute(sa.insert(audit).values(**entry, created_at=now()))
