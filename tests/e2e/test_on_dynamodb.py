"""The whole platform on DynamoDB, from nothing to finished clips, as the how-to says."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

import servers
from media_sources import make_source
from reelmill.wiring import open_store
from running import REELMILL, Server


def refused(url: str, data: Path, *words: str) -> str:
    """What a command says of a table that doesn't fit."""
    env = {**os.environ, "REELMILL_DATABASE_URL": url, "REELMILL_DATA": str(data)}
    done = subprocess.run([REELMILL, *words], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    return done.stdout + done.stderr


@pytest.mark.req("A-01", "A-08")
def test_a_film_is_cut_with_all_state_in_a_table_named_by_others(dynalite: servers.Dynalite, tmp_path: Path) -> None:
    film = make_source(tmp_path / "film.mp4", seconds=6)
    url = dynalite.url("prod-video-metadata", hash_key="video_id")
    told = refused(url, tmp_path / "none", "serve", "--port", "0")
    assert "table_unfit" in told and "reelmill database create" in told
    made = subprocess.run(
        [REELMILL, "database", "create"], env={**os.environ, "REELMILL_DATABASE_URL": url}, capture_output=True,
        text=True, timeout=60, check=True, cwd=tmp_path,
    )  # fmt: skip
    assert "prod-video-metadata was made" in made.stdout

    with Server(tmp_path / "data", database_url=url, lease_s=3, heartbeat_s=1, sweep_s=0.5, poll_s=1) as server:
        assert server.client.get("/readyz").json()["ready"]
        begun = server.upload(film, pipeline="clips", params={"cutting": {"duration_s": 2}})
        # Work goes on where a killed server left it: its steps come back by their leases.
        server.kill()
        server.start()
        status = server.wait(begun["job_id"])
        assert (status["status"], status["progress_pct"]) == ("completed", 100)
        assert len(status["download_urls"]) == 3
        for link in status["download_urls"]:
            assert server.client.get(link).status_code == 200
        assert [v["id"] for v in server.call("GET", "/videos?processing_status=completed")["items"]] == [
            begun["video_id"]
        ]
        assert server.process is not None
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(45) == 0

    store = open_store(url)
    try:
        raw = store.table._client.get_item(  # type: ignore[attr-defined]
            TableName="prod-video-metadata", Key={"video_id": {"S": begun["job_id"]}, "sk": {"S": "job"}}
        )["Item"]
    finally:
        store.close_engine()
    assert raw["status"] == {"S": "completed"}
    assert [key["S"] for key in raw["output_s3_keys"]["L"]] == [
        artifact["key"] for artifact in _primary(url, begun["job_id"])
    ]


def _primary(url: str, job_id: str) -> list[dict[str, str]]:
    store = open_store(url)
    try:
        return [{"key": one.key} for one in store.artifacts(job_id) if one.primary]
    finally:
        store.close_engine()


def test_the_doctor_makes_a_missing_table_and_shows_a_jobs_row(dynalite: servers.Dynalite, tmp_path: Path) -> None:
    url = dynalite.url(dynalite.name())
    env = {**os.environ, "REELMILL_DATABASE_URL": url, "REELMILL_DATA": str(tmp_path / "data")}
    (tmp_path / "data").mkdir()
    told = refused(url, tmp_path / "data", "doctor")
    assert "reelmill database create" in told
    mended = subprocess.run([REELMILL, "doctor", "--fix"], env=env, capture_output=True, text=True, timeout=120)
    assert "made the table" in mended.stdout + mended.stderr
    seen = subprocess.run([REELMILL, "doctor"], env=env, capture_output=True, text=True, timeout=120)
    assert "made, moved, read by its id, removed" in seen.stdout + seen.stderr
