"""What every store promises its users, on real databases; each test is named for what a user sees."""

from __future__ import annotations

import ast
import base64
import dataclasses
import json
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import reelmill.stores
from looks import everything, ids, make_simultaneous, not_before, open_steps_of_completed_jobs
from making import (
    BROKEN,
    PROBE,
    THREE_STAGES,
    artifact,
    at_once,
    claim_one,
    complete,
    db_now,
    done,
    ended,
    finish_open_steps,
    make_job,
    make_video,
    make_waiting,
    new_id,
    new_job,
    new_video,
    opening,
)
from reelmill.errors import CursorInvalid, DatabaseUnavailable, NotFound, StaleAttempt, TransitionRefused, UploadNeeded
from reelmill.jobs import lifecycle
from reelmill.jobs.lifecycle import ENDED, PROCESSING_OF, Event, Processing, Status, StepEvent, StepStatus, UploadStatus
from reelmill.jobs.model import Claim, Job, Output, Video
from reelmill.jobs.ports import Failure, Held, JobStore, Outcome
from reelmill.stores.dynamo.store import DynamoStore
from reelmill.stores.sql import SqlStore
from reelmill.wiring import open_store

MISSING = Failure("upload_missing", "Upload not found in storage.")
NOT_A_VIDEO = Failure("not_a_video", "No video stream was found.")
INVALID = Failure("params_invalid", "3 texts were given for 2 clips.")
SHORT_S = 0.2  # a lease short enough to wait for


def held(claim: Claim) -> Held:
    return Held(claim.step.id, claim.attempt)


def lose(store: SqlStore, claim: Claim, *, max_crashes: int = 3) -> None:
    """Wait until the claim's short lease is over and take its step back."""
    until = time.monotonic() + 10
    while held(claim) not in store.lose_dead(max_crashes=max_crashes):
        assert time.monotonic() < until, "the lease never ended"
        time.sleep(0.02)


def types_of(store: SqlStore, job_id: str) -> list[str]:
    return [event.type for event in store.events_after({job_id: 0})]


def assert_agree(video: Video, job: Job | None) -> None:
    """The video says of its driver what the driver says of itself."""
    assert job is not None and video.processing_job_id == job.id
    assert video.processing_status is PROCESSING_OF[job.status]
    expected = {Status.FAILED: job.error_code, Status.CANCELLED: "cancelled"}.get(job.status)
    assert video.processing_error == expected
    assert (video.processing_completed_at is not None) == (job.status in ENDED)


@pytest.fixture
def store(store: SqlStore) -> Iterator[SqlStore]:
    """A store that is looked through after every test: nothing may be left half done, whatever the test was about."""
    yield store
    assert open_steps_of_completed_jobs(store) == []
    for video_id in ids(store, "videos"):
        if store.video(video_id).processing_job_id is not None:
            assert_agree(*store.video_and_job(video_id))


# ── Uploads ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.req("D-01", "D-04")
def test_a_job_awaiting_its_upload_cannot_be_claimed(store: SqlStore) -> None:
    video, job = make_waiting(store)
    assert (job.status, job.stage, job.run) == (Status.AWAITING_UPLOAD, None, 1)
    assert (video.upload_status, video.processing_status) == (UploadStatus.AWAITING, Processing.PENDING)
    assert video.processing_job_id == job.id
    assert store.claim("w", limit=10, lease_s=60) == []
    assert store.to_ring(10, again_after_s=0) == []
    assert store.stalled() == []


@pytest.mark.req("D-01", "D-02")
def test_a_verified_upload_queues_the_job_with_its_steps(store: SqlStore) -> None:
    video, job = make_waiting(store)
    queued = store.uploaded(video.id, PROBE, job.id, opening(n=3))
    assert queued is not None and queued == store.job(job.id)
    assert (queued.status, queued.stage, queued.steps_planned, queued.steps_done) == (Status.QUEUED, "render", 3, 0)
    assert [(s.id, s.status, s.attempt) for s in store.steps(job.id)] == [
        (f"{job.id}:render:{i}", StepStatus.READY, 0) for i in range(3)
    ]
    now_video, driver = store.video_and_job(video.id)
    assert_agree(now_video, driver)
    assert (now_video.upload_status, now_video.source) == (UploadStatus.UPLOADED, PROBE)
    assert now_video.uploaded_at is not None
    assert len(store.claim("w", limit=10, lease_s=60)) == 3


@pytest.mark.req("D-03")
def test_a_second_completion_of_an_upload_is_refused_and_changes_nothing(store: SqlStore) -> None:
    video, job = make_waiting(store)
    store.uploaded(video.id, PROBE, job.id, opening(n=2))
    before = (store.video_and_job(video.id), store.steps(job.id), store.events_after({job.id: 0}))
    for then in (opening(n=2), opening("other", 5), MISSING, None):
        with pytest.raises(TransitionRefused):
            store.uploaded(video.id, {"duration_s": 1.0}, None if then is None else job.id, then)
    assert (store.video_and_job(video.id), store.steps(job.id), store.events_after({job.id: 0})) == before


@pytest.mark.req("D-03")
def test_completing_again_does_nothing_to_a_running_or_finished_job(store: SqlStore) -> None:
    video, job = make_waiting(store)
    store.uploaded(video.id, PROBE, job.id, opening())
    claim = claim_one(store)
    with pytest.raises(TransitionRefused):
        store.uploaded(video.id, PROBE, job.id, opening())
    store.close(claim, done())
    finished = store.apply(job.id, Event.FINISH, run=1)
    with pytest.raises(TransitionRefused):
        store.uploaded(video.id, PROBE, job.id, opening())
    assert store.job(job.id) == finished


@pytest.mark.req("D-02")
def test_a_missing_upload_fails_the_job_and_the_upload_heals_it(store: SqlStore) -> None:
    video, job = make_waiting(store)
    failed = store.reject_upload(video.id, job.id, MISSING, None)
    assert failed is not None and (failed.status, failed.error_code) == (Status.FAILED, "upload_missing")
    assert failed.error_detail == MISSING.detail and failed.completed_at is not None
    assert_agree(*store.video_and_job(video.id))
    assert store.video(video.id).upload_status is UploadStatus.AWAITING

    healed = store.uploaded(video.id, PROBE, job.id, opening(n=2))
    assert healed is not None and (healed.status, healed.error_code, healed.error_detail) == (Status.QUEUED, None, None)
    assert healed.completed_at is None
    assert_agree(*store.video_and_job(video.id))
    assert len(store.claim("w", limit=10, lease_s=60)) == 2


@pytest.mark.req("D-02")
def test_an_upload_may_be_found_missing_twice_and_then_come(store: SqlStore) -> None:
    video, job = make_waiting(store)
    for failure in (MISSING, Failure("upload_mismatch", "It has 9 bytes instead of 1000."), MISSING):
        failed = store.reject_upload(video.id, job.id, failure, None)
        assert failed is not None and (failed.status, failed.error_code) == (Status.FAILED, failure.code)
    assert store.uploaded(video.id, PROBE, job.id, opening()) is not None
    assert store.job(job.id).status is Status.QUEUED


@pytest.mark.parametrize("code", ["not_a_video", "media_rejected"])
def test_a_rejected_file_cannot_be_uploaded_again_under_the_same_id(store: SqlStore, code: str) -> None:
    video, job = make_waiting(store)
    failed = store.reject_upload(video.id, job.id, Failure(code, "No."), UploadStatus.REJECTED)
    assert failed is not None and failed.error_code == code
    assert_agree(*store.video_and_job(video.id))
    before = store.video_and_job(video.id)
    assert before[0].upload_status is UploadStatus.REJECTED
    with pytest.raises(TransitionRefused):
        store.uploaded(video.id, PROBE, job.id, opening())
    with pytest.raises(TransitionRefused):
        store.uploaded(video.id, PROBE, None, None)
    assert store.video_and_job(video.id) == before
    with pytest.raises(UploadNeeded):
        store.apply(job.id, Event.RETRY, opening=opening())
    with pytest.raises(UploadNeeded):
        store.add_job(new_job(video.id), opening())


def test_an_upload_without_a_job_can_be_rejected_too(store: SqlStore) -> None:
    video = make_video(store, upload=False)
    assert store.reject_upload(video.id, None, NOT_A_VIDEO, UploadStatus.REJECTED) is None
    assert store.video(video.id).upload_status is UploadStatus.REJECTED


def test_an_upload_that_was_recorded_in_the_meantime_cannot_be_rejected(store: SqlStore) -> None:
    video, job = make_waiting(store)
    store.uploaded(video.id, PROBE, job.id, opening())
    before = store.video_and_job(video.id)
    with pytest.raises(TransitionRefused):
        store.reject_upload(video.id, job.id, MISSING, None)
    with pytest.raises(TransitionRefused):
        store.reject_upload(video.id, job.id, MISSING, UploadStatus.EXPIRED)
    assert store.video_and_job(video.id) == before


def test_rejecting_an_upload_leaves_a_cancelled_job_as_it_is(store: SqlStore) -> None:
    video, job = make_waiting(store)
    cancelled = store.apply(job.id, Event.CANCEL)
    returned = store.reject_upload(video.id, job.id, MISSING, None)
    assert store.job(job.id) == cancelled
    assert_agree(*store.video_and_job(video.id))
    assert returned == cancelled  # "returns it as it then is"


def test_a_job_cancelled_before_its_upload_is_not_queued_by_it(store: SqlStore) -> None:
    video, job = make_waiting(store)
    store.apply(job.id, Event.CANCEL)
    for then in (opening(), INVALID):
        with pytest.raises(TransitionRefused):
            store.uploaded(video.id, PROBE, job.id, then)
        assert store.job(job.id).status is Status.CANCELLED
        assert store.video(video.id).upload_status is UploadStatus.AWAITING
    assert store.uploaded(video.id, PROBE, None, None) is None
    retried = store.apply(job.id, Event.RETRY, opening=opening(n=2))
    assert (retried.status, retried.run) == (Status.QUEUED, 2)
    assert len(store.claim("w", limit=10, lease_s=60)) == 2


@pytest.mark.req("B-04")
def test_parameters_that_do_not_fit_fail_the_job_but_keep_the_video(store: SqlStore) -> None:
    video, job = make_waiting(store)
    failed = store.uploaded(video.id, PROBE, job.id, INVALID)
    assert failed is not None and (failed.status, failed.error_code) == (Status.FAILED, "params_invalid")
    now_video, driver = store.video_and_job(video.id)
    assert_agree(now_video, driver)
    assert now_video.upload_status is UploadStatus.UPLOADED and now_video.source == PROBE
    assert store.claim("w", limit=10, lease_s=60) == []
    other = store.add_job(new_job(video.id), opening())
    assert store.video(video.id).processing_job_id == other.id


def test_an_uploaded_video_can_stand_without_a_job(store: SqlStore) -> None:
    video = make_video(store)
    assert (video.upload_status, video.processing_status) == (UploadStatus.UPLOADED, Processing.PENDING)
    assert store.video_and_job(video.id) == (video, None)


@pytest.mark.req("A-05")
def test_a_video_is_found_by_its_key_and_has_it_alone(store: SqlStore) -> None:
    mine = make_video(store)
    assert store.video_at(mine.key, mine.tenant) == mine
    for key, tenant in ((mine.key, "stranger"), (f"{mine.key}/more", mine.tenant), ("", mine.tenant)):
        with pytest.raises(NotFound, match=f"There is no upload {key}."):
            store.video_at(key, tenant)
    second = dataclasses.replace(new_video(tenant="stranger"), key=mine.key)
    with pytest.raises(TransitionRefused):
        store.add_video(second, new_job(second.id))
    assert (len(ids(store, "videos")), len(ids(store, "jobs"))) == (1, 0)


def test_an_upload_that_does_not_come_in_time_expires(store: SqlStore) -> None:
    late, job = make_waiting(store, ttl_s=0.1)
    lone, _ = store.add_video(new_video(ttl_s=0.1))
    fresh, waiting = make_waiting(store, ttl_s=60)
    assert late.upload_expires_at > late.created_at
    time.sleep(0.3)
    assert [expired.id for expired in store.expire_uploads()] == [job.id]
    now_video, driver = store.video_and_job(late.id)
    assert_agree(now_video, driver)
    assert driver is not None and driver.error_code == "upload_expired"
    assert now_video.upload_status is store.video(lone.id).upload_status is UploadStatus.EXPIRED
    assert store.video_and_job(fresh.id) == (fresh, waiting)
    assert store.expire_uploads() == []


def test_an_expired_upload_that_comes_after_all_is_taken(store: SqlStore) -> None:
    video, job = make_waiting(store, ttl_s=0.05)
    time.sleep(0.2)
    store.expire_uploads()
    assert store.uploaded(video.id, PROBE, job.id, opening()) is not None
    assert store.video(video.id).upload_status is UploadStatus.UPLOADED
    assert_agree(*store.video_and_job(video.id))
    assert claim_one(store).job.id == job.id


def test_an_uploaded_video_never_expires(store: SqlStore) -> None:
    video, job = make_waiting(store, ttl_s=0.05)
    store.uploaded(video.id, PROBE, job.id, opening())
    time.sleep(0.2)
    assert store.expire_uploads() == []
    assert store.job(job.id).status is Status.QUEUED


def test_a_job_that_is_added_twice_is_one(store: SqlStore) -> None:
    video = make_video(store)
    wanted = new_job(video.id)
    first = store.add_job(wanted, opening(n=2))
    newer = make_job(store, video_id=video.id)
    again = at_once(*[lambda: store.add_job(wanted, opening(n=2))] * 3)
    assert [job.id for job in again] == [first.id] * 3
    assert len(store.jobs("acme", video_id=video.id).items) == 2
    assert len(store.steps(first.id)) == 2
    assert [event.seq for event in store.events_after({first.id: 0}, 100)] == [1, 2]
    assert store.video(video.id).processing_job_id == newer.id, "the newest job stays the driver"
    while claims := store.claim("w1", limit=16, lease_s=60):
        for claim in claims:
            store.close(claim, done())
    ended = store.apply(first.id, Event.FINISH, run=1)
    assert store.add_job(wanted, opening(n=2)) == ended, "it stays as it is, ended too"
    assert finish_open_steps(store) == 0


def test_a_video_that_is_added_twice_is_one(store: SqlStore) -> None:
    video = new_video()
    made, job = store.add_video(video, new_job(video.id))
    for found, its_job in at_once(*[lambda: store.add_video(video, new_job(video.id))] * 3):
        assert (found, its_job) == (made, job)
    assert len(store.jobs("acme", video_id=video.id).items) == 1


def test_a_job_needs_an_uploaded_video(store: SqlStore) -> None:
    video = make_video(store, upload=False)
    with pytest.raises(UploadNeeded):
        store.add_job(new_job(video.id), opening())
    assert store.video(video.id).processing_job_id is None
    assert store.jobs("acme").items == ()


@pytest.mark.req("C-01", "A-02")
def test_a_job_is_stored_as_it_was_asked_for(store: SqlStore) -> None:
    video = make_video(store, labels={"mall": "7", "camera": "door ä"})
    wanted = new_job(video.id, stages=THREE_STAGES, priority=3)
    job = store.add_job(wanted, opening("text", 2))
    for field in dataclasses.fields(wanted):
        assert getattr(store.job(wanted.id), field.name) == getattr(wanted, field.name)
    assert job == store.job(wanted.id)
    assert video.labels == {"mall": "7", "camera": "door ä"}
    spec, step = opening("text", 2).specs[1], store.steps(job.id)[1]
    for name in ("index", "kind", "params", "digest", "optional"):
        assert getattr(step, name) == getattr(spec, name)


# ── Claims ────────────────────────────────────────────────────────────────────────────────────


def test_each_step_is_claimed_once(store: SqlStore) -> None:
    job = make_job(store, n=5)
    taken = [store.claim(f"w{i}", limit=2, lease_s=60) for i in range(4)]
    assert [len(claims) for claims in taken] == [2, 2, 1, 0]
    assert sorted(claim.step.index for claims in taken for claim in claims) == list(range(5))
    assert all(claim.attempt == 1 and claim.run == 1 for claims in taken for claim in claims)
    assert [step.worker_id for step in store.steps(job.id)] == ["w0", "w0", "w1", "w1", "w2"]


def test_work_is_claimed_by_priority_then_age_then_index(store: SqlStore) -> None:
    video_id = make_video(store).id
    jobs = [make_job(store, n=2, video_id=video_id, priority=p) for p in (0, 5, 0, 5, -1) if not time.sleep(0.003)]
    by_rank = [jobs[1], jobs[3], jobs[0], jobs[2], jobs[4]]
    assert [store.queue_position(job.id) for job in by_rank] == [0, 1, 2, 3, 4]
    one_by_one = [claim_one(store).step.id for _ in range(3)]
    together = [claim.step.id for claim in store.claim("w", limit=100, lease_s=60)]
    assert one_by_one + together == [f"{job.id}:render:{i}" for job in by_rank for i in range(2)]


@pytest.mark.req("C-02")
def test_the_first_claim_starts_the_job(store: SqlStore) -> None:
    job = make_job(store, n=2)
    assert job.started_at is None
    first = claim_one(store)
    running = store.job(job.id)
    assert running.status is first.job.status is Status.RUNNING
    assert running.started_at is not None
    claim_one(store)
    assert store.job(job.id).started_at == running.started_at
    assert types_of(store, job.id).count("job.started") == 1
    assert_agree(*store.video_and_job(job.video_id))


def test_a_claim_carries_all_that_its_work_needs(store: SqlStore) -> None:
    job = make_job(store, n=1)
    (claim,) = store.claim("w7", limit=3, lease_s=60, engine_task_id="celery-1")
    assert claim.job == store.job(job.id)
    assert claim.video == store.video(job.video_id)
    assert (claim.step,) == tuple(store.steps(job.id))
    assert (claim.worker_id, claim.step.worker_id, claim.attempt, claim.run) == ("w7", "w7", 1, 1)


@pytest.mark.req("A-03")
def test_an_engines_own_id_is_kept_with_the_attempt_and_finds_no_job(store: SqlStore) -> None:
    job = make_job(store)
    store.claim("w7", limit=1, lease_s=60, engine_task_id="celery-1")
    (attempt,) = store.attempts(job.id)
    assert (attempt.engine_task_id, attempt.worker_id, attempt.outcome) == ("celery-1", "w7", None)
    with pytest.raises(NotFound):
        store.job("celery-1")
    assert store.jobs_by_id(["celery-1"]) == []


def test_nothing_is_claimed_from_ended_jobs(store: SqlStore) -> None:
    jobs = [make_job(store, n=2) for _ in range(2)]
    store.apply(jobs[0].id, Event.CANCEL)
    store.apply(jobs[1].id, Event.FAIL, failure=BROKEN)
    assert store.claim("w", limit=10, lease_s=60) == []
    assert store.to_ring(10, again_after_s=0) == []


def test_one_broken_job_does_not_keep_others_from_being_claimed(store: SqlStore) -> None:
    broken, fine = make_job(store, n=3, priority=9), make_job(store, n=1)
    store.close(claim_one(store), ended(StepEvent.FAIL))
    assert store.job(broken.id).status is Status.FAILED
    assert claim_one(store).job.id == fine.id


# ── Stages and the end ────────────────────────────────────────────────────────────────────────


@pytest.mark.req("B-06", "E-04")
def test_a_job_goes_through_its_stages_and_completes(store: SqlStore) -> None:
    job = make_job(store, stages=THREE_STAGES)
    finish_open_steps(store)
    assert [stalled.id for stalled in store.stalled()] == [job.id]
    opened = store.open_stage(job.id, run=1, after="text", opening=opening("render", 3))
    assert opened is not None and (opened.stage, opened.steps_planned, opened.steps_done) == ("render", 3, 0)
    assert store.stalled() == []
    finish_open_steps(store)
    store.open_stage(job.id, run=1, after="render", opening=opening("publish", 1))
    finish_open_steps(store)
    finished = store.apply(job.id, Event.FINISH, run=1)
    assert (finished.status, finished.progress_pct) == (Status.COMPLETED, 100.0)
    assert finished.completed_at is not None and finished.error_code is None
    assert_agree(*store.video_and_job(job.video_id))
    assert [step.stage for step in store.steps(job.id)] == ["text", "render", "render", "render", "publish"]
    assert [step.index for step in store.steps(job.id, "render")] == [0, 1, 2]
    assert store.stalled() == [] and store.queue_position(job.id) is None


def test_a_stage_opened_twice_opens_once(store: SqlStore) -> None:
    job = make_job(store, stages=THREE_STAGES)
    finish_open_steps(store)
    assert store.open_stage(job.id, run=1, after="text", opening=opening("render", 2)) is not None
    before = (store.job(job.id), store.steps(job.id), store.events_after({job.id: 0}))
    assert store.open_stage(job.id, run=1, after="text", opening=opening("render", 2)) is None
    finish_open_steps(store)
    assert store.open_stage(job.id, run=1, after="text", opening=opening("render", 2)) is None
    assert len(store.steps(job.id)) == len(before[1]) == 3
    assert types_of(store, job.id).count("stage.opened") == 1


def test_a_stage_does_not_open_while_a_step_is_open_or_for_another_run(store: SqlStore) -> None:
    job = make_job(store, n=2, stages=THREE_STAGES)
    following = opening("render", 2)
    store.close(claim_one(store), done())
    assert store.open_stage(job.id, run=1, after="text", opening=following) is None
    claim = claim_one(store)
    assert store.open_stage(job.id, run=1, after="text", opening=following) is None
    store.close(claim, done())
    assert store.open_stage(job.id, run=2, after="text", opening=following) is None
    assert store.open_stage(job.id, run=1, after="publish", opening=following) is None
    store.apply(job.id, Event.CANCEL)
    assert store.open_stage(job.id, run=1, after="text", opening=following) is None
    assert len(store.steps(job.id)) == 2


def test_a_job_does_not_finish_while_a_step_is_open(store: SqlStore) -> None:
    job = make_job(store, n=2)
    with pytest.raises(TransitionRefused):
        store.apply(job.id, Event.FINISH, run=1)
    store.close(claim_one(store), done())
    with pytest.raises(TransitionRefused):
        store.apply(job.id, Event.FINISH, run=1)
    claim = claim_one(store)
    with pytest.raises(TransitionRefused):
        store.apply(job.id, Event.FINISH, run=1)
    store.close(claim, done())
    with pytest.raises(TransitionRefused):
        store.apply(job.id, Event.FINISH, run=2)
    assert store.apply(job.id, Event.FINISH, run=1).status is Status.COMPLETED
    with pytest.raises(TransitionRefused):
        store.apply(job.id, Event.FINISH, run=1)


@pytest.mark.parametrize("event", [Event.CANCEL, Event.FAIL, Event.RETRY])
def test_a_completed_job_cannot_be_changed(store: SqlStore, event: Event) -> None:
    finished = complete(store, make_job(store))
    with pytest.raises(TransitionRefused):
        store.apply(finished.id, event, failure=BROKEN, opening=None)
    assert store.job(finished.id) == finished
    assert_agree(*store.video_and_job(finished.video_id))


def test_an_unknown_job_is_not_found(store: SqlStore) -> None:
    for event in (Event.CANCEL, Event.RETRY, Event.FINISH, Event.FAIL):
        with pytest.raises(NotFound):
            store.apply(new_id(), event, failure=BROKEN)
    for read in (store.job, store.video, store.video_and_job):
        with pytest.raises(NotFound):
            read(new_id())


# ── Retry ─────────────────────────────────────────────────────────────────────────────────────


def test_a_retry_runs_only_what_is_missing(store: SqlStore) -> None:
    job = make_job(store, n=3)
    first = claim_one(store)
    store.close(first, done({"kept": True}, [artifact(first)]))
    store.close(claim_one(store), ended(StepEvent.FAIL))
    failed = store.job(job.id)
    assert (failed.status, failed.error_code) == (Status.FAILED, BROKEN.code)

    retried = store.apply(job.id, Event.RETRY)
    assert (retried.status, retried.run, retried.error_code, retried.error_detail) == (Status.QUEUED, 2, None, None)
    assert (retried.steps_done, retried.started_at, retried.completed_at) == (1, None, None)
    assert_agree(*store.video_and_job(job.video_id))
    claims = store.claim("w", limit=10, lease_s=60)
    assert [(claim.step.index, claim.run) for claim in claims] == [(1, 2), (2, 2)]
    assert [claim.attempt for claim in claims] == [2, 1]  # never reset: it is the fence
    for claim in claims:
        store.close(claim, done())
    finished = store.apply(job.id, Event.FINISH, run=2)
    assert (finished.status, finished.progress_pct) == (Status.COMPLETED, 100.0)
    assert store.steps(job.id)[0].output == {"kept": True}
    assert [a.attempt for a in store.artifacts(job.id)] == [1]
    assert_agree(*store.video_and_job(job.video_id))


def test_a_retry_starts_with_fresh_tries_and_crashes(store: SqlStore) -> None:
    job = make_job(store)
    store.close(claim_one(store), ended(StepEvent.AGAIN))
    store.close(claim_one(store), ended(StepEvent.CRASH))
    store.close(claim_one(store), ended(StepEvent.FAIL))
    store.apply(job.id, Event.RETRY)
    (step,) = store.steps(job.id)
    assert (step.status, step.tries, step.crashes, step.attempt) == (StepStatus.READY, 0, 0, 3)
    assert (step.error_code, step.error_detail) == (None, None)
    step = claim_one(store).step
    assert (step.tries, step.crashes, step.attempt, step.run) == (0, 0, 4, 2)


def test_a_cancelled_job_can_be_retried_at_once_whatever_its_steps_waited_for(store: SqlStore) -> None:
    job = make_job(store, n=2)
    claims = store.claim("w", limit=2, lease_s=60)
    store.close(claims[0], ended(StepEvent.AGAIN, delay_s=3600))
    store.apply(job.id, Event.CANCEL)
    store.apply(job.id, Event.RETRY)
    assert len(store.claim("w", limit=2, lease_s=60)) == 2


def test_a_failed_upload_cannot_be_retried_without_the_upload(store: SqlStore) -> None:
    video, job = make_waiting(store)
    store.reject_upload(video.id, job.id, MISSING, None)
    failed = store.job(job.id)
    with pytest.raises(UploadNeeded):
        store.apply(job.id, Event.RETRY, opening=opening())
    assert store.job(job.id) == failed
    assert store.steps(job.id) == []


def test_a_waiting_queued_or_running_job_cannot_be_retried(store: SqlStore) -> None:
    _, waiting = make_waiting(store)
    queued, running = make_job(store), make_job(store, priority=1)
    claim_one(store)
    for job in (waiting, queued, running):
        before = store.job(job.id)
        with pytest.raises(TransitionRefused):
            store.apply(job.id, Event.RETRY, opening=opening())
        assert store.job(job.id) == before


def test_a_retry_in_a_later_stage_goes_on_in_that_stage(store: SqlStore) -> None:
    job = make_job(store, stages=THREE_STAGES)
    finish_open_steps(store)
    store.open_stage(job.id, run=1, after="text", opening=opening("render", 2))
    store.close(claim_one(store), done())
    store.close(claim_one(store), ended(StepEvent.FAIL))
    retried = store.apply(job.id, Event.RETRY)
    assert (retried.stage, retried.steps_planned, retried.steps_done) == ("render", 2, 1)
    assert [claim.step.id for claim in store.claim("w", limit=9, lease_s=60)] == [f"{job.id}:render:1"]


def test_a_retry_is_queued_behind_what_came_before_it(store: SqlStore) -> None:
    first, second = make_job(store), make_job(store)
    store.apply(first.id, Event.CANCEL)
    time.sleep(0.003)
    store.apply(first.id, Event.RETRY)
    assert [store.queue_position(job.id) for job in (second, first)] == [0, 1]


# ── The fence ─────────────────────────────────────────────────────────────────────────────────

ALL_OUTCOMES = [
    done({"stale": True}),
    ended(StepEvent.AGAIN),
    ended(StepEvent.CRASH),
    ended(StepEvent.RELEASE, failure=None),
    ended(StepEvent.FAIL),
]


def assert_cannot_write(store: SqlStore, stale: Claim) -> None:
    """Every write of this claim is refused and changes nothing."""
    before = everything(store)
    for outcome in [*ALL_OUTCOMES, done({"stale": True}, [artifact(stale, "stale.mp4")])]:
        with pytest.raises(StaleAttempt):
            store.close(stale, outcome)
    with pytest.raises(StaleAttempt):
        store.report(stale, 0.9, "stale")
    assert store.beat([held(stale)], lease_s=60) == frozenset()
    assert store.still_held([held(stale)]) == frozenset()
    assert everything(store) == before


def test_a_stale_worker_cannot_finish_fail_or_report(store: SqlStore) -> None:
    make_job(store)
    stale = claim_one(store, "a", lease_s=SHORT_S)
    lose(store, stale)
    assert_cannot_write(store, stale)
    fresh = claim_one(store, "b")
    assert fresh.attempt == 2
    assert_cannot_write(store, stale)
    store.close(fresh, done({"by": "b"}))
    assert_cannot_write(store, stale)
    assert store.steps(fresh.job.id)[0].output == {"by": "b"}


def test_a_stale_worker_that_reads_the_newer_attempt_still_cannot_write(store: SqlStore) -> None:
    job = make_job(store)
    stale = claim_one(store, "a", lease_s=SHORT_S)
    lose(store, stale)
    fresh = claim_one(store, "b")
    (seen,) = store.steps(job.id)
    assert seen.attempt == 2
    assert_cannot_write(store, stale)
    # not even if it takes what it read for its own
    mixed = dataclasses.replace(stale, step=dataclasses.replace(seen, worker_id="a"), job=store.job(job.id))
    for outcome in ALL_OUTCOMES:
        with pytest.raises(StaleAttempt):
            store.close(mixed, outcome)
    with pytest.raises(StaleAttempt):
        store.report(mixed, 0.5)
    assert store.close(fresh, done({"by": "b"})).steps_done == 1
    assert store.steps(job.id)[0].output == {"by": "b"}


def test_a_worker_of_an_earlier_run_cannot_write_into_the_next(store: SqlStore) -> None:
    job = make_job(store)
    stale = claim_one(store, "a")
    store.apply(job.id, Event.CANCEL)
    assert_cannot_write(store, stale)
    store.apply(job.id, Event.RETRY)
    assert_cannot_write(store, stale)
    fresh = claim_one(store, "b")
    assert (fresh.run, fresh.attempt) == (2, 2)
    assert_cannot_write(store, stale)
    store.close(fresh, done())
    assert store.apply(job.id, Event.FINISH, run=2).status is Status.COMPLETED
    assert_cannot_write(store, stale)


def test_the_same_worker_is_fenced_from_its_own_earlier_attempt(store: SqlStore) -> None:
    job = make_job(store)
    first = claim_one(store, "a")
    store.close(first, ended(StepEvent.RELEASE, failure=None))
    second = claim_one(store, "a")
    assert_cannot_write(store, first)
    store.close(second, done())
    assert_cannot_write(store, second)
    assert store.job(job.id).steps_done == 1


def test_a_transition_is_refused_when_the_job_moved_between_two_tries(store: SqlStore) -> None:
    """The first try's answer was lost; before the second, someone cancelled the job and retried it."""
    job = make_job(store)
    claim = claim_one(store)
    store.close(claim, done())
    seen = store.job(job.id)  # run 1, nothing open: about to finish it
    store.apply(job.id, Event.CANCEL)
    with pytest.raises(TransitionRefused):
        store.apply(job.id, Event.FINISH, run=seen.run)
    store.apply(job.id, Event.RETRY)
    before = (store.video_and_job(job.video_id), store.events_after({job.id: 0}))
    for event in (Event.FINISH, Event.FAIL, Event.CANCEL, Event.RETRY):
        with pytest.raises(TransitionRefused):
            store.apply(job.id, event, run=seen.run, failure=BROKEN)
    assert (store.video_and_job(job.video_id), store.events_after({job.id: 0})) == before


def test_a_job_that_ended_between_two_tries_of_its_step_is_not_tried_again(store: SqlStore) -> None:
    job = make_job(store)
    first = claim_one(store)
    store.close(first, ended(StepEvent.AGAIN))
    store.apply(job.id, Event.CANCEL)
    assert store.claim("w", limit=1, lease_s=60) == []
    with pytest.raises(TransitionRefused):
        store.apply(job.id, Event.FAIL, run=1, failure=BROKEN)
    assert store.job(job.id).status is Status.CANCELLED
    assert_cannot_write(store, first)


def test_a_slow_worker_that_nobody_replaced_still_finishes(store: SqlStore) -> None:
    make_job(store)
    slow = claim_one(store, lease_s=0.05)
    time.sleep(0.15)
    assert store.close(slow, done()).steps_done == 1
    assert store.lose_dead(max_crashes=3) == []


# ── Cancelling and failing ────────────────────────────────────────────────────────────────────


def test_a_cancelled_job_stops_its_workers_and_leaves_nothing_to_claim(store: SqlStore) -> None:
    job = make_job(store, n=4)
    claims = store.claim("w", limit=2, lease_s=60)
    assert store.still_held([held(c) for c in claims]) == {held(c) for c in claims}
    cancelled = store.apply(job.id, Event.CANCEL)
    assert (cancelled.status, cancelled.error_code) == (Status.CANCELLED, None)
    assert cancelled.completed_at is not None
    assert store.still_held([held(c) for c in claims]) == frozenset()
    assert store.beat([held(c) for c in claims], lease_s=60) == frozenset()
    assert store.claim("w", limit=10, lease_s=60) == []
    assert {step.status for step in store.steps(job.id)} == {StepStatus.CANCELLED}
    assert [attempt.outcome for attempt in store.attempts(job.id)] == ["cancel", "cancel"]
    assert all(attempt.ended_at is not None for attempt in store.attempts(job.id))
    assert_agree(*store.video_and_job(job.video_id))
    assert store.video(job.video_id).processing_error == "cancelled"


def test_a_job_awaiting_its_upload_can_be_cancelled(store: SqlStore) -> None:
    video, job = make_waiting(store)
    assert store.apply(job.id, Event.CANCEL).status is Status.CANCELLED
    assert_agree(*store.video_and_job(video.id))


def test_a_job_is_cancelled_once(store: SqlStore) -> None:
    job = make_job(store)
    cancelled = store.apply(job.id, Event.CANCEL)
    with pytest.raises(TransitionRefused):
        store.apply(job.id, Event.CANCEL)
    assert store.job(job.id) == cancelled


def test_a_failed_step_fails_its_job_and_stops_the_others(store: SqlStore) -> None:
    job = make_job(store, n=3)
    bad, other = store.claim("w", limit=2, lease_s=60)
    failed = store.close(bad, ended(StepEvent.FAIL))
    assert failed == store.job(job.id)
    assert (failed.status, failed.error_code, failed.error_detail) == (Status.FAILED, BROKEN.code, BROKEN.detail)
    assert store.still_held([held(other)]) == frozenset()
    assert_cannot_write(store, other)
    steps = store.steps(job.id)
    assert [step.status for step in steps] == [StepStatus.FAILED, StepStatus.CANCELLED, StepStatus.CANCELLED]
    assert (steps[0].error_code, steps[0].error_detail) == (BROKEN.code, BROKEN.detail)
    assert [attempt.outcome for attempt in store.attempts(job.id)] == ["fail", "cancel"]
    assert_agree(*store.video_and_job(job.video_id))


@pytest.mark.req("E-06")
def test_a_failed_optional_step_is_a_warning(store: SqlStore) -> None:
    job = make_job(store, n=2, optional=[1])
    needed, optional = store.claim("w", limit=2, lease_s=60)
    now_job = store.close(optional, ended(StepEvent.FAIL))
    assert (now_job.status, now_job.steps_done, len(now_job.warnings)) == (Status.RUNNING, 1, 1)
    assert BROKEN.detail in now_job.warnings[0]
    store.close(needed, done())
    finished = store.apply(job.id, Event.FINISH, run=1)
    assert (finished.status, finished.warnings) == (Status.COMPLETED, now_job.warnings)
    assert finished.error_code is None
    assert_agree(*store.video_and_job(job.video_id))


@pytest.mark.req("E-06")
def test_an_optional_step_that_worked_in_the_retry_leaves_no_warning(store: SqlStore) -> None:
    job = make_job(store, n=2, optional=[0])
    store.close(claim_one(store), ended(StepEvent.FAIL))
    store.close(claim_one(store), ended(StepEvent.FAIL))
    store.apply(job.id, Event.RETRY)
    assert finish_open_steps(store) == 2
    assert store.apply(job.id, Event.FINISH, run=2).warnings == ()


# ── Uploads in parts, and those that were given up ────────────────────────────────────────────


def test_the_id_of_an_upload_in_parts_is_replaced_by_one_of_many(store: SqlStore) -> None:
    video, _ = make_waiting(store)
    assert (video.multipart_id, video.part_size) == (None, None)
    with ThreadPoolExecutor(8) as pool:

        def begin(n: int) -> str | None:
            try:
                return store.set_multipart(video.id, was=None, to=f"id-{n}").multipart_id
            except TransitionRefused:
                return None

        won = [made for made in pool.map(begin, range(8)) if made is not None]
    assert won == [store.video(video.id).multipart_id]
    with pytest.raises(TransitionRefused):
        store.set_multipart(video.id, was="another", to=None)
    assert store.left_multiparts() == []
    assert store.set_multipart(video.id, was=won[0], to=None).multipart_id is None


def test_an_expired_upload_awaits_its_parts_again(store: SqlStore) -> None:
    video, job = make_waiting(store)
    store.set_multipart(video.id, was=None, to="first")
    store.reject_upload(video.id, job.id, Failure("upload_expired", "Late."), UploadStatus.EXPIRED)
    assert [left.id for left in store.left_multiparts()] == [video.id]
    store.set_multipart(video.id, was="first", to=None)
    again = store.set_multipart(video.id, was=None, to="second", upload_ttl_s=60)
    assert (again.upload_status, again.multipart_id) == (UploadStatus.AWAITING, "second")
    assert 50 < (again.upload_expires_at - store.video(video.id).created_at).total_seconds() < 120
    assert store.left_multiparts() == []
    assert store.job(job.id).status is Status.FAILED
    assert store.uploaded(video.id, PROBE, job.id, opening()) is not None
    assert [left.id for left in store.left_multiparts()] == [video.id], "to be forgotten by the sweeper"
    with pytest.raises(TransitionRefused):
        store.set_multipart(video.id, was="second", to="third")


@pytest.mark.req("C-03", "D-01")
def test_an_upload_given_up_cancels_its_waiting_job(store: SqlStore) -> None:
    video, job = make_waiting(store)
    given_up, cancelled = store.abort_upload(video.id)
    assert given_up.upload_status is UploadStatus.ABORTED
    assert cancelled is not None and cancelled.status is Status.CANCELLED
    assert_agree(*store.video_and_job(video.id))
    again, still = store.abort_upload(video.id)
    assert (again, still) == (store.video(video.id), cancelled)
    assert types_of(store, job.id).count("job.cancelled") == 1
    with pytest.raises(TransitionRefused):
        store.uploaded(video.id, PROBE, None, None)
    with pytest.raises(TransitionRefused):
        store.set_multipart(video.id, was=None, to="late")


def test_an_upload_is_either_given_up_or_recorded(store: SqlStore) -> None:
    for _ in range(10):
        video, job = make_waiting(store)

        def record(video: Video = video, job: Job = job) -> bool:
            try:
                store.uploaded(video.id, PROBE, job.id, opening())
            except TransitionRefused:
                return False
            return True

        def give_up(video: Video = video) -> bool:
            try:
                store.abort_upload(video.id)
            except TransitionRefused:
                return False
            return True

        with ThreadPoolExecutor(2) as pool:
            recorded, gone = (done.result() for done in (pool.submit(record), pool.submit(give_up)))
        assert recorded != gone
        now_video, driver = store.video_and_job(video.id)
        assert_agree(now_video, driver)
        expected = (UploadStatus.UPLOADED, Status.QUEUED) if recorded else (UploadStatus.ABORTED, Status.CANCELLED)
        assert driver is not None and (now_video.upload_status, driver.status) == expected


# ── Tries, crashes and leases ─────────────────────────────────────────────────────────────────


def test_a_charged_error_counts_a_try_and_waits(store: SqlStore) -> None:
    job = make_job(store)
    claim = claim_one(store)
    store.close(claim, ended(StepEvent.AGAIN, delay_s=3))
    (step,) = store.steps(job.id)
    assert (step.status, step.tries, step.crashes, step.attempt) == (StepStatus.READY, 1, 0, 1)
    assert (step.error_code, step.worker_id) == (BROKEN.code, None)
    assert store.claim("w", limit=1, lease_s=60) == []
    assert store.to_ring(10, again_after_s=0) == []
    assert store.job(job.id).status is Status.RUNNING
    assert store.stalled() == []
    time.sleep(3.1)
    again = claim_one(store)
    assert (again.attempt, again.step.tries, again.step.error_code) == (2, 1, None)


@pytest.mark.req("C-02")
def test_a_delay_is_counted_by_the_databases_clock(store: SqlStore) -> None:
    make_job(store)
    claim = claim_one(store)
    before = db_now(store)
    store.close(claim, ended(StepEvent.AGAIN, delay_s=100))
    after = db_now(store)
    stamp = not_before(store, claim.step.id)
    assert before + timedelta(seconds=99.99) <= stamp <= after + timedelta(seconds=100.01)


def test_crashes_are_counted_apart_from_tries(store: SqlStore) -> None:
    job = make_job(store)
    store.close(claim_one(store), ended(StepEvent.CRASH))
    store.close(claim_one(store), ended(StepEvent.AGAIN))
    store.close(claim_one(store), ended(StepEvent.CRASH))
    (step,) = store.steps(job.id)
    assert (step.tries, step.crashes, step.attempt, step.status) == (1, 2, 3, StepStatus.READY)
    assert [attempt.outcome for attempt in store.attempts(job.id)] == ["crash", "again", "crash"]


def test_work_handed_back_is_not_charged(store: SqlStore) -> None:
    job = make_job(store)
    store.close(claim_one(store), ended(StepEvent.RELEASE, failure=None))
    (step,) = store.steps(job.id)
    assert (step.status, step.tries, step.crashes) == (StepStatus.READY, 0, 0)
    assert claim_one(store).attempt == 2
    assert store.attempts(job.id)[0].outcome == "release"


def test_a_lost_lease_gives_the_step_to_another_and_the_third_fails_the_job(store: SqlStore) -> None:
    job = make_job(store, n=2)
    bystander = store.claim("b", limit=2, lease_s=60)[1]
    store.close(claim_of(store, job, 0), ended(StepEvent.RELEASE, failure=None))
    for crashes in (1, 2):
        lose(store, claim_one(store, "a", lease_s=SHORT_S))
        step = store.steps(job.id)[0]
        assert (step.status, step.crashes, step.tries, step.worker_id) == (StepStatus.READY, crashes, 0, None)
        assert store.job(job.id).status is Status.RUNNING
    lose(store, claim_one(store, "a", lease_s=SHORT_S))
    failed = store.job(job.id)
    assert (failed.status, failed.error_code) == (Status.FAILED, "worker_crashed")
    assert store.steps(job.id)[0].status is StepStatus.FAILED
    assert store.still_held([held(bystander)]) == frozenset()
    assert_agree(*store.video_and_job(job.video_id))
    assert store.claim("w", limit=5, lease_s=60) == []
    assert [a.outcome for a in store.attempts(job.id)] == ["release", "crash", "crash", "crash", "cancel"]
    store.apply(job.id, Event.RETRY)
    assert [claim.step.crashes for claim in store.claim("w", limit=5, lease_s=60)] == [0, 0]


def claim_of(store: SqlStore, job: Job, index: int) -> Claim:
    """The claim by which worker `b` holds a step."""
    step = store.steps(job.id)[index]
    assert step.worker_id == "b"
    return Claim(step=step, job=store.job(job.id), video=store.video(job.video_id), worker_id="b")


def test_a_dead_worker_is_taken_back_once_by_many_sweepers(store: SqlStore) -> None:
    job = make_job(store, n=6)
    store.claim("a", limit=6, lease_s=0.05)
    time.sleep(0.2)
    lost: list[Held] = []
    together = threading.Barrier(4)

    def sweep() -> None:
        together.wait()
        # A sweeper passes over what another is just writing; its next sweep looks again.
        until = time.monotonic() + 10
        while time.monotonic() < until and len(lost) < 6:
            lost.extend(store.lose_dead(max_crashes=3))

    threads = [threading.Thread(target=sweep) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(hold.step_id for hold in lost) == [f"{job.id}:render:{i}" for i in range(6)]
    assert {step.crashes for step in store.steps(job.id)} == {1}


def test_a_heartbeat_keeps_the_lease(store: SqlStore) -> None:
    make_job(store, n=2)
    beating, silent = store.claim("a", limit=2, lease_s=2)
    until = time.monotonic() + 2.5
    while time.monotonic() < until:
        assert store.beat([held(beating)], lease_s=2) == {held(beating)}
        time.sleep(0.05)
    assert store.lose_dead(max_crashes=3) == [held(silent)]
    assert store.beat([held(beating), held(silent)], lease_s=60) == {held(beating)}
    assert store.still_held([held(beating), held(silent)]) == {held(beating)}
    assert store.beat([], lease_s=60) == store.still_held([]) == frozenset()


def test_what_the_caller_is_at_work_on_is_spared_whatever_the_clock_says(store: SqlStore) -> None:
    make_job(store, n=2)
    own, other = store.claim("w", limit=2, lease_s=0.05)
    assert store.lose_dead(max_crashes=3, spare=[held(own), held(other)]) == []
    lost: list[Held] = []
    until = time.monotonic() + 10
    while time.monotonic() < until and not lost:
        lost = store.lose_dead(max_crashes=3, spare=[held(own)])
    assert lost == [held(other)]
    assert store.close(own, done()).steps_done == 1


def test_a_live_lease_is_left_alone(store: SqlStore) -> None:
    make_job(store)
    claim = claim_one(store)
    assert store.lose_dead(max_crashes=3) == []
    assert store.still_held([held(claim)]) == {held(claim)}


def test_a_restarted_server_takes_all_its_steps_back_uncharged(store: SqlStore) -> None:
    jobs = [make_job(store, n=2) for _ in range(2)]
    claims = store.claim("a", limit=3, lease_s=60)
    assert store.release_all() == 3
    for job in jobs:
        assert {(s.status, s.tries, s.crashes) for s in store.steps(job.id)} == {(StepStatus.READY, 0, 0)}
    assert_cannot_write(store, claims[0])
    assert {attempt.outcome for job in jobs for attempt in store.attempts(job.id)} == {"release"}
    assert len(store.claim("b", limit=9, lease_s=60)) == 4
    assert sorted(claim.attempt for claim in claims) == [1, 1, 1]
    assert store.release_all() == 4 and store.release_all() == 0


def test_the_history_of_each_attempt_is_kept(store: SqlStore) -> None:
    job = make_job(store)
    store.close(
        claim_one(store, "a"),
        Outcome(event=StepEvent.AGAIN, failure=BROKEN, command="ffmpeg -i in out", stderr="no space"),
    )
    store.close(claim_one(store, "b"), Outcome(event=StepEvent.FINISH, result=done().result, command="ffmpeg -y"))
    first, second = store.attempts(job.id)
    assert (first.attempt, first.worker_id, first.outcome) == (1, "a", "again")
    assert (first.error_code, first.error_detail) == (BROKEN.code, BROKEN.detail)
    assert (first.command, first.stderr) == ("ffmpeg -i in out", "no space")
    outcome = str(second.outcome)
    assert (second.attempt, second.worker_id, outcome, second.error_code) == (2, "b", "done", None)
    assert first.ended_at is not None and second.ended_at is not None
    assert first.started_at <= first.ended_at <= second.started_at <= second.ended_at


# ── Progress ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.req("B-06", "E-04")
def test_progress_is_the_sum_of_fixed_stage_weights(store: SqlStore) -> None:
    job = make_job(store, n=2, stages=THREE_STAGES)
    seen = [job.progress_pct]
    for _ in range(2):
        seen.append(store.close(claim_one(store), done()).progress_pct)
    opened = store.open_stage(job.id, run=1, after="text", opening=opening("render", 4))
    assert opened is not None
    seen.append(opened.progress_pct)
    claim = claim_one(store)
    store.report(claim, 0.5, "Frame 100 of 200")
    assert store.job(job.id).message == "Frame 100 of 200"
    seen.append(store.job(job.id).progress_pct)
    seen.append(store.close(claim, done()).progress_pct)
    assert seen == [0, 5, 10, 10, 20, 30]
    finish_open_steps(store)
    store.open_stage(job.id, run=1, after="render", opening=opening("publish", 1))
    assert store.job(job.id).progress_pct == 90
    finish_open_steps(store)
    assert store.job(job.id).progress_pct < 100
    assert store.apply(job.id, Event.FINISH, run=1).progress_pct == 100


@pytest.mark.req("E-04")
def test_progress_never_goes_back_within_a_run(store: SqlStore) -> None:
    job = make_job(store, n=2)
    claim = claim_one(store)
    shown = []
    for fraction in (0.2, 0.8, 0.4, 0.0, 7.0, -1.0):
        store.report(claim, fraction)
        shown.append(store.job(job.id).progress_pct)
    assert shown == sorted(shown)
    assert shown[:2] == [10, 40] and max(shown) <= 50
    highest = shown[-1]
    store.close(claim, ended(StepEvent.AGAIN))
    assert store.job(job.id).progress_pct == highest
    again = claim_one(store)
    assert again.step.progress == 0
    store.report(again, 0.1)
    assert store.job(job.id).progress_pct == highest
    assert store.close(again, done()).progress_pct >= highest
    store.apply(job.id, Event.CANCEL)
    assert store.job(job.id).progress_pct >= highest
    assert store.apply(job.id, Event.RETRY).progress_pct == 50  # a new run: what is done, is done


def test_a_report_without_words_keeps_the_message(store: SqlStore) -> None:
    job = make_job(store)
    claim = claim_one(store)
    store.report(claim, 0.1, "Encoding")
    store.report(claim, 0.2)
    assert store.job(job.id).message == "Encoding"
    assert store.steps(job.id)[0].progress == pytest.approx(0.2)


# ── Artifacts ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.req("B-07")
def test_artifacts_are_recorded_with_their_step_and_only_then(store: SqlStore) -> None:
    job = make_job(store, n=3)
    claims = store.claim("w", limit=3, lease_s=60)
    store.close(claims[1], done({"frames": 10}, [artifact(claims[1]), artifact(claims[1], "a-thumb.jpg")]))
    store.close(claims[0], done({}, [artifact(claims[0])]))
    assert [(a.index, a.name) for a in store.artifacts(job.id)] == [
        (0, "clip-0000.mp4"), (1, "a-thumb.jpg"), (1, "clip-0001.mp4")
    ]  # fmt: skip
    stored = store.artifacts(job.id)[0]
    for field in dataclasses.fields(made := artifact(claims[0])):
        assert getattr(stored, field.name) == getattr(made, field.name)
    assert (stored.job_id, stored.step_id, stored.stage) == (job.id, claims[0].step.id, "render")
    assert (stored.run, stored.attempt) == (1, 1)
    step = store.steps(job.id)[1]
    assert (step.status, step.output, step.progress) == (StepStatus.DONE, {"frames": 10}, 1.0)


@pytest.mark.req("A-06")
def test_a_jobs_results_are_its_primary_artifacts(store: SqlStore) -> None:
    job = make_job(store, n=2)
    for claim in store.claim("w1", limit=2, lease_s=60.0):
        aside = dataclasses.replace(artifact(claim, f"thumb-{claim.step.index}.jpg"), primary=False)
        store.close(claim, done(artifacts=[artifact(claim), aside]))
    made = [one for one in store.artifacts(job.id) if one.primary]
    assert [one.name for one in made] == ["clip-0000.mp4", "clip-0001.mp4"]
    assert store.outputs(job.id) == [Output(one.name, one.key, one.content_type, one.place, one.spool) for one in made]


def test_a_step_whose_artifacts_cannot_be_recorded_is_not_done(store: SqlStore) -> None:
    job = make_job(store, n=2)
    first, second = store.claim("w", limit=2, lease_s=60)
    store.close(first, done({}, [artifact(first, "same.mp4")]))
    before = (store.job(job.id), store.steps(job.id), store.events_after({job.id: 0}))
    with pytest.raises(Exception, match=r"(?i)unique"):
        store.close(second, done({}, [artifact(second, "other.mp4"), artifact(second, "same.mp4")]))
    assert (store.job(job.id), store.steps(job.id), store.events_after({job.id: 0})) == before
    assert [a.name for a in store.artifacts(job.id)] == ["same.mp4"]
    assert store.close(second, done()).steps_done == 2


# ── Video and job agree ───────────────────────────────────────────────────────────────────────


@pytest.mark.req("C-03")
def test_the_newest_job_drives_the_video_and_the_end_of_another_does_not_touch_it(store: SqlStore) -> None:
    old = make_job(store)
    old_claim = claim_one(store)
    new = make_job(store, video_id=old.video_id)
    assert store.video(old.video_id).processing_job_id == new.id
    driven = store.video(old.video_id)

    store.close(old_claim, done())
    store.apply(old.id, Event.FINISH, run=1)
    assert store.video(old.video_id) == driven
    assert driven.processing_status is Processing.PROCESSING

    complete(store, new)
    assert_agree(*store.video_and_job(old.video_id))
    finished = store.video(old.video_id)
    third = make_job(store, video_id=old.video_id)
    now_video, driver = store.video_and_job(old.video_id)
    assert driver == third
    assert_agree(now_video, driver)
    assert finished.processing_completed_at is not None and now_video.processing_completed_at is None


@pytest.mark.req("C-03")
@pytest.mark.parametrize("event", [Event.CANCEL, Event.FAIL, Event.RETRY])
def test_cancelling_failing_or_retrying_an_older_job_does_not_touch_the_video(store: SqlStore, event: Event) -> None:
    old = make_job(store)
    if event is Event.RETRY:
        store.apply(old.id, Event.CANCEL)
    new = make_job(store, video_id=old.video_id)
    complete_others(store, old, new)
    before = store.video(old.video_id)
    store.apply(old.id, event, failure=BROKEN)
    assert store.video(old.video_id) == before
    assert before.processing_status is Processing.COMPLETED


def complete_others(store: SqlStore, old: Job, new: Job) -> None:
    """Finish `new` without touching `old`."""
    for claim in store.claim("w", limit=10, lease_s=60):
        if claim.job.id == new.id:
            store.close(claim, done())
    assert store.apply(new.id, Event.FINISH, run=1).status is Status.COMPLETED
    assert store.job(old.id).status is not Status.COMPLETED


@pytest.mark.req("C-03")
def test_of_many_jobs_made_at_once_the_newest_drives_the_video(store: SqlStore) -> None:
    for _ in range(10):
        video_id = make_video(store).id
        together = threading.Barrier(6)

        def make(video_id: str = video_id, together: threading.Barrier = together) -> None:
            together.wait()
            make_job(store, video_id=video_id)

        threads = [threading.Thread(target=make) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        video, driver = store.video_and_job(video_id)
        assert_agree(video, driver)
        jobs = store.jobs("acme", video_id=video_id).items
        assert len(jobs) == 6 and driver is not None
        assert driver.created_at == max(job.created_at for job in jobs)


@pytest.mark.req("C-03")
def test_a_poller_never_sees_video_and_job_disagree_in_a_thousand_transitions(store: SqlStore) -> None:
    video_id = make_video(store).id
    make_job(store, video_id=video_id)
    rounds = 28 if isinstance(store, DynamoStore) else 112  # each is some 150 requests there
    stop = threading.Event()
    seen: set[tuple[Status, Processing]] = set()

    def poll() -> int:
        looks = 0
        while not stop.is_set():
            video, job = store.video_and_job(video_id)
            assert_agree(video, job)
            assert job is not None
            seen.add((job.status, video.processing_status))
            looks += 1
            time.sleep(0.0005)  # the movers are what is under test: leave them the processor
        return looks

    def claim_again() -> Claim:
        return next(claim for claim in store.claim("w", limit=1, lease_s=60))

    def move() -> int:
        """Each round is nine transitions: queued and running three times each, failed, cancelled, completed."""
        try:
            for _ in range(rounds):
                job = make_job(store, video_id=video_id)
                claim_again()
                store.apply(job.id, Event.FAIL, failure=BROKEN)
                store.apply(job.id, Event.RETRY)
                claim_again()
                store.apply(job.id, Event.CANCEL)
                store.apply(job.id, Event.RETRY)
                store.close(claim_again(), done())
                store.apply(job.id, Event.FINISH)
        finally:
            stop.set()
        return 0

    finish_open_steps(store)
    failures = [result for result in at_once(move, poll, poll) if not isinstance(result, int) or result == 1]
    assert failures == []
    assert seen >= {(status, PROCESSING_OF[status]) for status in Status if status is not Status.AWAITING_UPLOAD}
    told = Counter(event.type for job_id in ids(store, "jobs") for event in store.events_after({job_id: 0}))
    moves = ("queued", "started", "failed", "retried", "cancelled", "completed")
    assert sum(told[f"job.{move}"] for move in moves) >= 9 * rounds


# ── Clocks ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.req("C-02")
def test_the_stamps_of_a_job_are_in_order_and_the_databases_own(store: SqlStore) -> None:
    start = db_now(store)
    video, job = make_waiting(store)
    store.uploaded(video.id, PROBE, job.id, opening())
    claim = claim_one(store)
    store.close(claim, done({}, [artifact(claim)]))
    store.apply(job.id, Event.FINISH, run=1)
    end = db_now(store)

    now_video, now_job = store.video_and_job(video.id)
    assert now_job is not None
    stamps = [
        start, now_video.created_at, now_job.created_at, now_job.queued_at, now_job.started_at, now_job.completed_at,
        end,
    ]  # fmt: skip
    assert None not in stamps and stamps == sorted(stamps)  # type: ignore[type-var]
    (step,), (attempt,), (made,) = store.steps(job.id), store.attempts(job.id), store.artifacts(job.id)
    others = [
        now_video.uploaded_at, now_video.processing_completed_at, step.created_at, step.started_at, step.finished_at,
        attempt.started_at, attempt.ended_at, made.created_at, *(e.created_at for e in store.events_after({job.id: 0})),
    ]  # fmt: skip
    assert all(stamp is not None and stamp.tzinfo is not None and start <= stamp <= end for stamp in others)
    by_seq = [event.created_at for event in store.events_after({job.id: 0})]
    assert by_seq == sorted(by_seq)


@pytest.mark.req("C-02")
def test_stamps_are_in_order_again_after_a_retry(store: SqlStore) -> None:
    job = make_job(store)
    claim_one(store)
    store.apply(job.id, Event.CANCEL)
    store.apply(job.id, Event.RETRY)
    finished = complete(store, job)
    assert finished.queued_at and finished.started_at and finished.completed_at
    assert finished.created_at <= finished.queued_at <= finished.started_at <= finished.completed_at


@pytest.mark.req("C-02")
def test_a_stored_stamp_never_comes_from_the_applications_clock() -> None:
    asked = []
    folder = Path(reelmill.stores.__file__).parent
    for path in sorted(folder.rglob("*.py")):
        if path.relative_to(folder).as_posix() == "dynamo/clock.py":
            continue  # DynamoDB has no clock to ask: there the replies' own dates bound what ours may say
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in {
                "now", "utcnow", "today", "time", "time_ns", "monotonic", "fromtimestamp", "gmtime", "localtime"
            }:  # fmt: skip
                asked.append(f"{path.relative_to(folder)}:{node.lineno} .{node.attr}")
    assert asked == []


# ── Tenants and listings ──────────────────────────────────────────────────────────────────────


def test_another_tenants_ids_look_like_unknown_ones(store: SqlStore) -> None:
    job = make_job(store, tenant="acme")
    assert store.job(job.id, "acme") == store.job(job.id)
    assert store.video(job.video_id, "acme") == store.video(job.video_id)
    with pytest.raises(NotFound) as foreign:
        store.job(job.id, "globex")
    unknown_id = new_id()
    with pytest.raises(NotFound) as unknown:
        store.job(unknown_id, "globex")
    assert foreign.value.detail.replace(job.id, "ID") == unknown.value.detail.replace(unknown_id, "ID")
    with pytest.raises(NotFound):
        store.video(job.video_id, "globex")
    with pytest.raises(NotFound):
        store.add_job(new_job(job.video_id, tenant="globex"), opening())
    assert store.jobs("globex").items == store.videos("globex").items == ()
    assert store.video(job.video_id).processing_job_id == job.id


@pytest.mark.parametrize("what", ["videos", "jobs"])
def test_pages_show_everything_once_while_more_is_added(store: SqlStore, what: str) -> None:
    def add() -> str:
        if what == "videos":
            return make_video(store, upload=False).id
        return make_waiting(store)[1].id

    there = [add() for _ in range(23)]
    other = make_waiting(store, tenant="globex")
    listing: Any = store.videos if what == "videos" else store.jobs
    seen: list[str] = []
    page = listing("acme", limit=5)
    while True:
        assert len(page.items) <= 5
        seen += [item.id for item in page.items]
        add()
        if page.next_cursor is None:
            break
        page = listing("acme", limit=5, cursor=page.next_cursor)
    assert len(seen) == len(set(seen))
    assert set(seen) >= set(there)
    assert [i for i in seen if i in there] == list(reversed(there)) or same_moment(store, what, seen)
    assert other[0].id not in seen and other[1].id not in seen


def same_moment(store: SqlStore, what: str, seen: list[str]) -> bool:
    """Newest first; rows of the same millisecond may stand in any fixed order."""
    read = store.video if what == "videos" else store.job
    stamps = {row_id: read(row_id).created_at for row_id in ids(store, what)}
    order = [stamps[row_id] for row_id in seen]
    return order == sorted(order, reverse=True)


def test_rows_of_the_same_moment_are_paged_through_once(store: SqlStore) -> None:
    there = {make_video(store, upload=False).id for _ in range(9)}
    make_simultaneous(store)
    seen: list[str] = []
    page = store.videos("acme", limit=2)
    seen += [video.id for video in page.items]
    while page.next_cursor:
        page = store.videos("acme", limit=2, cursor=page.next_cursor)
        seen += [video.id for video in page.items]
    assert sorted(seen) == sorted(there)


def test_a_page_that_is_exactly_full_is_the_last(store: SqlStore) -> None:
    for _ in range(4):
        make_video(store, upload=False)
    page = store.videos("acme", limit=4)
    assert (len(page.items), page.next_cursor) == (4, None)


@pytest.mark.req("C-05")
def test_videos_are_filtered_by_status_and_labels(store: SqlStore) -> None:
    door = make_video(store, labels={"mall": "7", "camera": "door"})
    gate = make_video(store, labels={"mall": "7", "camera": "gate"})
    bare = make_video(store, upload=False)
    complete(store, make_job(store, video_id=door.id))
    make_job(store, video_id=gate.id)

    def ids(**wanted: Any) -> set[str]:
        return {video.id for video in store.videos("acme", **wanted).items}

    assert ids() == {door.id, gate.id, bare.id}
    assert ids(processing_status="completed") == {door.id}
    assert ids(processing_status="processing") == {gate.id}
    assert ids(processing_status="pending") == {bare.id}
    assert ids(upload_status="awaiting") == {bare.id}
    assert ids(labels={"mall": "7"}) == {door.id, gate.id}
    assert ids(labels={"mall": "7", "camera": "gate"}) == {gate.id}
    assert ids(labels={"mall": "7"}, processing_status="completed") == {door.id}
    assert ids(labels={"mall": "8"}) == ids(labels={"pin": "7"}) == set()


@pytest.mark.req("C-05")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("a.b", "1"), ("it's", "o'clock"), ('say "x"', 'a "b"'), ("Straße", "ü 😀"), ("0", "0"), ("a[0]", "$"),
        ("%", "\\"),
    ],
)  # fmt: skip
def test_any_label_can_be_filtered_by(store: SqlStore, name: str, value: str) -> None:
    wanted = make_video(store, labels={name: value})
    make_video(store, labels={name: value + "x"})
    make_video(store, labels={"a": {"b": "1"}, "other": value})  # type: ignore[dict-item]
    assert wanted.labels == {name: value}
    assert [video.id for video in store.videos("acme", labels={name: value}).items] == [wanted.id]


def test_jobs_are_filtered_by_status_pipeline_and_video(store: SqlStore) -> None:
    clips, proxy = make_job(store), make_job(store, pipeline="proxy")
    store.apply(clips.id, Event.CANCEL)

    def ids(**wanted: Any) -> set[str]:
        return {job.id for job in store.jobs("acme", **wanted).items}

    assert ids() == {clips.id, proxy.id}
    assert ids(status=Status.CANCELLED) == ids(pipeline="clips") == ids(video_id=clips.video_id) == {clips.id}
    assert ids(status=Status.CANCELLED, pipeline="proxy") == set()
    assert {job.id for job in store.jobs_by_id([clips.id, proxy.id, new_id()])} == {clips.id, proxy.id}
    assert store.jobs_by_id([]) == []


def forged(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    [
        "x", "", "!!!", "é", "a" * 500, forged(None), forged({}), forged(7), forged([1, 2]), forged(["now", "x"]),
        forged(["2026-01-01T00:00:00", "x"]), forged(["2026-01-01T00:00:00+00:00", 7]),
        forged(["0001-01-01T00:00:00+14:00", "x"]), forged(["9999-12-31T23:59:59-14:00", "x"]),
        forged(["2026-01-01T00:00:00+00:00", "a\0b"]), forged(["2026-01-01T00:00:00+00:00", "x", "y"]),
    ],
)  # fmt: skip
def test_a_forged_cursor_is_refused(store: SqlStore, cursor: str) -> None:
    make_waiting(store)
    for listing in (store.videos, store.jobs):
        with pytest.raises(CursorInvalid):
            listing("acme", cursor=cursor)


# ── Care ──────────────────────────────────────────────────────────────────────────────────────


def test_the_place_in_the_queue_counts_the_queued_jobs_before_it(store: SqlStore) -> None:
    first, second, urgent = make_job(store), make_job(store), make_job(store, priority=1)
    _, waiting = make_waiting(store)
    assert [store.queue_position(job.id) for job in (urgent, first, second)] == [0, 1, 2]
    claim_one(store)
    assert [store.queue_position(job.id) for job in (urgent, first, second)] == [None, 0, 1]
    store.apply(first.id, Event.CANCEL)
    assert store.queue_position(second.id) == 0
    assert store.queue_position(first.id) is store.queue_position(waiting.id) is store.queue_position(new_id()) is None


def test_a_step_is_rung_once_and_again_after_a_while(store: SqlStore) -> None:
    job = make_job(store, n=3)
    assert sorted(step.index for step in store.to_ring(10, again_after_s=60)) == [0, 1, 2]
    assert store.to_ring(10, again_after_s=60) == []
    time.sleep(0.15)
    assert len(store.to_ring(10, again_after_s=0.1)) == 3
    claim_one(store)
    time.sleep(0.15)
    assert sorted(step.index for step in store.to_ring(10, again_after_s=0.1)) == [1, 2]
    store.apply(job.id, Event.CANCEL)
    assert store.to_ring(10, again_after_s=0) == []


def test_the_bell_is_rung_for_the_first_in_the_queue_and_not_for_more_than_asked(store: SqlStore) -> None:
    make_job(store, n=5)
    urgent = make_job(store, n=2, priority=1)
    assert {step.job_id for step in store.to_ring(2, again_after_s=60)} == {urgent.id}
    assert len(store.to_ring(3, again_after_s=60)) == 3
    assert len(store.to_ring(3, again_after_s=60)) == 2


def test_a_step_that_came_back_is_rung_at_once(store: SqlStore) -> None:
    make_job(store)
    store.to_ring(10, again_after_s=60)
    store.close(claim_one(store), ended(StepEvent.AGAIN))
    assert len(store.to_ring(10, again_after_s=60)) == 1
    claim = claim_one(store, lease_s=0.05)
    lose(store, claim)
    assert len(store.to_ring(10, again_after_s=60)) == 1


def test_two_sweepers_ring_no_step_twice(store: SqlStore) -> None:
    make_job(store, n=40)
    rung: list[str] = []
    together = threading.Barrier(4)

    def sweep() -> None:
        together.wait()
        for _ in range(5):
            rung.extend(step.id for step in store.to_ring(4, again_after_s=60))

    threads = [threading.Thread(target=sweep) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(rung) == len(set(rung))
    rung += [step.id for step in store.to_ring(40, again_after_s=60)]
    assert len(rung) == len(set(rung)) == 40


def test_one_sweeper_works_at_a_time(store: SqlStore) -> None:
    assert store.lease("sweeper", "a", 3) is True
    assert store.lease("sweeper", "b", 3) is False
    assert store.lease("sweeper", "a", 3) is True
    assert store.lease("other", "b", 60) is True
    time.sleep(3.1)
    assert store.lease("sweeper", "b", 60) is True
    assert store.lease("sweeper", "a", 60) is False


def test_of_many_sweepers_starting_at_once_one_gets_the_lease(store: SqlStore) -> None:
    for number in range(5):
        got: list[str] = []
        together = threading.Barrier(8)

        def take(
            holder: str, name: str = f"sweeper-{number}", got: list[str] = got, together: threading.Barrier = together
        ) -> None:
            together.wait()
            if store.lease(name, holder, 60):
                got.append(holder)

        threads = [threading.Thread(target=take, args=(f"h{i}",)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(got) == 1


def test_ended_jobs_are_swept_once_and_again_after_a_retry(store: SqlStore) -> None:
    running, cancelled = make_job(store), make_job(store)
    assert store.unswept() == []
    store.mark_swept(running.id)  # too early: it has yet to end
    store.apply(cancelled.id, Event.CANCEL)
    finished = complete(store, running)
    assert {job.id for job in store.unswept()} == {finished.id, cancelled.id}
    assert len(store.unswept(limit=1)) == 1
    store.mark_swept(finished.id)
    store.mark_swept(cancelled.id)
    assert store.unswept() == []
    store.apply(cancelled.id, Event.RETRY)
    assert store.unswept() == []
    complete(store, cancelled)
    assert [job.id for job in store.unswept()] == [cancelled.id]


def test_a_job_whose_stage_has_nothing_left_to_do_is_found(store: SqlStore) -> None:
    empty, working = make_job(store, n=0), make_job(store, n=1)
    assert [job.id for job in store.stalled()] == [empty.id]
    store.close(claim_one(store), done())
    assert {job.id for job in store.stalled()} == {empty.id, working.id}
    assert len(store.stalled(limit=1)) == 1
    for job in (empty, working):
        assert store.apply(job.id, Event.FINISH, run=1).status is Status.COMPLETED
    assert store.stalled() == []


def test_whoever_listens_is_told_after_the_write_and_not_when_it_failed(store_url: str) -> None:
    told: list[tuple[int, int]] = []
    store, beside = open_store(store_url), open_store(store_url)
    store.on_commit = lambda: told.append((len(beside.videos("acme").items), len(beside.jobs("acme").items)))
    try:
        job = make_job(store)
        count = len(told)
        assert told[0] == (1, 0) and told[-1] == (1, 1)  # who is told can see it, by whatever connection
        with pytest.raises(TransitionRefused):
            store.apply(job.id, Event.RETRY)
        store.job(job.id)
        assert len(told) == count
    finally:
        beside.close_engine()
        store.close_engine()


def test_a_database_that_does_not_answer_is_named_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import servers

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    for url in (
        f"postgresql://postgres@127.0.0.1:{servers.free_port()}/none",
        f"sqlite:///{tmp_path}/no/such/dir.db",
        f"dynamodb://none?endpoint=http://127.0.0.1:{servers.free_port()}",
    ):
        store = open_store(url)
        try:
            with pytest.raises(DatabaseUnavailable):
                store.job(new_id())
        finally:
            store.close_engine()


# ── The table as the model of a real store ────────────────────────────────────────────────────


class StoreFollowsTheTable(RuleBasedStateMachine):
    """Random events on one job of a real store; the lifecycle table says what must come of each."""

    make: Callable[[Path], JobStore]  #: a new store, in this folder if it is one of files

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="reelmill-test-"))
        self.store = type(self).make(self.folder)
        self.claims: list[Claim] = []  #: held
        self.stale: list[Claim] = []

    def teardown(self) -> None:
        self.store.close_engine()
        shutil.rmtree(self.folder)

    @initialize()
    def begin(self) -> None:
        self.video, self.job = make_waiting(self.store)
        self.status, self.error, self.run, self.seq = Status.AWAITING_UPLOAD, None, 1, self.job.last_seq
        self.uploaded = self.rejected = False
        self.open: set[int] | None = None  #: indexes of steps that aren't done; None before they are planned

    def model(self, event: Event, code: str | None = None) -> bool:
        """Move the model along the table; return whether it has the edge."""
        try:
            self.status = lifecycle.after(self.status, event, error_code=self.error)
        except TransitionRefused:
            return False
        self.error = code if event is Event.FAIL else None
        if self.status in ENDED:
            self.stale += self.claims
            self.claims = []
        return True

    def expect(self, allowed: bool, act: Callable[[], object]) -> None:
        if allowed:
            act()
        else:
            with pytest.raises(TransitionRefused):
                act()

    @rule(n=st.integers(0, 3))
    def upload(self, n: int) -> None:
        allowed = not self.uploaded and not self.rejected and self.model(Event.UPLOADED)
        self.expect(allowed, lambda: self.store.uploaded(self.video.id, PROBE, self.job.id, opening(n=n)))
        if allowed:
            self.uploaded, self.open = True, set(range(n))

    @rule()
    def upload_without_the_job(self) -> None:
        allowed = not self.uploaded and not self.rejected and self.status not in (Status.AWAITING_UPLOAD,)
        if not allowed and not self.uploaded and not self.rejected:
            return
        self.expect(allowed, lambda: self.store.uploaded(self.video.id, PROBE, None, None))
        self.uploaded = self.uploaded or allowed

    @rule(failure=st.sampled_from([MISSING, NOT_A_VIDEO]))
    def reject(self, failure: Failure) -> None:
        allowed = not self.uploaded and not self.rejected
        status = UploadStatus.REJECTED if failure is NOT_A_VIDEO else None
        self.expect(allowed, lambda: self.store.reject_upload(self.video.id, self.job.id, failure, status))
        if allowed:
            self.rejected = failure is NOT_A_VIDEO
            waiting = self.status is Status.FAILED and self.error in lifecycle.UPLOAD_ERRORS
            if waiting:
                self.error = failure.code  # failed again, for a newer reason
            elif self.status is Status.AWAITING_UPLOAD:
                self.model(Event.FAIL, failure.code)

    @rule(limit=st.integers(1, 3))
    def claim(self, limit: int) -> None:
        claims = self.store.claim("w", limit=limit, lease_s=60)
        ready = (self.open or set()) - {claim.step.index for claim in self.claims}
        expected = sorted(ready)[:limit] if self.status in lifecycle.CLAIMABLE else []
        assert [claim.step.index for claim in claims] == expected
        self.claims += claims
        if claims and self.status is Status.QUEUED:
            assert self.model(Event.CLAIM)

    @precondition(lambda self: self.claims)
    @rule(event=st.sampled_from([outcome.event for outcome in ALL_OUTCOMES]))
    def close(self, event: StepEvent) -> None:
        claim = self.claims.pop(0)
        self.stale.append(claim)
        self.store.close(claim, done() if event is StepEvent.FINISH else ended(event))
        if event is StepEvent.FINISH:
            assert self.open is not None
            self.open.remove(claim.step.index)
        elif event is StepEvent.FAIL:
            assert self.model(Event.FAIL, BROKEN.code)

    @precondition(lambda self: self.stale)
    @rule(data=st.data())
    def close_stale(self, data: st.DataObject) -> None:
        claim = data.draw(st.sampled_from(self.stale))
        with pytest.raises(StaleAttempt):
            self.store.close(claim, done({"stale": True}))

    @rule(run_off=st.sampled_from([0, 0, 0, -1, 1]))
    def finish(self, run_off: int) -> None:
        allowed = run_off == 0 and not self.open and self.status in lifecycle.sources(Event.FINISH)
        self.expect(allowed, lambda: self.store.apply(self.job.id, Event.FINISH, run=self.run + run_off))
        assert not allowed or self.model(Event.FINISH)

    @rule(run_off=st.sampled_from([None, 0, -1]))
    def cancel(self, run_off: int | None) -> None:
        allowed = run_off != -1 and self.model(Event.CANCEL)
        run = None if run_off is None else self.run + run_off
        self.expect(allowed, lambda: self.store.apply(self.job.id, Event.CANCEL, run=run))

    @rule()
    def fail(self) -> None:
        allowed = self.model(Event.FAIL, BROKEN.code)
        self.expect(allowed, lambda: self.store.apply(self.job.id, Event.FAIL, failure=BROKEN))

    @rule()
    def retry(self) -> None:
        planned = opening(n=2) if self.open is None else None
        if self.status in lifecycle.sources(Event.RETRY) and not self.uploaded:
            with pytest.raises(UploadNeeded):
                self.store.apply(self.job.id, Event.RETRY, opening=planned)
            return
        allowed = self.model(Event.RETRY)
        self.expect(allowed, lambda: self.store.apply(self.job.id, Event.RETRY, opening=planned))
        if allowed:
            self.run += 1
            self.open = {0, 1} if planned else self.open

    @rule()
    def sweep(self) -> None:
        assert self.store.lose_dead(max_crashes=3) == []
        assert self.store.expire_uploads() == []

    @invariant()
    def store_and_table_say_the_same(self) -> None:
        video, job = self.store.video_and_job(self.video.id)
        assert job is not None
        assert (job.status, job.error_code, job.run) == (self.status, self.error, self.run)
        assert_agree(video, job)
        assert (video.upload_status is UploadStatus.UPLOADED) == self.uploaded
        steps = self.store.steps(job.id)
        assert {step.index for step in steps if step.status is not StepStatus.DONE} == (self.open or set())
        running = {step.index for step in steps if step.status is StepStatus.RUNNING}
        assert running == {claim.step.index for claim in self.claims}
        events = self.store.events_after({job.id: 0})
        assert [event.seq for event in events] == list(range(1, job.last_seq + 1))
        assert job.last_seq >= self.seq
        self.seq = job.last_seq


@pytest.mark.req("C-03", "D-01")
@pytest.mark.parametrize("kind", ["sqlite", "dynamodb"])
def test_a_real_store_follows_the_lifecycle_table(request: pytest.FixtureRequest, kind: str) -> None:
    new_store: Callable[[Path], JobStore] = request.getfixturevalue(f"new_{kind}")

    class Machine(StoreFollowsTheTable):
        make = staticmethod(new_store)

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=60 if kind == "sqlite" else 10,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
