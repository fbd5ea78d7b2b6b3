"""Artifacts that wait in a spool: what the store promises of them, on every database."""

from __future__ import annotations

from dataclasses import replace

import pytest

from making import THREE_STAGES, artifact, at_once, claim_one, done, ended, finish_open_steps, make_job, opening
from reelmill.errors import StaleAttempt, TransitionRefused
from reelmill.jobs.lifecycle import Event, Status, StepEvent, StepStatus
from reelmill.jobs.model import STORING, Artifact, Claim, Job, NewArtifact
from reelmill.jobs.ports import Failure, Held, JobStore

SPOOL = "5b0e0f6e-0000-4000-8000-00000000000a"
WAITS = Failure("storage_unavailable", "storage_unavailable: waiting since noon.")


def kept(claim: Claim, name: str | None = None) -> NewArtifact:
    return replace(artifact(claim, name), place="spool", spool=SPOOL, retries=3)


def storing(store: JobStore, n: int = 1) -> tuple[Job, list[Artifact]]:
    """A job of one stage whose `n` steps are done, each with a file in the spool."""
    job = make_job(store, n)
    for _ in range(n):
        claim = claim_one(store)
        store.close(claim, done(artifacts=[kept(claim)]))
    return store.job(job.id), store.spooled(SPOOL)


@pytest.mark.req("E-05", "E-07")
def test_a_job_with_a_file_in_the_spool_runs_on_in_the_stage_storing(store: JobStore) -> None:
    job, (first, _) = storing(store, n=2)
    assert (job.status, job.stage, job.spooled, job.storing) == (Status.RUNNING, "render", 2, True)
    assert (job.shown().stage, job.shown().status) == (STORING, Status.RUNNING)
    assert "kept locally" in job.shown().warnings[-1]
    assert (first.place, first.spool, first.retries, first.stored_at) == ("spool", SPOOL, 3, None)
    with pytest.raises(TransitionRefused):
        store.apply(job.id, Event.FINISH, run=job.run)
    assert store.job(job.id).progress_pct < 100
    assert store.spooled("another") == []


@pytest.mark.req("E-05", "E-07")
def test_the_last_moved_file_lets_the_job_finish(store: JobStore) -> None:
    job, (first, second) = storing(store, n=2)
    moved = store.moved(first)
    assert moved is not None and (moved.spooled, moved.storing) == (1, True)
    assert store.moved(first) is None, "recorded before"
    with pytest.raises(TransitionRefused):
        store.apply(job.id, Event.FINISH, run=job.run)
    moved = store.moved(second)
    assert moved is not None and (moved.spooled, moved.storing) == (0, False)
    assert store.apply(job.id, Event.FINISH, run=job.run).status is Status.COMPLETED
    for made in store.artifacts(job.id):
        assert (made.place, made.spool, made.retries) == ("stored", None, 3)
        assert made.stored_at is not None and made.stored_at >= made.created_at
    types = [event.type for event in store.events_after({job.id: 0})]
    assert types.count("artifact.stored") == 2 and types[-1] == "job.completed"


def test_of_two_that_move_the_same_file_one_records_it(store: JobStore) -> None:
    job, (only,) = storing(store)
    results = at_once(*[lambda: store.moved(only)] * 6)
    assert sum(result is not None for result in results) == 1
    assert store.job(job.id).spooled == 0


@pytest.mark.req("E-05")
def test_a_job_that_was_cancelled_while_it_stored_still_gets_its_files_and_can_be_retried(store: JobStore) -> None:
    job, (only,) = storing(store)
    cancelled = store.apply(job.id, Event.CANCEL)
    assert (cancelled.status, cancelled.shown().stage) == (Status.CANCELLED, "render")
    retried = store.apply(job.id, Event.RETRY, run=job.run)
    assert (retried.status, retried.storing) == (Status.QUEUED, True)
    with pytest.raises(TransitionRefused):
        store.apply(job.id, Event.FINISH, run=retried.run)
    moved = store.moved(only)
    assert moved is not None and moved.status is Status.QUEUED
    assert store.apply(job.id, Event.FINISH, run=retried.run).status is Status.COMPLETED


@pytest.mark.req("E-05")
def test_a_lost_file_makes_its_step_run_anew_with_what_was_planned_from_it(store: JobStore) -> None:
    job = make_job(store, 1, stages=THREE_STAGES)
    finish_open_steps(store)
    store.open_stage(job.id, run=1, after="text", opening=opening("render", 2))
    for _ in range(2):
        claim = claim_one(store)
        store.close(claim, done({"part": claim.step.index}, [kept(claim), kept(claim, f"{claim.step.index}.jpg")]))
    store.open_stage(job.id, run=1, after="render", opening=opening("publish", 2))
    claim = claim_one(store)
    store.close(claim, done(artifacts=[kept(claim, "manifest.json")]))
    stale = claim_one(store)

    lost = store.spooled(SPOOL)[0]
    again = store.redo(lost)
    assert again is not None
    assert (again.status, again.stage, again.steps_planned, again.steps_done) == (Status.RUNNING, "render", 2, 1)
    assert again.spooled == 2, "those of the other step"
    assert store.redo(lost) is None
    assert [step.stage for step in store.steps(job.id)] == ["text", "render", "render"]
    assert {one.step_id for one in store.artifacts(job.id)} == {f"{job.id}:render:1"}
    assert store.still_held([Held(stale.step.id, stale.attempt)]) == frozenset()
    claim = claim_one(store)
    assert (claim.step.id, claim.attempt, claim.step.tries, claim.step.crashes) == (lost.step_id, 2, 0, 0)
    with pytest.raises(StaleAttempt):
        store.close(stale, done())
    store.close(claim, done({"part": 0}, [artifact(claim)]))
    for made in store.spooled(SPOOL):
        store.moved(made)
    opened = store.open_stage(job.id, run=1, after="render", opening=opening("publish", 2))
    assert opened is not None
    finish_open_steps(store)
    assert store.apply(job.id, Event.FINISH, run=1).status is Status.COMPLETED


def test_a_lost_file_of_a_cancelled_job_waits_for_its_retry(store: JobStore) -> None:
    job, (only,) = storing(store)
    store.apply(job.id, Event.CANCEL)
    again = store.redo(only)
    assert again is not None and (again.status, again.spooled) == (Status.CANCELLED, 0)
    (step,) = store.steps(job.id)
    assert step.status is StepStatus.CANCELLED
    store.apply(job.id, Event.RETRY, run=job.run)
    assert claim_one(store).step.id == step.id


@pytest.mark.req("E-05", "C-07")
def test_a_step_that_waits_is_handed_back_uncharged_with_its_reason_and_a_delay(store: JobStore) -> None:
    job = make_job(store)
    told = store.close(claim_one(store), ended(StepEvent.RELEASE, failure=WAITS, delay_s=60))
    assert (told.status, told.message) == (Status.RUNNING, WAITS.detail)
    assert store.claim("w", limit=1, lease_s=60) == [], "not before its delay"
    (step,) = store.steps(job.id)
    assert (step.status, step.tries, step.crashes, step.error_code) == (StepStatus.READY, 0, 0, WAITS.code)
    (attempt,) = store.attempts(job.id)
    assert (attempt.outcome, attempt.error_code) == ("release", WAITS.code)
