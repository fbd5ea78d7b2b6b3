"""The requests of older clients, byte for byte, and the socket that they go through."""

from __future__ import annotations

import hashlib
import http.client
import json
import shutil
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2

if TYPE_CHECKING:
    from conftest import Running
    from running import Server


@dataclass(frozen=True)
class Older:
    """What one generation of clients sends: to which paths, and in which spelling."""

    initiate: str
    initiate_body: bytes  #: takes size, pipeline, params
    complete: str


OLDER = {
    "A/B": Older(
        "/api/upload/initiate",
        b'{"file_name":"film.mp4","content_type":"video/mp4","file_size":%d,"pipeline":"%s","params":%s}',
        "/api/upload/complete",
    ),
    "C": Older(
        "/api/malls/7/pins/door%20north/uploads/initiate",
        b'{"filename": "film.mp4", "contentType": "video/mp4", "size": %d, "pipeline": "%s", "parameters": %s}',
        "/api/malls/7/pins/door%20north/uploads/complete",
    ),
    "D": Older(
        "/videos/upload/initiate",
        b'{"session_id":"visit-17","fileName":"film.mp4","fileType":"video/mp4","fileSize":%d,"pipeline":"%s",'
        b'"params":%s}',
        "/videos/upload/complete",
    ),
}
COMPLETE = {
    "job_id": b'{"job_id":"%s"}',
    "video_id": b'{"video_id": "%s"}',
    "s3_key": b'{"s3_key":"%s"}',
}
POST = (
    b"POST %s HTTP/1.1\r\nHost: %s\r\nAccept: application/json, text/plain, */*\r\n"
    b"Content-Type: application/json;charset=utf-8\r\nAuthorization: Bearer %s\r\nX-Request-Id: same\r\n"
    b"User-Agent: axios/0.21.4\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"
)
GET = (
    b"GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: python-requests/2.25.1\r\nAccept-Encoding: gzip, deflate\r\n"
    b"Accept: */*\r\nConnection: keep-alive\r\nX-API-Key: %s\r\nX-Request-Id: same\r\n\r\n"
)


class Wire:
    """A server as an older client meets it: bytes go in, bytes come out."""

    def __init__(self, server: Running | Server, key: str) -> None:
        self.server: Any = server
        self.host = server.url.removeprefix("http://")
        self.key = key.encode()

    def send(self, request: bytes) -> tuple[int, bytes]:
        name, _, port = self.host.partition(":")
        with socket.create_connection((name, int(port)), timeout=60) as connection:
            connection.sendall(request)
            reply = http.client.HTTPResponse(connection)
            reply.begin()
            return reply.status, reply.read()

    def post(self, path: str, body: bytes) -> tuple[int, Any]:
        status, content = self.raw_post(path, body)
        return status, json.loads(content)

    def raw_post(self, path: str, body: bytes) -> tuple[int, bytes]:
        return self.send(POST % (path.encode(), self.host.encode(), self.key, len(body), body))

    def raw_get(self, path: str) -> tuple[int, bytes]:
        return self.send(GET % (path.encode(), self.host.encode(), self.key))

    def get(self, path: str) -> Any:
        status, content = self.raw_get(path)
        assert status == 200, content
        return json.loads(content)

    def initiate(self, view: str, film: Path, params: bytes = b"{}", pipeline: bytes = b"slow_writer") -> Any:
        older = OLDER[view]
        status, begun = self.post(older.initiate, older.initiate_body % (film.stat().st_size, pipeline, params))
        assert status == 200, begun
        return begun

    def put(self, begun: Any, film: Path) -> None:
        signed = begun["upload"]
        assert signed["url"] == begun["upload_url"]
        sent = httpx2.put(signed["url"], content=film.read_bytes(), headers=signed["headers"], trust_env=False)
        assert sent.status_code == 200, sent.text

    def complete(self, view: str, begun: Any, by: str = "job_id") -> tuple[int, Any]:
        return self.post(OLDER[view].complete, COMPLETE[by] % begun[by].encode())

    def until(self, job_id: str, status: str) -> None:
        deadline = time.monotonic() + 60
        while (now := self.get(f"/api/v1/jobs/{job_id}/status"))["status"] != status:
            assert time.monotonic() < deadline, f"the job didn't become {status}: {now}"
            time.sleep(0.02)

    def store(self, key: str, film: Path, folder: Path) -> None:
        """Put an object into storage as somebody with access to the bucket does: without initiate."""
        copy = shutil.copy(film, folder / uuid.uuid4().hex)
        digest = hashlib.sha256(film.read_bytes()).hexdigest()
        self.server.app.objects.put_file(key, Path(copy), content_type="video/mp4", sha256=digest)


@contextmanager
def job_in(state: str, wire: Wire, idle: Wire, view: str, film: Path) -> Iterator[tuple[Wire, Any]]:
    """Bring a job into a status, all by the older client's own requests."""
    there = idle if state == "queued" else wire
    long = b'{"steps":1,"seconds":60}'
    params = {"running": long, "cancelled": long, "failed": b'{"steps":2,"seconds":0,"same_name":true}'}
    begun = there.initiate(view, film, params.get(state, b'{"steps":1,"seconds":0}'))
    if state != "awaiting_upload":
        there.put(begun, film)
        status, done = there.complete(view, begun)
        assert status == 200 and done["message"] == "Upload verified, job queued", done
    cancel = f"/api/v1/jobs/{begun['job_id']}/cancel"
    if state == "cancelled":
        there.until(begun["job_id"], "running")
        assert there.post(cancel, b"")[0] == 200
    there.until(begun["job_id"], state)
    try:
        yield there, begun
    finally:
        if state == "running":
            assert there.post(cancel, b"")[0] == 200
