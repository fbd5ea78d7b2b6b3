"""From an announced file to checked clips, over HTTP alone."""

from __future__ import annotations

import hashlib
import io
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import httpx2
import pytest

if TYPE_CHECKING:
    from conftest import Client, Running

Serve = Callable[..., AbstractContextManager["Running"]]
Connect = Callable[..., "Client"]

CLIPS: dict[str, Any] = {"cutting": {"kind": "fixed", "duration_s": 0.8}, "text": {"text": "Hello"}}
SLOW: dict[str, Any] = {"steps": 2, "seconds": 30}


def frames_of(content: bytes) -> int:
    with av.open(io.BytesIO(content)) as container:
        return sum(1 for _ in container.decode(video=0))


def fetch(url: str, **more: Any) -> httpx2.Response:
    """Get a signed URL as anybody could: without a key."""
    return httpx2.get(url, timeout=60, trust_env=False, **more)


def job_of(client: Client, begun: dict[str, Any]) -> dict[str, Any]:
    return client.call("GET", f"/jobs/{begun['job_id']}")  # type: ignore[no-any-return]


def until(client: Client, job_id: str, status: str) -> None:
    deadline = time.monotonic() + 20
    while client.call("GET", f"/jobs/{job_id}/status")["status"] != status:
        assert time.monotonic() < deadline, f"the job didn't become {status}"
        time.sleep(0.02)


@pytest.mark.req("A-02", "A-06", "B-03", "C-05", "D-01", "E-04")
def test_a_film_becomes_clips_that_play(client: Client, film: Path) -> None:
    digest = hashlib.sha256(film.read_bytes()).hexdigest()
    begun = client.initiate(film, sha256=digest, labels={"mall": "7"}, pipeline="clips", params=CLIPS)
    job_id, video_id = begun["job_id"], begun["video_id"]
    assert client.call("GET", f"/jobs/{job_id}/status")["status"] == "awaiting_upload"
    waiting = client.call("GET", f"/uploads/{video_id}")
    assert (waiting["upload_status"], waiting["arrived_bytes"], waiting["job_id"]) == ("awaiting", None, job_id)

    assert client.put(begun["upload"], film.read_bytes()).status_code == 200
    assert client.call("GET", f"/uploads/{video_id}")["arrived_bytes"] == film.stat().st_size
    done = client.call("POST", "/uploads/complete", json={"video_id": video_id})
    assert (done["job_id"], done["status"]) == (job_id, "queued")

    with client.events(job_id) as events:
        seen = list(events)
    numbered = [event for event in seen if event.id is not None]
    assert [event.id for event in numbered] == list(range(1, len(numbered) + 1))
    assert numbered[-1].event == "job.completed"
    progress = [event.data["progress_pct"] for event in seen if event.event == "progress"]
    assert progress == sorted(progress) and progress[-1] == 100

    status = client.call("GET", f"/jobs/{job_id}/status")
    assert status["status"] == "completed" and status["error"] is None
    assert status["queued_at"] <= status["started_at"] <= status["completed_at"]
    cut = client.call("POST", "/videos/analyze-duration", json={"video_id": video_id, "cutting": CLIPS["cutting"]})
    assert cut["segment_count"] == len(cut["segments"]) == len(status["download_urls"]) == 3
    assert cut["duration_s"] == pytest.approx(2.0, abs=0.05)
    for segment, url in zip(cut["segments"], status["download_urls"], strict=True):
        assert frames_of(fetch(url).content) == segment["frames"]

    video = client.call("GET", f"/videos/{video_id}")
    assert (video["processing_status"], video["processing_job_id"]) == ("completed", job_id)
    assert (video["width"], video["height"], video["upload_status"]) == (320, 180, "uploaded")
    assert video["duration"] == pytest.approx(cut["duration_s"])
    assert video["technical"]["frame_rate"] in ("25", "25/1") and video["technical"]["audio_codec"] == "aac"
    assert "frames_packed" not in str(video)
    found = client.call("GET", "/videos", params={"label": "mall:7", "processing_status": "completed"})
    assert video_id in [item["id"] for item in found["items"]]
    assert client.call("GET", "/videos", params={"label": "mall:8"})["items"] == []

    job = client.call("GET", f"/jobs/{job_id}")
    render = [step for step in job["steps"] if step["stage"] == "render"]
    assert len(render) == 3 and all("ffmpeg" in step["attempts"][0]["command"] for step in render)
    assert "signature" not in str([step["attempts"] for step in render])


@pytest.mark.req("A-06", "A-07")
def test_results_come_as_one_archive_or_one_by_one(client: Client, video_id: str) -> None:
    job_id = client.run(video_id, "clips", CLIPS)
    assert client.call("GET", f"/jobs/{job_id}/download", 409)["code"] == "not_ready"
    assert client.wait(job_id)["status"] == "completed"
    artifacts = client.call("GET", f"/jobs/{job_id}/artifacts")["items"]
    primary = {one["name"]: one for one in artifacts if one["primary"]}

    reply = client.get(f"/api/v1/jobs/{job_id}/download")
    assert reply.headers["content-type"] == "application/zip"
    assert reply.headers["content-disposition"].startswith("attachment")
    with zipfile.ZipFile(io.BytesIO(reply.content)) as archive:
        assert archive.testzip() is None
        assert set(archive.namelist()) == set(primary)
        for info in archive.infolist():
            assert info.compress_type == zipfile.ZIP_STORED
            assert hashlib.sha256(archive.read(info)).hexdigest() == primary[info.filename]["sha256"]

    one = artifacts[-1]
    for asked in (one["id"], one["name"]):
        redirect = client.get(f"/api/v1/jobs/{job_id}/download", params={"artifact": asked})
        assert redirect.status_code == 307
        got = fetch(redirect.headers["location"])
        assert got.headers["content-disposition"].startswith("attachment")
        assert hashlib.sha256(got.content).hexdigest() == one["sha256"]
    unknown = client.call("GET", f"/jobs/{job_id}/download", 404, params={"artifact": "nothing.mp4"})
    assert unknown["code"] == "not_found"


@pytest.mark.req("A-06")
def test_a_single_result_is_a_redirect_to_its_signed_url(client: Client, video_id: str) -> None:
    job_id = client.run(video_id, "slow_writer", {"steps": 1, "seconds": 0, "size_bytes": 100})
    client.wait(job_id)
    (url,) = client.call("GET", f"/jobs/{job_id}/status")["download_urls"]
    redirect = client.get(f"/api/v1/jobs/{job_id}/download")
    assert redirect.status_code == 307 and redirect.headers["cache-control"] == "no-store"
    assert fetch(redirect.headers["location"]).content == fetch(url).content
    assert fetch(url, headers={"Range": "bytes=10-19"}).status_code == 206


@pytest.mark.req("D-02")
def test_completing_before_the_upload_fails_the_job_and_a_later_upload_heals_it(client: Client, film: Path) -> None:
    begun = client.initiate(film, pipeline="slow_writer", params={"steps": 1, "seconds": 0})
    told = client.call("POST", "/uploads/complete", 400, json={"video_id": begun["video_id"]})
    assert (told["code"], told["detail"]) == ("upload_missing", "Upload not found in S3")
    failed = client.call("GET", f"/jobs/{begun['job_id']}/status")
    assert (failed["status"], failed["error"]["code"]) == ("failed", "upload_missing")
    assert failed["error"]["remedy"]
    fresh = client.call("GET", f"/uploads/{begun['video_id']}")["upload"]
    assert client.put(fresh, film.read_bytes()).status_code == 200
    client.call("POST", "/uploads/complete", json={"video_id": begun["video_id"]})
    assert client.wait(begun["job_id"])["status"] == "completed"


@pytest.mark.req("D-03")
def test_ten_completes_at_once_make_one_job_and_one_run(client: Client, film: Path) -> None:
    begun = client.initiate(film, pipeline="slow_writer", params={"steps": 2, "seconds": 0.1})
    client.put(begun["upload"], film.read_bytes())

    def complete(_: int) -> httpx2.Response:
        return client.post("/api/v1/uploads/complete", json={"video_id": begun["video_id"]})

    with ThreadPoolExecutor(10) as pool:
        replies = list(pool.map(complete, range(10)))
    assert {reply.status_code for reply in replies} == {200}
    assert {reply.json()["job_id"] for reply in replies} == {begun["job_id"]}
    messages = [reply.json()["message"] for reply in replies]
    assert messages.count("Job already processed - no action taken") == 9
    client.wait(begun["job_id"])
    job = job_of(client, begun)
    assert (job["status"], job["run"]) == ("completed", 1)
    assert all(len(step["attempts"]) == 1 for step in job["steps"])
    listed = client.call("GET", "/jobs", params={"video_id": begun["video_id"]})["items"]
    assert [one["job_id"] for one in listed] == [begun["job_id"]]
    again = client.call("POST", "/uploads/complete", json={"video_id": begun["video_id"]})
    assert (again["status"], again["message"]) == ("completed", "Job already processed - no action taken")


@pytest.mark.req("D-01")
def test_storage_takes_only_the_announced_bytes(client: Client, film: Path) -> None:
    content = film.read_bytes()
    begun = client.initiate(film, sha256=hashlib.sha256(content).hexdigest())
    assert client.put(begun["upload"], content[:-1]).status_code == 400
    other = content[:-1] + bytes([content[-1] ^ 1])
    assert client.put(begun["upload"], other).status_code == 400
    assert client.call("GET", f"/uploads/{begun['video_id']}")["arrived_bytes"] is None
    assert client.put(begun["upload"], content).status_code == 200
    assert client.put(begun["upload"], content).status_code == 200, "a PUT whose reply got lost may be sent again"
    loose = client.initiate(film)["upload"]
    assert client.put(loose, content).status_code == 200
    assert client.put(loose, other).status_code == 412, "an upload URL can't replace what has arrived"


@pytest.mark.req("D-01")
def test_an_object_that_is_not_the_announced_one_is_refused(
    server: Running, client: Client, film: Path, tmp_path: Path
) -> None:
    """The store binds the PUT; this puts another object there by other means, as a shared bucket allows."""
    begun = client.initiate(film, sha256="0" * 64, pipeline="slow_writer", params={})
    other = tmp_path / "other"
    other.write_bytes(film.read_bytes())
    key = server.app.store.video(begun["video_id"]).key
    digest = hashlib.sha256(film.read_bytes()).hexdigest()
    server.app.objects.put_file(key, other, content_type="video/mp4", sha256=digest)
    told = client.call("POST", "/uploads/complete", 422, json={"video_id": begun["video_id"]})
    assert told["code"] == "upload_mismatch"
    assert job_of(client, begun)["error"]["code"] == "upload_mismatch"
    assert client.call("GET", f"/uploads/{begun['video_id']}")["arrived_bytes"] is None


@pytest.mark.req("D-01", "C-07")
def test_a_text_file_named_mp4_is_no_video(client: Client, tmp_path: Path, video_id: str) -> None:
    path = tmp_path / "text.mp4"
    path.write_text("I am not a video. " * 1000)
    begun = client.initiate(path, pipeline="slow_writer", params={})
    client.put(begun["upload"], path.read_bytes())
    for _ in range(2):
        told = client.call("POST", "/uploads/complete", 422, json={"video_id": begun["video_id"]})
        assert told["code"] == "not_a_video"
    assert job_of(client, begun)["error"]["code"] == "not_a_video"
    there = client.call("GET", f"/uploads/{begun['video_id']}")
    assert (there["upload_status"], there["upload"]) == ("rejected", None)
    assert client.wait(client.run(video_id, "slow_writer", {"steps": 1, "seconds": 0}))["status"] == "completed"


@pytest.mark.req("B-04", "C-01")
def test_wrong_parameters_are_told_at_initiate_and_make_nothing(client: Client, film: Path) -> None:
    before = client.call("GET", "/videos", params={"limit": 1})["items"]
    about = {"filename": "a.mp4", "size": film.stat().st_size, "content_type": "video/mp4", "pipeline": "clips"}
    told = client.call("POST", "/uploads/initiate", 422, json={**about, "params": {"cutting": {"duration_s": -1}}})
    assert told["code"] == "params_invalid" and told["errors"][0]["field"] == "cutting.duration_s"
    told = client.call("POST", "/uploads/initiate", 422, json={**about, "params": {"nonsense": 1}})
    assert told["code"] == "params_invalid" and told["errors"][0]["field"] == "nonsense"
    told = client.call("POST", "/uploads/initiate", 404, json={**about, "pipeline": "nonsense"})
    assert told["code"] == "pipeline_unknown"
    assert client.call("GET", "/videos", params={"limit": 1})["items"] == before


@pytest.mark.req("B-04")
def test_a_text_that_does_not_fit_is_told_at_completion_and_the_video_stays(client: Client, film: Path) -> None:
    params = {"text": {"text": "far too long " * 380, "size_pct": 20, "min_size_pct": 15}}
    begun = client.initiate(film, pipeline="clips", params=params)
    client.put(begun["upload"], film.read_bytes())
    told = client.call("POST", "/uploads/complete", 422, json={"video_id": begun["video_id"]})
    assert told["code"] in ("params_invalid", "text_does_not_fit")
    assert job_of(client, begun)["status"] == "failed"
    assert client.call("GET", f"/videos/{begun['video_id']}")["upload_status"] == "uploaded"
    assert client.wait(client.run(begun["video_id"], "clips", CLIPS))["status"] == "completed"


@pytest.mark.req("B-02", "B-03")
def test_a_dry_run_creates_nothing_and_says_what_the_job_makes(client: Client, video_id: str) -> None:
    before = client.call("GET", "/jobs", params={"video_id": video_id, "limit": 200})["items"]
    body = {"video_id": video_id, "pipeline": "clips", "params": CLIPS}
    plan = client.call("POST", "/jobs", json=body, params={"dry_run": "true"})
    assert client.call("GET", "/jobs", params={"video_id": video_id, "limit": 200})["items"] == before
    job_id = client.run(**body)  # type: ignore[arg-type]
    client.wait(job_id)
    job = client.call("GET", f"/jobs/{job_id}")
    assert (plan["dry_run"], plan["steps"], plan["params"]) == (True, len(job["steps"]), job["params"])
    urls = client.call("GET", f"/jobs/{job_id}/status")["download_urls"]
    assert [frames_of(fetch(url).content) for url in urls] == [clip["frames"] for clip in plan["plan"]["clips"]]


@pytest.mark.req("E-08")
def test_a_cancelled_job_stops_and_can_be_run_again(client: Client, video_id: str) -> None:
    job_id = client.run(video_id, "slow_writer", SLOW)
    until(client, job_id, "running")
    cancelled = client.call("POST", f"/jobs/{job_id}/cancel")
    assert (cancelled["status"], cancelled["run"]) == ("cancelled", 1)
    assert client.call("GET", f"/videos/{video_id}")["processing_error"] == "cancelled"
    assert client.call("POST", f"/jobs/{job_id}/cancel", 409)["code"] == "transition_refused"
    again = client.call("POST", f"/jobs/{job_id}/retry")
    assert (again["job_id"], again["run"], again["status"] in ("queued", "running")) == (job_id, 2, True)
    assert client.call("POST", f"/jobs/{job_id}/retry", 409)["code"] == "transition_refused"
    client.call("POST", f"/jobs/{job_id}/cancel")


def test_a_job_without_its_upload_cannot_be_retried_or_made(client: Client, film: Path) -> None:
    begun = client.initiate(film, pipeline="slow_writer", params={})
    client.call("POST", f"/jobs/{begun['job_id']}/cancel")
    assert client.call("POST", f"/jobs/{begun['job_id']}/retry", 409)["code"] == "upload_needed"
    body = {"video_id": begun["video_id"], "pipeline": "slow_writer"}
    assert client.call("POST", "/jobs", 409, json=body)["code"] == "upload_needed"
    cut = client.call("POST", "/videos/analyze-duration", 409, json={"video_id": begun["video_id"]})
    assert cut["code"] == "upload_needed"


@pytest.mark.req("D-07")
def test_an_upload_that_never_comes_expires(serve: Serve, connect: Connect, tmp_path: Path, film: Path) -> None:
    with (
        serve(tmp_path / "data", upload_ttl_s=1.0, put_ttl_s=1, sweep_s=0.2) as server,
        connect("admin", of=server) as client,
    ):
        begun = client.initiate(film, pipeline="slow_writer", params={"steps": 1, "seconds": 0})
        ended = client.wait(begun["job_id"], 20)
        assert (ended["status"], ended["error"]["code"]) == ("failed", "upload_expired")
        assert client.call("GET", f"/videos/{begun['video_id']}")["upload_status"] == "expired"
        time.sleep(1.1)
        late = client.put(begun["upload"], film.read_bytes())
        assert (late.status_code, late.json()["code"]) == (403, "signature_expired")
        fresh = client.call("GET", f"/uploads/{begun['video_id']}")["upload"]
        assert client.put(fresh, film.read_bytes()).status_code == 200
        client.call("POST", "/uploads/complete", json={"video_id": begun["video_id"]})
        assert client.wait(begun["job_id"])["status"] == "completed"


@pytest.mark.req("C-05")
def test_queued_jobs_know_their_place(serve: Serve, connect: Connect, tmp_path: Path, film: Path) -> None:
    with serve(tmp_path / "data", workers=0) as server, connect("admin", of=server) as client:
        video = client.upload(film)["video_id"]
        jobs = [client.run(video, "slow_writer", {}) for _ in range(3)]
        urgent = client.run(video, "slow_writer", {}, priority=5)
        places = [client.call("GET", f"/jobs/{job}/status")["queue_position"] for job in [urgent, *jobs]]
        assert places == [0, 1, 2, 3]
        assert client.call("GET", f"/jobs/{jobs[0]}")["queue_position"] == 1
        only = client.call("GET", "/jobs", params={"status": "queued", "pipeline": "slow_writer"})["items"]
        assert [one["job_id"] for one in only] == [urgent, *reversed(jobs)]


@pytest.mark.req("A-08", "C-05")
def test_a_priority_is_changed_while_the_job_waits(serve: Serve, connect: Connect, tmp_path: Path, film: Path) -> None:
    with serve(tmp_path / "data", workers=0) as server, connect("admin", of=server) as client:
        video = client.upload(film)["video_id"]
        jobs = [client.run(video, "slow_writer", {}) for _ in range(3)]
        changed = client.call("POST", f"/jobs/{jobs[2]}/priority", json={"priority": 1})
        assert (changed["job_id"], changed["status"], changed["queue_position"]) == (jobs[2], "queued", 0)
        assert [client.call("GET", f"/jobs/{job}/status")["queue_position"] for job in jobs] == [1, 2, 0]
        for body in ({"priority": 1001}, {"priority": "1"}, {}):
            assert client.post(f"/api/v1/jobs/{jobs[0]}/priority", json=body).json()["code"] == "request_invalid"
        client.call("POST", f"/jobs/{jobs[0]}/cancel")
        late = client.post(f"/api/v1/jobs/{jobs[0]}/priority", json={"priority": 5})
        assert (late.status_code, late.json()["code"]) == (409, "transition_refused")
        assert "cancelled" in late.json()["detail"]
