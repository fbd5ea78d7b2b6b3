"""A disk that is really full: claims pause, running steps hand back, nothing is charged and nothing is corrupt."""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from media_sources import make_source
from running import Server
from small_disk import MIB, SmallDisk, small_disk

SETTINGS = {"backoff_s": 0.05, "sweep_s": 0.3, "poll_s": 0.3, "workers": 1}
CLIPS = {"cutting": {"kind": "fixed", "duration_s": 2.0}, "video": {"rendering": "full", "crf": 1, "preset": "fast"}}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk") as disk:
        yield disk


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_source(tmp_path_factory.mktemp("film") / "film.mp4", seconds=4, width=640, height=360)


def until(holds: Callable[[], Any], server: Server, seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline, server.log.read_text()[-4000:]
        time.sleep(0.05)
    return found


def judge(server: Server, job_ids: list[str]) -> None:
    """The jobs are complete, nothing was charged, every file is what its row says, the database is whole."""
    for job_id in job_ids:
        assert server.wait(job_id)["status"] == "completed"
        for step in server.job(job_id)["steps"]:
            assert (step["tries"], step["crashes"]) == (0, 0), step
        for one in server.call("GET", f"/jobs/{job_id}/artifacts")["items"]:
            got = httpx2.get(one["url"], trust_env=False, follow_redirects=True)
            assert hashlib.sha256(got.content).hexdigest() == one["sha256"]
    server.stop()
    with sqlite3.connect(server.data / "reelmill.db") as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    db.close()
    assert not server.scratch()


def create(server: Server, video: str, pipeline: str, params: dict[str, Any]) -> str:
    body = {"video_id": video, "pipeline": pipeline, "params": params, "reuse": False}
    return server.call("POST", "/jobs", json=body)["job_id"]  # type: ignore[no-any-return]


@pytest.mark.req("E-05", "C-07", "E-10")
def test_below_the_reserve_nothing_is_begun_and_everybody_is_told(tmp_path: Path, disk: SmallDisk, film: Path) -> None:
    with Server(disk.root / "data", disk_reserve_mb=10, **SETTINGS) as server:
        video = server.upload(film)["video_id"]
        assert server.client.get("/readyz").json()["checks"]["disk"]["ok"]
        disk.fill(leave_bytes=6 * MIB)
        until(lambda: "claims pause" in server.log.read_text(), server)
        job_id = create(server, video, "clips", {"cutting": {"duration_s": 2}})
        until(lambda: not server.client.get("/readyz").json()["checks"]["disk"]["ok"], server)
        found = server.client.get("/readyz").json()["checks"]["disk"]
        assert found["code"] == "disk_low"
        assert server.job(job_id)["status"] == "queued"
        disk.empty()
        judge(server, [job_id])
        assert "claims go on" in server.log.read_text()


@pytest.mark.req("E-05", "C-07")
@pytest.mark.parametrize("pipeline", ["slow_writer", "clips"])
def test_a_step_that_meets_a_full_disk_is_handed_back_uncharged(tmp_path: Path, film: Path, pipeline: str) -> None:
    """Python's own writes say ENOSPC, ffmpeg says it in words; both mean the same. The database has room."""
    with (
        small_disk(tmp_path / "data" / "scratch") as disk,
        Server(tmp_path / "data", disk_reserve_mb=0, **SETTINGS) as server,
    ):
        video = server.upload(film)["video_id"]
        disk.fill(leave_bytes=MIB // 8)
        params = {"steps": 1, "seconds": 0, "size_bytes": 4 * MIB} if pipeline == "slow_writer" else CLIPS
        job_id = create(server, video, pipeline, params)
        status = until(
            lambda: (told := server.call("GET", f"/jobs/{job_id}/status"))["message"].startswith("disk_low") and told,
            server,
        )
        assert (status["status"], status["error"]) == ("running", None)
        disk.empty()
        judge(server, [job_id])


@pytest.mark.req("E-05", "C-07")
def test_a_database_without_room_refuses_and_stays_whole(tmp_path: Path, disk: SmallDisk, film: Path) -> None:
    with Server(disk.root / "data", disk_reserve_mb=0, **SETTINGS) as server:
        video = server.upload(film)["video_id"]
        running = create(server, video, "slow_writer", {"steps": 3, "seconds": 0.5})
        until(lambda: server.job(running)["status"] == "running", server)
        disk.fill(leave_bytes=0)
        body = {"video_id": video, "pipeline": "slow_writer", "params": {"steps": 1, "seconds": 0}}

        def refused() -> httpx2.Response | None:
            disk.fill(leave_bytes=0)
            reply = server.client.post("/api/v1/jobs", json=body)
            return reply if reply.status_code == 503 else None

        reply = until(refused, server)
        assert reply.json()["code"] == "database_unavailable" and reply.json()["remedy"]
        asked = {"filename": "film.mp4", "size": film.stat().st_size, "content_type": "video/mp4"}
        assert server.client.post("/api/v1/uploads/initiate", json=asked).json()["code"] == "disk_full"
        disk.empty()
        judge(server, [running, create(server, video, "slow_writer", {"steps": 1, "seconds": 0})])


@pytest.mark.req("E-05", "C-07")
def test_a_server_ends_while_its_database_has_no_room(tmp_path: Path, disk: SmallDisk, film: Path) -> None:
    """What it can't hand back is brought back by its lease, when there is room again."""
    with Server(disk.root / "data", disk_reserve_mb=0, grace_s=6, lease_s=3, heartbeat_s=1, **SETTINGS) as server:
        video = server.upload(film)["video_id"]
        running = create(server, video, "slow_writer", {"steps": 2, "seconds": 1})
        until(lambda: server.job(running)["status"] == "running", server)
        disk.fill(leave_bytes=0)
        server.stop()
        disk.empty()
        server.start()
        assert server.wait(running)["status"] == "completed"
