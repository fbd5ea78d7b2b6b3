"""Looks at a store's rows and changes of them past its port, on each kind of database."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from making import db_clock, execute, query, to_moment
from reelmill.jobs.lifecycle import StepStatus
from reelmill.jobs.ports import JobStore
from reelmill.stores.dynamo.items import Item, listed_at, place_step
from reelmill.stores.dynamo.store import DynamoStore
from reelmill.stores.schema import AGE_S
from reelmill.stores.sql import SqlStore

TABLES = ("videos", "jobs", "steps", "attempts", "artifacts", "events")


def everything(store: JobStore) -> list[Any]:
    """All rows, to be compared with all rows at another time."""
    if isinstance(store, DynamoStore):
        return sorted(map(str, store.table.scan()))
    return [sorted(map(str, query(store, f"SELECT * FROM {table}"))) for table in TABLES]


def ids(store: JobStore, what: str) -> list[str]:
    """The ids of all `videos` or `jobs`."""
    if isinstance(store, DynamoStore):
        return [item["id"] for item in store.table.scan() if item["sk"] == what.removesuffix("s")]
    return [row["id"] for row in query(store, f"SELECT id FROM {what}")]


def open_steps_of_completed_jobs(store: JobStore) -> list[str]:
    if isinstance(store, DynamoStore):
        done = {item["id"] for item in store.table.scan() if item["sk"] == "job" and item["status"] == "completed"}
        closed = {StepStatus.DONE, StepStatus.FAILED, StepStatus.CANCELLED}
        steps = (item for item in store.table.scan() if item["sk"].startswith("step#") and item["pk"] in done)
        return [step["id"] for step in steps if step["status"] not in closed or step["owed"]]
    unfinished = "SELECT s.id FROM jobs j JOIN steps s ON s.job_id = j.id WHERE j.status = 'completed' AND s.status IN "
    return [row["id"] for row in query(store, unfinished + "('ready', 'running')")]


def not_before(store: JobStore, step_id: str) -> datetime:
    """From when on the step may be claimed."""
    if isinstance(store, DynamoStore):
        (step,) = (item for item in store.table.scan() if item["id"] == step_id and item["sk"].startswith("step#"))
        return step["not_before"]
    (row,) = query(store, "SELECT not_before FROM steps WHERE id = :id", id=step_id)
    return to_moment(row["not_before"])


def make_claimable(store: JobStore, job_id: str, *, index: int | None = None, at: datetime | None = None) -> None:
    """Let the time have come for a job's steps (or one of them), now or at a given moment."""
    moment = at or store.clock()
    if isinstance(store, DynamoStore):
        for step in list(store.table.query(job_id, "step#")):
            if index in (None, step["index"]):
                step["not_before"] = moment
                place_step(step, store.read_job(job_id))
                store.table.replace(step)
        return
    one = "" if index is None else f' AND "index" = {index}'
    execute(store, f"UPDATE steps SET not_before = :at WHERE job_id = :id{one}", id=job_id, at=_stamp(store, moment))


def worth(store: JobStore) -> dict[str, float]:
    """What each tenant has used, in processor seconds as they count now."""
    if isinstance(store, DynamoStore):
        now = store.clock().timestamp() / AGE_S
        return {tenant: math.exp(usage - now) for tenant, usage in store.usages().items()}
    store.claim("nobody", limit=1, lease_s=1, queues=[])  # on PostgreSQL ends are charged with the next claim
    seconds = "(julianday('now') - 2440587.5) * 86400"
    if store.engine.dialect.name == "postgresql":
        seconds = "extract(epoch from clock_timestamp())::float8"
    rows = query(store, f"SELECT tenant, usage, {seconds} / {AGE_S!r} AS clock FROM lanes")
    return {row["tenant"]: math.exp(row["usage"] - float(row["clock"])) for row in rows}


def age_usage(store: JobStore, tenant: str, seconds: float) -> None:
    """Let what a tenant has used have been used so many seconds earlier."""
    if isinstance(store, DynamoStore):
        item = store.table.get("tenants", tenant)
        assert item is not None
        item["usage"] -= seconds / AGE_S
        store.table.replace(item)
        return
    execute(store, f"UPDATE lanes SET usage = usage - {seconds / AGE_S!r} WHERE tenant = :tenant", tenant=tenant)


def age_upload(store: JobStore, video_id: str, created_at: datetime) -> None:
    """Let a video have been announced at another moment."""
    if isinstance(store, DynamoStore):
        item = store.table.get(video_id, "video")
        assert item is not None
        item["created_at"] = created_at
        store.table.replace(item)
        return
    execute(store, "UPDATE videos SET created_at = :at WHERE id = :id", id=video_id, at=_stamp(store, created_at))


def _stamp(store: SqlStore, moment: datetime) -> datetime | str:
    """A moment as a raw statement takes it: text on SQLite."""
    if store.engine.dialect.name == "postgresql":
        return moment
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:23] + "Z"


def claims_by(store: JobStore, worker: str) -> int:
    """How many claims the workers had whose names begin so."""
    return sum(
        attempt.worker_id.startswith(worker) for job_id in ids(store, "jobs") for attempt in store.attempts(job_id)
    )


def make_simultaneous(store: JobStore) -> None:
    """Give all videos the same moment of creation."""
    if isinstance(store, DynamoStore):
        videos = [item for item in store.table.scan() if item["sk"] == "video"]
        moment = min(video["created_at"] for video in videos)
        for video in videos:
            video["created_at"] = moment
            store.table.replace(Item(video, list_at=listed_at(video)))
        return
    execute(store, "UPDATE videos SET created_at = (SELECT min(created_at) FROM videos)")


def texts(store: JobStore, table: str) -> str:
    """All that a table of keys, or the audit log, holds."""
    if isinstance(store, DynamoStore):
        return str(list(store.table.scan()))
    return str(query(store, f"SELECT * FROM {table}"))


def set_back(store: JobStore, what: str, stamp: str, seconds: float) -> None:
    """Let a stamp of all rows of a table be so many seconds ago.

    what: `requests`, `signed_out`, `api_keys`, `workers`.
    """
    if not isinstance(store, DynamoStore):
        execute(store, f"UPDATE {what} SET {stamp} = {db_clock(store, seconds)} WHERE {stamp} IS NOT NULL")
        return
    kinds: dict[str, Callable[[Item], bool]] = {
        "requests": lambda item: item["sk"] == "request",
        "signed_out": lambda item: item["pk"] == "signed-out",
        "api_keys": lambda item: item["pk"] == "api-keys",
        "workers": lambda item: item["pk"] == "workers",
    }
    for item in list(store.table.scan()):
        if kinds[what](item) and item[stamp] is not None:
            item[stamp] = store.clock() - timedelta(seconds=seconds)
            if what == "requests":
                item["watch_at"] = f"{item[stamp].isoformat()}#{item['pk']}"
            store.table.replace(item)


def forget_reserved_ids(store: JobStore) -> None:
    """Let all requests be as a version wrote them that reserved no ids."""
    if not isinstance(store, DynamoStore):
        execute(store, "UPDATE requests SET made = NULL")
        return
    for item in list(store.table.scan()):
        if item["sk"] == "request":
            item["made"] = None
            store.table.replace(item)
