"""A pipeline of somebody else's: installed by its entry point, offered everywhere, and held to the same rules."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from media_sources import make_source
from running import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("plugin") / "data", sweep_s=0.5) as running:
        yield running


@pytest.fixture(scope="module")
def video(server: Server, tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(server.upload(make_source(tmp_path_factory.mktemp("film") / "film.mp4", seconds=1))["video_id"])


def test_it_is_offered_with_its_schema(server: Server) -> None:
    offered = {pipeline["name"]: pipeline for pipeline in server.call("GET", "/pipelines")["items"]}
    assert offered["slow_writer"]["params"]["properties"]["steps"]["maximum"] == 100
    assert "clips" in offered


@pytest.mark.req("C-01")
def test_its_parameters_are_declared_and_nothing_else_is_taken(server: Server, video: str) -> None:
    body = {"video_id": video, "pipeline": "slow_writer", "params": {"stepz": 3}}
    problem = server.call("POST", "/jobs", expect=422, json=body)
    assert problem["code"] == "params_invalid" and "stepz" in problem["detail"]


def test_it_runs_to_the_end(server: Server, video: str) -> None:
    body = {"video_id": video, "pipeline": "slow_writer", "params": {"steps": 3, "seconds": 0}}
    status = server.wait(server.call("POST", "/jobs", json=body)["job_id"])
    assert (status["status"], len(status["download_urls"])) == ("completed", 1)


def test_a_defect_in_it_fails_its_job_with_a_reason_and_hurts_no_other(server: Server, video: str) -> None:
    wrong = {"video_id": video, "pipeline": "slow_writer", "params": {"steps": 2, "seconds": 0, "same_name": True}}
    status = server.wait(server.call("POST", "/jobs", json=wrong)["job_id"], seconds=20)
    assert (status["status"], status["error"]["code"]) == ("failed", "internal_error")
    assert server.stored(f"default/outputs/{status['job_id']}") != set(), "what was recorded before stays"
    right = {"video_id": video, "pipeline": "slow_writer", "params": {"steps": 1, "seconds": 0}}
    assert server.wait(server.call("POST", "/jobs", json=right)["job_id"])["status"] == "completed"
