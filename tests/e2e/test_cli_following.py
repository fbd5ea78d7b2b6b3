"""`--then` and `--no-reuse` at the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from media_sources import make_source
from running import Server

CUT = '{"cutting": {"kind": "fixed", "duration_s": 1}}'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("server") / "data", sweep_s=1) as running:
        yield running


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_source(tmp_path_factory.mktemp("film") / "film.mp4", seconds=2, width=320, height=180)


@pytest.mark.req("A-02")
def test_an_upload_is_followed_and_all_results_come(server: Server, film: Path, tmp_path: Path) -> None:
    then = json.dumps({"pipeline": "proxy", "params": {"height": 144}})
    where = ["--url", server.url, "--api-key", server.key]
    words = ["upload", str(film), "--pipeline", "clips", "--params", CUT, "--then", then]
    said = json.loads(server.run(*words, "--download", str(tmp_path / "out"), "--json", *where))
    assert [one["status"] for one in said["followers"]] == ["completed", "completed"]
    for follower in said["followers"]:
        assert [path.name for path in Path(follower["folder"]).iterdir()] == ["proxy.mp4"]
    assert (Path(said["folder"]) / "clip-0001.mp4").is_file()

    shown = server.run("jobs", "show", said["job_id"], *where)
    assert all(one["job_id"] in shown for one in said["followers"])
    assert f"follows         {said['job_id']}" in server.run("jobs", "show", said["followers"][0]["job_id"], *where)

    again = ["jobs", "create", said["video_id"], "clips", "--params", CUT, "--json", *where]
    reused = []
    for more in ([], ["--no-reuse"]):
        made = json.loads(server.run(*again, *more))["job_id"]
        assert server.wait(made)["status"] == "completed"
        reused.append(server.job(made)["reused"])
        assert ("reused" in server.run("jobs", "show", made, *where)) == bool(reused[-1])
    assert reused == [3, 0], "two clips and their contact sheet"
