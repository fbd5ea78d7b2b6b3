"""`reelmill cluster`: brought up, used, hurt, mended and taken down, as its user does it."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from media_sources import make_source
from running import REELMILL
from working import until

PARTS = ["postgres", "valkey", "seaweed", "api"]


class Cluster:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *words: str, expect: int = 0) -> str:
        env = {name: value for name, value in os.environ.items() if not name.startswith("REELMILL_")}
        done = subprocess.run(
            [str(REELMILL), "cluster", *words, "--folder", str(self.folder)],
            env=env, capture_output=True, text=True, timeout=280,
        )  # fmt: skip
        assert done.returncode == expect, done.stderr
        return done.stdout if done.stdout or not expect else done.stderr

    def status(self, expect: int = 0) -> dict[str, dict[str, Any]]:
        return {one["name"]: one for one in json.loads(self.run("status", "--json", expect=expect))}


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    # pytest's own folders are closed to the account that PostgreSQL runs by when the tests run as root
    with tempfile.TemporaryDirectory(prefix="reelmill-cluster-", dir="/tmp") as folder:
        Path(folder).chmod(0o711)
        it = Cluster(Path(folder) / "it")
        yield it
        if (it.folder / "cluster.json").exists():
            it.run("down", "--delete")


@pytest.mark.req("A-01", "E-08")
@pytest.mark.timeout(600)
def test_a_cluster_is_brought_up_used_hurt_mended_and_taken_down(cluster: Cluster, tmp_path: Path) -> None:
    told = json.loads(cluster.run("up", "--workers", "2", "--json"))
    first = cluster.status()
    assert list(first) == [*PARTS, "worker-1", "worker-2"]

    film = make_source(tmp_path / "film.mp4", seconds=4)
    demo = [
        REELMILL, "demo", film, "--every", "1", "--out", tmp_path / "demo", "--url", told["url"],
        "--data", cluster.folder / "data", "--json",
    ]  # fmt: skip
    done = subprocess.run(demo, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ok"]

    # What runs is left as it is; what was killed comes back, and the number of workers is the one asked for.
    os.kill(first["worker-2"]["pid"], 9)
    os.kill(first["valkey"]["pid"], 9)
    assert cluster.status(expect=1)["valkey"]["state"] == "dead"
    cluster.run("up", "--workers", "1")
    second = cluster.status()
    assert list(second) == [*PARTS, "worker-1"]
    assert [second[name]["pid"] for name in ("postgres", "seaweed", "api", "worker-1")] == [
        first[name]["pid"] for name in ("postgres", "seaweed", "api", "worker-1")
    ]
    assert second["valkey"]["pid"] != first["valkey"]["pid"]
    assert "worker" in cluster.run("logs", "worker-1", "-n", "50")
    assert "there are postgres, valkey" in cluster.run("logs", "nobody", expect=2)

    cluster.run("down")
    assert {one["state"] for one in cluster.status(expect=1).values()} == {"stopped"}
    pids = {one["pid"] for one in (*first.values(), *second.values())}
    until(lambda: not [pid for pid in pids if psutil.pid_exists(pid)], "all processes end")


def test_a_reused_process_id_is_never_touched(cluster: Cluster) -> None:
    stranger = subprocess.Popen(["sleep", "600"])
    try:
        cluster.folder.mkdir()
        processes = {"worker-1": {"pid": stranger.pid, "started": 1.0}}
        (cluster.folder / "cluster.json").write_text(json.dumps({"secret": "s", "ports": {}, "processes": processes}))
        assert cluster.status(expect=1)["worker-1"]["state"] == "dead"
        cluster.run("down")
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_folder_of_other_files_is_refused(cluster: Cluster) -> None:
    assert "There is no cluster" in cluster.run("status", expect=2)
    assert "There is no cluster" in cluster.run("down", expect=2)
    cluster.folder.mkdir()
    (cluster.folder / "holiday.mp4").write_bytes(b"mine")
    assert "has other files in it" in cluster.run("up", expect=2)
    assert [path.name for path in cluster.folder.iterdir()] == ["holiday.mp4"]
