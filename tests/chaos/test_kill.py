"""`kill -9` at any moment: nothing is lost, nothing is done twice, nothing is left lying about."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import time
from pathlib import Path

import pytest

from media_sources import make_source
from running import Server

SEED = int(os.environ.get("CHAOS_SEED", "20261121"))
CLIPS = {"cutting": {"kind": "fixed", "duration_s": 1.0}, "text": {"text": "Kill me"}}


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_source(tmp_path_factory.mktemp("film") / "film.mp4", seconds=4, width=640, height=360)


def verdict(server: Server) -> list[str]:
    """Judge from the database and the folder alone: what is wrong with them?"""
    wrong = []
    db = sqlite3.connect(server.data / "reelmill.db")
    db.row_factory = sqlite3.Row
    for job in db.execute("SELECT id, status, error_code, error_detail FROM jobs"):
        if job["status"] != "completed":
            wrong.append(f"job {job['id']} is {job['status']}: {job['error_code']} {job['error_detail']}")
    for step in db.execute("SELECT id, status, attempt FROM steps"):
        outcomes = [
            row["outcome"]
            for row in db.execute("SELECT outcome FROM attempts WHERE step_id = ? ORDER BY attempt", (step["id"],))
        ]
        if outcomes.count("done") != 1 or outcomes[-1] != "done":
            wrong.append(f"step {step['id']} is {step['status']} after {outcomes}")
    named = [row["key"] for row in db.execute("SELECT key FROM artifacts")]
    doubled = db.execute("SELECT job_id, name FROM artifacts GROUP BY job_id, name HAVING count(*) > 1").fetchall()
    wrong += [f"artifact doubled: {row['name']}" for row in doubled]
    stored = {key for key in server.stored() if "/outputs/" in key}
    wrong += [f"nobody names {key}" for key in stored - set(named)]
    wrong += [f"{key} is named but not stored" for key in set(named) - stored]
    db.close()
    return wrong


def settle(server: Server, jobs: int) -> None:
    """Wait until every ended job's files were swept."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        db = sqlite3.connect(server.data / "reelmill.db")
        swept = db.execute("SELECT count(*) FROM jobs WHERE swept_at IS NOT NULL").fetchone()[0]
        db.close()
        if swept == jobs:
            return
        time.sleep(0.1)
    raise AssertionError("ended jobs were not swept")


@pytest.mark.req("C-07", "A-02")
@pytest.mark.timeout(600)
def test_twenty_jobs_each_killed_once_all_complete_without_doing_anything_twice(tmp_path: Path, film: Path) -> None:
    dice = random.Random(SEED)
    print(f"seed {SEED}")
    server = Server(tmp_path / "data", sweep_s=0.5)
    kills_in_work = 0
    with server:
        video = server.upload(film)["video_id"]
        for n in range(20):
            if n % 2:
                body = {"video_id": video, "pipeline": "slow_writer", "params": {"steps": 4, "seconds": 0.3}}
            else:
                body = {"video_id": video, "pipeline": "clips", "params": CLIPS, "reuse": False}
            job_id = server.call("POST", "/jobs", json=body)["job_id"]
            time.sleep(dice.uniform(0.0, 1.2))
            kills_in_work += server.job(job_id)["status"] != "completed"
            server.kill()
            time.sleep(0.3)
            assert not server.children(), "media processes outlived their server"
            server.start()
            assert server.wait(job_id)["status"] == "completed"
        settle(server, 20)
        assert verdict(server) == []
        assert not server.scratch()
        assert not server.children()
    assert kills_in_work >= 10, "most kills should have hit a job at work"


@pytest.mark.req("E-05")
def test_media_children_killed_three_times_fail_the_job_as_worker_crashed(tmp_path: Path, film: Path) -> None:
    with Server(tmp_path / "data", sweep_s=0.5, workers=1) as server:
        video = server.upload(film)["video_id"]
        slow = {"cutting": {"duration_s": 60}, "video": {"preset": "slow", "crf": 10, "rendering": "full"}}
        job_id = server.call("POST", "/jobs", json={"video_id": video, "pipeline": "clips", "params": slow})["job_id"]
        killed: set[int] = set()
        deadline = time.monotonic() + 60
        while len(killed) < 3 and time.monotonic() < deadline:
            for child in server.children():
                if child.pid not in killed and "ffmpeg" in child.name():
                    os.kill(child.pid, signal.SIGKILL)
                    killed.add(child.pid)
            time.sleep(0.01)
        ended = server.wait(job_id)
        assert (ended["status"], ended["error"]["code"]) == ("failed", "worker_crashed")
        (step,) = [step for step in server.job(job_id)["steps"] if step["stage"] == "render"]
        assert step["attempt"] == 3 and step["tries"] == 0, json.dumps(step)
        assert not server.children() and not server.scratch()
        other = server.call("POST", "/jobs", json={"video_id": video, "pipeline": "clips", "params": CLIPS})
        assert server.wait(other["job_id"])["status"] == "completed", "a poisoned job must not block others"


@pytest.mark.req("E-08")
def test_a_cancelled_job_leaves_no_ffmpeg_within_five_seconds(tmp_path: Path, film: Path) -> None:
    with Server(tmp_path / "data") as server:
        video = server.upload(film)["video_id"]
        slow = {"cutting": {"duration_s": 60}, "video": {"preset": "slow", "crf": 0, "rendering": "full"}}
        job_id = server.call("POST", "/jobs", json={"video_id": video, "pipeline": "clips", "params": slow})["job_id"]
        deadline = time.monotonic() + 30
        while not any("ffmpeg" in child.name() for child in server.children()):
            assert time.monotonic() < deadline, "ffmpeg never started"
            time.sleep(0.01)
        assert server.call("POST", f"/jobs/{job_id}/cancel")["status"] == "cancelled"
        asked = time.monotonic()
        while server.children():
            assert time.monotonic() - asked < 5, "ffmpeg outlived its job"
            time.sleep(0.05)
        time.sleep(0.5)
        assert not server.scratch()
        again = server.call("POST", f"/jobs/{job_id}/retry")
        assert again["run"] == 2
