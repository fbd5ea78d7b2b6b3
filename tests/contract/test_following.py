"""What follows a completed job, and steps by their digest, on every store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from making import PROBE, at_once, claim_one, complete, done, ended, make_job, make_video, new_job, new_video, opening
from reelmill.errors import StaleAttempt
from reelmill.jobs.lifecycle import Event, StepEvent
from reelmill.jobs.model import Claim, Job, StepSpec
from reelmill.jobs.ports import JobStore, Opening, Outcome
from reelmill.stores.sql import SqlStore, open_store

THEN = {"pipeline": "proxy", "params": {"height": 240}, "reuse": True, "then": []}
TOLD = {**THEN, "jobs": ["b0c7f0e6-6f9a-4b52-9e6a-3a9f7d1c2b10"]}


@pytest.fixture(params=["sqlite", "postgres"])
def sql_store(request: pytest.FixtureRequest) -> Iterator[SqlStore]:
    """What only these offer: deleting, and files whose time is over."""
    opened = open_store(request.getfixturevalue(f"{request.param}_url"))
    yield opened
    opened.close_engine()


def add(store: JobStore, **chained: Any) -> Job:
    video = make_video(store)
    return store.add_job(replace(new_job(video.id), **chained), opening())


def finish(store: JobStore, digest: str, *, tenant: str = "acme", reusable: bool = True) -> Claim:
    """A done step of this digest, in a job of its own; its claim."""
    video = make_video(store, tenant=tenant)
    spec = StepSpec(index=0, kind="clip", params={}, digest=digest)
    store.add_job(new_job(video.id, tenant=tenant), Opening("render", (spec,)))
    claim = claim_one(store)
    store.close(claim, replace(done({"name": tenant}), reusable=reusable))
    return claim


# ── what follows ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.req("A-02")
def test_a_job_keeps_what_shall_follow_it_and_whom_it_follows(store: JobStore) -> None:
    first = add(store, then=(THEN, {**THEN, "then": [THEN]}), reuse=False)
    follower = add(store, follows=first.id)
    assert store.job(first.id).then == (THEN, {**THEN, "then": [THEN]})
    assert (store.job(first.id).reuse, store.job(first.id).follows) == (False, None)
    assert (store.job(follower.id).reuse, store.job(follower.id).follows) == (True, first.id)
    assert store.job(follower.id).then == ()
    (job,) = (claim.job for claim in store.claim("w", limit=2, lease_s=60) if claim.job.id == first.id)
    assert (job.then, job.reuse) == (store.job(first.id).then, False)


@pytest.mark.req("A-02")
def test_only_completed_jobs_with_something_to_follow_are_unfollowed(store: JobStore) -> None:
    waiting, failed, cancelled = (add(store, then=(THEN,)) for _ in range(3))
    store.apply(failed.id, Event.FAIL)
    store.apply(cancelled.id, Event.CANCEL)
    plain = add(store)
    assert store.unfollowed() == []
    complete(store, waiting)
    store.apply(plain.id, Event.FINISH)
    assert [job.id for job in store.unfollowed()] == [waiting.id]
    assert store.unfollowed(limit=0) == []


@pytest.mark.req("A-02")
def test_following_is_recorded_once_whoever_comes(store: JobStore) -> None:
    job = add(store, then=(THEN,))
    assert store.followed(job.id, [TOLD]) is None  # it isn't completed
    assert store.job(job.id).followed_at is None
    complete(store, job)
    got = at_once(*[lambda: store.followed(job.id, [TOLD])] * 4)
    (won,) = [one for one in got if one is not None]
    assert won == store.job(job.id)
    assert (won.then, won.followed_at is not None) == ((TOLD,), True)
    told = [event for event in store.events_after({job.id: 0}) if event.type == "job.followed"]
    assert [event.data for event in told] == [{"jobs": TOLD["jobs"]}]
    assert [event.seq for event in store.events_after({job.id: 0})] == list(range(1, won.last_seq + 1))
    assert store.unfollowed() == []
    assert store.followed("b0c7f0e6-6f9a-4b52-9e6a-000000000000", [TOLD]) is None


@pytest.mark.req("A-02")
def test_a_job_that_waits_for_its_upload_keeps_what_shall_follow(store: JobStore) -> None:
    video = new_video()
    _, job = store.add_video(video, replace(new_job(video.id), then=(THEN,)))
    assert job is not None and job.then == (THEN,)
    store.uploaded(video.id, PROBE, job.id, opening())
    complete(store, job)
    assert [one.id for one in store.unfollowed()] == [job.id]


@pytest.mark.req("A-02")
def test_a_deleted_job_is_not_followed_until_it_is_restored(sql_store: SqlStore) -> None:
    store = sql_store
    job = add(store, then=(THEN,))
    complete(store, job)
    store.delete_video(job.video_id, "acme", undo_s=60)
    assert store.unfollowed() == []
    store.restore_video(job.video_id, "acme")
    assert [one.id for one in store.unfollowed()] == [job.id]


# ── steps by their digest ─────────────────────────────────────────────────────────────────────


@pytest.mark.req("A-02")
def test_a_done_step_is_found_by_tenant_and_digest(store: JobStore) -> None:
    made = finish(store, "d" * 64)
    (found,) = store.made_before("acme", "d" * 64)
    assert found == next(step for step in store.steps(made.job.id))
    assert (found.id, found.output) == (made.step.id, {"name": "acme"})
    assert store.made_before("acme", "e" * 64) == []
    assert store.made_before("other", "d" * 64) == []


@pytest.mark.req("A-02")
def test_no_step_that_is_open_or_failed_is_found(store: JobStore) -> None:
    job = make_job(store)
    digest = store.steps(job.id)[0].digest
    assert store.made_before("acme", digest) == []
    claim = claim_one(store)
    assert store.made_before("acme", digest) == []
    store.close(claim, ended(StepEvent.FAIL))
    assert store.made_before("acme", digest) == []
    store.apply(job.id, Event.RETRY)
    again = claim_one(store)
    store.close(again, replace(done(), reusable=True))
    assert [step.id for step in store.made_before("acme", digest)] == [claim.step.id]


@pytest.mark.req("A-02")
def test_the_newest_done_step_comes_first_and_the_next_one_is_found_when_it_goes(store: JobStore) -> None:
    first = finish(store, "d" * 64)
    second = finish(store, "d" * 64)
    assert store.made_before("acme", "d" * 64)[0].id == second.step.id
    store.forget("acme", second.job.video_id)
    rest = [step.id for step in store.made_before("acme", "d" * 64)]
    assert rest in ([first.step.id], [])  # a store may know the last one only
    third = finish(store, "d" * 64)
    assert store.made_before("acme", "d" * 64)[0].id == third.step.id


@pytest.mark.req("A-02")
def test_steps_of_jobs_that_are_deleted_or_without_files_are_not_found(sql_store: SqlStore) -> None:
    store = sql_store
    deleted, expired = finish(store, "d" * 64), finish(store, "e" * 64)
    for claim in (deleted, expired):
        store.apply(claim.job.id, Event.FINISH)
    store.delete_video(deleted.job.video_id, "acme", undo_s=60)
    assert expired.job.id in [job.id for job in store.expire_outputs(-1)]
    assert store.made_before("acme", "d" * 64) == []
    assert store.made_before("acme", "e" * 64) == []


@pytest.mark.req("A-02")
def test_a_late_worker_makes_nothing_reusable(store: JobStore) -> None:
    job = make_job(store)
    digest = store.steps(job.id)[0].digest
    late = claim_one(store)
    store.close(late, ended(StepEvent.CRASH))
    with pytest.raises(StaleAttempt):
        store.close(late, Outcome(event=StepEvent.FINISH, result=done().result, reusable=True))
    assert store.made_before("acme", digest) == []
