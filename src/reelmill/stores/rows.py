"""Rows to nouns: the only place that knows both the tables' columns and the model's fields."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from functools import cache
from typing import Any, TypeVar

from sqlalchemy.engine import RowMapping

from reelmill.errors import CursorInvalid
from reelmill.jobs.lifecycle import Processing, Status, StepStatus, UploadStatus
from reelmill.jobs.model import (
    ApiKey,
    Artifact,
    Attempt,
    AuditEntry,
    Brand,
    Job,
    JobEvent,
    Share,
    Stage,
    Step,
    Video,
    Worker,
)

Row = RowMapping | Mapping[str, Any]
M = TypeVar("M")


@cache
def names_of(kind: type[Any]) -> tuple[str, ...]:
    """Return a model's fields, which are columns of its table."""
    return tuple(f.name for f in fields(kind))


def _only(kind: type[M], row: Row, **changed: Any) -> M:
    return kind(**{name: row[name] for name in names_of(kind) if name not in changed}, **changed)  # type: ignore[arg-type]


def to_video(row: Row) -> Video:
    return _only(
        Video,
        row,
        upload_status=UploadStatus(row["upload_status"]),
        processing_status=Processing(row["processing_status"]),
    )


def to_job(row: Row) -> Job:
    return _only(
        Job,
        row,
        status=Status(row["status"]),
        stages=tuple(Stage(name, weight) for name, weight in row["stages"]),
        warnings=tuple(row["warnings"]),
        reuse=row["reuse"] is not False,
        then=tuple(row["then"] or ()),
    )


def to_step(row: Row) -> Step:
    return _only(Step, row, status=StepStatus(row["status"]))


def to_attempt(row: Row) -> Attempt:
    return _only(Attempt, row)


def to_artifact(row: Row) -> Artifact:
    return _only(Artifact, row)


def to_event(row: Row) -> JobEvent:
    return _only(JobEvent, row)


def to_key(row: Row) -> ApiKey:
    return _only(ApiKey, row, scopes=tuple(row["scopes"]))


def to_share(row: Row) -> Share:
    return _only(Share, row, embed=tuple(row["embed"]))


def to_brand(row: Row) -> Brand:
    return _only(Brand, row)


def to_audit(row: Row) -> AuditEntry:
    return _only(AuditEntry, row)


def to_worker(row: Row, asked_at: datetime) -> Worker:
    silent_s = max(0.0, (asked_at - row["seen_at"]).total_seconds())
    return _only(Worker, row, queues=tuple(row["queues"]), silent_s=silent_s)


def write_cursor(created_at: datetime, row_id: str) -> str:
    """Return an opaque cursor for the row after which the next page begins."""
    return base64.urlsafe_b64encode(json.dumps([created_at.isoformat(), row_id]).encode()).decode().rstrip("=")


def read_cursor(cursor: str) -> tuple[datetime, str]:
    """Raises CursorInvalid for anything that write_cursor didn't make."""
    try:
        stamp, row_id = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        moment = datetime.fromisoformat(stamp)
        if moment.tzinfo is None or not 2000 <= moment.year < 9000 or not re.fullmatch(r"[\w-]{1,64}", row_id):
            raise ValueError(cursor)
    except (ValueError, TypeError, binascii.Error) as error:
        raise CursorInvalid from error
    return moment, row_id
