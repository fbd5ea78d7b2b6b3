"""API keys, the audit log and idempotent requests, in the same table as the jobs.

    api-keys              {key_id}          a key; `note` is an audit entry on its way to the log
    secret#{sha256}       secret            which key this secret opens
    signed-out            {sha256}          a browser's cookie that is refused
    audited               {tenant}          whose audit log has entries
    audit#{id}            entry             an entry
    request#{…}           request           an Idempotency-Key, with its reply

An action on a key and its entry are one write: the entry lies in the key's item until it is in the log, and whoever
reads the log looks there first.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from reelmill.errors import IdempotencyInProgress, IdempotencyMismatch, KeyRevoked, NotFound
from reelmill.jobs.model import OPERATOR, ApiKey, AuditEntry, Caller, Json, Page
from reelmill.jobs.ports import FreshSecret, Reservation, StoredReply
from reelmill.stores import rows
from reelmill.stores.access import ABANDONED_AFTER_S
from reelmill.stores.dynamo import items
from reelmill.stores.dynamo.brands import DynamoBrands
from reelmill.stores.dynamo.core import writing
from reelmill.stores.dynamo.items import Item
from reelmill.stores.dynamo.notes import new_note
from reelmill.stores.dynamo.reads import page_before, page_of
from reelmill.stores.dynamo.shares import DynamoShares
from reelmill.stores.dynamo.work import NotUniqueError


class DynamoAccess(DynamoShares, DynamoBrands):
    """AccessStore on DynamoDB."""

    # ── keys ──────────────────────────────────────────────────────────────────────────────────

    @writing
    def add_key(self, key: ApiKey, sha256: str, by: Caller = OPERATOR) -> ApiKey:
        fresh = FreshSecret(key.id, key.prefix, sha256)
        self._take_secret(fresh, None)
        new = _new_key(key, fresh, self.at())
        new["note"] = new_note(by, "key.create", new["id"], new["tenant"], _about(new), new["created_at"])
        self.table.add(new)
        self._log_notes([new])
        return self._shown(new)

    def find_key(self, sha256: str) -> ApiKey | None:
        secret = self.table.get(f"secret#{sha256}", "secret")
        if secret is None:
            return None
        key = self.table.get("api-keys", secret["id"])
        if key is None and secret["by"] is not None:
            old = self.table.get("api-keys", secret["by"])
            key = self._succeeded(old) if old is not None and old["successor"] is not None else None
        if key is None or key["id"] != secret["id"]:
            return None
        shown = self._shown(key)
        return shown if shown.active else None

    def keys(self, tenant: str | None = None) -> list[ApiKey]:
        keys = {key["id"]: key for key in self.table.query("api-keys")}
        for old in list(keys.values()):
            if old["successor"] is not None and old["successor"]["id"] not in keys:
                new = self._succeeded(old)
                keys[new["id"]] = new
        mine = (self._shown(key) for key in keys.values() if tenant in (None, key["tenant"]))
        return sorted(mine, key=lambda key: (key.created_at, key.id))

    @writing
    def rotate_key(
        self, key_id: str, fresh: FreshSecret, overlap_s: int, tenant: str | None = None, by: Caller = OPERATOR
    ) -> tuple[ApiKey, ApiKey]:
        self._own(key_id, tenant)
        self._take_secret(fresh, key_id)

        def end(key: Item, at: datetime) -> bool:
            if key["revoked_at"] is not None:
                raise KeyRevoked(f"The API key {key_id} has an end already: {key['revoked_at'].isoformat()}.")
            told = {**_about(key), "new_key_id": fresh.id, "overlap_s": overlap_s}
            key.update(
                revoked_at=at + timedelta(seconds=overlap_s),
                successor={"id": fresh.id, "prefix": fresh.prefix, "sha256": fresh.sha256, "at": items.stamp(at)},
                note=new_note(by, "key.rotate", key_id, key["tenant"], told, at),
            )
            return True

        try:
            old = self._change_key(key_id, end)
        except KeyRevoked:
            self.table.remove(f"secret#{fresh.sha256}", "secret", id=fresh.id)
            raise
        new = self._succeeded(old)
        self._log_notes([old])
        return self._shown(new), self._shown(old)

    @writing
    def revoke_key(self, key_id: str, tenant: str | None = None, by: Caller = OPERATOR) -> ApiKey:
        self._own(key_id, tenant)

        def stop(key: Item, at: datetime) -> bool:
            if key["revoked_at"] is not None and key["revoked_at"] <= at:
                return False
            key.update(revoked_at=at, note=new_note(by, "key.revoke", key_id, key["tenant"], _about(key), at))
            return True

        key = self._change_key(key_id, stop)
        self._log_notes([key])
        return self._shown(key)

    def _own(self, key_id: str, tenant: str | None) -> Item:
        key = self.table.get("api-keys", key_id)
        if key is None or tenant not in (None, key["tenant"]):
            raise NotFound(f"There is no API key {key_id}.")
        return key

    def _change_key(self, key_id: str, act: Callable[[Item, datetime], bool]) -> Item:
        """Change a key whose last note is in the log. Raises NotFound."""

        def write(key: Item, at: datetime) -> bool:
            self._log(key["note"])
            return act(key, at)

        key = self.change("api-keys", key_id, write)
        if key is None:
            raise NotFound(f"There is no API key {key_id}.")
        return key

    def _take_secret(self, fresh: FreshSecret, old_id: str | None) -> None:
        if not self.table.add(Item(pk=f"secret#{fresh.sha256}", sk="secret", id=fresh.id, by=old_id)):
            raise NotUniqueError("The new key's secret isn't unique.")

    def _succeeded(self, old: Item) -> Item:
        """Return a rotated key's successor, made if it isn't there yet."""
        told = old["successor"]
        fresh = FreshSecret(told["id"], told["prefix"], told["sha256"])
        new = _new_key(self._shown(old), fresh, datetime.fromisoformat(told["at"]))
        if not self.table.add(new):
            new = self.table.get("api-keys", fresh.id) or new
        return new

    def _shown(self, key: Item) -> ApiKey:
        active = key["revoked_at"] is None or key["revoked_at"] > self.at()
        return rows.to_key(Item(key, active=active))

    # ── browsers ──────────────────────────────────────────────────────────────────────────────

    @writing
    def sign_out(self, cookie_sha256: str, life_s: int, by: Caller) -> None:
        at = self.at()
        for old in self.table.query("signed-out"):
            if old["until"] < at:
                self._log(old["note"])
                self.table.remove("signed-out", old["sk"])
        note = new_note(by, "browser.signout", by.user_id, by.tenant, None, at)
        signed_out = Item(pk="signed-out", sk=cookie_sha256, until=at + timedelta(seconds=life_s), note=note)
        if self.table.add(signed_out):
            self._log_notes([signed_out])

    def signed_out(self, cookie_sha256: str) -> bool:
        return self.table.get("signed-out", cookie_sha256) is not None

    # ── audit ─────────────────────────────────────────────────────────────────────────────────

    @writing
    def audit(self, by: Caller, *, action: str, target: str, data: Json | None = None) -> None:
        self._log(new_note(by, action, target, by.tenant, data, self.at()))

    def audit_log(
        self,
        tenant: str | None = None,
        *,
        action: str | None = None,
        target: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[AuditEntry]:
        before = page_before(cursor)
        self._log_notes([*self.table.query("api-keys"), *self.table.query("signed-out"), *self._noting_shares()])
        tenants = [tenant] if tenant is not None else [each["sk"] for each in self.table.query("audited")]
        having = {name: value for name, value in {"action": action, "target": target}.items() if value is not None}
        logs = (
            self.table.index("by_list", f"audit#{each}", before=before, forward=False, limit=limit + 1, having=having)
            for each in tenants
        )
        newest = heapq.merge(*logs, key=lambda entry: str(entry["list_at"]), reverse=True)
        return page_of(map(rows.to_audit, newest), limit)

    def _log_notes(self, noted: Iterable[Item]) -> None:
        """Put the entries that lie in these items into the log, and take them out there."""
        for item in noted:
            if item["note"] is None:
                continue
            self._log(item["note"])

            def clear(there: Item, _: datetime, note: Any = item["note"]) -> bool:
                if there["note"] != note:
                    return False
                there["note"] = None
                return True

            self.change(item["pk"], item["sk"], clear)

    def _log(self, note: Mapping[str, Any] | None) -> None:
        """Put an entry into the log, if it isn't there."""
        if note is None:
            return
        entry = Item(note, pk=f"audit#{note['id']}", sk="entry", created_at=datetime.fromisoformat(note["at"]))
        entry.pop("at")
        entry.update(list_of=f"audit#{note['tenant']}", list_at=items.listed_at(entry))
        self.table.add(Item(pk="audited", sk=note["tenant"]))
        self.table.add(entry)

    # ── idempotent requests ───────────────────────────────────────────────────────────────────

    @writing
    def begin_request(self, tenant: str, path: str, key: str, body_sha256: str, made: str) -> StoredReply | Reservation:
        pk = _request(tenant, path, key)
        new = Item(pk=pk, sk="request", body_sha256=body_sha256, made=made, created_at=self.at())
        _place_request(new)
        if self.table.add(new):
            return Reservation(made, again=False)
        taken: list[StoredReply | Reservation] = []

        def take_over(there: Item, at: datetime) -> bool:
            taken.clear()
            if there["body_sha256"] != body_sha256:
                raise IdempotencyMismatch
            if there["status_code"] is not None:
                taken.append(StoredReply(there["status_code"], there["body"], there["content_type"]))
                return False
            if there["created_at"] >= at - timedelta(seconds=ABANDONED_AFTER_S):
                raise IdempotencyInProgress
            there.update(created_at=at, made=there["made"] or made)
            _place_request(there)
            taken.append(Reservation(there["made"], again=True))
            return True

        if self.change(pk, "request", take_over) is None:
            raise IdempotencyInProgress  # purged between the two looks: the client may repeat
        return taken[0]

    @writing
    def finish_request(self, tenant: str, path: str, key: str, reply: StoredReply) -> None:
        def answer(request: Item, _: datetime) -> bool:
            request.update(status_code=reply.status_code, body=reply.body, content_type=reply.content_type)
            return True

        self.change(_request(tenant, path, key), "request", answer)

    @writing
    def drop_request(self, tenant: str, path: str, key: str) -> None:
        def let_go(request: Item, at: datetime) -> bool:
            if request["status_code"] is not None:
                return False
            request["created_at"] = at - timedelta(seconds=ABANDONED_AFTER_S + 1)
            _place_request(request)
            return True

        self.change(_request(tenant, path, key), "request", let_go)

    @writing
    def purge_requests(self, older_than_s: float = 86400.0) -> int:
        old = self.table.index("by_watch", "requests", before=items.stamp(self.at(-older_than_s)))
        return sum(self.table.remove(request["pk"], "request") for request in list(old))


def _request(tenant: str, path: str, key: str) -> str:
    """Return the key of a request's item. Its parts come from the client, so they are not put together as they are."""
    return f"request#{hashlib.sha256(repr((tenant, path, key)).encode()).hexdigest()}"


def _place_request(request: Item) -> None:
    request.update(watch_of="requests", watch_at=f"{items.stamp(request['created_at'])}#{request['pk']}")


def _new_key(like: ApiKey, fresh: FreshSecret, at: datetime) -> Item:
    return Item(
        pk="api-keys", sk=fresh.id, id=fresh.id, name=like.name, prefix=fresh.prefix, scopes=list(like.scopes),
        subject=like.subject, tenant=like.tenant, created_at=at, stamped_at=at,
    )  # fmt: skip


def _about(key: Item) -> Json:
    return {"name": key["name"], "scopes": list(key["scopes"]), "subject": key["subject"]}
