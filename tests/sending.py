"""Clients in processes of their own that send films through an unreliable network, to be killed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faults import Proxy
from reelmill import Client
from running import Server

MIB = 1 << 20

# A client of its own, to be killed. It prints its progress, and at the end the most memory that it had.
SENDER = """
import re, sys
from pathlib import Path
from reelmill import Client
url, key, path, part_size, parallel = sys.argv[1:]
with Client(url, key, timeout_s=5) as client:
    done = client.upload(path, part_size=int(part_size), parallel=int(parallel),
                         progress=lambda now: print(now.phase, now.sent_bytes, flush=True))
largest_kb = re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text()).group(1)
print("done", done.video_id, done.resumed_bytes, largest_kb)
"""


@dataclass
class Line:
    """A server, and the unreliable way to it."""

    server: Server
    proxy: Proxy

    def client(self, state: Path, **more: Any) -> Client:
        return Client(self.proxy.url, self.server.key, state=state, timeout_s=5, **more)

    def put_bytes(self) -> int:
        """Return how many bytes have gone to the storage."""
        return self.proxy.carried(b"PUT")

    def object(self, video_id: str) -> bytes:
        """Return what was stored for a video."""
        (path,) = (self.server.data / "objects" / "objects").glob(f"*/original/{video_id}/*")
        return path.read_bytes()

    def status(self, video_id: str) -> str:
        return str(self.server.call("GET", f"/videos/{video_id}")["upload_status"])


@contextmanager
def lined(folder: Path, **settings: Any) -> Iterator[Line]:
    """Run a server behind a proxy."""
    with Proxy() as proxy:
        server = Server(folder / "data", public_url=proxy.url, **settings)
        proxy.target = ("127.0.0.1", server.port)
        with server:
            yield Line(server, proxy)


def start_sender(line: Line, path: Path, *, part_size: int = MIB, parallel: int = 4) -> subprocess.Popen[str]:
    words = [line.proxy.url, line.server.key, str(path), str(part_size), str(parallel)]
    env = {**os.environ, "XDG_STATE_HOME": str(line.server.data.parent / "state")}
    return subprocess.Popen([sys.executable, "-c", SENDER, *words], env=env, stdout=subprocess.PIPE, text=True)


def kill_at(line: Line, process: subprocess.Popen[str], put_bytes: int) -> None:
    """`kill -9` a sender once so much has gone."""
    assert process.stdout is not None
    line.proxy.wait(lambda: line.put_bytes() >= put_bytes or process.poll() is not None, "the upload")
    assert process.poll() is None, process.stdout.read()
    process.kill()
    process.wait(30)
    process.stdout.close()


def finish(process: subprocess.Popen[str]) -> tuple[str, int, int]:
    """Wait for a sender; return its video, how much had arrived before, and its largest memory in kB."""
    told, _ = process.communicate(timeout=120)
    assert process.returncode == 0, told
    word, video_id, resumed, memory = told.splitlines()[-1].split()
    assert word == "done"
    return video_id, int(resumed), int(memory)
