"""`reelmill audit`: who did what to keys and uploads, of all tenants, directly from the database."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from reelmill.cli.keys import access, stamp
from reelmill.cli.options import Data, Json
from reelmill.cli.output import print_json, print_table

if TYPE_CHECKING:
    from reelmill.jobs.model import AuditEntry

PAGE = 200


def audit(
    action: Annotated[str | None, typer.Option(help="Only this action, for example key.revoke.")] = None,
    target: Annotated[str | None, typer.Option(help="Only what was done to this id.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant; all by default.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most entries, the newest first.")] = 50,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show who made, rotated and revoked keys, removed uploads and signed in.

    Example: `reelmill audit --action key.revoke`
    """
    found: list[AuditEntry] = []
    cursor: str | None = None
    with access(data) as store:
        while len(found) < limit:
            page = store.audit_log(
                tenant, action=action, target=target, cursor=cursor, limit=min(PAGE, limit - len(found))
            )
            found += page.items
            cursor = page.next_cursor
            if cursor is None:
                break
    if as_json:
        print_json([{**asdict(entry), "created_at": entry.created_at.isoformat()} for entry in found])
        return
    head = ["WHEN", "ACTION", "TARGET", "BY", "TENANT", "REQUEST"]
    rows = [
        [stamp(one.created_at), one.action, one.target, one.actor, one.tenant, one.correlation_id or ""]
        for one in found
    ]
    print_table(head, rows)
