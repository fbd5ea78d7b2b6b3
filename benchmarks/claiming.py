"""Does a claim cost the same with a million ready steps as with a thousand? And a job's status with a million jobs?

Databases with so many queued jobs of one step each, of one tenant and of a thousand, are filled by SQL. Then, round by
round, the small and the large one in turn: one claim and its end; the status of a queued job with its place in the
queue, and of one that has begun. Ratios of medians within a round.

    python benchmarks/claiming.py [--pairs N] [--many N] [--json FILE]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import sqlalchemy as sa
from common import Ratios, options, report
from queueing import DONE, database, percentile

from making import claim_one, execute, make_job, query
from reelmill.stores.sql import SqlStore, open_store

FEW, MANY = 1000, 1_000_000
TIMES = 100  #: of each act in a round
CHUNK = 100_000


def multiply(store: SqlStore, jobs: int, tenants: int) -> None:
    """Queue so many jobs of one step, as copies of one that the store itself made."""
    model = make_job(store, tenant="t0")
    sqlite = store.engine.dialect.name == "sqlite"
    if not sqlite:
        execute(store, "CREATE OR REPLACE FUNCTION printf(f text, n bigint) RETURNS text AS "
                       "$$ SELECT replace(f, '%012d', lpad(n::text, 12, '0')) $$ LANGUAGE sql IMMUTABLE")  # fmt: skip
    counted = "SELECT CAST(:low AS BIGINT) UNION ALL SELECT n + 1 FROM n WHERE n + 1 < :high"
    numbers = (
        f"(WITH RECURSIVE n(n) AS ({counted}) SELECT n FROM n) AS n"
        if sqlite
        else "generate_series(CAST(:low AS BIGINT), CAST(:high AS BIGINT) - 1) AS n(n)"
    )
    later = (
        "strftime('%Y-%m-%dT%H:%M:%fZ', m.queued_at, (n.n * 0.001) || ' seconds')"
        if sqlite
        else "m.queued_at + n.n * interval '1 millisecond'"
    )
    job = "printf('00000000-0000-4000-8000-%012d', n.n)"
    video = "printf('00000000-0000-4000-9000-%012d', n.n)"
    tenant = f"'t' || (n.n % {tenants})"
    changed: dict[str, dict[str, str]] = {
        "videos": {"id": video, "tenant": tenant, "key": f"'k' || {video}", "processing_job_id": job},
        "jobs": {"id": job, "video_id": video, "tenant": tenant, "queued_at": later},
        "steps": {"id": f"{job} || ':render:0'", "job_id": job, "tenant": tenant, "queued_at": later},
    }
    whose = {"videos": "m.id = :video", "jobs": "m.id = :job", "steps": "m.job_id = :job"}
    for low in range(0, jobs, CHUNK):
        for table, values in changed.items():
            columns = [column["name"] for column in sa.inspect(store.engine).get_columns(table)]
            picked = ", ".join(values.get(name, f'm."{name}"') for name in columns)
            named = ", ".join(f'"{name}"' for name in columns)
            execute(
                store,
                f"INSERT INTO {table} ({named}) SELECT {picked} FROM {table} AS m, {numbers} WHERE {whose[table]}",
                low=low, high=min(low + CHUNK, jobs), video=model.video_id, job=model.id,
            )  # fmt: skip
    for number in range(1, tenants):
        # Spread over an hour of use, so that no two tenants are alike.
        execute(store, "INSERT INTO lanes SELECT :tenant, queue, rank, usage + :more FROM lanes WHERE tenant = 't0'",
                tenant=f"t{number}", more=number / tenants)  # fmt: skip
    execute(store, "ANALYZE")
    if sqlite:
        with store.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")


def took(act: Callable[[], Any]) -> float:
    """Return the median of many times, in ms."""
    times = []
    for _ in range(TIMES):
        began = time.perf_counter()
        act()
        times.append(time.perf_counter() - began)
    return percentile(times, 0.5) * 1000


def acts(store: SqlStore) -> dict[str, Callable[[], Any]]:
    begun = claim_one(store, lease_s=3600).job.id
    # The same place from the front in both: what is behind must not matter, what is before may be counted.
    waiting = query(store, "SELECT id FROM jobs WHERE status = 'queued' ORDER BY priority DESC, queued_at, id LIMIT 1")
    last = query(store, "SELECT id FROM jobs WHERE status = 'queued' ORDER BY queued_at DESC, id DESC LIMIT 1")

    def status(job_id: str) -> Callable[[], Any]:
        return lambda: (store.job(job_id), store.artifacts(job_id), store.queue_position(job_id))

    def claim() -> None:
        store.close(claim_one(store), DONE)

    return {
        "claim and end": claim,
        "status of a running job": status(begun),
        "status of the first queued job": status(waiting[0]["id"]),
        "status of the last queued job": status(last[0]["id"]),
    }


def main() -> None:
    many = MANY
    if "--many" in sys.argv:
        place = sys.argv.index("--many")
        many = int(sys.argv[place + 1])
        del sys.argv[place : place + 2]
    wanted = options(__doc__)
    ratios: Ratios = {}
    bounds: dict[str, str] = {}
    for kind in ("sqlite", "postgresql"):
        for tenants in (1, 1000):
            with ExitStack() as open_:
                stores = {}
                for size in (FEW, many):
                    url, _ = open_.enter_context(database(kind))
                    stores[size] = open_store(url)
                    open_.callback(stores[size].close_engine)
                    began = time.perf_counter()
                    multiply(stores[size], size, tenants)
                    print(
                        f"{kind}: {size} jobs of {tenants} tenants in {time.perf_counter() - began:.0f} s", flush=True
                    )
                sides = {size: acts(store) for size, store in stores.items()}
                for number in range(wanted.pairs):
                    for name in sides[FEW]:
                        order = [FEW, many, FEW] if number % 2 else [many, FEW, many]
                        times: dict[int, list[float]] = {FEW: [], many: []}
                        for size in order:
                            times[size].append(took(sides[size][name]))
                        twice = times[FEW] if len(times[FEW]) == 2 else times[many]
                        ratio = (sum(times[many]) / len(times[many])) / (sum(times[FEW]) / len(times[FEW]))
                        label = f"{kind}, {tenants} tenants: {name}"
                        ratios.setdefault(f"{label}, {many:,} / {FEW:,}", []).append(ratio)
                        bounds[f"{label}, {many:,} / {FEW:,}"] = "≤ 1.2"
                        ratios.setdefault(f"{label}, ms", []).append(min(times[many]))
                        ratios.setdefault(f"{label}, null", []).append(twice[1] / twice[0])
    report(f"Claims and status with {many:,} ready steps and queued jobs", ratios, bounds, wanted.json)


if __name__ == "__main__":
    main()
