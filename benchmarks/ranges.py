"""How fast are parts of a file handed out? 1 MiB ranges beside Starlette's `FileResponse`.

A real `reelmill serve` with its signed URL of a result, everything on: signature, log line, metrics. And a Starlette
app, nothing but a route that returns a `FileResponse` of the same file, no signature, no log, in the same uvicorn with
the same settings. The same client asks both, over one kept connection, for the same random ranges, in turn; the file
is in the page cache. MB/s is what the client received; CPU seconds are the server's.

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
STARLETTE_S = """
import sys
import uvicorn
from starlette.applications import Starlette
from starlette.responses import FileResponse
from starlette.routing import Route

port, path = sys.argv[1:]

async def file(request):
    return FileResponse(path)

app = Starlette(routes=[Route("/film.bin", file)])
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


def starlette(path: Path) -> tuple[subprocess.Popen[bytes], int]:
    port = free_port()
    process = subprocess.Popen([sys.executable, "-c", STARLETTE_S, str(port), str(path)])
    while True:
        try:
            http.client.HTTPConnection("127.0.0.1", port, timeout=60).connect()
            return process, port
        except ConnectionError:
            assert process.poll() is None, "it ended at once"
            time.sleep(0.05)


def main() -> None:
    wanted = options(__doc__, pairs=11)
    sizes = {"1 MiB": MIB, "64 KiB": MIB // 16, "16 MiB": 16 * MIB}
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
            process, port = starlette(stored)
            try:
                ours = Side(server.process.pid, server.port, f"{url.path}?{url.query}")
                theirs = Side(process.pid, port, "/film.bin")
                for side in (ours, theirs):
                    side.ask([7, SIZE - MIB], MIB, content)
                for label, length in sizes.items():
                    fast: dict[str, list[float]] = {"ours": [], "theirs": [], "again": []}
                    cpu: dict[str, list[float]] = {"ours": [], "theirs": []}
                    for number in range(wanted.pairs):
                        count = max(10, REQUESTS * MIB // max(length, MIB))
                        starts = [random.randrange(SIZE - length) for _ in range(count)]
                        order = [("ours", ours), ("theirs", theirs)][:: 1 if number % 2 else -1]
                        for who, side in order:
                            speed, ms = side.ask(starts, length)
                            fast[who].append(speed)
                            cpu[who].append(ms)
                        fast["again"].append(theirs.ask(starts, length)[0])
                    pairs = zip(fast["ours"], fast["theirs"], strict=True)
                    ratios[f"{label}: Reelmill / FileResponse, MB/s"] = [a / b for a, b in pairs]
                    nulls = zip(fast["again"], fast["theirs"], strict=True)
                    ratios[f"{label}: FileResponse / FileResponse (null)"] = [a / b for a, b in nulls]
                    ratios[f"{label}: Reelmill, MB/s"] = fast["ours"]
                    ratios[f"{label}: FileResponse, MB/s"] = fast["theirs"]
                    ratios[f"{label}: Reelmill, CPU ms"] = cpu["ours"]
                    ratios[f"{label}: FileResponse, CPU ms"] = cpu["theirs"]
                    print(f"{label}: done", flush=True)
            finally:
                process.terminate()
                process.wait()
    report("Ranges of a stored file", ratios, {"1 MiB: Reelmill / FileResponse, MB/s": "≥ 3"}, wanted.json)


if __name__ == "__main__":
    main()
