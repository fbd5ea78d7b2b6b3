"""Ends and claims that come at the same moment: made together, each with its own fence, seen as if one by one."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from making import artifact, at_once, claim_one, done, ended, make_job
from reelmill.errors import StaleAttempt
from reelmill.jobs.lifecycle import Event, Processing, Status, StepEvent, StepStatus
from reelmill.jobs.model import Claim, Job
from reelmill.jobs.ports import JobStore

pytestmark = pytest.mark.req("E-08")


def claim_all(store: JobStore, job: Job) -> list[Claim]:
    claims: list[Claim] = []
    while got := store.claim("w1", limit=32, lease_s=60.0):
        claims += got
    assert {claim.job.id for claim in claims} == {job.id}
    return claims


def finished(store: JobStore, job: Job) -> Job:
    """The job after its last step's end: a store may leave it to whoever sees that all is done."""
    if job.status is Status.RUNNING:
        assert job.steps_done == job.steps_planned
        return store.apply(job.id, Event.FINISH, run=job.run)
    return job


def test_the_end_of_the_last_step_finishes_the_job(store: JobStore) -> None:
    job = make_job(store, 3)
    first, second, third = claim_all(store, job)
    assert store.close(first, done(), finish=True).status is Status.RUNNING
    assert store.close(second, done(), finish=True).status is Status.RUNNING
    ends = finished(store, store.close(third, done(), finish=True))
    assert (ends.status, ends.progress_pct, ends.steps_done) == (Status.COMPLETED, 100.0, 3)
    assert store.job(job.id) == ends and ends.completed_at is not None
    video = store.video(job.video_id)
    assert (video.processing_status, video.processing_error) == (Processing.COMPLETED, None)
    assert video.processing_completed_at is not None
    events = store.events_after({job.id: 0})
    assert [event.seq for event in events] == list(range(1, ends.last_seq + 1))
    assert [event.type for event in events][-2:] == ["step.done", "job.completed"]


def test_a_file_in_a_spool_keeps_the_last_step_from_finishing_the_job(store: JobStore) -> None:
    job = make_job(store, 1)
    claim = claim_one(store)
    kept = replace(artifact(claim), place="spool", spool="s1")
    seen = store.close(claim, done(artifacts=[kept]), finish=True)
    assert (seen.status, seen.spooled, seen.steps_done) == (Status.RUNNING, 1, 1)
    assert store.job(job.id).status is Status.RUNNING


def test_a_failed_optional_step_finishes_the_job_with_a_warning(store: JobStore) -> None:
    make_job(store, 1, optional=[0])
    ends = finished(store, store.close(claim_one(store), ended(StepEvent.FAIL), finish=True))
    assert ends.status is Status.COMPLETED and len(ends.warnings) == 1


def test_a_step_that_comes_back_finishes_nothing(store: JobStore) -> None:
    job = make_job(store, 1)
    for event in (StepEvent.AGAIN, StepEvent.CRASH, StepEvent.RELEASE):
        assert store.close(claim_one(store), ended(event), finish=True).status is Status.RUNNING
    assert [step.status for step in store.steps(job.id)] == [StepStatus.READY]


def test_ends_at_one_moment_are_seen_one_by_one(store: JobStore) -> None:
    job = make_job(store, 12)
    claims = claim_all(store, job)
    seen: list[Job] = at_once(
        *(partial(store.close, claim, done(artifacts=[artifact(claim)]), finish=True) for claim in claims)
    )
    # One alone sees the last, whether the store has finished the job with it or leaves that to whoever sees it.
    assert sorted(one.steps_done for one in seen) == list(range(1, 13))
    assert [one.status for one in seen if one.steps_done < 12] == [Status.RUNNING] * 11
    assert all(one.completed_at is None for one in seen if one.steps_done < 12)
    (last,) = (one for one in seen if one.steps_done == 12)
    ends = finished(store, last)
    events = store.events_after({job.id: 0})
    assert [event.seq for event in events] == list(range(1, ends.last_seq + 1))
    told = [event.data["step"] for event in events if event.type == "step.done"]
    assert sorted(told) == sorted(claim.step.id for claim in claims)
    assert [event.type for event in events].count("job.completed") == 1
    assert len(store.artifacts(job.id)) == 12


def test_a_stale_end_among_others_is_refused_alone(store: JobStore) -> None:
    job = make_job(store, 6)
    stale = claim_one(store)
    store.close(stale, ended(StepEvent.RELEASE, failure=None))
    claims = claim_all(store, job)
    assert stale.step.id in {claim.step.id for claim in claims}
    seen: list[Any] = at_once(
        *(partial(store.close, claim, done({"by": claim.attempt})) for claim in [*claims[:3], stale, *claims[3:]])
    )
    assert [type(one) for one in seen] == [Job] * 3 + [StaleAttempt] + [Job] * 3
    assert {step.id: step.output for step in store.steps(job.id)} == {
        claim.step.id: {"by": claim.attempt} for claim in claims
    }
    assert store.job(job.id).steps_done == 6


def test_a_file_that_cannot_be_recorded_fails_its_own_end_alone(store: JobStore) -> None:
    job = make_job(store, 5)
    claims = claim_all(store, job)
    names = ["same.mp4", "same.mp4", "b.mp4", "c.mp4", "d.mp4"]
    seen: list[Any] = at_once(
        *(
            partial(store.close, claim, done(artifacts=[artifact(claim, name)]), finish=True)
            for claim, name in zip(claims, names, strict=True)
        )
    )
    assert sum(isinstance(one, Exception) for one in seen[:2]) == 1
    assert all(isinstance(one, Job) for one in seen[2:])
    assert sorted(made.name for made in store.artifacts(job.id)) == ["b.mp4", "c.mp4", "d.mp4", "same.mp4"]
    assert [step.status for step in store.steps(job.id)].count(StepStatus.DONE) == 4
    assert store.job(job.id).steps_done == 4


def test_claims_at_one_moment_get_steps_of_their_own(store: JobStore) -> None:
    jobs = [make_job(store, 5) for _ in range(3)]
    got: list[list[Claim]] = at_once(
        *(partial(store.claim, f"w{n % 2}", limit=1, lease_s=60.0, engine_task_id=f"ring-{n}") for n in range(15))
    )
    claims = [claim for some in got for claim in some]
    assert sorted(claim.step.id for claim in claims) == sorted(step.id for job in jobs for step in store.steps(job.id))
    for n, (claim,) in enumerate(got):
        assert (claim.worker_id, claim.step.worker_id, claim.attempt) == (f"w{n % 2}", f"w{n % 2}", 1)
        assert claim.job.status is Status.RUNNING and claim.video.id == claim.job.video_id
    noted = {one.step_id: (one.engine_task_id, one.worker_id) for job in jobs for one in store.attempts(job.id)}
    assert noted == {claim.step.id: (f"ring-{n}", f"w{n % 2}") for n, (claim,) in enumerate(got)}
    for job in jobs:
        events = store.events_after({job.id: 0})
        assert [event.type for event in events].count("job.started") == 1
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
