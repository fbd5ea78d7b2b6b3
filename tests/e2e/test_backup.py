"""A backup of a server at work, and a new server made of it: no result is lost, and the rest is completed."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

import servers
from lax_gateway import LaxGateway
from making import execute
from media_sources import make_source
from reelmill.backup import backup, restore
from reelmill.errors import BackupUnusable, RequestInvalid
from reelmill.settings import read_settings
from reelmill.stores.sql import open_store
from running import REELMILL, Server
from small_disk import small_disk
from working import until


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_source(tmp_path_factory.mktemp("film") / "film.mp4", seconds=2, width=320, height=180)


def finished(data: Path, film: Path, jobs: int = 1) -> list[str]:
    """Run some short jobs on a server of their own, which has ended when this returns."""
    with Server(data, workers=2) as server:
        video = server.upload(film)["video_id"]
        body = {"video_id": video, "pipeline": "slow_writer", "params": {"steps": 2, "seconds": 0}}
        ids = [server.call("POST", "/jobs", json=body)["job_id"] for _ in range(jobs)]
        assert {server.wait(job_id)["status"] for job_id in ids} == {"completed"}
    return ids


def verified(server: Server, job_id: str) -> int:
    """Download every artifact of a completed job, compare it with its checksum, and return how many there are."""
    items = server.call("GET", f"/jobs/{job_id}/artifacts")["items"]
    for one in items:
        content = httpx2.get(one["url"], timeout=60, trust_env=False).content
        assert (len(content), hashlib.sha256(content).hexdigest()) == (one["size"], one["sha256"])
    return len(items)


@pytest.mark.req("D-06")
@pytest.mark.parametrize("name", ["copy", "copy.tar"])
def test_a_server_at_work_is_backed_up_and_goes_on_elsewhere(tmp_path: Path, film: Path, name: str) -> None:
    target = tmp_path / name
    with Server(tmp_path / "first", workers=2, sweep_s=0.5) as server:
        video = server.upload(film)["video_id"]

        def start(seconds: float) -> str:
            params = {"steps": 3, "seconds": seconds, "size_bytes": 100_000}
            body = {"video_id": video, "pipeline": "slow_writer", "params": params}
            return str(server.call("POST", "/jobs", json=body)["job_id"])

        done = [start(0) for _ in range(3)]
        for job_id in done:
            assert server.wait(job_id)["status"] == "completed"
        unfinished = [start(1) for _ in range(3)]
        stop = threading.Event()
        others: list[str] = []

        def keep_busy() -> None:
            while not stop.wait(0.05) and len(others) < 8:
                others.append(start(0))

        busy = threading.Thread(target=keep_busy)
        busy.start()
        try:
            told = json.loads(server.run("backup", str(target), "--json"))
        finally:
            stop.set()
            busy.join()
        assert told["missing"] == told["damaged"] == [] and told["objects"] >= 1 + 3 * 4
        server.kill()

    env = {**server.env, "REELMILL_DATA": str(tmp_path / "second")}
    if target.is_dir():
        shutil.rmtree(tmp_path / "first")  # the links hold the files
    restored = subprocess.run(
        [str(REELMILL), "restore", str(target)], env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert restored.returncode == 0, restored.stderr
    with Server(tmp_path / "second", workers=2, sweep_s=0.5) as again:
        old = httpx2.get(f"{again.url}/api/v1/jobs", headers={"X-API-Key": server.key}, trust_env=False)
        assert old.status_code == 200, "the keys are there too"
        kept: list[str] = []
        cursor: str | None = None
        while True:
            page: dict[str, Any] = again.call(
                "GET", "/jobs", params={"limit": 200, **({"cursor": cursor} if cursor else {})}
            )
            kept += [job["job_id"] for job in page["items"]]
            if (cursor := page["next_cursor"]) is None:
                break
        assert {*done, *unfinished} <= set(kept) <= {*done, *unfinished, *others}
        for job_id in kept:
            assert again.wait(job_id)["status"] == "completed"
            assert verified(again, job_id) == 4


def test_what_is_removed_while_a_backup_is_taken_is_not_in_it(tmp_path: Path, film: Path) -> None:
    """Rows whose file goes between the two copies are found by taking the database once more."""
    finished(tmp_path / "data", film)
    settings = read_settings(data=tmp_path / "data")
    gone = tmp_path / "data/objects/objects/default/outputs"
    shutil.rmtree(gone)
    told = backup(settings, tmp_path / "torn")
    assert len(told.missing) == 3, "a row whose file isn't there at all is told of, not hidden"
    store = open_store(settings.database)
    execute(store, "DELETE FROM artifacts")
    store.close_engine()
    assert backup(settings, tmp_path / "whole").missing == ()


def test_a_backup_takes_no_room_on_the_same_disk(tmp_path: Path, film: Path) -> None:
    finished(tmp_path / "data", film)
    backup(read_settings(data=tmp_path / "data"), tmp_path / "copy")
    for path in (tmp_path / "data/objects/objects").rglob("*"):
        if path.is_file():
            twin = tmp_path / "copy/objects" / path.relative_to(tmp_path / "data/objects/objects")
            assert path.samefile(twin)
    assert (tmp_path / "copy/secret").stat().st_mode & 0o077 == 0
    assert (tmp_path / "copy").stat().st_mode & 0o077 == 0


def test_a_changed_backup_is_refused_and_nothing_is_left_of_it(tmp_path: Path, film: Path) -> None:
    finished(tmp_path / "data", film)
    backup(read_settings(data=tmp_path / "data"), tmp_path / "good")
    target = read_settings(data=tmp_path / "new")

    def refused(name: str, change: Any) -> None:
        bad = tmp_path / name
        shutil.copytree(tmp_path / "good", bad)
        change(bad)
        with pytest.raises(BackupUnusable):
            restore(target, bad)
        assert not target.data.exists() and not list(tmp_path.glob(".new*"))

    def flip(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.unlink()
        path.write_bytes(content)

    def newer(folder: Path) -> None:
        told = json.loads((folder / "backup.json").read_text())
        (folder / "backup.json").write_text(json.dumps({**told, "revision": "9999", "reelmill": "99.0"}))

    refused("object", lambda folder: flip(next(folder.rglob("*-r1a1.bin"))))
    refused("lost", lambda folder: next(folder.rglob("*-r1a1.bin")).unlink())
    refused("database", lambda folder: flip(folder / "reelmill.db"))
    refused("half", lambda folder: (folder / "backup.json").unlink())
    refused("newer", newer)
    restore(target, tmp_path / "good")
    with pytest.raises(RequestInvalid, match="isn't empty"):
        restore(target, tmp_path / "good")
    with pytest.raises(RequestInvalid, match="something at"):
        backup(target, tmp_path / "good")


def test_the_database_alone_is_a_backup_too(tmp_path: Path, film: Path) -> None:
    ids = finished(tmp_path / "data", film)
    told = backup(read_settings(data=tmp_path / "data"), tmp_path / "copy", with_objects=False)
    assert told.objects is None and not (tmp_path / "copy/objects").exists()
    restore(read_settings(data=tmp_path / "new"), tmp_path / "copy")
    with Server(tmp_path / "new") as server:
        assert server.job(ids[0])["status"] == "completed"


def spooled(server: Server, film: Path, away: Callable[[], None]) -> str:
    """Run a job whose storage goes away before its files come; return it, when all of them wait in the spool."""
    video = server.upload(film)["video_id"]
    away()
    body = {"video_id": video, "pipeline": "slow_writer", "params": {"steps": 2, "seconds": 0}}
    job_id = str(server.call("POST", "/jobs", json=body)["job_id"])
    until(lambda: server.call("GET", f"/jobs/{job_id}/status")["stage"] == "storing", "its files wait in the spool")
    return job_id


@pytest.mark.req("D-06", "E-05")
def test_files_that_wait_in_the_spool_are_in_the_backup(tmp_path: Path, film: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        storage_url, few = f"file://{disk.root / 'objects'}", {"backoff_s": 0.05, "sweep_s": 600}
        with Server(tmp_path / "first", storage_url=storage_url, disk_reserve_mb=0, workers=1, **few) as server:
            job_id = spooled(server, film, lambda: disk.fill(leave_bytes=0))
            told = json.loads(server.run("backup", str(tmp_path / "copy"), "--json"))
            assert (told["missing"], told["damaged"], told["objects"]) == ([], [], 1 + 3)
            server.kill()
        restore(read_settings(data=tmp_path / "second"), tmp_path / "copy")
    with Server(tmp_path / "second", sweep_s=0.3) as again:
        assert again.wait(job_id)["status"] == "completed", "all its files are stored: it only has to be told"
        assert verified(again, job_id) == 3
        assert {one["place"] for one in again.call("GET", f"/jobs/{job_id}/artifacts")["items"]} == {"stored"}
        assert [step["attempt"] for step in again.job(job_id)["steps"]] == [1, 1, 1], "nothing is made anew"


@pytest.mark.req("D-06", "E-05")
def test_a_backup_without_objects_has_those_that_no_bucket_has(
    tmp_path: Path, film: Path, seaweed: servers.Seaweed, bucket: str
) -> None:
    with LaxGateway(seaweed) as gateway:
        storage_url, few = f"s3://{bucket}?endpoint={gateway.url}", {"backoff_s": 0.05, "workers": 1}

        def away() -> None:
            gateway.refuses = lambda told: told.startswith("PUT ")

        with Server(tmp_path / "first", storage_url=storage_url, sweep_s=600, **few) as server:
            job_id = spooled(server, film, away)
            told = json.loads(server.run("backup", str(tmp_path / "copy.tar"), "--no-objects", "--json"))
            assert (told["missing"], told["objects"]) == ([], None) and told["bytes"] == 3 * 4096
            server.kill()
            shutil.rmtree(tmp_path / "first")
        gateway.refuses = lambda _: False
        restore(read_settings(data=tmp_path / "second"), tmp_path / "copy.tar")
        with Server(tmp_path / "second", storage_url=storage_url, sweep_s=0.3, **few) as again:
            assert again.wait(job_id)["status"] == "completed"
            assert verified(again, job_id) == 3
            assert [step["attempt"] for step in again.job(job_id)["steps"]] == [1, 1, 1], "nothing is made anew"


def test_a_spooled_file_that_is_damaged_in_a_backup_is_refused(
    tmp_path: Path, film: Path, seaweed: servers.Seaweed, bucket: str
) -> None:
    with LaxGateway(seaweed) as gateway:
        storage_url = f"s3://{bucket}?endpoint={gateway.url}"

        def away() -> None:
            gateway.refuses = lambda told: told.startswith("PUT ")

        with Server(tmp_path / "first", storage_url=storage_url, sweep_s=600, backoff_s=0.05, workers=1) as server:
            spooled(server, film, away)
            backup(
                read_settings(data=tmp_path / "first", storage_url=storage_url), tmp_path / "copy", with_objects=False
            )
    harmed = next((tmp_path / "copy/objects").rglob("*-r1a1.bin"))
    harmed.unlink()
    harmed.write_bytes(bytes(4096))
    target = read_settings(data=tmp_path / "second")
    with pytest.raises(BackupUnusable):
        restore(target, tmp_path / "copy")
    assert not target.data.exists()
