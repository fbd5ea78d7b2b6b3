"""Real `reelmill worker` processes beside a real server, to be drained, frozen and killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from running import REELMILL, Server

QUICK = {"lease_s": 2, "heartbeat_s": 0.5, "watch_s": 0.2, "sweep_s": 0.3, "poll_s": 60, "backoff_s": 0.2}


class Worker:
    """A `reelmill worker` with the settings of its server."""

    def __init__(self, server: Server, name: str, *words: str, **settings: Any) -> None:
        self.log = server.data.parent / f"{name}.log"
        told = {f"REELMILL_{key.upper()}": str(value) for key, value in settings.items()}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [str(REELMILL), "worker", "--json", *words],
                env={**server.env, "REELMILL_WORKERS": "1", **told},
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
            )  # fmt: skip
        self._told: dict[str, Any] | None = None

    @property
    def told(self) -> dict[str, Any]:
        """What it says when it is at work."""
        if self._told is None:
            assert self.process.stdout is not None
            line = self.process.stdout.readline()
            assert line, f"the worker didn't start: {self.words()}"
            self._told = json.loads(line)
        return self._told

    @property
    def id(self) -> str:
        return str(self.told["worker_id"])

    def words(self) -> str:
        return self.log.read_text()[-4000:]

    def lines(self) -> list[dict[str, Any]]:
        """Return its log so far, in order."""
        found = []
        for line in self.log.read_text().splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                continue  # being written, or not ours
        return found

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def media(self) -> list[psutil.Process]:
        """Return its living ffmpeg processes."""
        found = []
        for child in psutil.Process(self.process.pid).children(recursive=True):
            try:
                if "ffmpeg" in child.name() and child.status() != psutil.STATUS_ZOMBIE:
                    found.append(child)
            except psutil.NoSuchProcess:
                continue
        return found

    def stop(self) -> int:
        """End it in the friendly way; return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(45)
            except subprocess.TimeoutExpired:
                self.kill()
                raise
        if self.process.stdout is not None:
            self.process.stdout.close()
        return self.process.returncode

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(30)


class Works:
    """A server that does no steps itself, and its workers."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.workers: list[Worker] = []
        self._started = 0
        self._video = ""
        self._operator = ""

    def worker(self, *words: str, **settings: Any) -> Worker:
        """Start a worker and wait until it works."""
        self._started += 1
        worker = Worker(self.server, f"worker-{self._started}", *words, **settings)
        self.workers.append(worker)
        assert worker.told
        return worker

    def upload(self, film: Path) -> None:
        """Send the film that `run` works on."""
        self._video = str(self.server.upload(film)["video_id"])

    def run(self, pipeline: str = "slow_writer", **params: Any) -> str:
        """Queue a job that makes everything anew; return its id."""
        body = {"video_id": self._video, "pipeline": pipeline, "params": params, "reuse": False}
        return str(self.server.call("POST", "/jobs", json=body)["job_id"])

    def operator(self) -> dict[str, str]:
        """The header of a key that may operate the platform."""
        self._operator = (
            self._operator or self.server.run("keys", "create", "op", "--scope", "admin", "--quiet").strip()
        )
        return {"Authorization": f"Bearer {self._operator}"}

    def clear(self) -> None:
        """End all workers and jobs."""
        self.end()
        for status in ("queued", "running"):
            for job in self.server.call("GET", "/jobs", params={"status": status})["items"]:
                self.server.client.post(f"/api/v1/jobs/{job['job_id']}/cancel")

    def end(self) -> None:
        """End all workers."""
        for worker in self.workers:
            if worker.process.poll() is None:
                os.kill(worker.process.pid, signal.SIGCONT)
                worker.kill()
            if worker.process.stdout is not None:
                worker.process.stdout.close()
        self.workers.clear()

    def attempts(self, job_id: str) -> list[dict[str, Any]]:
        """Return all attempts of a job's steps."""
        return [attempt for step in self.server.job(job_id)["steps"] for attempt in step["attempts"]]


@contextmanager
def works(folder: Path, database_url: str, **settings: Any) -> Iterator[Works]:
    """Run a server with `--workers 0`; end it and its workers."""
    server = Server(folder / "data", database_url=database_url, **{**QUICK, "workers": 0, **settings})
    with server:
        it = Works(server)
        try:
            yield it
        finally:
            it.clear()


def until(true: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    """Wait for something that must come true; return it."""
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.02)
    return found
