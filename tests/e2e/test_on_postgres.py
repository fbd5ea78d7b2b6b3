"""The same server on PostgreSQL: no folder lock there, so a killed worker's steps come back by their leases."""

from __future__ import annotations

import time
from pathlib import Path

import psycopg
import pytest

from media_sources import make_source
from running import Server


@pytest.mark.req("A-01", "B-10")
def test_a_job_survives_a_killed_server_on_postgresql(tmp_path: Path, postgres_url: str) -> None:
    film = make_source(tmp_path / "film.mp4", seconds=4)
    server = Server(
        tmp_path / "data", database_url=postgres_url, lease_s=2, heartbeat_s=0.5, sweep_s=0.5, poll_s=1, workers=1
    )
    with server:
        video = server.upload(film)["video_id"]
        body = {"video_id": video, "pipeline": "slow_writer", "params": {"steps": 3, "seconds": 3}}
        job_id = server.call("POST", "/jobs", json=body)["job_id"]
        deadline = time.monotonic() + 30
        while not {"done", "running"} <= {step["status"] for step in server.job(job_id)["steps"]}:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        server.kill()
        server.start()
        assert server.wait(job_id)["status"] == "completed"
        steps = server.job(job_id)["steps"]
        assert sum(step["crashes"] for step in steps) == 1, "the running step's lease was lost, and only that"
        for step in steps:
            assert [attempt["outcome"] for attempt in step["attempts"]].count("done") == 1
        clips = {"video_id": video, "pipeline": "clips", "params": {"cutting": {"duration_s": 2}}}
        made = server.call("POST", "/jobs", json=clips)["job_id"]
        status = server.wait(made)
        assert (status["status"], len(status["download_urls"])) == ("completed", 2)
        assert not server.scratch()
    with psycopg.connect(postgres_url) as db:
        rows = db.execute("SELECT count(*), min(started_at - queued_at), min(completed_at - started_at) FROM jobs")
        count, waited, took = rows.fetchone() or (0, None, None)
    assert count == 2 and waited.total_seconds() >= 0 and took.total_seconds() >= 0
