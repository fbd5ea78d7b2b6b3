"""One real server for the API's tests: real sockets, a real database, real workers and real video."""

from __future__ import annotations

import json
import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import imageio_ffmpeg
import pytest
import structlog
import uvicorn
from fastapi import FastAPI

from reelmill import logs
from reelmill.api.access import make_key
from reelmill.api.app import create_app
from reelmill.api.signin import SignIn
from reelmill.objects.folder import load_secret
from reelmill.settings import read_settings
from reelmill.wiring import App, build

PLUGINS = str(Path(__file__).parent.parent / "plugins")
ENDED = {"completed", "failed", "cancelled"}
#: Everything is made anew: what a job does mustn't depend on those that other tests have made.
TESTED = {"workers": 2, "sweep_s": 0.5, "grace_s": 0, "rate_limit": 1_000_000, "reuse": False}


@dataclass
class Reply:
    """One server-sent event, or a comment's text."""

    id: int | None = None
    event: str | None = None
    data: dict[str, Any] = field(default_factory=dict)


class Client(httpx2.Client):
    """An HTTP client with one API key, and the few steps that most tests begin with."""

    def __init__(self, url: str, key: str | None = None) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        super().__init__(base_url=url, headers=headers, timeout=60, trust_env=False)
        self.key = key

    def call(self, method: str, path: str, expect: int = 200, **more: Any) -> Any:
        reply = self.request(method, f"/api/v1{path}", **more)
        assert reply.status_code == expect, f"{method} {path}: {reply.status_code} {reply.text}"
        return reply.json()

    def initiate(self, path: Path, **more: Any) -> dict[str, Any]:
        about = {"filename": path.name, "size": path.stat().st_size, "content_type": "video/mp4"}
        return self.call("POST", "/uploads/initiate", 201, json=about | more)  # type: ignore[no-any-return]

    def put(self, upload: dict[str, Any], content: bytes) -> httpx2.Response:
        """Send the bytes with nothing but what the upload says: no key."""
        return httpx2.request(
            upload["method"], upload["url"], content=content, headers=upload["headers"], timeout=60, trust_env=False
        )

    def upload(self, path: Path, **more: Any) -> dict[str, Any]:
        begun = self.initiate(path, **more)
        assert self.put(begun["upload"], path.read_bytes()).status_code == 200
        self.call("POST", "/uploads/complete", json={"video_id": begun["video_id"]})
        return begun

    def run(self, video_id: str, pipeline: str, params: dict[str, Any], **more: Any) -> str:
        body = {"video_id": video_id, "pipeline": pipeline, "params": params, **more}
        return self.call("POST", "/jobs", 201, json=body)["job_id"]  # type: ignore[no-any-return]

    def wait(self, job_id: str, seconds: float = 60) -> dict[str, Any]:
        """Poll until the job has ended."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            status: dict[str, Any] = self.call("GET", f"/jobs/{job_id}/status")
            if status["status"] in ENDED:
                return status
            time.sleep(0.05)
        raise AssertionError(f"the job didn't end: {status}")

    @contextmanager
    def events(self, job_id: str, after: int | None = None) -> Iterator[Iterator[Reply]]:
        headers = {} if after is None else {"Last-Event-ID": str(after)}
        with self.stream("GET", f"/api/v1/jobs/{job_id}/events", headers=headers) as reply:
            assert reply.status_code == 200, reply.read()
            assert reply.headers["content-type"].startswith("text/event-stream")
            yield parsed(reply.iter_lines())


def parsed(lines: Iterator[str]) -> Iterator[Reply]:
    """Yield server-sent events as a browser would."""
    now = Reply()
    for line in lines:
        name, _, value = line.partition(": ")
        match name:
            case "":
                if now.event:
                    yield now
                now = Reply()
            case "id":
                now.id = int(value)
            case "event":
                now.event = value
            case "data":
                now.data = json.loads(value)


@dataclass
class Running:
    """A server at work."""

    app: App
    api: FastAPI
    url: str

    def restarted(self, secret: bytes | None = None) -> SignIn:
        """Return a fresh sign-in link's keeper, as the next start of the server would have."""
        self.api.state.signin = SignIn(secret or load_secret(self.app.settings.data / "secret"))
        signin: SignIn = self.api.state.signin
        return signin

    def key(self, *scopes: str, tenant: str = "default", name: str = "tests") -> str:
        secret, _ = make_key(self.app.access, name, scopes, name, tenant)
        return secret


@contextmanager
def running(data: Path, **settings: Any) -> Iterator[Running]:
    """Serve a platform of its own on a free port of loopback, from a thread."""
    # The protocol is named, or asyncio doesn't set TCP_NODELAY and each reply takes 40 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    app = build(
        read_settings(data=data, **{**TESTED, **settings}),
        base_url=lambda: url,
    )
    api = create_app(app, signin=SignIn(load_secret(data / "secret")))
    config = uvicorn.Config(api, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    with app:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="server")
        thread.start()
        try:
            deadline = time.monotonic() + 20
            while not server.started:
                assert time.monotonic() < deadline, "the server didn't start"
                time.sleep(0.01)
            yield Running(app, api, url)
        finally:
            server.should_exit = True
            thread.join(30)
            listener.close()


@pytest.fixture(scope="session", autouse=True)
def plugins() -> Iterator[None]:
    """Make the pipeline `slow_writer` known, as an installed package would."""
    sys.path.insert(0, PLUGINS)
    yield
    sys.path.remove(PLUGINS)


@pytest.fixture(scope="session")
def server_log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the servers of these tests log to, each line JSON."""
    path = tmp_path_factory.mktemp("log") / "server.log"
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    with path.open("w") as stream:
        logs.configure("debug", "json", stream=stream)
        yield path
        structlog.reset_defaults()
        root.handlers[:] = before
        root.setLevel(level)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, plugins: None, server_log: Path) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("api") / "data") as it:
        yield it


@pytest.fixture(scope="session")
def client(server: Running) -> Iterator[Client]:
    """A client that may do everything in the tenant `default`."""
    with Client(server.url, server.key("admin")) as it:
        yield it


@pytest.fixture(scope="session")
def serve() -> Callable[..., AbstractContextManager[Running]]:
    """`with serve(folder, upload_ttl_s=1) as server:` for a server with settings of its own."""
    return running


@pytest.fixture
def connect(server: Running) -> Iterator[Callable[..., Client]]:
    """Make clients with other keys, or with none; of another server by `of`."""
    made: list[Client] = []

    def make(*scopes: str, tenant: str = "default", key: str | None = None, of: Running | None = None) -> Client:
        there = of or server
        made.append(Client(there.url, key or (there.key(*scopes, tenant=tenant) if scopes else None)))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture(scope="session")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of 320×180 at 25 frames/s, with sound."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    subprocess.run(
        [
            imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", "-y",
            "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25:duration=2",
            "-f", "lavfi", "-i", "sine=frequency=440:duration=2",
            "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "25", "-c:a", "aac", "-shortest",
            str(path),
        ],
        check=True,
        timeout=60,
    )  # fmt: skip
    return path


@pytest.fixture(scope="session")
def video_id(client: Client, film: Path) -> str:
    """An uploaded and verified video, for tests that only need one."""
    return str(client.upload(film)["video_id"])
