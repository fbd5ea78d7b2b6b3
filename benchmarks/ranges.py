"""How fast are parts of a file handed out? 1 MiB ranges beside Starlette's `FileResponse`.

Three ways to hand out the same file, asked in turn for the same random ranges by the same client over one kept
connection; the file is in the page cache. MB/s is what the client received, CPU is the server's.

- `FileResponse`: a Starlette app, nothing but a route that returns it; no signature, no log.
- `answer`: the same app with our way of sending a part in its place (`reelmill.api.ranges`), and the folder store's
  open file under it. What both have around them is the same.
- `serve`: a real `reelmill serve` and a signed URL, everything on: signature, log line, metrics, routes.

    python benchmarks/ranges.py [--pairs N] [--json FILE]
"""

from __future__ import annotations

import http.client
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

import psutil
from common import ROOT, Ratios, options, report

sys.path.insert(0, str(ROOT / "tests"))
from media_sources import make_source
from running import Server, free_port

MIB = 1 << 20
SIZE = 256 * MIB
REQUESTS = 200
SIZES = {"1 MiB": MIB, "64 KiB": MIB // 16, "16 MiB": 16 * MIB}
STARLETTE_S = """
import asyncio
import sys
from pathlib import Path
import uvicorn
from starlette.applications import Starlette
from starlette.responses import FileResponse
from starlette.routing import Route
from reelmill.api.ranges import answer
from reelmill.objects.folder import FolderStore

port, path, root, key = sys.argv[1:]

async def file(request):
    return FileResponse(path)

store = FolderStore(Path(root), secret=bytes(32), base_url="")

def taken(request):
    reading = store.read(key)
    return answer(request.method, request.headers, reading, {"Content-Type": "video/mp4"})

async def ours(request):
    return await asyncio.to_thread(taken, request)

app = Starlette(routes=[Route("/film.bin", file), Route("/ours.bin", ours)])
uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="warning", access_log=False, lifespan="off")
"""


class Side:
    """One server and the URL of the file there."""

    def __init__(self, pid: int, port: int, target: str) -> None:
        self.target = target
        self.process = psutil.Process(pid)
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def ask(self, starts: list[int], length: int, film: bytes | None = None) -> tuple[float, float]:
        """Return the MB/s and the server's CPU milliseconds for a request."""
        took = memoryview(bytearray(length))
        self.connection.close()  # the servers close what was idle for some seconds, while the others had their turn
        self.connection.request("HEAD", self.target)
        self.connection.getresponse().read()
        cpu, began = self.cpu_s(), time.perf_counter()
        for start in starts:
            self.connection.request("GET", self.target, headers={"Range": f"bytes={start}-{start + length - 1}"})
            reply = self.connection.getresponse()
            assert reply.status == 206, reply.read()
            got = 0
            while count := reply.readinto(took[got:]):
                got += count
            reply.read()
            assert got == length
            if film is not None:
                assert took == film[start : start + length]
        wall = time.perf_counter() - began
        return len(starts) * length / wall / 1e6, (self.cpu_s() - cpu) / len(starts) * 1000

    def cpu_s(self) -> float:
        used = self.process.cpu_times()
        return float(used.user + used.system)


def starlette(path: Path, root: Path, key: str) -> tuple[subprocess.Popen[bytes], int]:
    port = free_port()
    process = subprocess.Popen([sys.executable, "-c", STARLETTE_S, str(port), str(path), str(root), key])
    while True:
        try:
            http.client.HTTPConnection("127.0.0.1", port, timeout=60).connect()
            return process, port
        except ConnectionError:
            assert process.poll() is None, "it ended at once"
            time.sleep(0.05)


def main() -> None:
    wanted = options(__doc__, pairs=11)
    ratios: Ratios = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        film = make_source(folder / "film.mp4", seconds=1, width=320, height=180)
        content = os.urandom(SIZE)
        with Server(folder / "data", workers=1, poll_s=600, rate_limit=1_000_000) as server:
            job_id = server.upload(film, pipeline="clips", params={"cutting": {"duration_s": 1}})["job_id"]
            server.wait(job_id)
            url = urlsplit(server.client.get(f"/api/v1/jobs/{job_id}/status").json()["download_urls"][0])
            stored = folder / "data" / "objects" / "objects" / url.path.removeprefix("/objects/")
            stored.write_bytes(content)  # a signed URL names a key; what lies there is as large as we need
            assert server.process is not None
            key = url.path.removeprefix("/objects/")
            process, port = starlette(stored, folder / "data" / "objects", key)
            try:
                theirs = Side(process.pid, port, "/film.bin")
                sides = {
                    "FileResponse": theirs,
                    "answer": Side(process.pid, port, "/ours.bin"),
                    "serve": Side(server.process.pid, server.port, f"{url.path}?{url.query}"),
                }
                for side in sides.values():
                    side.ask([7, SIZE - MIB], MIB, content)
                for label, length in SIZES.items():
                    fast: dict[str, list[float]] = {name: [] for name in (*sides, "again")}
                    cpu: dict[str, list[float]] = {name: [] for name in sides}
                    for number in range(wanted.pairs):
                        count = max(10, REQUESTS * MIB // max(length, MIB))
                        starts = [random.randrange(SIZE - length) for _ in range(count)]
                        order = [*sides][number % 3 :] + [*sides][: number % 3]  # each goes first in some rounds
                        for name in order:
                            speed, ms = sides[name].ask(starts, length)
                            fast[name].append(speed)
                            cpu[name].append(ms)
                        fast["again"].append(theirs.ask(starts, length)[0])
                    for name in ("answer", "serve", "again"):
                        shown = {"again": "FileResponse again (null)"}.get(name, name)
                        both = zip(fast[name], fast["FileResponse"], strict=True)
                        ratios[f"{label}: {shown} / FileResponse, MB/s"] = [a / b for a, b in both]
                    for name in sides:
                        ratios[f"{label}: {name}, MB/s"] = fast[name]
                        ratios[f"{label}: {name}, CPU ms"] = cpu[name]
                    print(f"{label}: done", flush=True)
            finally:
                process.terminate()
                process.wait()
    report("Ranges of a stored file", ratios, {"1 MiB: answer / FileResponse, MB/s": "≥ 3"}, wanted.json)


if __name__ == "__main__":
    main()
