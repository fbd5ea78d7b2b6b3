"""Workers on many machines: what rings, wakes, drains, freezes and dies changes when a step runs, never how often."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import servers
from media_sources import make_source
from reelmill.dispatch.celery import CeleryDispatcher
from running import free_port
from working import Works, until, works

SLOW = {"cutting": {"duration_s": 60}, "video": {"preset": "slow", "crf": 0, "rendering": "full"}}


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_source(tmp_path_factory.mktemp("film") / "film.mp4", seconds=4, width=640, height=360)


@pytest.fixture(scope="module")
def shared(
    tmp_path_factory: pytest.TempPathFactory,
    film: Path,
    postgres: servers.Postgres,
    postgres_template: str,
    valkey: servers.Valkey,
) -> Iterator[Works]:
    """A server without workers of its own, and a film in it."""
    url = postgres.url(postgres.create(postgres_template))
    with works(tmp_path_factory.mktemp("shared"), url, broker_url=valkey.create()) as it:
        it.upload(film)
        yield it


@pytest.fixture
def it(shared: Works) -> Iterator[Works]:
    """The shared server; the test's workers end with the test, and so do its jobs."""
    yield shared
    shared.clear()


def by_worker(it: Works, job_id: str) -> set[str]:
    return {attempt["worker_id"] for attempt in it.attempts(job_id)}


def outcomes(it: Works, job_id: str) -> list[str | None]:
    return [attempt["outcome"] for attempt in it.attempts(job_id)]


@pytest.mark.req("A-01", "A-02", "A-03", "A-04", "E-08")
def test_two_workers_share_the_steps_of_one_job(it: Works) -> None:
    first, second = it.worker(), it.worker()
    job = it.run(steps=6, seconds=1)

    assert it.server.wait(job)["status"] == "completed"
    assert by_worker(it, job) == {first.id, second.id}
    assert outcomes(it, job) == ["done"] * 7
    # The engine's own id stands beside ours, and opens nothing.
    tasks = {attempt["engine_task_id"] for attempt in it.attempts(job)} - {None}
    assert tasks
    for task in tasks:
        it.server.call("GET", f"/jobs/{task}", expect=404)
    for worker in (first, second):
        told = [line for line in worker.lines() if line["event"] == "step started"]
        assert told and all(next(iter(line)) == "job_id" and line["job_id"] == job for line in told)

    known = it.server.call("GET", "/admin/workers", headers=it.operator())["items"]
    assert {one["id"]: (one["state"], one["engine"], one["slots"]) for one in known} == {
        first.id: ("working", "celery", 1),
        second.id: ("working", "celery", 1),
    }
    assert first.stop() == second.stop() == 0
    left = {one["id"] for one in it.server.call("GET", "/admin/workers", headers=it.operator())["items"]}
    assert not left & {first.id, second.id}, "who ends in peace leaves the register"


@pytest.mark.req("E-08")
def test_five_rings_are_one_run(it: Works) -> None:
    job = it.run(steps=1, seconds=0.5)
    bell = CeleryDispatcher(it.server.env["REELMILL_BROKER_URL"])
    bell.ring(5, job_id=job)
    bell.close()
    it.worker("--concurrency", "3")

    assert it.server.wait(job)["status"] == "completed"
    assert outcomes(it, job) == ["done", "done"]


@pytest.mark.req("E-08")
def test_a_busy_worker_leaves_the_ring_to_an_idle_one(
    tmp_path: Path, film: Path, postgres_url: str, broker_url: str
) -> None:
    # Nobody rings again or looks by himself: a ring that went to the busy worker would never be heard.
    with works(tmp_path, postgres_url, broker_url=broker_url, sweep_s=600, poll_s=600) as it:
        it.upload(film)
        busy = it.worker()
        long = it.run(steps=1, seconds=60)
        until(lambda: by_worker(it, long) == {busy.id}, "the long step runs")
        idle = it.worker()
        for _ in range(5):
            job = it.run(steps=1, seconds=0)
            assert it.server.wait(job)["status"] == "completed"
            assert by_worker(it, job) == {idle.id}
        assert outcomes(it, long) == [None]


@pytest.mark.req("E-08", "E-05")
def test_a_killed_worker_and_a_flushed_broker_cost_one_lease(it: Works, valkey: servers.Valkey) -> None:
    doomed = it.worker()
    job = it.run(steps=2, seconds=2)
    until(lambda: None in outcomes(it, job), "a step runs")
    doomed.kill()
    valkey.flush()
    rescuer = it.worker()

    assert it.server.wait(job)["status"] == "completed"
    assert outcomes(it, job).count("done") == 3 and outcomes(it, job).count("crash") == 1
    assert rescuer.id in by_worker(it, job)
    assert not it.server.scratch(), "the killed worker's scratch is removed by the next one"


@pytest.mark.req("E-08", "A-01")
def test_a_dead_broker_only_slows_and_is_told_of_once(tmp_path: Path, film: Path, postgres_url: str) -> None:
    port = free_port()
    with works(tmp_path, postgres_url, broker_url=f"redis://127.0.0.1:{port}/0", poll_s=0.5) as it:
        it.upload(film)
        worker = it.worker()
        for _ in range(3):
            assert it.server.wait(it.run(steps=2, seconds=0))["status"] == "completed"
        assert it.server.log.read_text().count("the broker doesn't answer") == 1
        assert it.server.client.get("/readyz").status_code == 200, "no job is lost or refused without a broker"
        assert worker.stop() == 0

        broker = servers.start_valkey(port)
        try:
            late = it.worker(poll_s=600)
            job = it.run(steps=1, seconds=0)
            assert it.server.wait(job)["status"] == "completed"
            assert by_worker(it, job) == {late.id}
            # The worker survives a broker that goes and comes back.
            broker.stop()
            frozen = it.run(steps=1, seconds=0)
            broker = servers.start_valkey(port)
            assert it.server.wait(frozen)["status"] == "completed"
        finally:
            broker.stop()


@pytest.mark.req("E-08")
def test_sigterm_hands_a_running_step_back_uncharged(it: Works) -> None:
    first = it.worker(grace_s=0.5)
    job = it.run("clips", **SLOW)
    until(first.media, "ffmpeg runs")
    media = first.media()
    assert first.stop() == 0
    assert not any(psutil.pid_exists(one.pid) and one.is_running() for one in media)
    (step,) = [step for step in it.server.job(job)["steps"] if step["stage"] == "render"]
    assert (step["status"], step["tries"], step["crashes"]) == ("ready", 0, 0)
    assert [attempt["outcome"] for attempt in step["attempts"]] == ["release"]
    assert not it.server.scratch()
    second = it.worker()
    until(lambda: second.id in by_worker(it, job), "another worker takes the step")
    it.server.call("POST", f"/jobs/{job}/cancel")
    until(lambda: not second.media(), "a cancelled job's ffmpeg ends")


@pytest.mark.req("E-08")
def test_a_second_signal_doesnt_wait_for_the_step(it: Works) -> None:
    worker = it.worker(grace_s=3600)
    job = it.run(steps=1, seconds=60)
    until(lambda: None in outcomes(it, job), "the step runs")
    worker.signal(signal.SIGTERM)
    until(lambda: "worker stops" in worker.words(), "the first signal is heard")
    assert worker.process.poll() is None
    assert worker.stop() == 0
    assert outcomes(it, job) == ["release"]


@pytest.mark.req("E-08")
def test_a_frozen_worker_that_wakes_too_late_stops_its_ffmpeg_and_publishes_nothing(it: Works) -> None:
    frozen = it.worker()
    job = it.run("clips", **SLOW)
    until(frozen.media, "ffmpeg runs")
    media = frozen.media()
    for one in (frozen.process.pid, *(child.pid for child in media)):
        os.kill(one, signal.SIGSTOP)
    until(lambda: "crash" in outcomes(it, job), "the lease is lost")
    heir = it.worker()
    until(lambda: heir.id in by_worker(it, job), "another worker has the step")
    for one in (*(child.pid for child in media), frozen.process.pid):
        os.kill(one, signal.SIGCONT)
    until(lambda: not frozen.media(), "the woken worker ends its ffmpeg")
    until(lambda: "dropped" in frozen.words(), "the woken worker drops the step")
    assert it.server.wait(job, 240)["status"] == "completed"
    assert not {key for key in it.server.stored() if f"/{job}/render/" in key and "-r1a1." in key}
    assert outcomes(it, job).count("done") == len(it.server.job(job)["steps"])
    assert frozen.stop() == 0


@pytest.mark.req("E-08")
def test_a_frozen_workers_late_write_is_refused(it: Works) -> None:
    frozen = it.worker(watch_s=60)  # it looks at its lease so seldom that only the fence is left
    job = it.run(steps=1, seconds=1)
    until(lambda: None in outcomes(it, job), "the step runs")
    frozen.signal(signal.SIGSTOP)
    until(lambda: "crash" in outcomes(it, job), "the lease is lost")
    heir = it.worker()
    assert it.server.wait(job)["status"] == "completed"
    frozen.signal(signal.SIGCONT)
    until(lambda: "step ended" in frozen.words(), "the woken worker gives up")
    assert "dropped" in frozen.words()
    assert [a["worker_id"] for a in it.attempts(job) if a["outcome"] == "done"] == [heir.id] * 2
    assert not {key for key in it.server.stored() if job in key and key.endswith("write-0-r1a1.bin")}


@pytest.mark.req("E-08")
def test_a_drained_worker_ends_when_its_step_has(it: Works) -> None:
    worker = it.worker()
    job = it.run(steps=10, seconds=2)
    until(lambda: None in outcomes(it, job), "a step runs")
    key = it.operator()
    assert it.server.call("POST", f"/admin/workers/{worker.id}/drain", headers=key)["state"] == "draining"
    assert worker.process.wait(60) == 0
    assert set(outcomes(it, job)) == {"done"} and len(outcomes(it, job)) < 10, "what ran was finished, nothing more"
    it.server.call("POST", f"/admin/workers/{worker.id}/drain", headers=key, expect=404)
    log = it.server.call("GET", "/audit", headers=key)["items"]
    assert [(entry["action"], entry["target"]) for entry in log if "worker" in entry["action"]] == [
        ("worker.drain", worker.id)
    ]


@pytest.mark.req("E-08")
def test_a_worker_beyond_its_memory_limit_begins_anew_between_steps(it: Works) -> None:
    worker = it.worker("--memory-limit", "1")  # each step finds it too large
    pid, job = worker.process.pid, it.run(steps=2, seconds=0.5)

    assert it.server.wait(job)["status"] == "completed"
    assert outcomes(it, job) == ["done"] * 3
    assert {one.split(":")[1] for one in by_worker(it, job)} == {str(pid)}
    until(lambda: worker.words().count("begins anew") >= 1, "it began anew")
    assert worker.stop() == 0


@pytest.mark.req("E-08")
def test_without_a_broker_workers_claim_by_themselves_and_can_be_asked_for_their_health(
    tmp_path: Path, film: Path, postgres_url: str
) -> None:
    with works(tmp_path, postgres_url) as it:
        it.upload(film)
        worker = it.worker()
        job = it.run(steps=2, seconds=0)
        assert it.server.wait(job)["status"] == "completed"
        assert {attempt["engine_task_id"] for attempt in it.attempts(job)} == {None}
        assert it.server.run("worker", "--check") == ""
        worker.signal(signal.SIGSTOP)
        with pytest.raises(AssertionError, match="was heard of"):
            until(lambda: it.server.run("worker", "--check"), "never true: it fails as soon as the worker is silent")
        worker.signal(signal.SIGCONT)
        assert worker.stop() == 0


@pytest.mark.req("A-01", "A-03")
def test_a_servers_own_workers_hear_the_broker_too(
    tmp_path: Path, film: Path, postgres_url: str, broker_url: str
) -> None:
    with works(tmp_path, postgres_url, broker_url=broker_url, workers=1, poll_s=600, sweep_s=600) as it:
        it.upload(film)
        job = it.run(steps=1, seconds=0)
        assert it.server.wait(job)["status"] == "completed"
        assert None not in {attempt["engine_task_id"] for attempt in it.attempts(job)}
        (known,) = it.server.call("GET", "/admin/workers", headers=it.operator())["items"]
        # A drained server does no steps, and goes on answering.
        it.server.call("POST", f"/admin/workers/{known['id']}/drain", headers=it.operator())
        until(lambda: "draining" in it.server.log.read_text(), "it hears that it shall drain")
        job = it.run(steps=1, seconds=0)
        assert it.server.client.get("/readyz").status_code == 200
        helper = it.worker()
        assert it.server.wait(job)["status"] == "completed"
        assert by_worker(it, job) == {helper.id}
