"""DynamoDB has no transactions here: a process may die between any two writes, and a reply may be lost after any.

Each act is done once for each of its writes, by a process that is killed just before it. After one sweep everything
agrees, and the job can be brought to its end.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import servers
from lossy_dynamo import LossyDynamo
from making import (
    BROKEN,
    PROBE,
    THREE_STAGES,
    artifact,
    claim_one,
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
from reelmill.errors import NotFound
from reelmill.jobs.lifecycle import CLAIMABLE, ENDED, PROCESSING_OF, Event, Status, StepEvent, StepStatus, UploadStatus
from reelmill.jobs.model import ApiKey, Job
from reelmill.stores.dynamo.access import DynamoAccess
from reelmill.stores.dynamo.items import came_to_nothing
from reelmill.stores.dynamo.store import DynamoStore, open_store

TESTS = Path(__file__).parents[1]
TOLD = {"step.done": "done", "step.again": "again", "step.crashed": "crash", "step.released": "release",
        "step.failed": "fail"}  # fmt: skip
MOST_WRITES = 60


@pytest.fixture
def store(dynamodb_url: str) -> Iterator[DynamoStore]:
    opened = open_store(dynamodb_url)
    yield opened
    opened.close_engine()


class Dying:
    """`dying_writer.py` on one table."""

    def __init__(self, url: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, TESTS / "dying_writer.py", url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )

    def do(self, *words: object) -> str:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def at_each_write(self, prepare: Callable[[], tuple[list[object], Callable[[], None]]]) -> int:
        """Do an act again and again, killed before its first write, its second …; return how many it has.

        prepare: makes what the act works on; returns its words, and the check of what must be after one sweep.
        """
        for number in range(1, MOST_WRITES):
            words, check = prepare()
            said = self.do(*words, number)
            check()
            if said == "done":
                return number - 1
            assert said == "killed"
        raise AssertionError("it has too many writes")


@pytest.fixture
def dying(dynamodb_url: str) -> Iterator[Dying]:
    writer = Dying(dynamodb_url)
    yield writer
    writer.process.communicate()


# ── What must agree ───────────────────────────────────────────────────────────────────────────


def swept(store: DynamoStore) -> None:
    store.lose_dead(max_crashes=3)


def assert_agrees(store: DynamoStore, job_id: str) -> Job:
    """Job, steps, video, events, artifacts and counters tell one story, and nothing is left to do about it."""
    job = store.job(job_id)
    items = [item for item in store.table.scan() if item["pk"] in (job_id, job.video_id)]
    assert [item["sk"] for item in items if item["due"] or item["intent"] or item["owed"]] == []
    # What somebody has planned for a stage that the job may still reach, waits for whoever opens it.
    left = [item for item in items if item["status"] == "planned"]
    assert [item["sk"] for item in left if came_to_nothing(store.read_job(job_id), item)] == []

    steps, attempts, events = store.steps(job_id), store.attempts(job_id), store.events_after({job_id: 0}, 10_000)
    now_steps = [step for step in steps if step.stage == job.stage]
    closed = {StepStatus.DONE, StepStatus.FAILED, StepStatus.CANCELLED}
    assert len(now_steps) == (job.steps_planned if job.stage else 0)
    assert job.status not in ENDED or {step.status for step in steps} <= closed
    assert job.steps_done == sum(
        step.status is StepStatus.DONE or (step.status is StepStatus.FAILED and step.optional) for step in now_steps
    )
    if job.status in CLAIMABLE:
        assert {step.status for step in now_steps} <= {StepStatus.READY, StepStatus.RUNNING, StepStatus.DONE}

    assert [event.seq for event in events] == list(range(1, job.last_seq + 1))
    told = Counter((TOLD[e.type], e.data["step"], e.data["attempt"]) for e in events if e.type in TOLD)
    happened = Counter((a.outcome, a.step_id, a.attempt) for a in attempts if a.outcome not in (None, "cancel"))
    went_back = any(event.type == "step.redo" for event in events)  # the history of later stages is gone
    assert happened <= told if went_back else happened == told
    for step in steps:
        assert [a.attempt for a in attempts if a.step_id == step.id] == list(range(1, step.attempt + 1))

    assert job.spooled == sum(made.place == "spool" for made in store.artifacts(job_id))
    done_steps = {(step.id, step.attempt) for step in steps if step.status is StepStatus.DONE}
    assert {(made.step_id, made.attempt) for made in store.artifacts(job_id)} <= done_steps
    video, driver = store.video_and_job(job.video_id)
    assert driver is not None and video.processing_status is PROCESSING_OF[driver.status]
    assert job_id in {one.id for one in store.jobs(job.tenant, video_id=job.video_id).items}
    return job


def finish(store: DynamoStore, job_id: str, last: str) -> None:
    """Bring a job to its end, whatever a dead worker holds."""
    until = time.monotonic() + 60
    while (job := store.job(job_id)).status in CLAIMABLE:
        assert time.monotonic() < until, f"the job never ended: {job} {store.steps(job_id)}"
        store.lose_dead(max_crashes=10)
        finish_open_steps(store, "w2")
        for stalled in store.stalled():
            if stalled.stage != last:
                store.open_stage(stalled.id, run=stalled.run, after=str(stalled.stage), opening=opening(last, 2))
            else:
                store.apply(stalled.id, Event.FINISH, run=stalled.run)
    assert assert_agrees(store, job_id).status is Status.COMPLETED


# ── Each act, killed before each of its writes ────────────────────────────────────────────────


@pytest.mark.req("C-03", "D-01")
def test_a_video_is_made_with_its_job_or_not_at_all(store: DynamoStore, dying: Dying) -> None:
    def prepare() -> tuple[list[object], Callable[[], None]]:
        video_id, job_id = new_id(), new_id()

        def check() -> None:
            swept(store)
            try:
                video = store.video(video_id)
            except NotFound:
                with pytest.raises(NotFound):
                    store.job(job_id)
                again = new_video()
                object.__setattr__(again, "key", f"acme/original/{video_id}")
                store.add_video(again, new_job(again.id))  # its key is free
                return
            assert video.upload_status is UploadStatus.AWAITING
            assert assert_agrees(store, job_id).status is Status.AWAITING_UPLOAD
            assert store.uploaded(video_id, PROBE, job_id, opening()) is not None
            finish(store, job_id, "render")

        return ["add_video", video_id, job_id], check

    assert dying.at_each_write(prepare) >= 3


@pytest.mark.req("D-01", "D-03")
def test_an_upload_is_recorded_with_its_job_queued_or_not_at_all(store: DynamoStore, dying: Dying) -> None:
    def prepare() -> tuple[list[object], Callable[[], None]]:
        video, job = make_waiting(store)

        def check() -> None:
            swept(store)
            if store.video(video.id).upload_status is UploadStatus.AWAITING:
                assert store.job(job.id) == job
                assert store.uploaded(video.id, PROBE, job.id, opening(n=2)) is not None
                assert len(store.steps(job.id)) == 2
            else:
                assert assert_agrees(store, job.id).status is Status.QUEUED
                assert len(store.steps(job.id)) == 3
            finish(store, job.id, "render")

        return ["uploaded", video.id, job.id], check

    assert dying.at_each_write(prepare) >= 8


@pytest.mark.parametrize(
    ("act", "upload_status", "status"),
    [
        ("refused", UploadStatus.UPLOADED, Status.FAILED),
        ("expire", UploadStatus.EXPIRED, Status.FAILED),
        ("abort", UploadStatus.ABORTED, Status.CANCELLED),
    ],
)
def test_an_upload_that_fails_takes_its_job_along(
    store: DynamoStore, dying: Dying, act: str, upload_status: UploadStatus, status: Status
) -> None:
    def prepare() -> tuple[list[object], Callable[[], None]]:
        video, job = make_waiting(store)

        def check() -> None:
            swept(store)
            before = store.video(video.id).upload_status is UploadStatus.AWAITING
            assert store.video(video.id).upload_status is (UploadStatus.AWAITING if before else upload_status)
            assert assert_agrees(store, job.id).status is (Status.AWAITING_UPLOAD if before else status)

        return [act, video.id, *([] if act == "abort" else [job.id])], check

    assert dying.at_each_write(prepare) >= 3


def test_a_job_is_made_with_its_steps_and_drives_its_video_or_is_not_made(store: DynamoStore, dying: Dying) -> None:
    def prepare() -> tuple[list[object], Callable[[], None]]:
        video, job_id = make_video(store), new_id()

        def check() -> None:
            swept(store)
            try:
                assert_agrees(store, job_id)
            except NotFound:
                assert store.video(video.id) == video
                return
            assert store.video(video.id).processing_job_id == job_id
            finish(store, job_id, "render")

        return ["add_job", video.id, job_id], check

    assert dying.at_each_write(prepare) >= 8


def test_a_claim_that_broke_off_is_taken_back(store: DynamoStore, dying: Dying) -> None:
    def prepare() -> tuple[list[object], Callable[[], None]]:
        job = make_job(store, n=3)
        store.close(claim_one(store), ended(StepEvent.AGAIN))  # so that there is a history

        def check() -> None:
            swept(store)
            assert_agrees(store, job.id)
            finish(store, job.id, "render")

        return ["claim"], check

    assert dying.at_each_write(prepare) >= 3


@pytest.mark.parametrize("event", ["finish", "again", "crash", "release", "fail"])
def test_the_end_of_an_attempt_is_told_once(store: DynamoStore, dying: Dying, event: str) -> None:
    def prepare() -> tuple[list[object], Callable[[], None]]:
        job = make_job(store, n=2)
        claim = claim_one(store)

        def check() -> None:
            swept(store)
            now_job, step = assert_agrees(store, job.id), store.steps(job.id)[0]
            if step.status is StepStatus.RUNNING:  # killed before the write that decides
                assert store.close(claim, done()).steps_done == 1
            elif event == "finish":
                assert (step.status, now_job.steps_done, step.output) == (StepStatus.DONE, 1, {"kept": True})
                assert [made.name for made in store.artifacts(job.id)] == ["clip-0000.mp4"]
            elif event == "fail":
                assert (now_job.status, now_job.error_code) == (Status.FAILED, BROKEN.code)
                store.apply(job.id, Event.RETRY)
            else:
                assert (step.status, step.attempt) == (StepStatus.READY, 1)
            finish(store, job.id, "render")

        return ["close", job.id, event], check

    assert dying.at_each_write(prepare) >= 3


def test_a_lost_lease_is_told_once(store: DynamoStore, dying: Dying) -> None:
    def prepare() -> tuple[list[object], Callable[[], None]]:
        job = make_job(store, n=1)
        claim_one(store, lease_s=0.05)

        def check() -> None:
            swept(store)
            assert_agrees(store, job.id)
            finish(store, job.id, "render")

        return ["lose_dead"], check

    assert dying.at_each_write(prepare) >= 3


def test_a_stage_opens_whole(store: DynamoStore, dying: Dying) -> None:
    def prepare() -> tuple[list[object], Callable[[], None]]:
        job = make_job(store, stages=THREE_STAGES[:2])
        finish_open_steps(store)

        def check() -> None:
            swept(store)
            now_job = store.job(job.id)
            assert (now_job.stage, len(store.steps(job.id))) in (("text", 1), ("render", 4))
            if now_job.stage == "render":
                assert_agrees(store, job.id)
            finish(store, job.id, "render")

        return ["open_stage", job.id], check

    assert dying.at_each_write(prepare) >= 8


@pytest.mark.parametrize("event", ["cancel", "fail", "retry", "finish"])
def test_a_job_moves_with_its_steps(store: DynamoStore, dying: Dying, event: str) -> None:
    def prepare() -> tuple[list[object], Callable[[], None]]:
        job = make_job(store, n=3)
        claim = claim_one(store)
        if event == "retry":
            store.close(claim, ended(StepEvent.FAIL))
        elif event == "finish":
            store.close(claim, done())
            finish_open_steps(store)
        before = store.job(job.id).status

        def check() -> None:
            swept(store)
            now_job = assert_agrees(store, job.id)
            after = {"cancel": Status.CANCELLED, "fail": Status.FAILED, "retry": Status.QUEUED,
                     "finish": Status.COMPLETED}[event]  # fmt: skip
            assert now_job.status in (before, after)
            if now_job.status is Status.RUNNING and event != "finish":
                store.close(claim, done())
            if now_job.status in (Status.FAILED, Status.CANCELLED):
                store.apply(job.id, Event.RETRY)
            finish(store, job.id, "render")

        return ["apply", job.id, event], check

    assert dying.at_each_write(prepare) >= (1 if event == "finish" else 5)


@pytest.mark.req("E-05")
@pytest.mark.parametrize("act", ["moved", pytest.param("redo", marks=pytest.mark.long)])
def test_a_file_leaves_the_spool_with_its_job_or_not_at_all(store: DynamoStore, dying: Dying, act: str) -> None:
    """`redo` comes when the next stage was planned from the file that is lost."""

    def prepare() -> tuple[list[object], Callable[[], None]]:
        spool = new_id()
        job = make_job(store, n=2, stages=THREE_STAGES[:2])
        for _ in range(2):
            claim = claim_one(store)
            kept = replace(artifact(claim), place="spool", spool=spool)
            store.close(claim, done(artifacts=[kept]))
        assert store.open_stage(job.id, run=1, after="text", opening=opening("render", 2)) is not None
        store.close(claim_one(store), done())

        def check() -> None:
            swept(store)
            now_job, left = assert_agrees(store, job.id), store.spooled(spool)
            assert now_job.spooled == len(left)
            assert (now_job.stage == "text") == (len(left) == 1 and act == "redo")
            for one in left:
                assert store.moved(one) is not None
            finish(store, job.id, "render")

        return [act, spool], check

    assert dying.at_each_write(prepare) >= (4 if act == "moved" else 7)


@pytest.mark.req("A-08")
def test_a_priority_moves_all_ready_steps_or_none(store: DynamoStore, dying: Dying) -> None:
    def prepare() -> tuple[list[object], Callable[[], None]]:
        job, other = make_job(store, n=3), make_job(store, n=3, priority=1)

        def check() -> None:
            swept(store)
            first = job.id if assert_agrees(store, job.id).priority == 7 else other.id
            claims = [claim_one(store) for _ in range(3)]
            assert {claim.job.id for claim in claims} == {first}
            for claim in claims:
                store.close(claim, done())
            for one in (job, other):
                finish(store, one.id, "render")

        return ["set_priority", job.id], check

    assert dying.at_each_write(prepare) >= 5


def test_a_key_is_rotated_with_its_successor_and_its_entry(store: DynamoStore, dying: Dying) -> None:
    access = DynamoAccess(store.table)

    def prepare() -> tuple[list[object], Callable[[], None]]:
        secret, fresh = new_id(), new_id()
        key = access.add_key(
            ApiKey(
                id=new_id(), name="key", prefix="rm_o", scopes=("upload",), subject="ann", tenant=new_id(),
                created_at=store.clock(),
            ),
            secret,
        )  # fmt: skip

        def check() -> None:
            actions = [entry.action for entry in access.audit_log(key.tenant).items]
            new = access.find_key(fresh)
            old = access.find_key(secret)
            assert old is not None
            assert (old.revoked_at is not None) == (new is not None) == ("key.rotate" in actions)
            assert len(access.keys(key.tenant)) == (1 if new is None else 2)

        return ["rotate", key.id, fresh], check

    assert dying.at_each_write(prepare) >= 4


# ── Lost replies ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("every", [7, pytest.param(1, marks=pytest.mark.long)])
def test_a_write_whose_reply_was_lost_is_done_once(store: DynamoStore, dynalite: servers.Dynalite, every: int) -> None:
    """botocore sends it again, DynamoDB refuses the second: that must not look like somebody else's write."""
    with LossyDynamo(dynalite.port) as proxy:
        beyond = open_store(dynalite.url(store.table.place.table, port=proxy.port))
        try:
            lost, number, left = 0, 1, True
            while left:
                proxy.reset(lose=number)
                job = make_job(beyond)
                claim = claim_one(beyond)
                assert claim.attempt == 1
                beyond.close(claim, done({}, [artifact(claim)]))
                finished = beyond.apply(job.id, Event.FINISH, run=1)
                assert finished.status is Status.COMPLETED
                left = proxy.lose is None
                lost += left
                number += every
                assert assert_agrees(store, job.id).steps_done == 1
                assert len(store.artifacts(job.id)) == 1
            assert lost > 14 // every and beyond.table.retries >= lost
        finally:
            beyond.close_engine()


# ── Openings that meet ────────────────────────────────────────────────────────────────────────


class Gate:
    """Holds back one request of a store, until it is opened; `closed` is set when the request has come."""

    def __init__(self, proxy: LossyDynamo, operation: str, sk: str) -> None:
        self.closed, self._opened = threading.Event(), threading.Event()
        self._wanted = operation, sk
        proxy.before = self._before

    def _before(self, operation: str, asked: Any) -> None:
        sk = (asked.get("Item") or asked.get("Key") or {}).get("sk", {}).get("S", "")
        if (operation, sk) == self._wanted:
            self.closed.set()
            assert self._opened.wait(60)

    def open(self) -> None:
        self._opened.set()


@contextmanager
def through(proxy: LossyDynamo, store: DynamoStore, dynalite: servers.Dynalite) -> Iterator[DynamoStore]:
    beyond = open_store(dynalite.url(store.table.place.table, port=proxy.port))
    try:
        yield beyond
    finally:
        beyond.close_engine()


def before_its_second_stage(store: DynamoStore) -> Job:
    make_job(store, stages=THREE_STAGES)
    claim = claim_one(store)
    return store.close(claim, done({}, [artifact(claim)]))


@pytest.mark.req("A-04", "E-08")
def test_who_settles_late_leaves_alone_what_was_planned_meanwhile(
    store: DynamoStore, dynalite: servers.Dynalite
) -> None:
    """He has read the job before its next stage was opened, and its steps when they were planned."""
    job = before_its_second_stage(store)
    with (
        LossyDynamo(dynalite.port) as to_opener,
        LossyDynamo(dynalite.port) as to_settler,
        ThreadPoolExecutor() as pool,
    ):
        begins, removes = Gate(to_opener, "PutItem", "job"), Gate(to_settler, "DeleteItem", "step#render#000000")
        with through(to_opener, store, dynalite) as opener, through(to_settler, store, dynalite) as settler:
            opened = pool.submit(opener.open_stage, job.id, run=1, after="text", opening=opening("render", 2))
            assert begins.closed.wait(60)
            settled = pool.submit(settler.settle, job.id)
            while not (settled.done() or removes.closed.is_set()):
                time.sleep(0.01)
            begins.open()
            begun = opened.result(60)
            removes.open()
            settled.result(60)
    assert begun is not None and begun.stage == "render"
    finish_open_steps(store)
    assert assert_agrees(store, job.id).steps_done == 2


@pytest.mark.req("A-04", "D-06")
@pytest.mark.parametrize(("one", "other"), [(2, 3), (3, 2)])
def test_two_versions_that_plan_a_stage_otherwise_open_it_once_with_one_plan(
    store: DynamoStore, dynalite: servers.Dynalite, one: int, other: int
) -> None:
    job = before_its_second_stage(store)
    with LossyDynamo(dynalite.port) as to_first, ThreadPoolExecutor() as pool:
        begins = Gate(to_first, "PutItem", "job")
        with through(to_first, store, dynalite) as first:
            late = pool.submit(first.open_stage, job.id, run=1, after="text", opening=opening("render", one))
            assert begins.closed.wait(60)
            begun = store.open_stage(job.id, run=1, after="text", opening=opening("render", other))
            begins.open()
            assert late.result(60) is None
    assert begun is not None and begun.steps_planned == other
    finish_open_steps(store)
    assert assert_agrees(store, job.id).steps_done == other


@pytest.mark.req("A-04", "D-06")
def test_a_plan_whose_maker_died_gives_way_to_another(store: DynamoStore, dynalite: servers.Dynalite) -> None:
    job = before_its_second_stage(store)
    store.plan(store.read_job(job.id), opening("render", 3), 1, store.at())  # and then it dies
    begun = store.open_stage(job.id, run=1, after="text", opening=opening("render", 2))
    assert begun is not None and begun.steps_planned == 2
    finish_open_steps(store)
    assert assert_agrees(store, job.id).steps_done == 2
