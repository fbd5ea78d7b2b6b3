"""The rows of the files that steps have made."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from reelmill.jobs.model import Claim, NewArtifact
from reelmill.jobs.ports import Outcome
from reelmill.stores.schema import artifacts, now


def insert_artifacts(tx: Connection, ended: Iterable[tuple[Claim, Outcome]]) -> None:
    made = [artifact_row(claim, one) for claim, outcome in ended if outcome.result for one in outcome.result.artifacts]
    # Their stamp differs, and one statement has one form for all its rows.
    for place, stored_at in (("stored", now()), ("spool", None)):
        some = [one for one in made if one["place"] == place]
        if some:
            tx.execute(sa.insert(artifacts).values(created_at=now(), stored_at=stored_at), some)


def artifact_row(claim: Claim, made: NewArtifact) -> dict[str, Any]:
    return {
        "id": str(uuid.uuid4()),
        "job_id": claim.job.id,
        "step_id": claim.step.id,
        "stage": claim.step.stage,
        "stage_no": [stage.name for stage in claim.job.stages].index(claim.step.stage),
        "index": claim.step.index,
        "run": claim.run,
        "attempt": claim.attempt,
        "kind": made.kind,
        "name": made.name,
        "key": made.key,
        "size_bytes": made.size_bytes,
        "sha256": made.sha256,
        "content_type": made.content_type,
        "meta": dict(made.meta),
        "primary": made.primary,
        "place": made.place,
        "spool": made.spool,
        "retries": made.retries,
    }
