"""What operators and tenants do to many jobs, stuck uploads, pipelines and old files, over HTTP on real files."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from reelmill import __version__
from reelmill.jobs.admission import JUST_NOW_S
from reelmill.jobs.model import TenantLimits

if TYPE_CHECKING:
    from conftest import Client, Running

Serve = Callable[..., AbstractContextManager["Running"]]
Connect = Callable[..., "Client"]

QUICK = {"steps": 1, "seconds": 0}
SLOW = {"steps": 1, "seconds": 30}
CLIPS: dict[str, Any] = {"cutting": {"kind": "fixed", "duration_s": 0.8}, "text": {"text": "Hello"}}
AT_ONCE_DAYS = 1e-9  #: whatever has ended is due


@pytest.fixture
def own(serve: Serve, tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Start a server with settings of its own, ended after the test."""
    open_: list[AbstractContextManager[Running]] = []

    def start(**settings: Any) -> Running:
        context = serve(tmp_path / f"data{len(open_)}", **settings)
        server = context.__enter__()
        open_.append(context)
        return server

    yield start
    for context in open_:
        context.__exit__(None, None, None)


def until(client: Client, job_id: str, status: str) -> None:
    deadline = time.monotonic() + 60
    while client.call("GET", f"/jobs/{job_id}/status")["status"] != status:
        assert time.monotonic() < deadline, f"the job didn't become {status}"
        time.sleep(0.02)


def cancelled(client: Client, video_id: str, **more: Any) -> str:
    job_id = client.run(video_id, "slow_writer", SLOW, **more)
    client.call("POST", f"/jobs/{job_id}/cancel")
    return job_id


def files_of(server: Running) -> list[str]:
    """Every object in the server's folder."""
    root = server.app.settings.data / "objects" / "objects"
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def audited(client: Client, action: str) -> list[dict[str, Any]]:
    return client.call("GET", "/audit", params={"action": action})["items"]  # type: ignore[no-any-return]


# ── many jobs ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.req("E-09")
def test_jobs_are_reprocessed_by_filter(own: Callable[..., Running], connect: Connect, film: Path) -> None:
    client = connect("admin", of=own(workers=1))
    door = client.upload(film, labels={"camera": "door"})["video_id"]
    gate = client.upload(film, labels={"camera": "gate"})["video_id"]
    hers, his = cancelled(client, door), cancelled(client, gate)
    lost = client.initiate(film, pipeline="slow_writer", params=QUICK)
    client.call("POST", "/uploads/complete", 400, json={"video_id": lost["video_id"]})
    wanted = {"status": "cancelled", "pipeline": "slow_writer", "labels": {"camera": "door"}}

    looked = client.call("POST", "/admin/jobs/reprocess", json={**wanted, "dry_run": True})
    assert [(one["job_id"], one["outcome"]) for one in looked["items"]] == [(hers, "matched")]
    assert client.call("GET", f"/jobs/{hers}/status")["status"] == "cancelled"
    assert audited(client, "jobs.reprocess") == []

    done = client.call("POST", "/admin/jobs/reprocess", json=wanted)
    assert [(one["job_id"], one["outcome"], one["error"]) for one in done["items"]] == [(hers, "retried", None)]
    assert client.call("GET", f"/jobs/{hers}/status")["run"] == 2
    assert client.call("GET", f"/jobs/{his}/status")["status"] == "cancelled"
    (entry,) = audited(client, "jobs.reprocess")
    assert entry["data"]["retried"] == [hers] and entry["data"]["filter"]["labels"] == {"camera": "door"}

    refused = client.call("POST", "/admin/jobs/reprocess", json={})["items"]
    assert [(one["job_id"], one["outcome"], one["error"]["code"]) for one in refused] == [
        (lost["job_id"], "refused", "upload_needed")
    ]


def test_reprocessing_goes_on_where_the_page_before_ended(client: Client, video_id: str) -> None:
    jobs = [cancelled(client, video_id) for _ in range(3)]
    began = client.call("GET", f"/jobs/{jobs[0]}/status")["created_at"]
    wanted = {"status": "cancelled", "created_after": began, "limit": 2, "dry_run": True}
    first = client.call("POST", "/admin/jobs/reprocess", json=wanted)
    second = client.call("POST", "/admin/jobs/reprocess", json={**wanted, "cursor": first["next_cursor"]})
    found = [one["job_id"] for one in [*first["items"], *second["items"]]]
    assert found == jobs[::-1] and second["next_cursor"] is None
    assert client.call("POST", "/admin/jobs/reprocess", 400, json={"cursor": "x"})["code"] == "cursor_invalid"
    told = client.call("POST", "/admin/jobs/reprocess", 422, json={"created_after": "2026-01-01T00:00:00"})
    assert told["code"] == "request_invalid", "a moment without its zone could be any"


@pytest.mark.req("D-04", "D-07")
def test_stuck_uploads_are_verified_and_never_queued_blindly(
    own: Callable[..., Running], connect: Connect, film: Path, tmp_path: Path
) -> None:
    server = own()
    client = connect("admin", of=server)
    job: dict[str, Any] = {"pipeline": "slow_writer", "params": QUICK}
    arrived, missing = client.initiate(film, **job), client.initiate(film, **job)
    rubbish = tmp_path / "rubbish.mp4"
    rubbish.write_bytes(b"no film " * 1000)
    wrong = client.initiate(rubbish, **job)
    for begun, path in ((arrived, film), (wrong, rubbish)):
        assert client.put(begun["upload"], path.read_bytes()).status_code == 200
    assert client.call("POST", "/admin/jobs/recheck-uploads", json={})["items"] == [], "they are younger than 300 s"

    def outcomes(**more: Any) -> dict[str, str]:
        reply = client.call("POST", "/admin/jobs/recheck-uploads", json={"older_than_s": 0, **more})
        return {one["video_id"]: one["outcome"] for one in reply["items"]}

    ids = [begun["video_id"] for begun in (arrived, missing, wrong)]
    assert outcomes(dry_run=True) == dict(zip(ids, ["arrived", "missing", "arrived"], strict=True))
    assert client.call("GET", f"/jobs/{arrived['job_id']}/status")["status"] == "awaiting_upload"
    assert outcomes() == dict(zip(ids, ["verified", "missing", "refused"], strict=True))
    assert client.wait(arrived["job_id"])["status"] == "completed"
    assert client.call("GET", f"/jobs/{missing['job_id']}/status")["status"] == "awaiting_upload"
    failed = client.call("GET", f"/jobs/{wrong['job_id']}/status")
    assert (failed["status"], failed["error"]["code"]) == ("failed", "not_a_video")
    assert outcomes() == {missing["video_id"]: "missing"}


def test_a_stuck_upload_in_parts_is_joined(own: Callable[..., Running], connect: Connect, film: Path) -> None:
    client = connect("admin", of=own())
    begun = client.initiate(film, multipart=True)
    assert begun["upload"]["part_count"] == 1
    path = f"/uploads/{begun['video_id']}/parts"
    (part,) = client.call("POST", path, json={"parts": [{"number": 1}]})["parts"]
    missing = client.call("POST", "/admin/jobs/recheck-uploads", json={"older_than_s": 0})["items"]
    assert [one["outcome"] for one in missing] == ["missing"]
    assert client.put(part, film.read_bytes()).status_code == 200
    found = client.call("POST", "/admin/jobs/recheck-uploads", json={"older_than_s": 0})["items"]
    assert [(one["video_id"], one["outcome"]) for one in found] == [(begun["video_id"], "verified")]
    assert client.call("GET", f"/videos/{begun['video_id']}")["upload_status"] == "uploaded"


# ── switches ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.req("E-09")
def test_a_pipeline_that_is_off_takes_no_jobs_and_finishes_those_it_has(
    own: Callable[..., Running], connect: Connect, film: Path
) -> None:
    server = own(workers=1)
    client, stranger = connect("admin", of=server), connect("admin", tenant="other", of=server)
    video = client.upload(film)["video_id"]
    stopped = cancelled(client, video)
    running = client.run(video, "slow_writer", {"steps": 2, "seconds": 0.5})
    queued = client.run(video, "slow_writer", QUICK)
    until(client, running, "running")
    off = client.call("PUT", "/admin/pipelines/slow_writer/switch", json={"reason": "The disks are being moved."})
    assert (off["off"], off["by"], off["all_tenants"]) == (True, "tests", False)

    body = {"video_id": video, "pipeline": "slow_writer", "params": QUICK}
    for path, json in (
        ("/jobs", body),
        (f"/jobs/{stopped}/retry", None),
        ("/uploads/initiate", {"filename": "a.mp4", "size": 1, "content_type": "video/mp4", "pipeline": "slow_writer"}),
    ):
        told = client.call("POST", path, 409, json=json)
        assert told["code"] == "pipeline_off" and "The disks are being moved." in told["detail"]
    (matched,) = client.call("POST", "/admin/jobs/reprocess", json={"status": "cancelled"})["items"]
    assert (matched["job_id"], matched["error"]["code"]) == (stopped, "pipeline_off")
    assert client.wait(running)["status"] == client.wait(queued)["status"] == "completed"
    client.run(video, "clips", CLIPS)
    assert stranger.call("GET", "/admin/pipelines/slow_writer/switch")["off"] is False
    stranger.run(stranger.upload(film)["video_id"], "slow_writer", QUICK)

    assert client.call("DELETE", "/admin/pipelines/slow_writer/switch")["off"] is False
    client.run(video, "slow_writer", QUICK)
    server.app.access.switch_off("slow_writer", None, "For all.")
    assert client.call("DELETE", "/admin/pipelines/slow_writer/switch")["all_tenants"] is True
    assert "For all." in stranger.call("POST", "/jobs", 409, json={**body, "video_id": video_of(stranger)})["detail"]
    assert client.call("GET", "/admin/pipelines/nothing/switch", 404)["code"] == "pipeline_unknown"
    assert len(audited(client, "pipeline.off")) == 2  # its own, and the operator's for all


def video_of(client: Client) -> str:
    return str(client.call("GET", "/videos")["items"][0]["id"])


# ── dead letters ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.req("E-05")
def test_a_dead_letter_has_all_that_a_person_needs(own: Callable[..., Running], connect: Connect, film: Path) -> None:
    server = own(max_retries=0)
    client = connect("admin", of=server)
    video = client.upload(film)["video_id"]
    (source,) = files_of(server)
    os.truncate(server.app.settings.data / "objects" / "objects" / source, film.stat().st_size // 2)
    job_id = client.run(video, "clips", CLIPS)
    assert client.wait(job_id)["status"] == "failed"
    (letter,) = client.call("GET", "/admin/dead-letters")["items"]
    assert letter == client.call("GET", f"/admin/dead-letters/{job_id}")
    assert (letter["job_id"], letter["pipeline"], letter["retry_refused"]) == (job_id, "clips", None)
    assert letter["error"]["remedy"] and letter["pipeline_version"]
    step = letter["steps"][0]
    assert step["attempts"] == 1 and "ffmpeg" in step["command"] and "moov atom not found" in step["stderr"]
    assert step["versions"]["reelmill"] == __version__ and step["versions"]["ffmpeg"]
    assert client.call("GET", "/admin/dead-letters", params={"code": "not_this"})["items"] == []
    assert client.call("GET", "/admin/dead-letters", params={"code": letter["error"]["code"]})["items"] == [letter]
    fine = client.run(video, "slow_writer", QUICK)
    client.wait(fine)
    assert client.call("GET", f"/admin/dead-letters/{fine}", 404)["code"] == "not_found"


# ── what goes ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.req("C-05", "E-12")
def test_a_deleted_video_comes_back_with_its_results(own: Callable[..., Running], connect: Connect, film: Path) -> None:
    server = own()
    client = connect("admin", of=server)
    video = client.upload(film)["video_id"]
    done = client.run(video, "slow_writer", QUICK)
    client.wait(done)
    running = client.run(video, "slow_writer", SLOW)
    until(client, running, "running")
    before = files_of(server)
    gone = client.call("DELETE", f"/videos/{video}")
    assert gone["deleted_at"] < gone["restore_until"]
    for path in (f"/videos/{video}", f"/jobs/{done}", f"/jobs/{done}/artifacts", f"/uploads/{video}"):
        assert client.call("GET", path, 404)["code"] == "not_found"
    assert client.call("GET", "/videos")["items"] == client.call("GET", "/jobs")["items"] == []
    assert client.call("DELETE", f"/videos/{video}", 404)["code"] == "not_found"
    server.app.removal.sweep()
    assert files_of(server) == before

    assert client.call("POST", f"/videos/{video}/restore")["id"] == video
    assert client.call("GET", f"/jobs/{running}/status")["status"] == "cancelled"
    (url,) = client.call("GET", f"/jobs/{done}/status")["download_urls"]
    assert httpx2.get(url, trust_env=False).status_code == 200
    assert [entry["target"] for entry in audited(client, "video.delete")] == [video]


def test_a_deleted_video_is_purged_with_every_file(own: Callable[..., Running], connect: Connect, film: Path) -> None:
    server = own(undo_s=0)
    client = connect("admin", of=server)
    kept = client.upload(film)["video_id"]
    left = files_of(server)
    video = client.upload(film)["video_id"]
    client.wait(client.run(video, "clips", CLIPS))
    begun = client.initiate(film, multipart=True)
    path = f"/uploads/{begun['video_id']}/parts"
    client.call("POST", path, json={"parts": [{"number": 1}]})
    for one in (video, begun["video_id"]):
        client.call("DELETE", f"/videos/{one}")
        assert client.call("POST", f"/videos/{one}/restore", 404)["code"] == "not_found"
    server.app.removal.sweep()
    assert files_of(server) == left
    assert not list((server.app.settings.data / "objects" / "multipart").glob("*"))
    assert [one["id"] for one in client.call("GET", "/videos")["items"]] == [kept]


@pytest.mark.req("E-12")
def test_sources_outputs_and_events_go_when_their_time_is_over(
    serve: Serve, connect: Connect, film: Path, tmp_path: Path
) -> None:
    with serve(tmp_path / "data") as server:
        client = connect("admin", of=server)
        video = client.upload(film)["video_id"]
        job_id = client.run(video, "slow_writer", QUICK)
        client.wait(job_id)
        busy_video = client.upload(film)["video_id"]
        busy = client.run(busy_video, "slow_writer", SLOW)
        until(client, busy, "running")
    days = {f"retain_{what}_days": AT_ONCE_DAYS for what in ("sources", "outputs", "events", "audit")}
    with serve(tmp_path / "data", **days) as server:
        client = connect(key=client.key, of=server)
        deadline = time.monotonic() + 60
        while len(files_of(server)) > 1:
            assert time.monotonic() < deadline, files_of(server)
            time.sleep(0.05)
        status = client.call("GET", f"/jobs/{job_id}/status")
        assert status["status"] == "completed" and status["results_removed_at"] and status["download_urls"] == []
        for path in ("artifacts", "download"):
            assert client.call("GET", f"/jobs/{job_id}/{path}", 410)["code"] == "results_gone"
        assert client.get(f"/api/v1/jobs/{job_id}/events").status_code == 204
        gone = client.call("GET", f"/videos/{video}")
        assert gone["upload_status"] == "gone" and gone["source_removed_at"]
        body = {"video_id": video, "pipeline": "slow_writer", "params": QUICK}
        assert client.call("POST", "/jobs", 410, json=body)["code"] == "source_gone"
        assert client.call("POST", "/jobs?dry_run=true", 410, json=body)["code"] == "source_gone"
        assert client.call("GET", "/audit")["items"] == []
        (source,) = files_of(server)
        assert busy_video in source, "what is in flight keeps everything"
        assert client.call("GET", f"/jobs/{busy}")["status"] in ("queued", "running")


@pytest.mark.req("E-12")
def test_what_a_crash_left_half_removed_is_removed_by_the_next_sweep(
    own: Callable[..., Running], connect: Connect, film: Path
) -> None:
    """Each call ends where a process may have died: nothing after it was done."""
    server = own(sweep_s=600, undo_s=0)
    client, store, objects = connect("admin", of=server), server.app.store, server.app.objects
    gone, doomed = (client.upload(film)["video_id"] for _ in range(2))
    job_id = client.run(gone, "slow_writer", QUICK)
    client.wait(job_id)
    store.expire_sources(0)
    store.expire_outputs(0)
    client.call("DELETE", f"/videos/{doomed}")
    objects.delete(store.video(doomed).key)
    left = files_of(server)
    assert len(left) == 3, "one source and two outputs are still there"
    assert client.call("GET", f"/videos/{gone}")["upload_status"] == "gone"
    assert client.call("GET", f"/jobs/{job_id}/artifacts", 410)["code"] == "results_gone"
    for _ in range(2):
        server.app.sweeper.sweep()
        server.app.removal.sweep()
        assert files_of(server) == []
    assert client.call("GET", f"/videos/{gone}")["source_removed_at"]
    assert store.jobs_of(doomed) == [] and store.doomed_videos() == []


# ── quotas ────────────────────────────────────────────────────────────────────────────────────


def test_a_tenant_keeps_to_its_quotas(own: Callable[..., Running], connect: Connect, film: Path) -> None:
    size = film.stat().st_size
    server = own(quota_jobs=1, quota_bytes=2 * size + 10_000)
    client, other = connect("admin", of=server), connect("admin", tenant="other", of=server)
    video = client.upload(film)["video_id"]
    usage = client.call("GET", "/usage")
    assert usage == {
        "source_bytes": size,
        "output_bytes": 0,
        "jobs_in_flight": 0,
        "quota_bytes": 2 * size + 10_000,
        "quota_jobs": 1,
    }
    running = client.run(video, "slow_writer", SLOW)
    body = {"video_id": video, "pipeline": "slow_writer", "params": QUICK}
    refused = client.post("/api/v1/jobs", json=body)
    assert (refused.status_code, refused.json()["code"]) == (429, "jobs_quota_reached")
    assert int(refused.headers["retry-after"]) > 0
    client.call("POST", f"/jobs/{running}/cancel")
    client.wait(client.run(video, "slow_writer", QUICK))

    waiting = client.initiate(film)
    about = {"filename": "a.mp4", "size": size, "content_type": "video/mp4"}
    told = client.call("POST", "/uploads/initiate", 507, json=about)
    assert told["code"] == "storage_quota_reached" and str(size) in told["detail"] and "DELETE" in told["remedy"]
    client.call("DELETE", f"/uploads/{waiting['video_id']}")
    other.initiate(film)
    server.app.access.set_limits(TenantLimits("default", quota_bytes=0, quota_jobs=5))
    time.sleep(JUST_NOW_S)  # limits are remembered for so long
    for _ in range(3):
        client.initiate(film)
    assert client.call("GET", "/usage")["quota_bytes"] is None


def test_a_file_that_the_disk_cannot_hold_is_not_waited_for(
    own: Callable[..., Running], connect: Connect, film: Path
) -> None:
    client = connect("admin", of=own(max_upload_bytes=1 << 50))
    about = {"filename": "a.mp4", "size": 1 << 49, "content_type": "video/mp4"}
    told = client.call("POST", "/uploads/initiate", 507, json=about)
    assert told["code"] == "disk_full" and told["remedy"]
    assert client.call("GET", "/videos")["items"] == []
    nearly = connect("admin", of=own(disk_reserve_mb=1 << 20))
    if os.statvfs("/").f_bavail * os.statvfs("/").f_frsize < 1 << 40:
        assert nearly.call("POST", "/uploads/initiate", 507, json={**about, "size": 1})["code"] == "disk_full"


# ── a store that has none of it ───────────────────────────────────────────────────────────────


@pytest.mark.req("E-09", "E-12")
def test_what_dynamodb_does_not_offer_is_refused_plainly(
    own: Callable[..., Running], connect: Connect, film: Path, dynamodb_url: str
) -> None:
    server = own(workers=1, database_url=dynamodb_url, retain_outputs_days=AT_ONCE_DAYS, quota_jobs=1)
    client = connect("upload", "jobs:read", "jobs:write", "admin", of=server)
    video_id = client.upload(film)["video_id"]
    for method, path, body in (
        ("DELETE", f"/videos/{video_id}", None),
        ("POST", f"/videos/{video_id}/restore", None),
        ("GET", "/usage", None),
        ("GET", "/admin/pipelines/clips/switch", None),
        ("PUT", "/admin/pipelines/clips/switch", {"reason": "Why not."}),
        ("DELETE", "/admin/pipelines/clips/switch", None),
    ):
        refused = client.call(method, path, 501, json=body)
        assert refused["code"] == "not_offered" and "PostgreSQL" in refused["remedy"]
    job_id = client.run(video_id, "slow_writer", QUICK)
    until(client, job_id, "completed")
    assert client.call("GET", f"/jobs/{job_id}/artifacts")["items"], "nothing is removed"
    lost = cancelled(client, video_id)
    wanted = {"status": "cancelled", "pipeline": "slow_writer"}
    [again] = client.call("POST", "/admin/jobs/reprocess", json=wanted)["items"]
    assert (again["job_id"], again["outcome"]) == (lost, "retried")
    client.call("POST", f"/jobs/{lost}/cancel")
    assert client.call("GET", "/admin/dead-letters")["items"] == []
    assert client.call("POST", "/admin/jobs/recheck-uploads", json={"older_than_s": 0})["items"] == []
