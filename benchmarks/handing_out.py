"""What does it cost to hand out a job's results, 20 signed S3 URLs a request, beside boto3's `generate_presigned_url`?

In turn, each round, over kept connections from four threads: `GET /jobs/{id}/status` of a real `reelmill serve`, with
key, rate limit and log line; and an endpoint of FastAPI that reads the same job from the same database by the same
code, signs the same 20 downloads by boto3's client, which is made once, and replies by the same model: no key, no log.
The same endpoint without signing says what is left of a request then. CPU seconds are those of the servers.

Before, both without a server: the handler alone, from the id to the JSON of the reply. A request over HTTP costs the
same whoever signs, so it hides what signing costs.

    python benchmarks/handing_out.py [--pairs N] [--json FILE]
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
from common import ROOT, Ratios, options, report

sys.path.insert(0, str(ROOT / "tests"))
from media_sources import make_source
from running import Server, free_port
from servers import Seaweed, start_seaweed

REQUESTS, THREADS, CLIPS = 200, 4, 20
WARM_UP = 40
BOTO3_S = """
import sys
import boto3, uvicorn
from botocore.config import Config
from fastapi import FastAPI
from reelmill.schemas import JobStatus
from reelmill.stores.sql import open_store
port, database, bucket, prefix, endpoint, region = sys.argv[1:]
api, store = FastAPI(), open_store(database)
client = boto3.client("s3", endpoint_url=endpoint, region_name=region,
                      config=Config(signature_version="s3v4", s3={"addressing_style": "path"}))

def signed(artifact):
    params = {"Bucket": bucket, "Key": prefix + artifact.key, "ResponseContentType": artifact.content_type}
    return client.generate_presigned_url("get_object", Params=params, ExpiresIn=3600)

@api.get("/jobs/{job_id}/status")
def status(job_id: str, sign: bool = True) -> JobStatus:
    job = store.job(job_id, "default")
    same = "video_id pipeline stage progress_pct message run created_at queued_at started_at completed_at"
    return JobStatus(
        **{name: getattr(job, name) for name in same.split()}, job_id=job.id, status=job.status.value,
        queue_position=None, warnings=list(job.warnings), error=None, results_removed_at=None,
        download_urls=[signed(one) if sign else one.key for one in store.outputs(job.id)],
    )

uvicorn.run(api, host="127.0.0.1", port=int(port), log_level="warning", access_log=False)
"""
ALONE = (
    BOTO3_S.rpartition("uvicorn.run")[0]
    + """
import json, time
from types import SimpleNamespace
from reelmill.api.jobs import status_of
from reelmill.jobs.files import Files
from reelmill.jobs.service import Policy, Service
from reelmill.objects.s3 import S3Store
from reelmill.objects.s3_place import read_place

job_id, rounds, place = port.split(",", 2)
files = Files(S3Store(read_place(place)), None, backoff_s=1)
service = Service(store=store, files=files, planner=None, admission=None, probe=None, policy=Policy())
app = SimpleNamespace(store=store, service=service)

def ours():
    return status_of(app, store.job(job_id, "default")).model_dump_json()

def theirs():
    return status(job_id).model_dump_json()

def ms(build, count=100):
    began = time.process_time()
    for _ in range(count):
        build()
    return (time.process_time() - began) / count * 1000

ms(ours), ms(theirs)
for _ in range(int(rounds)):
    print(json.dumps([ms(ours), ms(theirs)]), flush=True)
"""
)


def cost(pid: int, port: int, path: str, key: str | None, count: int = REQUESTS) -> float:
    """Return the CPU milliseconds of the server for one of so many requests."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}

    def work(_: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        for _ in range(count // THREADS):
            connection.request("GET", path, headers=headers)
            reply = connection.getresponse()
            told = reply.read()
            assert reply.status == 200, told
        connection.close()

    def cpu() -> float:
        used = psutil.Process(pid).cpu_times()
        return used.user + used.system

    before = cpu()
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(work, range(THREADS)))
    return (cpu() - before) / count * 1000


def shown(port: int, path: str, key: str | None = None) -> dict[str, Any]:
    """Return one reply, its URLs without what the moment of signing put in."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path, headers={"Authorization": f"Bearer {key}"} if key else {})
    reply: dict[str, Any] = json.loads(connection.getresponse().read())
    connection.close()
    reply["download_urls"] = [url.partition("?")[0] for url in reply["download_urls"]]
    return reply


def serve(server: Server, store: Seaweed, bucket: str) -> tuple[subprocess.Popen[bytes], int]:
    """Start the endpoint with boto3 beside a server; return it and its port."""
    port = free_port()
    database = f"sqlite:///{server.data / 'reelmill.db'}"
    words = [str(port), database, bucket, "films/", store.endpoint(), store.region]
    process = subprocess.Popen([sys.executable, "-c", BOTO3_S, *words])
    while True:
        try:
            http.client.HTTPConnection("127.0.0.1", port, timeout=60).connect()
            return process, port
        except ConnectionError:
            assert process.poll() is None, "it ended at once"
            time.sleep(0.05)


def alone(server: Server, store: Seaweed, bucket: str, job: str, rounds: int) -> Ratios:
    """Return what the handler costs without a server, in CPU milliseconds, each way in turn."""
    database = f"sqlite:///{server.data / 'reelmill.db'}"
    asked = f"{job},{rounds},{store.url(bucket, 'films')}"
    words = [asked, database, bucket, "films/", store.endpoint(), store.region]
    told = subprocess.run([sys.executable, "-c", ALONE, *words], check=True, capture_output=True, text=True).stdout
    both = [json.loads(line) for line in told.splitlines()]
    return {
        "handler with boto3 / Reelmill's handler": [theirs / ours for ours, theirs in both],
        "Reelmill's handler, CPU ms": [ours for ours, _ in both],
        "handler with boto3, CPU ms": [theirs for _, theirs in both],
    }


def main() -> None:
    wanted = options(__doc__)
    null, ratio = "boto3's / boto3's (null)", "boto3's / Reelmill"
    named = {"ours": "Reelmill, CPU ms", "boto3's": "boto3's, CPU ms", "unsigned": "the same, nothing signed, CPU ms"}
    ratios: Ratios = {ratio: [], null: [], **{name: [] for name in named.values()}}
    store = start_seaweed()
    os.environ.update(store.environment())
    try:
        with tempfile.TemporaryDirectory() as name:
            film = make_source(Path(name) / "film.mp4", seconds=CLIPS / 2, width=320, height=180)
            bucket = store.create()
            settings = {"storage_url": store.url(bucket, "films"), "rate_limit": 1_000_000, "workers": 1, "poll_s": 600}
            with Server(Path(name) / "data", **settings) as server:
                job = server.upload(film, pipeline="clips", params={"cutting": {"duration_s": 0.5}})["job_id"]
                server.wait(job)
                assert server.process is not None
                ratios |= alone(server, store, bucket, job, 4 * wanted.pairs)
                print("handler alone: done", flush=True)
                theirs, port = serve(server, store, bucket)
                path = f"/jobs/{job}/status"
                ours = server.process.pid, server.port, f"/api/v1{path}", server.key
                bare = theirs.pid, port, path, None
                sides = {"ours": ours, "boto3's": bare, "unsigned": (theirs.pid, port, f"{path}?sign=false", None)}
                try:
                    mine, other = shown(*ours[1:]), shown(*bare[1:])
                    assert len(mine["download_urls"]) == CLIPS, mine
                    assert mine == other, f"the replies differ: {mine} {other}"
                    for side in sides.values():
                        cost(*side, WARM_UP)
                    for number in range(wanted.pairs):
                        # Each goes first in some of the rounds.
                        order = [*sides][number % 3 :] + [*sides][: number % 3]
                        took = {side: cost(*sides[side]) for side in order}
                        ratios[ratio].append(took["boto3's"] / took["ours"])
                        ratios[null].append(cost(*bare) / took["boto3's"])
                        for side, ms in took.items():
                            ratios[named[side]].append(ms)
                        told = ", ".join(f"{side} {took[side]:.2f} ms" for side in sides)
                        print(f"{number + 1}: {told}", flush=True)
                finally:
                    theirs.terminate()
                    theirs.wait()
    finally:
        store.stop()
    bounds = {"handler with boto3 / Reelmill's handler": "≥ 8", ratio: "≥ 8", null: "1"}
    report(f"A job's status with {CLIPS} signed URLs: CPU of the server", ratios, bounds, wanted.json)


if __name__ == "__main__":
    main()
