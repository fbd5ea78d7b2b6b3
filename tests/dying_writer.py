"""A process that makes others of itself, each of which kills itself before a certain write to DynamoDB.

`python dying_writer.py URL`; each line `NAME ARGUMENTS… WRITE` does one act of `ACTS` in a fork of its own, which is
gone by SIGKILL just before its write number WRITE. It answers with `killed` or, when there were fewer writes, `done`.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from making import BROKEN, PROBE, artifact, done, ended, new_job, new_video, opening
from reelmill.jobs.lifecycle import Event, StepEvent, UploadStatus
from reelmill.jobs.model import Claim
from reelmill.jobs.ports import Failure, FreshSecret
from reelmill.stores.dynamo.access import DynamoAccess
from reelmill.stores.dynamo.store import DynamoStore, open_store

LOST = Failure("upload_expired", "The upload wasn't completed in time.")


def held(store: DynamoStore, job_id: str) -> Claim:
    """The claim of worker `w1` on the job's first running step."""
    step = next(step for step in store.steps(job_id) if step.worker_id == "w1")
    job = store.job(job_id)
    return Claim(step=step, job=job, video=store.video(job.video_id), worker_id="w1")


def add_video(store: DynamoStore, video_id: str, job_id: str) -> None:
    video, job = new_video(), new_job(video_id)
    object.__setattr__(video, "id", video_id)
    object.__setattr__(video, "key", f"acme/original/{video_id}")
    object.__setattr__(job, "id", job_id)
    store.add_video(video, job)


def add_job(store: DynamoStore, video_id: str, job_id: str) -> None:
    job = new_job(video_id)
    object.__setattr__(job, "id", job_id)
    store.add_job(job, opening(n=3))


def close(store: DynamoStore, job_id: str, event: str) -> None:
    claim = held(store, job_id)
    store.close(claim, done({"kept": True}, [artifact(claim)]) if event == "finish" else ended(StepEvent(event)))


def apply(store: DynamoStore, job_id: str, event: str) -> None:
    store.apply(job_id, Event(event), failure=BROKEN if event == "fail" else None)


def lose_dead(store: DynamoStore) -> None:
    """Sweep until a lease was lost: who has just come must first see it unchanged for its length."""
    while not store.lose_dead(max_crashes=3):
        time.sleep(0.02)


ACTS: dict[str, Callable[..., Any]] = {
    "add_video": add_video,
    "add_job": add_job,
    "uploaded": lambda store, video_id, job_id: store.uploaded(video_id, PROBE, job_id, opening(n=3)),
    "refused": lambda store, video_id, job_id: store.uploaded(video_id, PROBE, job_id, BROKEN),
    "expire": lambda store, video_id, job_id: store.reject_upload(video_id, job_id, LOST, UploadStatus.EXPIRED),
    "abort": lambda store, video_id: store.abort_upload(video_id),
    "claim": lambda store: store.claim("dying", limit=2, lease_s=0.05),
    "close": close,
    "open_stage": lambda store, job_id: store.open_stage(job_id, run=1, after="text", opening=opening("render", 3)),
    "apply": apply,
    "lose_dead": lose_dead,
    "moved": lambda store, spool: store.moved(store.spooled(spool)[0]),
    "redo": lambda store, spool: store.redo(store.spooled(spool)[0]),
    "set_priority": lambda store, job_id: store.set_priority(job_id, 7),
    "rotate": lambda store, key_id, new_id: DynamoAccess(store.table).rotate_key(
        key_id, FreshSecret(new_id, "rm_n", new_id), 3600
    ),
}


def die(url: str, words: list[str]) -> None:
    """Do the act; be gone before its last word's number of writes. Never returns."""
    name, *arguments, number = words
    store, seen = open_store(url), 0

    def count(**_: Any) -> None:
        nonlocal seen
        seen += 1
        if seen == int(number):
            os.kill(os.getpid(), signal.SIGKILL)

    for operation in ("PutItem", "DeleteItem"):
        store.table._client.meta.events.register(f"before-call.dynamodb.{operation}", count)
    code = 1
    try:
        ACTS[name](store, *arguments)
        code = 0
    finally:
        sys.stderr.flush()
        os._exit(code)


def main(url: str) -> None:
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            die(url, line.split())
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            print("killed", flush=True)
        else:
            print("done" if os.WEXITSTATUS(status) == 0 else "failed", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
