"""The audit log: who made, rotated and revoked keys, and who removed what."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from reelmill.api.access import Guarded, Platform, Who, needs
from reelmill.api.videos import Cursor, Limit
from reelmill.errors import CursorInvalid
from reelmill.jobs.model import AuditEntry
from reelmill.schemas import AuditPage, AuditReply

router = APIRouter(prefix="/api/v1/audit", tags=["audit"], route_class=Guarded)


@router.get("")
@needs("admin", CursorInvalid)
def list_audit(
    app: Platform,
    who: Who,
    action: Annotated[str | None, Query(max_length=64, description="`key.revoke`, for example.")] = None,
    target: Annotated[str | None, Query(max_length=255, description="The id of what it was done to.")] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> AuditPage:
    """List what was done to keys and uploads, newest first. Entries can't be changed or removed."""
    page = app.access.audit_log(who.tenant, action=action, target=target, cursor=cursor, limit=limit)
    return AuditPage(items=[_shown(entry) for entry in page.items], next_cursor=page.next_cursor)


def _shown(entry: AuditEntry) -> AuditReply:
    same = "id action target actor actor_key_id correlation_id created_at"
    return AuditReply(**{name: getattr(entry, name) for name in same.split()}, data=dict(entry.data))
