"""A real `reelmill serve` in a process of its own, to be killed and started again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2
import psutil

PLUGINS = Path(__file__).parent / "plugins"
REELMILL = Path(sys.executable).with_name("reelmill")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """`reelmill serve` on one data folder; stays the same server through kills and restarts."""

    def __init__(self, data: Path, *, env: Mapping[str, str] | None = None, **settings: Any) -> None:
        """settings: as REELMILL_…; env: other variables of its processes."""
        self.data = data
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = data.parent / f"{data.name}.log"
        told = {f"REELMILL_{name.upper()}": str(value) for name, value in settings.items()}
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("REELMILL_")},
            "PYTHONPATH": str(PLUGINS),
            "REELMILL_DATA": str(data),
            "REELMILL_LOG_FORMAT": "json",
            **told,
            **(env or {}),
        }
        data.mkdir(parents=True, exist_ok=True)
        self.key = self.run("keys", "create", "tests", "--quiet").strip()
        self.process: subprocess.Popen[bytes] | None = None
        self.client = httpx2.Client(
            base_url=self.url, headers={"Authorization": f"Bearer {self.key}"}, timeout=60, trust_env=False
        )

    def run(self, *words: str) -> str:
        done = subprocess.run([str(REELMILL), *words], env=self.env, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self) -> Server:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [str(REELMILL), "serve", "--port", str(self.port)],
                env=self.env, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log.read_text()[-4000:]
            try:
                if self.client.get("/healthz").status_code == 200:
                    return self
            except httpx2.TransportError:
                time.sleep(0.05)
        raise AssertionError(f"the server didn't start: {self.log.read_text()[-4000:]}")

    def kill(self) -> None:
        """`kill -9`: nothing is finished, nothing is cleaned."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(30)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(45)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)
                raise

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(self, *_: object) -> None:
        try:
            self.stop()
        finally:
            self.client.close()

    # ── over HTTP ─────────────────────────────────────────────────────────────────────────────

    def call(self, method: str, path: str, expect: int | None = None, **more: Any) -> Any:
        reply = self.client.request(method, f"/api/v1{path}", **more)
        if expect is not None:
            assert reply.status_code == expect, f"{reply.status_code}: {reply.text}"
        else:
            assert reply.status_code < 400, f"{reply.status_code}: {reply.text}"
        return reply.json()

    def upload(self, path: Path, **more: Any) -> dict[str, Any]:
        """Initiate, PUT and complete; return the initiate reply."""
        begun = self.call(
            "POST", "/uploads/initiate",
            json={"filename": path.name, "size": path.stat().st_size, "content_type": "video/mp4", **more},
        )  # fmt: skip
        put = begun["upload"]
        with path.open("rb") as file:
            sent = httpx2.put(put["url"], content=file.read(), headers=put["headers"], timeout=60, trust_env=False)
        assert sent.status_code == 200, sent.text
        self.call("POST", "/uploads/complete", json={"video_id": begun["video_id"]})
        return begun  # type: ignore[no-any-return]

    def job(self, job_id: str) -> dict[str, Any]:
        return self.call("GET", f"/jobs/{job_id}")  # type: ignore[no-any-return]

    def wait(self, job_id: str, seconds: float = 120) -> dict[str, Any]:
        """Poll until the job has ended; return its status."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            status = self.call("GET", f"/jobs/{job_id}/status")
            if status["status"] in ("completed", "failed", "cancelled"):
                return status  # type: ignore[no-any-return]
            time.sleep(0.1)
        raise AssertionError(f"job {job_id} didn't end: {status}; log: {self.log.read_text()[-4000:]}")

    # ── from outside ──────────────────────────────────────────────────────────────────────────

    def children(self) -> list[psutil.Process]:
        """Return the media processes that work below this server's data folder, whoever is their parent."""
        mine = []
        for process in psutil.process_iter():
            try:
                words = process.cmdline()
            except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
                continue
            if self.process is not None and process.pid == self.process.pid:
                continue
            if any(str(self.data) in word for word in words):
                mine.append(process)
        return mine

    def stored(self, prefix: str = "") -> set[str]:
        """Return the keys of all stored objects, read from the folder itself."""
        root = self.data / "objects" / "objects"
        return {
            str(path.relative_to(root))
            for path in root.rglob("*")
            if path.is_file() and str(path.relative_to(root)).startswith(prefix)
        }

    def scratch(self) -> list[Path]:
        return [path for path in (self.data / "scratch").rglob("*") if path.is_file()]
