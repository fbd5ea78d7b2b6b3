"""Shares of results, and the secret that signs for all processes.

{job_id}    share#{id}    a share; `note` is an audit entry on its way to the log
noting      {id}          a share that may have a note
secrets     signing       the secret
"""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from reelmill.errors import NotFound
from reelmill.jobs.model import OPERATOR, Caller, Job, Share
from reelmill.stores import rows
from reelmill.stores.dynamo.core import Core, writing
from reelmill.stores.dynamo.items import Item
from reelmill.stores.dynamo.notes import new_note
from reelmill.stores.shares import SECRET_BYTES

WRITTEN_WITHIN = timedelta(minutes=10)  #: what wasn't written so long after its pointer never will be


class DynamoShares(Core, ABC):
    """The part of `AccessStore` that shares are in."""

    def signing_secret(self) -> bytes:
        made = Item(pk="secrets", sk="signing", body=secrets.token_hex(SECRET_BYTES))
        known = self.table.get("secrets", "signing")
        if known is None and not self.table.add(made):
            known = self.table.get("secrets", "signing")  # another process was faster
        return bytes.fromhex((known or made)["body"])

    @writing
    def add_share(
        self, share_id: str, job: Job, *, life_s: int, embed: Sequence[str] = (), by: Caller = OPERATOR
    ) -> Share:
        at = self.at()
        note = new_note(by, "share.create", job.id, job.tenant, {"share_id": share_id, "life_s": life_s}, at)
        new = Item(
            pk=job.id, sk=f"share#{share_id}", id=share_id, job_id=job.id, tenant=job.tenant, actor=by.user_id,
            embed=list(embed), created_at=at, stamped_at=at, expires_at=at + timedelta(seconds=life_s), note=note,
        )  # fmt: skip
        self._note_soon(share_id, job.id, at)
        self.table.add(new)
        self._log_share(new)
        return rows.to_share(new)

    def find_share(self, job_id: str, share_id: str) -> Share | None:
        share = self.table.get(job_id, f"share#{share_id}")
        if share is None or share["revoked_at"] is not None or share["expires_at"] <= self.at():
            return None
        return rows.to_share(share)

    def shares(self, job_id: str) -> list[Share]:
        found = [rows.to_share(share) for share in self.table.query(job_id, "share#")]
        return sorted(found, key=lambda share: (share.created_at, share.id))

    @writing
    def revoke_share(self, job_id: str, share_id: str, by: Caller = OPERATOR) -> Share:
        def end(share: Item, at: datetime) -> bool:
            if share["revoked_at"] is not None:
                return False
            self._log(share["note"])
            told = {"share_id": share_id}
            share.update(revoked_at=at, note=new_note(by, "share.revoke", job_id, share["tenant"], told, at))
            return True

        self._note_soon(share_id, job_id, self.at())
        share = self.change(job_id, f"share#{share_id}", end)
        if share is None:
            self.table.remove("noting", share_id)
            raise NotFound(f"There is no share {share_id}.")
        self._log_share(share)
        return rows.to_share(share)

    def _note_soon(self, share_id: str, job_id: str, at: datetime) -> None:
        """Let whoever reads the log find the note, should this process die before it is there."""
        self.table.add(Item(pk="noting", sk=share_id, job_id=job_id, created_at=at))

    def _log_share(self, share: Item) -> None:
        self._log_notes([share])
        self.table.remove("noting", share["id"])

    def _noting_shares(self) -> list[Item]:
        """Return the shares whose notes may not be in the log yet."""
        found = []
        for noting in self.table.query("noting"):
            share = self.table.get(noting["job_id"], f"share#{noting['sk']}")
            if share is not None and share["note"] is not None:
                found.append(share)
            elif noting["created_at"] < self.at() - WRITTEN_WITHIN:
                self.table.remove("noting", noting["sk"])
        return found

    @abstractmethod
    def _log(self, note: Mapping[str, Any] | None) -> None:
        """Write a note to the audit log."""

    @abstractmethod
    def _log_notes(self, noted: Iterable[Item]) -> None:
        """Write the notes of these items to the audit log, and take them off."""
