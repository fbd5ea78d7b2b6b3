"""Do 500 uploads at once cost the server anything? They go from the clients straight to the store.

500 films of 1 MiB, a real one whose `free` box (ISO/IEC 14496-12, 8.1.2) is filled with other bytes each time, are
announced to a real `reelmill serve` on SeaweedFS and then sent all at once, each over a connection of its own. CPU is
the server's with its children, from the first byte to the last reply. At the end the store is asked for every size,
and some uploads are completed: they are films.

    python benchmarks/direct_uploads.py [--pairs N] [--json FILE]
"""

from __future__ import annotations

import asyncio
import os
import secrets
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx2
import psutil
from common import ROOT, Ratios, options, report

sys.path.insert(0, str(ROOT / "tests"))
from media_sources import make_source
from running import Server
from servers import Seaweed, start_seaweed

UPLOADS, COMPLETED, SIZE = 500, 5, 1 << 20

Begun = list[dict[str, Any]]


def announced(server: Server, count: int = UPLOADS) -> Begun:
    about = {"filename": "film.mp4", "size": SIZE, "content_type": "video/mp4"}
    return [server.call("POST", "/uploads/initiate", json=about) for _ in range(count)]


async def send(begun: Begun, film: bytes) -> list[float]:
    """PUT them all at once; return the seconds that each took."""
    rest = SIZE - len(film)
    head = film + rest.to_bytes(4) + b"free"
    limits = httpx2.Limits(max_connections=len(begun))

    async def one(http: httpx2.AsyncClient, upload: dict[str, Any]) -> float:
        body = head + secrets.token_bytes(rest - 8)
        began = time.perf_counter()
        reply = await http.put(upload["url"], content=body, headers=upload["headers"])
        assert reply.status_code == 200, reply.text
        return time.perf_counter() - began

    async with httpx2.AsyncClient(limits=limits, timeout=120, trust_env=False) as http:
        return await asyncio.gather(*(one(http, each["upload"]) for each in begun))


def cpu(pid: int) -> float:
    """Return the CPU seconds of a process and its children."""
    process = psutil.Process(pid)
    times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
    return sum(one.user + one.system for one in times)


def check(store: Seaweed, bucket: str, server: Server, begun: Begun) -> None:
    pages = store.client().get_paginator("list_objects_v2").paginate(Bucket=bucket)
    sizes = {entry["Key"].split("/")[-2]: entry["Size"] for page in pages for entry in page.get("Contents", ())}
    assert all(sizes[each["video_id"]] == SIZE for each in begun), "not all of them arrived"
    for each in begun[:COMPLETED]:
        server.call("POST", "/uploads/complete", json={"video_id": each["video_id"]})


def main() -> None:
    wanted = options(__doc__, pairs=2)
    busy, rate = "CPU of the server / wall, during the PUTs", "PUTs a second"
    idle = "the same while nothing happens (null)"
    slowest, memory = "slowest PUT, s", "memory of the server, MiB"
    ratios: Ratios = {busy: [], idle: [], rate: [], slowest: [], memory: []}
    store = start_seaweed()
    os.environ.update(store.environment())
    try:
        with tempfile.TemporaryDirectory() as name:
            film = make_source(Path(name) / "film.mp4", seconds=1, width=160, height=90).read_bytes()
            bucket = store.create()
            with Server(Path(name) / "data", storage_url=store.url(bucket), rate_limit=0) as server:
                assert server.process is not None
                pid = server.process.pid
                for number in range(wanted.pairs):
                    begun = announced(server)
                    before, began = cpu(pid), time.perf_counter()
                    took = asyncio.run(send(begun, film))
                    wall = time.perf_counter() - began
                    ratios[busy].append((cpu(pid) - before) / wall)
                    before, began = cpu(pid), time.perf_counter()
                    time.sleep(wall)
                    ratios[idle].append((cpu(pid) - before) / (time.perf_counter() - began))
                    ratios[rate].append(UPLOADS / wall)
                    ratios[slowest].append(max(took))
                    ratios[memory].append(psutil.Process(pid).memory_info().rss / (1 << 20))
                    told = f"{UPLOADS} PUTs in {wall:.1f} s, median {statistics.median(took):.1f} s"
                    print(f"{number + 1}: {told}, server at {ratios[busy][-1]:.1%} of a core", flush=True)
                    check(store, bucket, server, begun)
    finally:
        store.stop()
    report(f"{UPLOADS} direct uploads of 1 MiB at once", ratios, {busy: "< 0.10"}, wanted.json)


if __name__ == "__main__":
    main()
