"""Entries of the audit log, on their way to it."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from reelmill.jobs.model import Caller, Json
from reelmill.stores.dynamo import items


def new_note(by: Caller, action: str, target: str, tenant: str, data: Json | None, at: datetime) -> dict[str, Any]:
    return {
        "id": str(uuid.uuid4()), "tenant": tenant, "action": action, "target": target, "actor": by.user_id,
        "actor_key_id": by.key_id, "correlation_id": by.correlation_id, "data": dict(data or {}),
        "at": items.stamp(at),
    }  # fmt: skip
