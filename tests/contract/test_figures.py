"""How things stand, as every store tells it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa

from looks import age_upload, make_claimable
from making import claim_one, complete, done, ended, execute, make_job, make_waiting
from reelmill.jobs.lifecycle import Event, Status, StepEvent
from reelmill.jobs.model import Waiting
from reelmill.jobs.ports import JobStore
from reelmill.stores.sql import SqlStore, open_store
from servers import SQL

HOUR = 3600.0
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.req("D-07", "E-10")
def test_an_empty_platform_has_nothing_to_tell(store: JobStore) -> None:
    told = store.figures(stuck_after_s=HOUR)

    assert (told.jobs, told.ready, told.running) == ({}, {}, {})
    assert (told.uploads, told.uploads_stuck, told.spool) == (Waiting(), 0, Waiting())


@pytest.mark.req("D-07", "E-10")
def test_jobs_and_steps_are_counted_by_what_they_are_in(store: JobStore) -> None:
    complete(store, make_job(store))
    store.apply(make_job(store).id, Event.CANCEL)
    first = make_job(store, n=3)
    make_waiting(store)
    claim_one(store)

    told = store.figures(stuck_after_s=HOUR)

    assert told.jobs == {
        (first.pipeline, Status.COMPLETED): 1,
        (first.pipeline, Status.CANCELLED): 1,
        (first.pipeline, Status.RUNNING): 1,
        (first.pipeline, Status.AWAITING_UPLOAD): 1,
    }
    assert {queue: one.count for queue, one in told.ready.items()} == {"cpu": 2}
    assert told.running == {"cpu": 1}


@pytest.mark.req("E-10")
def test_the_oldest_ready_step_counts_from_when_it_could_be_claimed(store: JobStore) -> None:
    job = make_job(store, n=2)
    make_claimable(store, job.id, index=1, at=LONG_AGO)
    old = store.figures(stuck_after_s=HOUR).ready["cpu"]

    claim = claim_one(store)  # takes index 0
    store.close(claim, ended(StepEvent.AGAIN, delay_s=3600))
    waiting = store.figures(stuck_after_s=HOUR).ready["cpu"]
    store.close(claim_one(store), done())

    assert old.count == 2 and old.oldest_s > 86_400
    assert waiting.count == 1, "a step that must not be claimed yet doesn't wait"
    assert store.figures(stuck_after_s=HOUR).ready == {}


@pytest.mark.parametrize("store_url", SQL, indirect=True)
@pytest.mark.req("E-10")
def test_a_ready_step_of_an_ended_job_is_nobodys_oldest(store: SqlStore) -> None:
    make_job(store)
    left = make_job(store)
    store.apply(left.id, Event.CANCEL)
    past = "'2026-01-01T00:00:00.000Z'"
    execute(store, f"UPDATE steps SET status = 'ready', not_before = {past} WHERE job_id = :id", id=left.id)

    assert store.figures(stuck_after_s=HOUR).ready["cpu"].oldest_s < 86_400


@pytest.mark.req("D-07")
def test_uploads_that_wait_have_an_age_and_get_stuck(store: JobStore) -> None:
    _, job = make_waiting(store)
    make_waiting(store)
    age_upload(store, job.video_id, LONG_AGO)

    told = store.figures(stuck_after_s=HOUR)

    assert told.uploads.count == 2 and told.uploads.oldest_s > 86_400
    assert told.uploads_stuck == 1


@pytest.mark.req("E-10")
def test_counting_goes_along_indexes(sqlite_url: str) -> None:
    """However many jobs have ended: their rows aren't read."""
    store = open_store(sqlite_url)
    make_job(store)
    asked: list[tuple[str, Any]] = []
    sa.event.listen(store.engine, "before_cursor_execute", lambda *told: asked.append((told[2], told[3])))
    store.figures(stuck_after_s=HOUR)
    with store.engine.connect() as connection:
        queries = [one for one in asked if one[0].startswith("SELECT")]
        plans = [
            str(row[3])
            for sql, values in queries
            for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", values)
        ]
    store.close_engine()

    assert len(plans) >= 5
    assert {plan for plan in plans if plan.startswith("SCAN") and "INDEX" not in plan} <= {
        "SCAN CONSTANT ROW",
        "SCAN workers",  # a row for each worker
    }
    assert any("COVERING INDEX ix_jobs_status_pipeline" in plan for plan in plans)
