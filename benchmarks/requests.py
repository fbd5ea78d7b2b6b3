"""What do API requests cost beside a bare FastAPI endpoint, and how long does the first complete of an upload take?

In turn, each round, over kept connections from four threads: `uploads/initiate`, and a repeated `uploads/complete`, of
a real `reelmill serve`; and an endpoint that checks the same body by the same model and inserts the same row, by
sqlite3 itself, into the same table with the same durability, and nothing else: no key, no signature, no log.
CPU seconds are those of the servers.
Then first completes of a real film on local storage, one after the other: upload verified, probed, job queued.

    python benchmarks/requests.py [--pairs N] [--json FILE]
"""

from __future__ import annotations

import contextlib
import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
from common import ROOT, SAMPLE, Ratios, options, report

sys.path.insert(0, str(ROOT / "tests"))
from running import Server, free_port

REQUESTS, THREADS, COMPLETES = 800, 4, 40
WARM_UP = 100
BARE = """
import json, sqlite3, sys, threading, uuid
import sqlalchemy
import uvicorn
from fastapi import FastAPI
from reelmill.schemas import InitiateRequest
from reelmill.stores.schema import videos
api, here = FastAPI(), threading.local()
videos.create(sqlalchemy.create_engine("sqlite:///" + sys.argv[2]))
INSERT = (
    "INSERT INTO videos (id, tenant, user_id, filename, content_type, size_bytes, key, labels, upload_status, "
    "processing_status, created_at, upload_expires_at) VALUES (?, 'default', 'owner', ?, ?, ?, ?, ?, 'awaiting', "
    "'pending', strftime('%Y-%m-%dT%H:%M:%fZ','now'), strftime('%Y-%m-%dT%H:%M:%fZ','now','+86400 seconds'))"
)

def database():
    if not hasattr(here, "db"):
        here.db = sqlite3.connect(sys.argv[2], isolation_level=None, timeout=30)
        for pragma in ("journal_mode=WAL", "synchronous=FULL"):
            here.db.execute(f"PRAGMA {pragma}")
    return here.db

database()  # WAL is switched on before several threads do it at once

@api.post("/initiate", status_code=201)
def initiate(wanted: InitiateRequest) -> dict[str, str]:
    made = str(uuid.uuid4())
    key = f"default/original/{made}"
    row = (made, wanted.filename, wanted.content_type, wanted.size, key, json.dumps(wanted.labels))
    database().execute(INSERT, row)
    return {"video_id": made}

uvicorn.run(api, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False)
"""

Send = Callable[[http.client.HTTPConnection, int], None]


def sender(path: str, body: dict[str, Any], key: str | None, expect: int) -> Send:
    """Return what sends the same request again and again over a kept connection."""
    content = json.dumps(body).encode()
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})

    def send(connection: http.client.HTTPConnection, count: int) -> None:
        for _ in range(count):
            connection.request("POST", path, content, headers)
            reply = connection.getresponse()
            told = reply.read()
            assert reply.status == expect, told

    return send


def cost(port: int, pid: int, send: Send, count: int = REQUESTS) -> tuple[float, float]:
    """Return (CPU seconds of the server, wall seconds) for so many requests."""

    def work(_: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        send(connection, count // THREADS)
        connection.close()

    def cpu() -> float:
        used = psutil.Process(pid).cpu_times()
        return used.user + used.system

    before, began = cpu(), time.perf_counter()
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(work, range(THREADS)))
    return cpu() - before, time.perf_counter() - began


def first_completes(server: Server, film: Path) -> list[float]:
    """Return the seconds that each took."""
    took = []
    for _ in range(COMPLETES):
        about = {"filename": film.name, "size": film.stat().st_size, "content_type": "video/mp4"}
        begun = server.call("POST", "/uploads/initiate", json=about)
        server.client.request(
            "PUT", begun["upload"]["url"], content=film.read_bytes(), headers=begun["upload"]["headers"]
        ).raise_for_status()
        began = time.perf_counter()
        server.call("POST", "/uploads/complete", json={"video_id": begun["video_id"]})
        took.append(time.perf_counter() - began)
    return took


@contextlib.contextmanager
def ending(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        process.terminate()


def main() -> None:
    wanted = options(__doc__)
    about = {"filename": "film.mp4", "size": 48211034, "content_type": "video/mp4", "labels": {"camera": "door"}}
    ratios: Ratios = {}
    bounds = {}
    with tempfile.TemporaryDirectory() as name:
        port = free_port()
        script = [sys.executable, "-c", BARE, str(port), f"{name}/bare.db"]
        with (
            subprocess.Popen(script) as bare,
            ending(bare),
            Server(Path(name) / "data", workers=1, log_level="info", rate_limit=0) as server,
        ):
            done = server.upload(SAMPLE)
            kept = {
                "initiate": sender("/api/v1/uploads/initiate", about, server.key, 201),
                "repeated complete": sender(
                    "/api/v1/uploads/complete", {"video_id": done["video_id"]}, server.key, 200
                ),
            }
            plain = sender("/initiate", about, None, 201)
            ours = server.port, server.process.pid
            while True:
                try:
                    cost(port, bare.pid, plain, WARM_UP)
                    break
                except ConnectionError:
                    time.sleep(0.1)
            for what, send in kept.items():
                cost(*ours, send, WARM_UP)
                named = {side: f"bare / {what}, {side}" for side in ("wall", "CPU")}
                null = f"bare / bare, wall, beside {what} (null)"
                bounds[named["wall"]] = "≥ 0.5"
                for number in range(wanted.pairs):
                    a, b, c = cost(*ours, send), cost(port, bare.pid, plain), cost(port, bare.pid, plain)
                    ratios.setdefault(named["wall"], []).append(b[1] / a[1])
                    ratios.setdefault(named["CPU"], []).append(b[0] / a[0])
                    ratios.setdefault(null, []).append(c[1] / b[1])
                    rates = ", ".join(f"{REQUESTS / wall:.0f}/s" for _, wall in (a, b, c))
                    print(f"{what} {number + 1}: ours, bare, bare: {rates}", flush=True)
            took = sorted(first_completes(server, SAMPLE))
    ratios["first complete, median, ms"] = [statistics.median(took) * 1000]
    ratios["first complete, p95, ms"] = [took[int(len(took) * 0.95)] * 1000]
    bounds["first complete, p95, ms"] = "≤ 300"
    report(f"Requests: {THREADS} connections, {REQUESTS} requests a round", ratios, bounds, wanted.json)


if __name__ == "__main__":
    main()
