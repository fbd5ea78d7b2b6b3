"""The same server on an S3 bucket: files go to and come from the store, never through the server."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

import servers
from lax_gateway import LaxGateway
from media_sources import make_source
from reelmill.media import probe
from running import Server


@pytest.mark.req("A-01", "A-06", "A-07", "B-01")
def test_a_film_becomes_clips_in_a_bucket(tmp_path: Path, seaweed: servers.Seaweed, bucket: str) -> None:
    film = make_source(tmp_path / "film.mp4", seconds=6)
    public = seaweed.endpoint("localhost")
    storage = seaweed.url(bucket, "films", public_endpoint=public)
    with Server(tmp_path / "data", storage_url=storage, workers=2) as server:
        job = server.upload(film, pipeline="clips", params={"cutting": {"duration_s": 2}})
        assert job["upload"]["url"].startswith(f"{public}/{bucket}/films/")
        status = server.wait(job["job_id"])
        assert (status["status"], len(status["download_urls"])) == ("completed", 3)
        for number, url in enumerate(status["download_urls"]):
            assert urlsplit(url).netloc == f"localhost:{seaweed.port}"
            clip = tmp_path / f"{number}.mp4"
            clip.write_bytes(httpx2.get(url, trust_env=False).content)
            assert probe(str(clip), scratch=tmp_path).duration_s == pytest.approx(2, abs=0.05)
        # A second upload with the same URL can't replace what was verified.
        put = job["upload"]
        again = httpx2.put(put["url"], content=film.read_bytes(), headers=put["headers"], trust_env=False)
        assert again.status_code == 412
        names = {entry["Key"] for entry in seaweed.client().list_objects_v2(Bucket=bucket)["Contents"]}
        assert all(name.startswith("films/default/") for name in names)
        archive = server.client.get(f"/api/v1/jobs/{job['job_id']}/download")
        with zipfile.ZipFile(io.BytesIO(archive.content)) as opened:
            assert opened.testzip() is None
            assert len(opened.namelist()) >= 3
        assert not (tmp_path / "data" / "objects").exists()
        assert not server.scratch()


@pytest.mark.req("D-02")
def test_no_upload_that_began_before_replaces_what_was_verified(
    tmp_path: Path, seaweed: servers.Seaweed, bucket: str
) -> None:
    """An uploader has everything signed that it may, and keeps the last request back until the film was verified."""
    film = make_source(tmp_path / "film.mp4", seconds=2)
    with Server(tmp_path / "data", storage_url=seaweed.url(bucket), sweep_s=600) as server:
        asked = {"filename": "film.mp4", "size": film.stat().st_size, "content_type": "video/mp4"}
        begun = server.call("POST", "/uploads/initiate", json=asked)
        video_id = begun["video_id"]

        def send(body: bytes, **wanted: object) -> httpx2.Response:
            signed = server.call("POST", f"/uploads/{video_id}/sign", json={"key": video_id, **wanted})
            return httpx2.request(
                str(wanted["method"]), signed["url"], headers=signed["headers"], content=body, trust_env=False
            )

        upload_id = send(b"", method="POST").text.split("<UploadId>")[1].split("</UploadId>")[0]
        part = send(b"another film", method="PUT", uploadId=upload_id, partNumber=1)
        last = server.call(
            "POST", f"/uploads/{video_id}/sign", json={"method": "POST", "key": "", "uploadId": upload_id}
        )
        assert send(film.read_bytes(), method="PUT").status_code == 200
        server.call("POST", "/uploads/complete", json={"video_id": video_id})

        tag = f"<Part><PartNumber>1</PartNumber><ETag>{part.headers['etag']}</ETag></Part>"
        body = f"<CompleteMultipartUpload>{tag}</CompleteMultipartUpload>"
        refused = httpx2.post(last["url"], headers=last["headers"], content=body, trust_env=False)
        assert refused.status_code == 412
        stored = seaweed.client().get_object(Bucket=bucket, Key=last["key"])["Body"].read()
        assert stored == film.read_bytes()


@pytest.mark.req("D-02")
def test_an_unreachable_store_changes_nothing(tmp_path: Path, seaweed: servers.Seaweed, bucket: str) -> None:
    film = make_source(tmp_path / "film.mp4", seconds=2)
    port = servers.free_port()
    storage = f"s3://{bucket}?endpoint=http://127.0.0.1:{port}"
    asked = {"filename": "film.mp4", "size": film.stat().st_size, "content_type": "video/mp4"}
    with Server(tmp_path / "data", storage_url=storage) as server:
        with LaxGateway(seaweed, port):
            begun = server.call("POST", "/uploads/initiate", json=asked)
            put, complete = begun["upload"], {"video_id": begun["video_id"]}
            early = server.call("POST", "/uploads/complete", 400, json=complete)
            assert early["code"] == "upload_missing"
            sent = httpx2.put(put["url"], content=film.read_bytes(), headers=put["headers"], trust_env=False)
            assert sent.status_code == 200, sent.text
        refused = server.call("POST", "/uploads/complete", 503, json=complete)
        assert refused["code"] == "storage_unavailable"
        with LaxGateway(seaweed, port):
            server.call("POST", "/uploads/complete", json=complete)
            video = server.call("GET", f"/videos/{begun['video_id']}")
            assert video["upload_status"] == "uploaded"


def test_a_server_says_what_its_store_does_not_do(tmp_path: Path, seaweed: servers.Seaweed, bucket: str) -> None:
    film = make_source(tmp_path / "film.mp4", seconds=2)
    with LaxGateway(seaweed) as gateway:
        storage = f"s3://{bucket}?endpoint={gateway.url}"
        with Server(tmp_path / "data", storage_url=storage, workers=1) as server:
            server.upload(film)
            lines = [json.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{")]
    said = {line["capability"]: line["means"] for line in lines if "capability" in line}
    assert set(said) == {"binds_size", "binds_checksum", "writes_once", "joins_once", "part_checksums"}
    assert "can replace" in said["writes_once"]


def test_a_server_starts_without_its_store_and_says_so(tmp_path: Path, seaweed: servers.Seaweed) -> None:
    storage = f"s3://films?endpoint=http://127.0.0.1:{servers.free_port()}"
    with Server(tmp_path / "data", storage_url=storage) as server:
        ready = server.client.get("/readyz")
        assert (ready.status_code, ready.json()["checks"]["storage"]["ok"]) == (503, False)
        asked = {"filename": "film.mp4", "size": 5, "content_type": "video/mp4"}
        refused = server.call("POST", "/uploads/initiate", 503, json=asked)
        assert refused["code"] == "storage_unavailable"
