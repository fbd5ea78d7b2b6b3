"""Jobs of an older system, from its JSON: rows that can be read like our own, and never run again."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import AliasChoices, AwareDatetime, BaseModel, Field, ValidationError

from reelmill.errors import ObjectMissing
from reelmill.jobs.keys import LONGEST, PLAIN
from reelmill.jobs.lifecycle import Status
from reelmill.jobs.model import NewArtifact
from reelmill.jobs.ports import ImportedJob, Keeping, ObjectStore

OLDER = uuid.UUID("5f0c7d7e-2b51-4d0e-9a55-6a8a6f0f3d11")  #: under which ids that are no UUID get one
WORDS = {
    "completed": Status.COMPLETED,
    "complete": Status.COMPLETED,
    "done": Status.COMPLETED,
    "success": Status.COMPLETED,
    "failed": Status.FAILED,
    "failure": Status.FAILED,
    "error": Status.FAILED,
    "cancelled": Status.CANCELLED,
    "canceled": Status.CANCELLED,
}


class OlderJob(BaseModel):
    """What is read of an entry; whatever else it has is kept as it is, in the job's parameters."""

    job_id: str = Field(min_length=1, max_length=255, validation_alias=AliasChoices("job_id", "jobId", "id"))
    status: str
    output_s3_keys: list[str] = Field(default_factory=list, max_length=10_000)
    pipeline: str = Field(
        "imported", min_length=1, max_length=64, validation_alias=AliasChoices("pipeline", "job_type", "type")
    )
    user_id: str = Field("imported", min_length=1, max_length=128)
    filename: str = Field(
        "imported",
        min_length=1,
        max_length=255,
        validation_alias=AliasChoices("filename", "file_name"),
    )
    error: str | None = Field(None, validation_alias=AliasChoices("error_message", "error"))
    created_at: AwareDatetime
    completed_at: AwareDatetime | None = Field(
        None, validation_alias=AliasChoices("completed_at", "finished_at", "updated_at")
    )


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of one entry."""

    job_id: str  #: the older system's own
    outcome: Literal["imported", "known", "refused"]
    new_id: str | None = None
    reason: str = ""  #: with `refused`
    missing: tuple[str, ...] = ()  #: keys that aren't in our storage


def import_jobs(store: Keeping, objects: ObjectStore, entries: Iterable[Any], *, tenant: str) -> Iterator[Taken]:
    """Import ended jobs, each in one write; an entry that was imported before changes nothing.

    Outputs whose key is in our storage become artifacts, their SHA-256 computed by reading them. Raises StorageProblem.
    """
    for number, entry in enumerate(entries, 1):
        name = str(entry.get("job_id", number)) if isinstance(entry, dict) else f"entry {number}"
        try:
            older = OlderJob.model_validate(entry)
        except ValidationError as error:
            first = error.errors()[0]
            yield Taken(name, "refused", reason=f"{'.'.join(map(str, first['loc']))}: {first['msg']}")
            continue
        yield _import(store, objects, older, dict(entry), tenant)


def _import(store: Keeping, objects: ObjectStore, older: OlderJob, entry: dict[str, Any], tenant: str) -> Taken:
    status = WORDS.get(older.status.lower())
    if status is None:
        return Taken(older.job_id, "refused", reason=f"it is {older.status!r}, and only ended jobs are imported")
    job_id = new_id(older.job_id, tenant)
    artifacts: list[NewArtifact] = []
    missing: list[str] = []
    for key in dict.fromkeys(older.output_s3_keys if status is Status.COMPLETED else ()):
        made = _artifact(objects, key, len(artifacts))
        if made is None:
            missing.append(key)
        else:
            artifacts.append(made)
    added = store.import_job(
        ImportedJob(
            id=job_id,
            tenant=tenant,
            user_id=older.user_id,
            filename=older.filename,
            pipeline=older.pipeline,
            status=status,
            error_detail=older.error,
            entry=entry,
            created_at=older.created_at,
            completed_at=max(older.created_at, older.completed_at or older.created_at),
            artifacts=tuple(artifacts),
            warnings=tuple(f"{key} isn't in storage" for key in missing),
        )
    )
    return Taken(older.job_id, "imported" if added else "known", job_id, missing=tuple(missing))


def new_id(older_id: str, tenant: str) -> str:
    """Return the id that an older job gets here: its own if it is a UUID, else always the same one made of it."""
    try:
        return str(uuid.UUID(older_id))
    except ValueError:
        return str(uuid.uuid5(OLDER, f"{tenant}/{older_id}"))


def _artifact(objects: ObjectStore, key: str, number: int) -> NewArtifact | None:
    if len(key) > LONGEST or not PLAIN.fullmatch(key):
        return None
    try:
        there = objects.head(key)
        sha256 = there.sha256 or _sha256(objects, key)
    except ObjectMissing:
        return None
    name = key.rpartition("/")[2]
    return NewArtifact(
        kind="imported",
        name=name if number == 0 else f"{number:04d}-{name}",  # of older jobs, several may end alike
        key=key,
        size_bytes=there.size_bytes,
        sha256=sha256,
        content_type=there.content_type,
        primary=True,
    )


def _sha256(objects: ObjectStore, key: str) -> str:
    digest = hashlib.sha256()
    for block in objects.open(key):
        digest.update(block)
    return digest.hexdigest()
