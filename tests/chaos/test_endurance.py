"""What workers must bear for long: deaths, restarts under load, and hundreds of jobs in one process."""

from __future__ import annotations

import math
import os
import random
import statistics
import time
from collections import Counter
from datetime import datetime
from pathlib import Path

import psutil
import pytest
from verdict import read

from media_sources import make_source
from working import QUICK, Works, until, works

SEED = 20261121
KILLS = int(os.environ.get("CHAOS_KILLS", "100"))
AT_ONCE = 20  #: workers that are killed within one lease
CLIPS = {"cutting": {"kind": "fixed", "duration_s": 1.0}, "text": {"text": "Again and again"}}
DEFAULTS = {"lease_s": 60, "heartbeat_s": 10, "watch_s": 1, "sweep_s": 5, "poll_s": 30}


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_source(tmp_path_factory.mktemp("film") / "film.mp4", seconds=2, width=320, height=180)


def restarted_under_load(it: Works, database_url: str, restarts: int) -> list[float]:
    """Replace one worker after the other while jobs run; return how long each took to end, in seconds."""
    dice = random.Random(SEED)
    at_work = [it.worker(), it.worker()]
    made, took = [], []
    for turn in range(restarts):
        slow = it.run(steps=3, seconds=dice.uniform(1, 2))
        made += [slow, it.run("clips", **CLIPS)]
        until(lambda: None in [attempt["outcome"] for attempt in it.attempts(slow)], "a step runs")  # noqa: B023
        began = time.monotonic()
        assert at_work[turn % 2].stop() == 0
        took.append(time.monotonic() - began)
        at_work[turn % 2] = it.worker()
    ended = Counter(it.server.wait(job)["status"] for job in made)
    assert ended == {"completed": len(made)}
    outcomes = Counter(attempt["outcome"] for attempt in read(database_url).attempts)
    print(f"{restarts} restarts: {max(took):.1f} s at most; {dict(ended)}; {dict(outcomes)}")
    assert set(outcomes) <= {"done", "release"}, "a restart is nobody's fault"
    assert not it.server.scratch()
    return took


@pytest.mark.req("E-08")
def test_rolling_restarts_under_load(tmp_path: Path, film: Path, postgres_url: str, broker_url: str) -> None:
    with works(tmp_path, postgres_url, broker_url=broker_url) as it:
        it.upload(film)
        restarted_under_load(it, postgres_url, 3)


@pytest.mark.long
@pytest.mark.req("E-08")
def test_twenty_rolling_restarts_under_load(tmp_path: Path, film: Path, postgres_url: str, broker_url: str) -> None:
    with works(tmp_path, postgres_url, broker_url=broker_url) as it:
        it.upload(film)
        assert max(restarted_under_load(it, postgres_url, 20)) <= 30


@pytest.mark.long
@pytest.mark.req("E-08")
def test_a_sigterm_amid_an_endless_step_releases_it_in_time(tmp_path: Path, film: Path, postgres_url: str) -> None:
    with works(tmp_path, postgres_url, **DEFAULTS) as it:
        it.upload(film)
        worker = it.worker("--concurrency", "4")
        jobs = [it.run(steps=1, seconds=60) for _ in range(4)]
        until(lambda: all(it.attempts(job) for job in jobs), "all slots are taken", 120)
        began = time.monotonic()
        assert worker.stop() == 0
        took = time.monotonic() - began
        print(f"SIGTERM to released: {took:.1f} s")
        assert took <= 30
        assert [attempt["outcome"] for job in jobs for attempt in it.attempts(job)] == ["release"] * 4


@pytest.mark.long
@pytest.mark.req("E-08")
def test_a_hundred_killed_workers_steps_are_rescued(tmp_path: Path, film: Path, postgres_url: str) -> None:
    dice, waits = random.Random(SEED), []
    with works(tmp_path, postgres_url, **DEFAULTS) as it:
        it.upload(film)
        while len(waits) < KILLS:
            doomed = [it.worker() for _ in range(min(AT_ONCE, KILLS - len(waits)))]
            jobs = [it.run(steps=1, seconds=60) for _ in doomed]
            until(lambda: all(it.attempts(job) for job in jobs), "all have a step", 240)  # noqa: B023
            heir = it.worker("--concurrency", str(AT_ONCE))
            killed_at = {}
            for worker in doomed:
                time.sleep(dice.uniform(0, 0.5))
                worker.kill()
                killed_at[worker.id] = datetime.now().astimezone()
            until(lambda: all(len(it.attempts(job)) > 1 for job in jobs), "all are rescued", 240)  # noqa: B023
            for job in jobs:
                first, second = it.attempts(job)[:2]
                assert first["outcome"] == "crash" and second["worker_id"] == heir.id
                waited = datetime.fromisoformat(second["started_at"]) - killed_at[first["worker_id"]]
                waits.append(waited.total_seconds())
            it.clear()
            p99 = sorted(waits)[math.ceil(0.99 * len(waits)) - 1]
            middle = statistics.median(waits)
            print(
                f"{len(waits)} kills, seed {SEED}: rescued after {middle:.1f} s (median), {p99:.1f} s (p99), "
                f"{max(waits):.1f} s at most",
                flush=True,
            )
    assert p99 <= 75


@pytest.mark.long
@pytest.mark.req("E-08", "E-14")
def test_a_workers_memory_stays_flat(tmp_path: Path, film: Path, postgres_url: str, broker_url: str) -> None:
    with works(tmp_path, postgres_url, **QUICK | {"broker_url": broker_url}) as it:
        it.upload(film)
        worker = it.worker()
        process, sizes = psutil.Process(worker.process.pid), []
        for _ in range(220):
            assert it.server.wait(it.run("clips", **CLIPS))["status"] == "completed"
            sizes.append(process.memory_info().rss / 2**20)
    after = sizes[20:]
    slope = statistics.linear_regression(range(len(after)), after).slope
    print(f"resident after 20 jobs {after[0]:.1f} MiB, after {len(sizes)} {after[-1]:.1f} MiB: {slope:.4f} MiB a job")
    assert slope <= 0.1
