"""Events: each job's are numbered without gaps in the order of commit, so that a reader can go on where it stopped."""

from __future__ import annotations

import threading
import time
from typing import Any

import psycopg
import pytest

from making import (
    BROKEN,
    PROBE,
    at_once,
    claim_one,
    done,
    ended,
    finish_open_steps,
    make_job,
    make_waiting,
    new_id,
    opening,
)
from reelmill.errors import TransitionRefused
from reelmill.jobs.lifecycle import Event, StepEvent
from reelmill.jobs.model import JobEvent
from reelmill.stores.sql import SqlStore
from reelmill.wiring import open_store


def types(events: list[JobEvent]) -> list[str]:
    return [event.type for event in events]


def test_a_jobs_story_can_be_read_from_its_events(store: SqlStore) -> None:
    video, job = make_waiting(store)
    store.uploaded(video.id, PROBE, job.id, opening(n=2))
    store.close(claim_one(store), ended(StepEvent.AGAIN))
    store.apply(job.id, Event.CANCEL)
    store.apply(job.id, Event.RETRY)
    finish_open_steps(store)
    store.apply(job.id, Event.FINISH)
    events = store.events_after({job.id: 0})
    assert [kind for kind in types(events) if kind.startswith("job.")] == [
        "job.created", "job.queued", "job.started", "job.cancelled", "job.retried", "job.started", "job.completed"
    ]  # fmt: skip
    assert types(events).count("step.done") == 2 and types(events).count("step.again") == 1
    assert [event.seq for event in events] == list(range(1, store.job(job.id).last_seq + 1))
    again = next(event for event in events if event.type == "step.again")
    assert (again.data["step"], again.data["attempt"]) == (f"{job.id}:render:0", 1)
    assert (again.data["code"], again.data["detail"]) == (BROKEN.code, BROKEN.detail)


def test_a_refused_change_leaves_no_event(store: SqlStore) -> None:
    job = make_job(store)
    before = store.events_after({job.id: 0})
    for event in (Event.FINISH, Event.RETRY):
        with pytest.raises(TransitionRefused):
            store.apply(job.id, event, run=1)
    assert store.events_after({job.id: 0}) == before
    store.apply(job.id, Event.CANCEL)
    assert [event.seq for event in store.events_after({job.id: 0})] == list(range(1, len(before) + 2))


def test_progress_is_no_event(store: SqlStore) -> None:
    job = make_job(store)
    claim = claim_one(store)
    before = store.job(job.id).last_seq
    for percent in range(10):
        store.report(claim, percent / 100)
    assert store.job(job.id).last_seq == before


def test_a_reader_gets_only_what_it_asked_for_and_what_is_new(store: SqlStore) -> None:
    first, second, other = (make_job(store) for _ in range(3))
    seen = {job.id: store.job(job.id).last_seq for job in (first, second)}
    assert store.events_after(seen) == []
    for job in (first, second, other):
        store.apply(job.id, Event.CANCEL)
    fresh = store.events_after(seen)
    assert [(event.job_id, event.type) for event in fresh] == [
        (job_id, "job.cancelled") for job_id in sorted((first.id, second.id))
    ]
    assert store.events_after({}) == store.events_after({new_id(): 0}) == []


def test_a_long_story_is_read_in_parts(store: SqlStore) -> None:
    job = make_job(store, n=9)
    finish_open_steps(store)
    whole = store.events_after({job.id: 0})
    parts: list[JobEvent] = []
    while part := store.events_after({job.id: parts[-1].seq if parts else 0}, limit=3):
        assert len(part) <= 3
        parts += part
    assert parts == whole


def test_a_reader_that_resumes_misses_nothing_while_four_workers_write(store: SqlStore, store_url: str) -> None:
    job = make_job(store, n=60)
    ended_writing = threading.Event()

    def write() -> None:
        other = open_store(store_url)  # connections of its own
        try:
            while claims := other.claim("w", limit=2, lease_s=60):
                for claim in claims:
                    again = claim.attempt == 1 and claim.step.index % 3 == 0
                    other.close(claim, ended(StepEvent.AGAIN) if again else done())
        finally:
            other.close_engine()

    def read() -> list[JobEvent]:
        seen: list[JobEvent] = []
        while True:
            last_look = ended_writing.is_set()
            seen += store.events_after({job.id: seen[-1].seq if seen else 0}, limit=5)
            if last_look and len(seen) == store.job(job.id).last_seq:
                return seen
            time.sleep(0.001)

    def write_together() -> list[Any]:
        try:
            return at_once(*[write] * 4)
        finally:
            ended_writing.set()

    written, *readers = at_once(write_together, read, read)
    assert written == [None] * 4
    whole = store.events_after({job.id: 0}, limit=10_000)
    assert [event.seq for event in whole] == list(range(1, len(whole) + 1))
    assert types(whole).count("step.done") == 60 and types(whole).count("step.again") == 20
    assert readers == [whole, whole]
    stamps = [event.created_at for event in whole]
    assert stamps == sorted(stamps)


def test_a_later_event_waits_for_an_earlier_one_that_is_slow_to_commit(postgres_url: str) -> None:
    """Were they to commit out of order, a reader between them would go on behind the later one and lose the earlier."""
    store = open_store(postgres_url)
    try:
        job = make_job(store)
        seen = store.job(job.id).last_seq
        with psycopg.connect(postgres_url) as slow:
            (taken,) = slow.execute(
                "UPDATE jobs SET last_seq = last_seq + 1 WHERE id = %s RETURNING last_seq", [job.id]
            ).fetchone() or (0,)
            slow.execute(
                "INSERT INTO events VALUES (%s, %s, 'slow', '{}', clock_timestamp())", [job.id, taken]
            )  # has its seq, but hasn't committed
            assert taken == seen + 1

            second = threading.Thread(target=store.apply, args=(job.id, Event.CANCEL))
            second.start()
            second.join(0.5)
            assert second.is_alive(), "the second writer didn't wait for the first one's seq"
            assert store.events_after({job.id: seen}) == []  # the reader between: nothing, so nothing skipped
            assert store.job(job.id).last_seq == seen

            slow.commit()
        second.join(10)
        assert not second.is_alive()
        fresh = store.events_after({job.id: seen})
        assert [(event.seq, event.type) for event in fresh] == [(seen + 1, "slow"), (seen + 2, "job.cancelled")]
    finally:
        store.close_engine()


def test_a_number_taken_in_vain_is_taken_again(postgres_url: str) -> None:
    """A table-wide sequence would leave a hole here, and a reader could not tell it from a slow commit."""
    store = open_store(postgres_url)
    try:
        job = make_job(store)
        with psycopg.connect(postgres_url) as broken:
            broken.execute("UPDATE jobs SET last_seq = last_seq + 1 WHERE id = %s", [job.id])
            broken.rollback()
        store.apply(job.id, Event.CANCEL)
        events = store.events_after({job.id: 0})
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
    finally:
        store.close_engine()
