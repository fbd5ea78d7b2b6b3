"""Races between real connections, and between real processes that are stopped and killed at their work."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from looks import claims_by
from making import (
    BROKEN,
    PROBE,
    THREE_STAGES,
    artifact,
    at_once,
    claim_one,
    done,
    ended,
    finish_open_steps,
    make_job,
    make_video,
    make_waiting,
    opening,
)
from reelmill.errors import StaleAttempt, TransitionRefused, UploadNeeded
from reelmill.jobs.lifecycle import PROCESSING_OF, Event, Status, StepEvent, StepStatus
from reelmill.jobs.model import Claim, Job
from reelmill.jobs.ports import Failure, Held
from reelmill.stores.dynamo.store import DynamoStore
from reelmill.stores.sql import SqlStore
from reelmill.wiring import open_store

TESTS = Path(__file__).parents[1]
LEGAL = (StaleAttempt, TransitionRefused)


def unexpected(results: list[Any]) -> list[BaseException]:
    return [result for result in results if isinstance(result, BaseException) and not isinstance(result, LEGAL)]


def assert_sound(store: SqlStore, job_id: str) -> Job:
    """The job, its steps, its video and its events tell one story."""
    job = store.job(job_id)
    steps = store.steps(job_id)
    running = [step for step in steps if step.status is StepStatus.RUNNING]
    assert not running or job.status is Status.RUNNING
    if job.status is Status.COMPLETED:
        assert {step.status for step in steps} <= {StepStatus.DONE, StepStatus.FAILED}
        assert job.progress_pct == 100
    video, driver = store.video_and_job(job.video_id)
    assert driver is not None and video.processing_status is PROCESSING_OF[driver.status]
    events = store.events_after({job_id: 0}, limit=10_000)
    assert [event.seq for event in events] == list(range(1, job.last_seq + 1))
    for step in steps:
        mine = [attempt for attempt in store.attempts(job_id) if attempt.step_id == step.id]
        assert [attempt.attempt for attempt in mine] == list(range(1, step.attempt + 1))
        still_open = [attempt.attempt for attempt in mine if attempt.outcome is None]
        assert still_open == ([step.attempt] if step.status is StepStatus.RUNNING else [])
    return job


def test_eight_workers_share_two_hundred_steps_without_doing_one_twice(store: SqlStore, store_url: str) -> None:
    video_id = make_video(store).id
    each = 6 if isinstance(store, DynamoStore) else 25
    jobs = [make_job(store, n=each, video_id=video_id) for _ in range(8)]

    def work() -> list[Claim]:
        own = open_store(store_url)
        taken: list[Claim] = []
        try:
            idle = 0
            while idle < 3:
                claims = own.claim(threading.current_thread().name, limit=3, lease_s=60)
                idle = 0 if claims else idle + 1
                for claim in claims:
                    own.close(claim, done({"by": claim.worker_id}))
                taken += claims
        finally:
            own.close_engine()
        return taken

    results = at_once(*[work] * 8)
    assert unexpected(results) == []
    taken = [claim.step.id for claims in results for claim in claims]
    assert len(taken) == len(set(taken)) == 8 * each
    for job in jobs:
        assert {(step.status, step.attempt) for step in store.steps(job.id)} == {(StepStatus.DONE, 1)}
        assert assert_sound(store, job.id).steps_done == each
        started = [event for event in store.events_after({job.id: 0}) if event.type == "job.started"]
        assert len(started) == 1


@pytest.mark.req("D-03")
def test_of_ten_completions_at_once_one_queues_the_job(store: SqlStore) -> None:
    for _ in range(10):
        video, job = make_waiting(store)
        results = at_once(*[lambda v=video, j=job: store.uploaded(v.id, PROBE, j.id, opening(n=3))] * 10)
        assert Counter(type(result).__name__ for result in results) == {"Job": 1, "TransitionRefused": 9}
        assert assert_sound(store, job.id).status is Status.QUEUED
        assert len(store.steps(job.id)) == 3
        queued = [event for event in store.events_after({job.id: 0}) if event.type == "job.queued"]
        assert len(queued) == 1


@pytest.mark.req("D-02", "D-03")
def test_an_upload_is_either_taken_or_rejected(store: SqlStore) -> None:
    missing = Failure("upload_missing", "It isn't there.")
    for _ in range(20):
        video, job = make_waiting(store)
        taken, rejected, cancelled = at_once(
            lambda v=video, j=job: store.uploaded(v.id, PROBE, j.id, opening()),
            lambda v=video, j=job: store.reject_upload(v.id, j.id, missing, None),
            lambda j=job: store.apply(j.id, Event.CANCEL),
        )
        assert unexpected([taken, rejected, cancelled]) == []
        now_job = assert_sound(store, job.id)
        uploaded = store.video(video.id).upload_status == "uploaded"
        assert uploaded == isinstance(taken, Job)
        if isinstance(taken, Job):
            assert now_job.status in (Status.QUEUED, Status.CANCELLED)
            assert len(store.steps(job.id)) == 1
        else:
            assert now_job.status is Status.CANCELLED
        store.apply(job.id, Event.CANCEL) if now_job.status is Status.QUEUED else None


def test_of_two_ends_of_the_same_attempt_one_counts(store: SqlStore) -> None:
    for outcomes in [
        (done({"by": 0}), done({"by": 1})),
        (done({"by": 0}), ended(StepEvent.AGAIN)),
        (ended(StepEvent.CRASH), ended(StepEvent.AGAIN)),
        (ended(StepEvent.FAIL), done({"by": 1})),
    ] * 5:
        job = make_job(store, priority=1)
        claim = claim_one(store)
        results = at_once(*[lambda o=outcome, c=claim: store.close(c, o) for outcome in outcomes])
        assert sorted(type(result).__name__ for result in results) == ["Job", "StaleAttempt"]
        won = outcomes[0 if isinstance(results[0], Job) else 1]
        (attempt,) = store.attempts(job.id)
        assert attempt.outcome == ("done" if won.event is StepEvent.FINISH else won.event)
        now_job = assert_sound(store, job.id)
        assert now_job.steps_done == (1 if won.event is StepEvent.FINISH else 0)
        if now_job.status is Status.RUNNING:
            store.apply(job.id, Event.CANCEL)


def test_cancelling_claiming_and_finishing_at_once_ends_in_one_of_them(store: SqlStore) -> None:
    ends: Counter[Status] = Counter()
    rounds = 30 if isinstance(store, DynamoStore) else 100
    for number in range(rounds):
        job = make_job(store, n=2)
        claim = claim_one(store, "a")
        last = number % 2 == 0
        if last:
            store.close(claim, done())
            claim = claim_one(store, "a")

        def finish(claim: Claim = claim, job: Job = job) -> object:
            store.close(claim, done())
            return store.apply(job.id, Event.FINISH, run=1)

        def cancel(job: Job = job) -> object:
            return store.apply(job.id, Event.CANCEL)

        def claim_more() -> object:
            return store.claim("b", limit=5, lease_s=60)

        finished, cancelled, claims = at_once(finish, cancel, claim_more)
        assert unexpected([finished, cancelled, claims]) == []
        now_job = assert_sound(store, job.id)
        ends[now_job.status] += 1
        # `cancel` is refused only if the job was finished first, and nobody else ends it
        assert now_job.status is (Status.COMPLETED if isinstance(finished, Job) else Status.CANCELLED)
        assert isinstance(cancelled, Job) == (now_job.status is Status.CANCELLED)
        held = [Held(c.step.id, c.attempt) for c in claims]
        assert store.still_held(held) == frozenset()
        assert store.claim("w", limit=5, lease_s=60) == []
    assert ends[Status.CANCELLED] >= rounds / 2


def test_a_stage_that_many_open_at_once_opens_once(store: SqlStore) -> None:
    for _ in range(20):
        job = make_job(store, stages=THREE_STAGES)
        finish_open_steps(store)
        results = at_once(
            *[lambda j=job: store.open_stage(j.id, run=1, after="text", opening=opening("render", 3))] * 6
        )
        assert unexpected(results) == []
        assert sum(isinstance(result, Job) for result in results) == 1
        assert len(store.steps(job.id, "render")) == 3
        assert_sound(store, job.id)
        store.apply(job.id, Event.CANCEL)


def test_a_job_is_not_finished_while_another_opens_its_next_stage(store: SqlStore) -> None:
    for _ in range(40):
        job = make_job(store, stages=THREE_STAGES)
        finish_open_steps(store)
        opened, finished = at_once(
            lambda j=job: store.open_stage(j.id, run=1, after="text", opening=opening("render", 2)),
            lambda j=job: store.apply(j.id, Event.FINISH, run=1),
        )
        assert unexpected([opened, finished]) == []
        assert isinstance(opened, Job) != isinstance(finished, Job)
        assert_sound(store, job.id)
        assert len(store.steps(job.id, "render")) == (2 if isinstance(opened, Job) else 0)
        if isinstance(opened, Job):
            store.apply(job.id, Event.CANCEL)


def test_a_job_does_not_finish_over_a_stage_whose_opening_was_slow_to_commit(postgres_url: str) -> None:
    """PostgreSQL looks again only at the row that it waited for: a guard on other rows would see the time before."""
    store = open_store(postgres_url)
    try:
        job = make_job(store, stages=THREE_STAGES)
        finish_open_steps(store)
        with store.engine.connect() as slow, slow.begin():
            # what `open_stage` writes, held back before its commit
            slow.execute(
                sa.text("UPDATE jobs SET stage = 'render', steps_planned = 1, steps_done = 0 WHERE id = :id"),
                {"id": job.id},
            )
            slow.execute(
                sa.text(
                    """INSERT INTO steps (id, job_id, stage, stage_no, "index", kind, params, digest, optional, status,
                         run, attempt, tries, crashes, not_before, progress, created_at)
                       SELECT :new, job_id, 'render', 1, 0, kind, params, digest, optional, 'ready',
                         0, 0, 0, 0, not_before, 0, created_at FROM steps WHERE job_id = :id"""
                ),
                {"id": job.id, "new": f"{job.id}:render:0"},
            )
            outcome: list[Any] = []
            finisher = threading.Thread(
                target=lambda: outcome.extend(at_once(lambda: store.apply(job.id, Event.FINISH, run=1)))
            )
            finisher.start()
            finisher.join(0.5)
            assert finisher.is_alive()
        finisher.join(10)
        assert isinstance(outcome[0], TransitionRefused)
        assert store.job(job.id).status is Status.RUNNING
        assert_sound(store, job.id)
    finally:
        store.close_engine()


@pytest.mark.req("C-03")
def test_of_many_retries_at_once_one_begins_a_run(store: SqlStore) -> None:
    for _ in range(10):
        job = make_job(store, n=2)
        store.apply(job.id, Event.CANCEL)
        results = at_once(*[lambda j=job: store.apply(j.id, Event.RETRY)] * 6)
        assert Counter(type(result).__name__ for result in results) == {"Job": 1, "TransitionRefused": 5}
        assert assert_sound(store, job.id).run == 2
        store.apply(job.id, Event.CANCEL)


def test_no_deadlock_reaches_anyone_while_all_is_done_to_the_same_jobs(store: SqlStore) -> None:
    """Everything that may happen to a job, by eight threads for a few seconds, in random order."""
    video_id = make_video(store).id
    job_ids = [make_job(store, n=4, video_id=video_id).id for _ in range(4)]
    until = time.monotonic() + 5
    counted: Counter[str] = Counter()

    def churn(seed: int) -> None:
        chance = random.Random(seed)
        claims: list[Claim] = []
        name = f"w{seed}"

        def close_one() -> object:
            event = chance.choice([StepEvent.FINISH, StepEvent.AGAIN, StepEvent.CRASH, StepEvent.RELEASE])
            return store.close(claims.pop(), done() if event is StepEvent.FINISH else ended(event))

        def held() -> list[Held]:
            return [Held(claim.step.id, claim.attempt) for claim in claims]

        acts = {
            "claim": lambda: claims.extend(store.claim(name, limit=3, lease_s=chance.choice([0.01, 60]))),
            "close": lambda: close_one() if claims else None,
            "report": lambda: store.report(chance.choice(claims), chance.random()) if claims else None,
            "beat": lambda: store.beat(held(), lease_s=1),
            "cancel": lambda: store.apply(chance.choice(job_ids), Event.CANCEL),
            "fail": lambda: store.apply(chance.choice(job_ids), Event.FAIL, failure=BROKEN),
            "retry": lambda: store.apply(chance.choice(job_ids), Event.RETRY),
            "finish": lambda: store.apply(chance.choice(job_ids), Event.FINISH),
            "lose": lambda: store.lose_dead(max_crashes=3),
            "release": lambda: store.release_all(),
            "ring": lambda: store.to_ring(5, again_after_s=0),
            "add": lambda: job_ids.append(make_job(store, n=3, video_id=video_id).id) if len(job_ids) < 40 else None,
        }
        weights = [8, 8, 4, 3, 2, 1, 4, 3, 3, 1, 3, 1]
        while time.monotonic() < until:
            (act,) = chance.choices(list(acts), weights)
            try:
                acts[act]()
            except LEGAL:
                counted[f"{act} refused"] += 1
            else:
                counted[act] += 1

    assert unexpected(at_once(*[lambda s=seed: churn(s) for seed in range(8)])) == []
    assert min(counted[act] for act in ("claim", "close", "cancel", "retry")) > 0, counted
    for job_id in job_ids:
        assert_sound(store, job_id)


@pytest.mark.req("C-07")
def test_a_worker_that_hangs_within_a_write_does_not_keep_other_steps_from_being_taken_back(postgres_url: str) -> None:
    """On PostgreSQL a stopped worker keeps its row locks: the sweeper must pass it by, not queue behind it."""
    store = open_store(postgres_url)
    try:
        make_job(store, priority=1)
        hung, lost = claim_one(store, "hung", lease_s=0.05), make_job(store)
        claim_one(store, "lost", lease_s=0.05)
        time.sleep(0.2)
        with store.engine.connect() as stopped, stopped.begin():
            stopped.execute(sa.text("UPDATE steps SET progress = 0.5 WHERE id = :id"), {"id": hung.step.id})
            sweep = threading.Thread(target=store.lose_dead, kwargs={"max_crashes": 3})
            sweep.start()
            sweep.join(3)
            passed_by = not sweep.is_alive()
            taken_back = store.steps(lost.id)[0].status
        sweep.join(10)
        assert taken_back is StepStatus.READY
        assert passed_by
    finally:
        store.close_engine()


# ── Processes that are stopped and killed ─────────────────────────────────────────────────────


class Worker:
    """`racing_worker.py` on one store, started again whenever it was killed."""

    def __init__(self, url: str, name: str) -> None:
        self.url, self.name = url, name
        self.start()

    def start(self) -> None:
        """To be called by the session's main thread: the worker dies with the thread that started it."""
        self.ready = False
        self.process = subprocess.Popen(
            [sys.executable, TESTS / "racing_worker.py", self.url, self.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        if not self.ready:
            assert self.hear()["said"] == "ready"
            self.ready = True
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"worker {self.name} ended by itself with {self.process.poll()}"
        heard: dict[str, Any] = json.loads(line)
        return heard

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


WORKERS = 10
ROUNDS = 5  # of WORKERS races each: 50


def test_a_worker_that_wakes_after_its_lease_writes_nothing(store: SqlStore, store_url: str) -> None:
    """Fifty workers are stopped or killed while they hold a step; others take over; the sleepers are woken too late."""
    chance = random.Random(f"races on {store_url.split(':')[0]}")
    workers = [Worker(store_url, f"sleeper-{number}") for number in range(WORKERS)]
    job_ids: list[str] = []
    reports: list[dict[str, Any]] = []
    killed = 0
    try:
        for _ in range(ROUNDS):
            job = make_job(store, n=WORKERS)
            job_ids.append(job.id)
            all_claimed = threading.Barrier(WORKERS + 1)
            fates = [draw_fate(chance) for _ in workers]
            lanes = [
                partial(race, store, worker, fate, all_claimed) for worker, fate in zip(workers, fates, strict=True)
            ]
            *raced, rescued = at_once(*lanes, partial(rescue, store_url, job.id, all_claimed, chance.random()))
            assert rescued is None, rescued
            for result in raced:
                assert not isinstance(result, BaseException), result
                reports += result
            for worker, fate in zip(workers, fates, strict=True):
                if fate.killed:
                    worker.start()
                    killed += 1
    finally:
        for worker in workers:
            worker.end()

    outcomes = {
        (attempt.step_id, attempt.attempt): attempt.outcome for job_id in job_ids for attempt in store.attempts(job_id)
    }
    rejected = [report for report in reports if report["said"] == "stale"]
    accepted = [report for report in reports if report["said"] == "closed"]
    assert len(reports) == WORKERS * ROUNDS - killed and killed > 0
    assert len(rejected) > 0
    for report in rejected:
        assert outcomes[report["step"], report["attempt"]] == "crash"
    for report in accepted:  # woken before anyone had taken over: not stale
        assert outcomes[report["step"], report["attempt"]] == "done"

    stale_writes = 0
    for job_id in job_ids:
        assert_sound(store, job_id)
        steps = store.steps(job_id)
        for step in steps:
            assert step.status is StepStatus.DONE and step.output is not None
            ends = [outcomes[step.id, attempt] for attempt in range(1, step.attempt + 1)]
            assert ends == ["crash"] * (step.attempt - 1) + ["done"]
            stale_writes += step.output["attempt"] != step.attempt
        made = store.artifacts(job_id)
        assert [(a.step_id, a.attempt) for a in made] == [(step.id, step.attempt) for step in steps]
    assert stale_writes == 0
    by_sleepers = claims_by(store, "sleeper")
    assert by_sleepers == WORKERS * ROUNDS
    print(f"{by_sleepers} races, {killed} killed: {len(rejected)} stale writes rejected, {stale_writes} accepted")


@dataclass(frozen=True)
class Fate:
    """What happens to a worker: killed or stopped after a while; woken when it was replaced, or some time later."""

    killed: bool
    after_s: float
    woken_late: bool
    woken_after_s: float


def draw_fate(chance: random.Random) -> Fate:
    return Fate(chance.random() < 0.25, chance.uniform(0, 0.3), chance.random() < 0.7, chance.uniform(0, 0.5))


def race(store: SqlStore, worker: Worker, fate: Fate, all_claimed: threading.Barrier) -> list[dict[str, Any]]:
    """Let the worker claim a step, stop or kill it at its work; return what it says once it was woken."""
    worker.tell("go 1.0")
    claimed = worker.hear()
    assert claimed["said"] == "claimed"
    all_claimed.wait(60)
    time.sleep(fate.after_s)
    if fate.killed:
        worker.end()
        return []
    worker.process.send_signal(signal.SIGSTOP)
    # Not for ever: a worker that is stopped within a transaction may keep its successor waiting.
    until = time.monotonic() + 3
    while fate.woken_late and not replaced(store, claimed) and time.monotonic() < until:
        time.sleep(0.02)
    time.sleep(fate.woken_after_s)
    worker.process.send_signal(signal.SIGCONT)
    return [worker.hear()]


def replaced(store: SqlStore, claimed: dict[str, Any]) -> bool:
    """Whether another attempt has begun, or none is to come."""
    (step,) = [step for step in store.steps(claimed["step"].split(":")[0]) if step.id == claimed["step"]]
    return step.attempt > claimed["attempt"] or step.status is StepStatus.DONE


def rescue(url: str, job_id: str, all_claimed: threading.Barrier, seed: float) -> None:
    """Take lost steps back and do them, slowly, until the job has no open step."""
    store, chance = open_store(url), random.Random(seed)
    try:
        all_claimed.wait(60)  # what is ready from now on, is ready again
        until = time.monotonic() + 40
        while any(step.status is not StepStatus.DONE for step in store.steps(job_id)):
            assert time.monotonic() < until, "the steps were never done"
            store.lose_dead(max_crashes=1000)
            time.sleep(0.02)
            for claim in store.claim("rescuer", limit=1, lease_s=60):
                time.sleep(chance.uniform(0, 0.15))
                store.close(claim, done({"by": "rescuer", "attempt": claim.attempt}, [artifact(claim)]))
    finally:
        store.close_engine()


def test_a_video_without_its_upload_is_never_retried_into_the_queue(store: SqlStore) -> None:
    for _ in range(20):
        video, job = make_waiting(store)
        store.reject_upload(video.id, job.id, Failure("upload_missing", "It isn't there."), None)
        retried, taken = at_once(
            lambda j=job: store.apply(j.id, Event.RETRY, opening=opening()),
            lambda v=video, j=job: store.uploaded(v.id, PROBE, j.id, opening()),
        )
        assert isinstance(retried, (UploadNeeded, TransitionRefused))
        assert isinstance(taken, Job)
        assert assert_sound(store, job.id).status is Status.QUEUED
        assert len(store.steps(job.id)) == 1
