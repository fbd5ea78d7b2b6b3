"""The register of workers: every store keeps it by its own clock."""

from __future__ import annotations

import pytest

from looks import set_back
from making import at_once, db_now
from reelmill.errors import NotFound
from reelmill.jobs.ports import JobStore, WorkerSeen


def seen(name: str = "w1", **more: object) -> WorkerSeen:
    told = {
        "id": name,
        "host": "far",
        "pid": 7,
        "slots": 2,
        "queues": ("cpu", "gpu"),
        "version": "1",
        "engine": "claims",
    }
    return WorkerSeen(**{**told, **more})  # type: ignore[arg-type]


@pytest.mark.req("E-08")
def test_a_worker_is_known_from_its_first_heartbeat_on(store: JobStore) -> None:
    before = db_now(store)
    first = store.see_worker(seen())
    again = store.see_worker(seen(slots=3))

    (known,) = store.workers()
    assert (known.id, known.host, known.pid, known.slots, known.queues) == ("w1", "far", 7, 3, ("cpu", "gpu"))
    assert first.started_at == again.started_at == known.started_at
    assert before <= first.seen_at <= again.seen_at <= db_now(store)
    assert known.draining_at is None and known.silent_s >= 0


@pytest.mark.req("E-08")
def test_a_worker_hears_with_its_heartbeat_that_it_shall_drain(store: JobStore) -> None:
    store.see_worker(seen())
    since = store.drain_worker("w1").draining_at
    assert since is not None
    assert store.drain_worker("w1").draining_at == since, "again changes nothing"
    assert store.see_worker(seen()).draining_at == since
    with pytest.raises(NotFound):
        store.drain_worker("w2")


@pytest.mark.req("E-08")
def test_silent_workers_are_told_from_others_and_forgotten(store: JobStore) -> None:
    store.see_worker(seen("dead"))
    set_back(store, "workers", "seen_at", 100)
    store.see_worker(seen("alive"))

    silent = {worker.id: worker.silent_s for worker in store.workers()}
    assert 100 <= silent["dead"] < 200 and silent["alive"] < 100
    assert store.forget_silent_workers(200) == 0
    assert store.forget_silent_workers(90) == 1
    store.forget_worker("alive")
    store.forget_worker("alive")
    assert store.workers() == []


@pytest.mark.req("E-08")
def test_first_heartbeats_at_the_same_moment_are_one_row(store: JobStore) -> None:
    found = at_once(*[lambda: store.see_worker(seen())] * 4)
    assert [worker.id for worker in found] == ["w1"] * 4
    assert len(store.workers()) == 1
