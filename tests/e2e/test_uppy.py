"""A page with the real Uppy uploads into a bucket: page, API and store are three origins of one real Chromium."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import httpx2
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Request, sync_playwright

import servers
from media_sources import make_source
from reelmill.objects.s3 import S3Store
from reelmill.objects.s3_place import read_place
from running import Server

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "tests" / "uppy"
PACKAGES = ROOT / ".cache" / "uppy" / "node_modules"
MIB = 1 << 20
CLIPS = {"pipeline": "clips", "params": {"cutting": {"duration_s": 2}}}
TOLD = """result => ({
  done: result.successful.map(file => file.meta),
  failed: result.failed.map(file => file.error),
})"""
UPLOAD = f"async () => ({TOLD})(await uppy.upload())"
PAUSE_AFTER_ONE_PART = """() => {
  uppy.once('s3-multipart:part-uploaded', () => uppy.pauseAll())
  uppy.upload()
}"""
GO_ON = f"""() => new Promise(done => {{
  uppy.once('complete', result => done(({TOLD})(result)))
  uppy.emit('restore-confirmed')
}})"""


class _Files(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The origin of the page, with Uppy built into it as a user's own build does."""
    assert PACKAGES.is_dir(), "there is no Uppy: run `make uppy`"
    folder = tmp_path_factory.mktemp("page")
    shutil.copy(PAGE / "index.html", folder)
    subprocess.run(
        [Path(sys.executable).with_name("node"), PACKAGES / "esbuild" / "bin" / "esbuild", PAGE / "page.js",
         "--bundle", "--log-level=error", f"--outfile={folder / 'page.bundle.js'}"],
        env={**os.environ, "NODE_PATH": str(PACKAGES)}, check=True, timeout=120,
    )  # fmt: skip
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Files, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    assert program, "there is no Chromium: run `make players`"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def bucket(seaweed: servers.Seaweed, site: str) -> str:
    """A bucket into which pages of the site may upload, and no others."""
    name = seaweed.create()
    S3Store(read_place(seaweed.url(name)), cors_origins=site).apply_cors()
    return name


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, seaweed: servers.Seaweed, bucket: str, site: str
) -> Iterator[Server]:
    data = tmp_path_factory.mktemp("uppy") / "data"
    with Server(data, storage_url=seaweed.url(bucket, "films"), cors_origins=site, workers=2) as it:
        yield it


class User:
    """Somebody with the page open, and what their browser sent to the API's `sign` and to the store."""

    def __init__(self, context: BrowserContext, site: str, server: Server, store: str) -> None:
        options = {"url": server.url, "key": server.key, "run": CLIPS, "partsFrom": 10 * MIB, "partBytes": 5 * MIB}
        self._context = context
        self._url = f"{site}/#{quote(json.dumps(options))}"
        self._store = urlsplit(store).netloc
        self.asked: list[dict[str, Any]] = []  #: bodies that Uppy gave to signRequest
        self.sent: list[Request] = []  #: requests to the store
        self.faults: list[str] = []
        self.page = self.open()

    def open(self) -> Page:
        page = self._context.new_page()
        page.on("request", self._note)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.goto(self._url)
        return page

    def _note(self, request: Request) -> None:
        if request.method == "POST" and request.url.endswith("/sign"):
            self.asked.append(request.post_data_json)
        elif urlsplit(request.url).netloc == self._store and "/api/v1/" not in request.url:
            self.sent.append(request)

    def chooses(self, *films: Path) -> None:
        self.page.set_input_files("input", films)

    def uploads(self) -> dict[str, Any]:
        told: dict[str, Any] = self.page.evaluate(UPLOAD)
        return told

    def operations(self) -> list[str]:
        """Name what was sent to the store, in S3's words."""
        return [_operation(request) for request in self.sent]


def _operation(request: Request) -> str:
    query = parse_qs(urlsplit(request.url).query, keep_blank_values=True)
    match request.method, "uploads" in query, "uploadId" in query, "partNumber" in query:
        case "PUT", False, False, False:
            return "PutObject"
        case "POST", True, False, False:
            return "CreateMultipartUpload"
        case "PUT", False, True, True:
            return f"UploadPart {query['partNumber'][0]}"
        case "GET", False, True, False:
            return "ListParts"
        case "POST", False, True, False:
            return "CompleteMultipartUpload"
        case "DELETE", False, True, False:
            return "AbortMultipartUpload"
    return f"{request.method} {request.url}"


@pytest.fixture
def user(chromium: Browser, site: str, server: Server, seaweed: servers.Seaweed) -> Iterator[User]:
    with chromium.new_context() as context:
        it = User(context, site, server, seaweed.endpoint())
        yield it
        assert it.faults == []


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_source(tmp_path_factory.mktemp("film") / "a film.mp4", seconds=6)


@pytest.fixture
def long_film(film: Path, tmp_path: Path) -> Path:
    """The same film, ended by a `free` box (ISO/IEC 14496-12, 8.1.2): 12 MiB in three parts."""
    path = tmp_path / "long film.mp4"
    rest = 12 * MIB - film.stat().st_size
    path.write_bytes(film.read_bytes() + rest.to_bytes(4) + b"free" + secrets.token_bytes(rest - 8))
    return path


def stored(seaweed: servers.Seaweed, bucket: str, video_id: str) -> str:
    """Return the SHA-256 of what lies in the bucket as a video's source."""
    listed = seaweed.client().list_objects_v2(Bucket=bucket)["Contents"]
    (key,) = [one["Key"] for one in listed if one["Key"].endswith(f"{video_id}/source")]
    return hashlib.sha256(seaweed.client().get_object(Bucket=bucket, Key=key)["Body"].read()).hexdigest()


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def made_clips(server: Server, job_id: str) -> None:
    status = server.wait(job_id)
    assert (status["status"], len(status["download_urls"])) == ("completed", 3), status


@pytest.mark.req("B-01")
def test_films_of_one_put_each(
    user: User, server: Server, seaweed: servers.Seaweed, bucket: str, film: Path, tmp_path: Path
) -> None:
    other = make_source(tmp_path / "other.mp4", seconds=6, width=320, height=180)
    user.chooses(film, other)
    told = user.uploads()
    assert (len(told["done"]), told["failed"]) == (2, [])
    assert user.operations() == ["PutObject", "PutObject"]
    ids = {meta["name"]: meta["videoId"] for meta in told["done"]}
    assert sorted(user.asked, key=lambda body: str(body["key"])) == [
        {"method": "PUT", "key": video_id, "contentType": "video/mp4"} for video_id in sorted(ids.values())
    ]
    assert stored(seaweed, bucket, ids[film.name]) == sha(film)
    assert stored(seaweed, bucket, ids[other.name]) == sha(other)
    for meta in told["done"]:
        made_clips(server, meta["jobId"])


@pytest.mark.req("B-01", "D-02")
def test_a_film_in_parts_that_nobody_replaces(
    user: User, server: Server, seaweed: servers.Seaweed, bucket: str, long_film: Path
) -> None:
    user.chooses(long_film)
    (meta,) = user.uploads()["done"]
    video_id = meta["videoId"]
    assert user.operations() == [
        "CreateMultipartUpload", "UploadPart 1", "UploadPart 2", "UploadPart 3", "CompleteMultipartUpload",
    ]  # fmt: skip
    upload_id = user.asked[1]["uploadId"]
    assert user.asked == [
        {"method": "POST", "key": video_id},
        *({"method": "PUT", "key": video_id, "uploadId": upload_id, "partNumber": n} for n in (1, 2, 3)),
        {"method": "POST", "key": video_id, "uploadId": upload_id},
    ]
    assert stored(seaweed, bucket, video_id) == sha(long_film)
    made_clips(server, meta["jobId"])

    # The URLs live on for minutes: sent again, as the browser sent them, they change nothing.
    statuses = []
    for request in user.sent:
        headers = {name: value for name, value in request.headers.items() if name in ("content-type", "if-none-match")}
        body = request.post_data_buffer or secrets.token_bytes(5 * MIB)
        again = httpx2.request(request.method, request.url, headers=headers, content=body, trust_env=False)
        statuses.append(again.status_code)
    assert statuses == [200, 404, 404, 404, 412]
    assert stored(seaweed, bucket, video_id) == sha(long_film)
    for body in user.asked:
        late = server.call("POST", f"/uploads/{video_id}/sign", 409, json=body)
        assert late["code"] == "transition_refused"


@pytest.mark.req("B-01")
def test_an_upload_goes_on_in_another_tab(
    user: User, server: Server, seaweed: servers.Seaweed, bucket: str, long_film: Path
) -> None:
    user.chooses(long_film)
    user.page.evaluate(PAUSE_AFTER_ONE_PART)
    user.page.wait_for_function("uppy.getFiles()[0].isPaused")
    first, user.page = user.page, user.open()
    deadline = time.monotonic() + 60
    while not user.page.evaluate("uppy.getFiles().some(file => file.s3Multipart && file.isPaused)"):
        assert time.monotonic() < deadline, "Golden Retriever has nothing"
        user.page.reload()
        user.page.wait_for_timeout(200)
    first.close()
    (before,) = user.page.evaluate("uppy.getFiles()")
    video_id = before["meta"]["videoId"]
    assert [part["number"] for part in server.call("GET", f"/uploads/{video_id}")["parts"]] == [1]

    assert before["isGhost"], "more than Golden Retriever keeps: the user chooses the file again"
    user.sent.clear()
    user.chooses(long_film)
    told = user.page.evaluate(GO_ON)
    assert ([meta["videoId"] for meta in told["done"]], told["failed"]) == ([video_id], [])
    assert user.operations() == ["ListParts", "UploadPart 2", "UploadPart 3", "CompleteMultipartUpload"]
    assert user.asked[2] == {"method": "GET", "key": video_id, "uploadId": user.asked[1]["uploadId"]}
    assert stored(seaweed, bucket, video_id) == sha(long_film)
    made_clips(server, before["meta"]["jobId"])


@pytest.mark.req("D-01")
def test_a_cancelled_upload_leaves_no_parts(
    user: User, server: Server, seaweed: servers.Seaweed, bucket: str, long_film: Path
) -> None:
    user.chooses(long_film)
    user.page.evaluate(PAUSE_AFTER_ONE_PART)
    user.page.wait_for_function("uppy.getFiles()[0].isPaused")
    video_id = user.page.evaluate("uppy.getFiles()[0].meta.videoId")
    with user.page.expect_response(lambda reply: reply.request.method == "DELETE") as aborted:
        user.page.evaluate("uppy.cancelAll()")
    assert (_operation(aborted.value.request), aborted.value.status) == ("AbortMultipartUpload", 204)
    begun = seaweed.client().list_multipart_uploads(Bucket=bucket).get("Uploads", [])
    assert not [one for one in begun if video_id in one["Key"]]
    assert server.call("GET", f"/uploads/{video_id}")["parts"] == []

    user.chooses(long_film)
    (meta,) = user.uploads()["done"]
    assert meta["videoId"] != video_id
    assert stored(seaweed, bucket, meta["videoId"]) == sha(long_film)


@pytest.mark.req("D-02")
def test_what_is_no_film_is_told_to_the_user_and_another_goes_through(user: User, film: Path, tmp_path: Path) -> None:
    (tmp_path / "letter.mp4").write_text("Dear Sirs")
    user.chooses(tmp_path / "letter.mp4", film)
    told = user.uploads()
    assert [meta["name"] for meta in told["done"]] == [film.name]
    assert "video" in told["failed"][0]


def test_no_object_is_deleted_for_an_uploader(server: Server, film: Path) -> None:
    """Uppy's client knows DeleteObject: `{method: 'DELETE', key}`."""
    about = {"filename": film.name, "size": film.stat().st_size, "content_type": "video/mp4"}
    video_id = server.call("POST", "/uploads/initiate", json=about)["video_id"]
    refused = server.call("POST", f"/uploads/{video_id}/sign", 422, json={"method": "DELETE", "key": video_id})
    assert refused["code"] == "request_invalid"
    assert "may not delete" in refused["detail"]


def test_a_page_of_another_origin_can_not_upload(chromium: Browser, site: str, server: Server, film: Path) -> None:
    with chromium.new_context() as context:
        stranger = User(context, site.replace("127.0.0.1", "localhost"), server, server.url)
        stranger.chooses(film)
        assert stranger.uploads() == {"done": [], "failed": ["Failed to fetch"]}


def test_a_folder_takes_films_of_one_put(chromium: Browser, site: str, tmp_path: Path, film: Path) -> None:
    with Server(tmp_path / "data", cors_origins=site, workers=1) as server, chromium.new_context() as context:
        user = User(context, site, server, server.url)
        user.chooses(film)
        (meta,) = user.uploads()["done"]
        assert user.operations() == ["PutObject"]
        (key,) = [key for key in server.stored() if key.endswith(f"{meta['videoId']}/source")]
        assert sha(tmp_path / "data" / "objects" / "objects" / key) == sha(film)
