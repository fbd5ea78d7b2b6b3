"""Operators at the command line, against a real server and its database."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from media_sources import make_source
from running import Server

QUICK = {"pipeline": "slow_writer", "params": {"steps": 1, "seconds": 0}}
CLIPS = {"pipeline": "clips", "params": {"cutting": {"kind": "fixed", "duration_s": 1.0}, "text": {"text": "Hello"}}}


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_source(tmp_path_factory.mktemp("film") / "film.mp4", seconds=2, width=320, height=180)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("admin") / "data", workers=2, max_retries=0)
    made.env["REELMILL_URL"] = made.url
    with made:
        yield made


def asked(server: Server, *words: str) -> Any:
    return json.loads(server.run(*words, "--json"))


def run_job(server: Server, video_id: str, what: dict[str, Any]) -> str:
    return str(server.call("POST", "/jobs", json={"video_id": video_id, **what})["job_id"])


@pytest.mark.req("E-05", "E-09")
def test_a_dead_letter_is_read_mended_and_sent_again(server: Server, film: Path) -> None:
    video = server.upload(film, labels={"camera": "door"})["video_id"]
    source = server.data / "objects/objects/default/original" / video / "source"
    whole = source.read_bytes()
    os.truncate(source, len(whole) // 2)
    job_id = run_job(server, video, CLIPS)
    assert server.wait(job_id)["status"] == "failed"
    assert job_id in server.run("dead-letters")
    told = server.run("dead-letters", job_id)
    assert "ffmpeg" in told and "moov atom not found" in told and f"reelmill jobs retry {job_id}" in told
    assert asked(server, "dead-letters", job_id)["steps"][0]["versions"]["ffmpeg"]
    source.write_bytes(whole)
    wanted = ("admin", "reprocess", "--pipeline", "clips", "--label", "camera=door", "--after", "2020-01-01")
    assert [one["outcome"] for one in asked(server, *wanted, "--dry-run")["items"]] == ["matched"]
    assert job_id in server.run(*wanted)
    assert server.wait(job_id)["status"] == "completed"


@pytest.mark.req("D-07")
def test_stuck_uploads_are_looked_after(server: Server, film: Path) -> None:
    about = {"filename": "a.mp4", "size": film.stat().st_size, "content_type": "video/mp4"}
    begun = server.call("POST", "/uploads/initiate", json=about)
    found = asked(server, "admin", "recheck-uploads", "--older-than", "0")["items"]
    assert [(one["video_id"], one["outcome"]) for one in found] == [(begun["video_id"], "missing")]
    assert begun["video_id"] in server.run("admin", "recheck-uploads", "--older-than", "0", "--dry-run")
    server.call("DELETE", f"/uploads/{begun['video_id']}")


@pytest.mark.req("E-09")
def test_a_pipeline_is_switched_off_and_on_beside_the_running_server(server: Server, film: Path) -> None:
    video = server.upload(film)["video_id"]
    server.run("admin", "switch-off", "slow_writer", "--reason", "Maintenance until noon.")
    (switch,) = asked(server, "admin", "switches")
    assert (switch["pipeline"], switch["tenant"], switch["by"]) == ("slow_writer", None, "operator")
    told = server.call("POST", "/jobs", 409, json={"video_id": video, **QUICK})
    assert told["code"] == "pipeline_off" and "Maintenance until noon." in told["detail"]
    server.run("admin", "switch-off", "slow_writer", "--reason", "Just this one.", "--tenant", "default")
    assert "still off" in server.run("admin", "switch-on", "slow_writer", "--tenant", "default")
    assert "takes jobs again" in server.run("admin", "switch-on", "slow_writer")
    assert asked(server, "admin", "switches") == []
    assert server.wait(run_job(server, video, QUICK))["status"] == "completed"
    assert "pipeline.off" in server.run("audit", "--action", "pipeline.off")


def test_limits_of_a_tenant_hold_from_the_next_request(server: Server, film: Path) -> None:
    asked(server, "tenants", "set", "default", "--bytes", "1KiB", "--jobs", "3")
    assert asked(server, "tenants", "list") == [{"tenant": "default", "bytes": 1024, "jobs": 3}]
    about = {"filename": "a.mp4", "size": 2048, "content_type": "video/mp4"}
    assert server.call("POST", "/uploads/initiate", 507, json=about)["code"] == "storage_quota_reached"
    assert "no limit in storage, 3 in flight" in server.run("tenants", "set", "default", "--bytes", "0")
    asked(server, "tenants", "set", "default", "--bytes", "default", "--jobs", "default")
    assert asked(server, "tenants", "list") == [{"tenant": "default", "bytes": None, "jobs": None}]
    server.call("POST", "/uploads/initiate", json=about)


def test_a_video_is_deleted_and_restored(server: Server, film: Path) -> None:
    video = server.upload(film)["video_id"]
    assert "can be restored" in server.run("videos", "delete", video)
    server.call("GET", f"/videos/{video}", 404)
    assert asked(server, "videos", "restore", video)["id"] == video
    server.call("GET", f"/videos/{video}", 200)
