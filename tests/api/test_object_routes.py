"""The folder store's routes: what a browser or player sees of a signed URL, over real sockets."""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from collections.abc import Iterator
from email.utils import format_datetime
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from reelmill.api.objects import router
from reelmill.errors import ReelmillError
from reelmill.jobs.model import SignedRequest
from reelmill.objects.folder import FolderStore
from reelmill.objects.names import disposition

BODY = b"0123456789" * 100


class Clock:
    """A clock that the test can set."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


async def show(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ReelmillError)
    return JSONResponse({"code": error.code, "detail": error.detail}, error.status_code)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[FolderStore]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        base = f"http://127.0.0.1:{sock.getsockname()[1]}"
        made = FolderStore(tmp_path / "data", secret=bytes(32), base_url=base + "/", clock=clock)
        app = FastAPI()
        app.add_exception_handler(ReelmillError, show)
        app.include_router(router(made))
        assert not app.openapi()["paths"]
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield made
        server.should_exit = True
        thread.join()


@pytest.fixture
def client() -> Iterator[httpx2.Client]:
    with httpx2.Client(timeout=20) as made:
        yield made


@pytest.fixture
def url(store: FolderStore, tmp_path: Path) -> str:
    path = tmp_path / "file"
    path.write_bytes(BODY)
    store.put_file("t/clip.mp4", path, content_type="video/mp4", sha256=hashlib.sha256(BODY).hexdigest())
    return store.generate_presigned_download_url("local", "t/clip.mp4")


def sign(store: FolderStore, *, sha256: str | None = None, size: int = len(BODY)) -> SignedRequest:
    return store.sign_put("t/new.mp4", size_bytes=size, content_type="video/mp4", sha256=sha256)


def test_a_download_carries_what_players_and_caches_need(url: str, client: httpx2.Client) -> None:
    reply = client.get(url, headers={"Origin": "https://example.org"})
    headers = reply.headers
    assert headers["etag"] == f'"{hashlib.sha256(BODY).hexdigest()}"'
    assert headers["accept-ranges"] == "bytes"
    assert headers["content-length"] == "1000"
    assert headers["content-disposition"] == "inline"
    assert headers["cache-control"].startswith("private, max-age=3")
    assert headers["last-modified"].endswith("GMT")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"].startswith(
        "sandbox; default-src 'none'; img-src 'self'; media-src 'self'"
    )
    assert headers["cross-origin-resource-policy"] == "cross-origin"
    assert headers["access-control-allow-origin"] == "*"
    assert "ETag" in headers["access-control-expose-headers"]
    assert "access-control-allow-credentials" not in headers


def test_head_is_get_without_the_body(url: str, client: httpx2.Client) -> None:
    head, get = client.head(url), client.get(url)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("etag", "content-length", "content-type", "last-modified", "accept-ranges", "content-disposition"):
        assert head.headers[name] == get.headers[name]
    assert client.head(url, headers={"Range": "bytes=0-1"}).status_code == 200
    assert client.head(url.replace("expires=", "expires=1")).status_code == 403


def test_a_known_copy_is_not_sent_again(url: str, client: httpx2.Client) -> None:
    first = client.get(url)
    tag, date = first.headers["etag"], first.headers["last-modified"]
    for headers in (
        {"If-None-Match": tag},
        {"If-None-Match": f'"other", W/{tag}'},
        {"If-None-Match": "*"},
        {"If-Modified-Since": date},
        {"If-None-Match": tag, "Range": "bytes=0-1"},
    ):
        reply = client.get(url, headers=headers)
        assert (reply.status_code, reply.content, reply.headers["etag"]) == (304, b"", tag), headers
        assert client.head(url, headers=headers).status_code == 304
    for headers in (
        {"If-None-Match": '"other"'},
        {"If-None-Match": '"other"', "If-Modified-Since": date},
        {"If-Modified-Since": "yesterday"},
        {"If-Modified-Since": "Thu, 01 Jan 1970 00:00:00 GMT"},
    ):
        assert client.get(url, headers=headers).content == BODY, headers


def test_if_range_gives_the_part_only_of_the_same_object(url: str, client: httpx2.Client, store: FolderStore) -> None:
    tag = store.head("t/clip.mp4").etag
    date = format_datetime(store.head("t/clip.mp4").modified_at, usegmt=True)
    for validator, status in [
        (tag, 206),
        (date, 206),
        ('"other"', 200),
        (f"W/{tag}", 200),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 200),
        ("nonsense", 200),
    ]:
        reply = client.get(url, headers={"Range": "bytes=10-19", "If-Range": validator})
        assert (reply.status_code, reply.content) == (status, BODY[10:20] if status == 206 else BODY), validator


@pytest.mark.parametrize(
    "asked",
    ["bytes=0-1,5-6", "bytes=9-1", "bytes=a-b", "bytes=-", "lines=1-2", "bytes=1-2-3", "bytes", "bytes=" + "9" * 40],
)
def test_ranges_that_are_not_served_in_part_give_the_whole(url: str, client: httpx2.Client, asked: str) -> None:
    reply = client.get(url, headers={"Range": asked})
    assert (reply.status_code, reply.content) == (200, BODY)
    assert "content-range" not in reply.headers


def test_a_range_of_an_empty_object(store: FolderStore, client: httpx2.Client) -> None:
    signed = sign(store, size=0)
    assert client.put(signed.url, content=b"", headers=dict(signed.headers)).status_code == 200
    url = store.generate_presigned_download_url("local", "t/new.mp4")
    assert client.get(url, headers={"Range": "bytes=-5"}).status_code == 200
    reply = client.get(url, headers={"Range": "bytes=0-"})
    assert (reply.status_code, reply.headers["content-range"]) == (416, "bytes */0")


def test_refusals_can_be_read_by_a_page_of_another_site(
    url: str, client: httpx2.Client, store: FolderStore, clock: Clock
) -> None:
    refused = [
        (403, "signature_invalid", client.get(url + "0")),
        (416, "range_unsatisfiable", client.get(url, headers={"Range": "bytes=1000-"})),
        (404, "object_missing", client.get(store.generate_presigned_download_url("local", "no"))),
        (400, "body_mismatch", client.put(sign(store).url, content=BODY)),
    ]
    clock.ahead = 3601
    refused.append((403, "signature_expired", client.get(url)))
    for status, code, reply in refused:
        assert (reply.status_code, reply.json()["code"]) == (status, code)
        assert reply.headers["access-control-allow-origin"] == "*"
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["cache-control"] == "no-store"
    assert refused[1][2].headers["content-range"] == "bytes */1000"


def test_preflight(store: FolderStore, client: httpx2.Client) -> None:
    asked = {
        "Origin": "https://example.org",
        "Access-Control-Request-Method": "PUT",
        "Access-Control-Request-Headers": "content-type,x-checksum-sha256",
    }
    reply = client.options(sign(store).url, headers=asked)
    assert reply.status_code == 204
    assert reply.headers["access-control-allow-origin"] == "*"
    assert "PUT" in reply.headers["access-control-allow-methods"]
    allowed = reply.headers["access-control-allow-headers"].lower()
    assert all(name in allowed for name in ("content-type", "x-checksum-sha256", "range"))


def test_a_put_answers_with_what_was_stored(store: FolderStore, client: httpx2.Client) -> None:
    sha256 = hashlib.sha256(BODY).hexdigest()
    signed = sign(store, sha256=sha256)
    assert signed.headers == {"Content-Type": "video/mp4", "x-checksum-sha256": sha256}
    reply = client.put(signed.url, content=BODY, headers=dict(signed.headers))
    assert reply.json() == {"size": 1000, "sha256": sha256}
    assert reply.headers["etag"] == f'"{sha256}"'
    assert reply.headers["access-control-allow-origin"] == "*"
    wrong = client.put(signed.url, content=BODY, headers={**signed.headers, "x-checksum-sha256": "0" * 64})
    assert wrong.json()["code"] == "body_mismatch"


@pytest.mark.parametrize(("size", "status"), [(1000, 200), (999, 400), (1001, 400), (4_000_000, 400)])
def test_a_body_without_a_length_is_counted(
    store: FolderStore, client: httpx2.Client, tmp_path: Path, size: int, status: int
) -> None:
    signed = sign(store)
    body = (b"x" * min(500, size - n) for n in range(0, size, 500))
    reply = client.put(signed.url, content=body, headers=dict(signed.headers))
    assert reply.status_code == status
    assert (list(store.keys("")) == ["t/new.mp4"]) == (status == 200)
    assert list((tmp_path / "data/incoming").iterdir()) == []


def test_a_refused_put_is_not_asked_for_its_body(store: FolderStore) -> None:
    """With Expect: 100-continue the client learns of the refusal before it sends a gigabyte."""
    for change, wanted in (("", b"HTTP/1.1 100 "), ("0", b"HTTP/1.1 403 ")):
        parts = urlsplit(sign(store).url + change)
        head = f"PUT {parts.path}?{parts.query} HTTP/1.1\r\nHost: x\r\nContent-Type: video/mp4\r\n"
        with socket.create_connection((parts.hostname or "", parts.port or 80)) as sock:
            sock.sendall(f"{head}Content-Length: 1000\r\nExpect: 100-continue\r\n\r\n".encode())
            assert sock.recv(1000).startswith(wanted)


def test_a_page_that_stops_reading_a_download_costs_nothing(store: FolderStore, tmp_path: Path) -> None:
    path = tmp_path / "big"
    with path.open("wb") as file:
        file.truncate(200 << 20)
    with path.open("rb") as whole:
        sha256 = hashlib.file_digest(whole, "sha256").hexdigest()
    store.put_file("big", path, content_type="video/mp4", sha256=sha256)
    parts = urlsplit(store.generate_presigned_download_url("local", "big"))
    target = str((tmp_path / "data/objects/big").resolve())

    def open_files() -> int:
        links = []
        for link in Path("/proc/self/fd").iterdir():
            try:
                links.append(str(link.readlink()))
            except OSError:
                continue
        return links.count(target)

    with socket.create_connection((parts.hostname or "", parts.port or 80)) as sock:
        sock.sendall(f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert sock.recv(1000).startswith(b"HTTP/1.1 200 ")
        assert open_files() == 1
    deadline = time.monotonic() + 10
    while open_files() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert open_files() == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (None, "inline"),
        ("a.mp4", 'attachment; filename="a.mp4"'),
        ('a"b.mp4', "attachment; filename=\"a_b.mp4\"; filename*=UTF-8''a%22b.mp4"),
        ("ä.mp4", "attachment; filename=\"_.mp4\"; filename*=UTF-8''%C3%A4.mp4"),
        ("../../etc/passwd", 'attachment; filename="_.._etc_passwd"'),
        ("a\x00\n\\b", 'attachment; filename="a___b"'),
        ("gpj\u202e4pm.exe", 'attachment; filename="gpj_4pm.exe"'),
        ("\ud800.mp4", 'attachment; filename="?.mp4"'),
        (" .. ", 'attachment; filename="download"'),
        ("x" * 300 + ".mp4", f'attachment; filename="{"x" * 196}.mp4"'),
    ],
)
def test_file_names(name: str | None, value: str) -> None:
    assert disposition(name) == value
