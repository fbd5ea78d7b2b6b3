"""What goes and what stays, on real databases: deleted videos, what is kept for a limited time, and who uses what."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import timedelta

import pytest

from making import (
    BROKEN,
    artifact,
    at_once,
    claim_one,
    complete,
    db_clock,
    done,
    ended,
    execute,
    make_job,
    make_video,
    make_waiting,
    new_job,
    new_video,
    opening,
    query,
)
from reelmill.errors import NotFound, ResultsGone, SourceGone, StaleAttempt, TransitionRefused
from reelmill.jobs.lifecycle import Event, Status, StepEvent, UploadStatus
from reelmill.jobs.model import Caller, Job, TenantLimits, Usage
from reelmill.stores.access import SqlAccess
from reelmill.stores.sql import SqlStore, open_store

LONG_AGO_S = 10_000.0
SOME_S = 5_000.0  #: older than this is due


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest) -> Iterator[SqlStore]:
    """What is tested here only these offer."""
    opened = open_store(request.getfixturevalue(f"{request.param}_url"))
    yield opened
    opened.close_engine()


def age(store: SqlStore, table: str, row_id: str, *columns: str, by_s: float = LONG_AGO_S) -> None:
    """Let a row's stamps be so old."""
    values = ", ".join(f"{column} = {db_clock(store, by_s)}" for column in columns)
    execute(store, f"UPDATE {table} SET {values} WHERE id = :id", id=row_id)


def job_with_a_file(store: SqlStore) -> Job:
    job = make_job(store)
    claim = claim_one(store)
    assert claim.job.id == job.id
    store.close(claim, done(artifacts=[artifact(claim)]))
    return store.apply(job.id, Event.FINISH, run=1)


# ── deleted videos ────────────────────────────────────────────────────────────────────────────


@pytest.mark.req("C-05", "E-12")
def test_a_deleted_video_is_hidden_with_its_jobs_until_it_is_restored(store: SqlStore) -> None:
    job = job_with_a_file(store)
    video = store.video(job.video_id)
    gone = store.delete_video(video.id, "acme", undo_s=60)
    assert gone.deleted_at is not None and gone.purge_after is not None
    assert abs(gone.purge_after - gone.deleted_at - timedelta(seconds=60)) < timedelta(milliseconds=1)
    for ask in (
        lambda: store.video(video.id, "acme"),
        lambda: store.video_at(video.key, "acme"),
        lambda: store.job(job.id, "acme"),
        lambda: store.delete_video(video.id, "acme", undo_s=60),
        lambda: store.restore_video(video.id, "other"),
        lambda: store.add_job(new_job(video.id), opening()),
    ):
        with pytest.raises(NotFound):
            ask()
    assert store.videos("acme").items == store.jobs("acme").items == ()
    assert store.doomed_videos() == []
    restored = store.restore_video(video.id, "acme")
    assert restored == store.video(video.id, "acme") == dataclasses.replace(video, deleted_at=None)
    assert store.job(job.id, "acme") == job
    assert store.restore_video(video.id, "acme") == restored, "again changes nothing"


def test_deleting_cancels_what_is_in_flight_and_its_worker_writes_nothing(store: SqlStore) -> None:
    running = make_job(store, n=2)
    claim = claim_one(store)
    queued = make_job(store, video_id=running.video_id)
    waiting_video, waiting = make_waiting(store)
    store.delete_video(running.video_id, "acme", undo_s=60)
    store.delete_video(waiting_video.id, "acme", undo_s=60)
    assert {store.job(job.id).status for job in (running, queued, waiting)} == {Status.CANCELLED}
    with pytest.raises(StaleAttempt):
        store.close(claim, done())
    assert store.claim("w", limit=10, lease_s=60) == []
    with pytest.raises(NotFound):
        store.apply(running.id, Event.RETRY)
    store.restore_video(running.video_id, "acme")
    assert store.apply(running.id, Event.RETRY).status is Status.QUEUED


def test_what_can_be_restored_is_not_purged_and_the_other_way_round(store: SqlStore) -> None:
    job = job_with_a_file(store)
    kept = make_video(store)
    store.delete_video(kept.id, "acme", undo_s=60)
    store.delete_video(job.video_id, "acme", undo_s=0)
    assert [video.id for video in store.doomed_videos()] == [job.video_id]
    with pytest.raises(NotFound):
        store.restore_video(job.video_id, "acme")
    assert [one.id for one in store.jobs_of(job.video_id)] == [job.id]
    for _ in range(2):
        store.forget("acme", job.video_id)
        for table in ("jobs", "steps", "attempts", "artifacts", "events"):
            assert query(store, f"SELECT 1 FROM {table}") == []
    assert [row["id"] for row in query(store, "SELECT id FROM videos")] == [kept.id]
    assert store.doomed_videos() == []


def test_a_job_that_is_added_while_its_video_is_deleted_is_not_left_over(store: SqlStore) -> None:
    for _ in range(10):
        video = make_video(store)
        at_once(
            lambda video=video: store.add_job(new_job(video.id), opening()),  # type: ignore[misc]
            lambda video=video: store.delete_video(video.id, "acme", undo_s=60),  # type: ignore[misc]
        )
        assert all(job.deleted_at and job.status is Status.CANCELLED for job in store.jobs_of(video.id))
    assert store.jobs("acme").items == ()


# ── sources, outputs, events ──────────────────────────────────────────────────────────────────


@pytest.mark.req("E-12")
def test_an_old_source_is_gone_before_its_object_is_removed(store: SqlStore) -> None:
    old, young = make_video(store), make_video(store)
    job = complete(store, make_job(store, video_id=old.id))
    age(store, "videos", old.id, "uploaded_at")
    assert [video.id for video in store.expire_sources(SOME_S)] == [old.id]
    assert store.expire_sources(SOME_S) == []
    assert [video.id for video in store.left_sources()] == [old.id]
    gone = store.video(old.id)
    assert (gone.upload_status, gone.source_removed_at) == (UploadStatus.GONE, None)
    store.source_removed(old.id)
    removed_at = store.video(old.id).source_removed_at
    store.source_removed(old.id)
    store.source_removed(young.id)
    assert store.video(old.id).source_removed_at == removed_at is not None
    assert store.left_sources() == [] and store.video(young.id) == young
    with pytest.raises(SourceGone):
        store.add_job(new_job(old.id), opening())
    assert store.job(job.id).status is Status.COMPLETED, "results stay"


def test_a_source_with_a_job_in_flight_stays(store: SqlStore) -> None:
    job = make_job(store)
    age(store, "videos", job.video_id, "uploaded_at")
    assert store.expire_sources(SOME_S) == []
    store.close(claim_one(store), ended(StepEvent.FAIL))
    assert [video.id for video in store.expire_sources(SOME_S)] == [job.video_id]
    with pytest.raises(SourceGone):
        store.apply(job.id, Event.RETRY)


def test_a_retry_and_the_end_of_its_source_do_not_miss_each_other(store: SqlStore) -> None:
    for _ in range(10):
        job = make_job(store)
        store.close(claim_one(store), ended(StepEvent.FAIL, failure=BROKEN))
        age(store, "videos", job.video_id, "uploaded_at")
        retried, expired = at_once(
            lambda job=job: store.apply(job.id, Event.RETRY),  # type: ignore[misc]
            lambda: store.expire_sources(SOME_S),
        )
        status = store.video(job.video_id).upload_status
        if isinstance(retried, Job):
            assert (expired, status) == ([], UploadStatus.UPLOADED)
            store.apply(job.id, Event.CANCEL)
        else:
            assert isinstance(retried, SourceGone) and status is UploadStatus.GONE
        store.forget("acme", job.video_id)


def test_outputs_whose_time_is_over_have_no_rows_and_are_swept_again(store: SqlStore) -> None:
    old, young = job_with_a_file(store), job_with_a_file(store)
    for job in (old, young):
        store.mark_swept(job.id)
    age(store, "jobs", old.id, "completed_at")
    assert [job.id for job in store.expire_outputs(SOME_S)] == [old.id]
    assert store.expire_outputs(SOME_S) == []
    assert store.artifacts(old.id) == [] and len(store.artifacts(young.id)) == 1
    assert [job.id for job in store.unswept()] == [old.id]
    assert store.job(old.id).outputs_removed_at is not None and store.job(old.id).status is Status.COMPLETED


def test_a_failed_job_whose_files_were_removed_cannot_go_on(store: SqlStore) -> None:
    job = make_job(store, n=2)
    claim = claim_one(store)
    store.close(claim, done(artifacts=[artifact(claim)]))
    store.close(claim_one(store), ended(StepEvent.FAIL))
    age(store, "jobs", job.id, "completed_at")
    assert len(store.expire_outputs(SOME_S)) == 1
    with pytest.raises(ResultsGone):
        store.apply(job.id, Event.RETRY)


def test_files_in_a_spool_are_forgotten_with_the_others(store: SqlStore) -> None:
    job = make_job(store, n=2)
    claim = claim_one(store)
    kept = dataclasses.replace(artifact(claim), place="spool", spool="s-1")
    store.close(claim, done(artifacts=[kept]))
    [row] = store.spooled("s-1")
    store.apply(job.id, Event.CANCEL)
    age(store, "jobs", job.id, "completed_at")
    assert [gone.spooled for gone in store.expire_outputs(SOME_S)] == [0]
    assert store.spooled("s-1") == [] == store.artifacts(job.id)
    assert store.moved(row) is None, "who was just moving it learns that nobody wants it"


def test_a_job_in_flight_keeps_outputs_and_events(store: SqlStore) -> None:
    job = make_job(store, n=2)
    store.close(claim_one(store), ended(StepEvent.FAIL))
    age(store, "jobs", job.id, "completed_at")
    store.apply(job.id, Event.RETRY)
    assert store.expire_outputs(0) == [] and store.expire_events(0) == 0


def test_old_events_go_and_those_of_a_retry_are_new(store: SqlStore) -> None:
    other = complete(store, make_job(store))
    job = make_job(store)
    store.close(claim_one(store), ended(StepEvent.FAIL))
    age(store, "jobs", job.id, "completed_at")
    last = store.job(job.id).last_seq
    assert (store.expire_events(SOME_S), store.expire_events(SOME_S)) == (1, 0)
    assert store.events_after({job.id: 0}) == [] and store.events_after({other.id: 0})
    assert store.job(job.id).events_removed_at is not None
    retried = store.apply(job.id, Event.RETRY)
    assert retried.events_removed_at is None
    assert [event.seq for event in store.events_after({job.id: 0})] == [last + 1]


def test_batches_are_as_large_as_asked(store: SqlStore) -> None:
    for _ in range(3):
        job = complete(store, make_job(store))
        age(store, "jobs", job.id, "completed_at")
        age(store, "videos", job.video_id, "uploaded_at")
    for take in (store.expire_sources, store.expire_outputs):
        assert [len(take(SOME_S, 2)) for _ in range(3)] == [2, 1, 0]
    assert [store.expire_events(SOME_S, 2) for _ in range(3)] == [2, 1, 0]


# ── listings and sums ─────────────────────────────────────────────────────────────────────────


def test_usage_counts_what_takes_room_and_what_is_in_flight(store: SqlStore) -> None:
    assert store.usage("acme") == Usage(0, 0, 0)
    job_with_a_file(store)
    make_waiting(store)
    make_job(store, tenant="other")
    assert store.usage("acme") == Usage(source_bytes=2_000, output_bytes=10, jobs_in_flight=1)
    aborted, _ = store.add_video(new_video())
    store.abort_upload(aborted.id)
    job = make_job(store)
    assert store.usage("acme") == Usage(3_000, 10, 2)
    assert (store.in_flight("acme"), store.in_flight("other"), store.in_flight("nobody")) == (2, 1, 0)
    store.delete_video(job.video_id, "acme", undo_s=60)
    assert store.usage("acme") == Usage(3_000, 10, 1), "room is free once it is purged"
    store.forget("acme", job.video_id)
    assert store.usage("acme") == Usage(2_000, 10, 1)


def test_an_attempt_tells_the_versions_it_ran_with(store: SqlStore) -> None:
    job = make_job(store)
    versions = {"reelmill": "1.2", "ffmpeg": "9.0"}
    store.close(claim_one(store), dataclasses.replace(ended(StepEvent.FAIL), versions=versions))
    assert [attempt.versions for attempt in store.attempts(job.id)] == [versions]


# ── switches and limits ───────────────────────────────────────────────────────────────────────

ANN = Caller(tenant="acme", user_id="ann", correlation_id="c-9")


@pytest.fixture
def access(store: SqlStore) -> SqlAccess:
    return SqlAccess(store.engine)


@pytest.mark.req("E-09")
def test_a_switch_holds_for_its_tenant_or_for_all(access: SqlAccess) -> None:
    mine = access.switch_off("clips", "acme", "too slow", ANN)
    assert (mine.pipeline, mine.tenant, mine.reason, mine.actor) == ("clips", "acme", "too slow", "ann")
    assert access.switches("acme") == [mine] and access.switches("other") == []
    of_all = access.switch_off("clips", None, "new fonts")
    assert access.switches("acme") == access.switches() == [of_all, mine]
    assert access.switches("other") == [of_all]
    again = access.switch_off("clips", "acme", "still", ANN)
    assert access.switches("acme") == [of_all, again] and again.reason == "still"
    for _ in range(2):
        access.switch_on("clips", "acme", ANN)
    assert access.switches("acme") == [of_all]
    access.switch_on("clips", None)
    assert access.switches() == []
    told = [(entry.action, entry.actor, entry.target) for entry in access.audit_log("acme").items]
    assert sorted(told) == [("pipeline.off", "ann", "clips")] * 2 + [("pipeline.on", "ann", "clips")]


def test_limits_are_set_in_place_of_older_ones(access: SqlAccess) -> None:
    assert access.limits("acme") == TenantLimits("acme") and access.all_limits() == []
    access.set_limits(TenantLimits("acme", quota_bytes=1 << 40, quota_jobs=5))
    access.set_limits(TenantLimits("acme", quota_jobs=0))
    access.set_limits(TenantLimits("aaa", quota_bytes=7))
    assert access.limits("acme") == TenantLimits("acme", None, 0)
    assert access.all_limits() == [TenantLimits("aaa", 7), TenantLimits("acme", None, 0)]
    assert [entry.data["quota_jobs"] for entry in access.audit_log("acme").items] == [0, 5]


def test_old_entries_of_the_audit_log_go_in_batches(access: SqlAccess, store: SqlStore) -> None:
    for n in range(5):
        access.audit(ANN, action="upload.abort", target=str(n))
    old = [row["id"] for row in query(store, "SELECT id FROM audit WHERE target IN ('0', '2', '3')")]
    for entry in old:
        age(store, "audit", entry, "created_at")
    assert [access.expire_audit(SOME_S, 2) for _ in range(3)] == [2, 1, 0]
    assert {entry.target for entry in access.audit_log().items} == {"1", "4"}


def test_a_deleted_videos_upload_is_not_taken_as_new(store: SqlStore) -> None:
    video, _ = make_waiting(store)
    store.delete_video(video.id, "acme", undo_s=60)
    with pytest.raises(TransitionRefused):
        store.add_video(dataclasses.replace(new_video(), key=video.key))
