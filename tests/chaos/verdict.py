"""Judge a finished run from its database and its bucket alone: `python verdict.py < what-to-judge.json`.

It imports nothing of Reelmill, so no mistake of Reelmill's can hide itself here. It reads every row and every stored
output, and prints one JSON object: counts, and under each name of `WRONG` a list of what is wrong, empty when all is
well.

    database_url   sqlite:////path, postgresql://… or dynamodb://table?region=…&endpoint=…
    storage        {"folder": path} or {"endpoint": url, "bucket": name}
    acknowledged   ids of the jobs that a client was told of
    sample         how many of the made videos are read to their end, by ffprobe
    seed           chooses them
"""

from __future__ import annotations

import hashlib
import json
import random
import sqlite3
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

ENDS = {"job.completed", "job.failed", "job.cancelled"}
WRONG = (
    "lost",  # acknowledged, and not there
    "not_completed",  # there, and not completed
    "not_ended_once",  # without exactly one event of its end
    "made_twice",  # two jobs for one request
    "steps_not_done_once",  # without exactly one attempt that is done, the last
    "events_missing",  # seqs that aren't 1, 2, 3, …
    "doubled",  # two files for one result, or one of an attempt that isn't the one that is done
    "unreferenced",  # stored, and named by nobody
    "unverified",  # named, and not stored with the recorded size and SHA-256
    "without_results",  # completed, and without a file
    "broken",  # a video that can't be read to its end
    "videos_disagree",  # a video that says other than its newest job
    "times_reversed",  # an end before its beginning
)

INDEXED = ("list_at", "turn_at", "watch_at")  # DynamoDB's sort keys: a stamp and more

Row = dict[str, Any]


class Rows:
    """What the database holds, in one shape for all databases."""

    def __init__(self) -> None:
        self.videos: list[Row] = []
        self.jobs: list[Row] = []
        self.steps: list[Row] = []
        self.attempts: list[Row] = []
        self.artifacts: list[Row] = []
        self.events: list[Row] = []


def main() -> None:
    told = json.load(sys.stdin)
    rows = read(told["database_url"])
    files = in_folder(told["storage"]) if "folder" in told["storage"] else in_bucket(told["storage"])
    assert not any(name.split(".")[0] == "reelmill" for name in sys.modules)
    json.dump(judge(rows, files, told), sys.stdout)


# ── The judgement ─────────────────────────────────────────────────────────────────────────────


def judge(rows: Rows, files: Mapping[str, Callable[[], bytes]], told: Mapping[str, Any]) -> dict[str, Any]:
    wrong: dict[str, list[str]] = {name: [] for name in WRONG}
    known = {job["id"] for job in rows.jobs}
    wrong["lost"] = [job_id for job_id in told["acknowledged"] if job_id not in known]
    requests = Counter(job["correlation_id"] for job in rows.jobs)
    wrong["made_twice"] = [f"{request}: {count} jobs" for request, count in requests.items() if count > 1]

    judge_jobs(rows, wrong)
    done = judge_steps(rows, wrong)
    judge_files(rows, files, done, told, wrong)
    judge_times(rows, wrong)
    lasted = [(a["ended_at"] - a["started_at"]).total_seconds() for a in rows.attempts if a["outcome"] == "done"]
    return {
        "jobs": len(rows.jobs),
        "open": sum(not (job.get("completed_at") and job.get("swept_at")) for job in rows.jobs),
        "acknowledged": len(told["acknowledged"]),
        "steps": len(rows.steps),
        "artifacts": len(rows.artifacts),
        "outcomes": Counter(str(attempt["outcome"]) for attempt in rows.attempts),
        "steps_of_2_s": sum(lasts >= 2 for lasts in lasted),
        **wrong,
    }


def judge_jobs(rows: Rows, wrong: dict[str, list[str]]) -> None:
    events = grouped(rows.events, "job_id")
    newest: dict[str, Row] = {}
    for job in rows.jobs:
        mine = sorted(events[job["id"]], key=lambda event: event["seq"])
        if job["status"] != "completed":
            about = f"{job['status']} in {job['stage']}: {job['error_code']} {job['error_detail']}"
            wrong["not_completed"].append(f"{job['id']} is {about}")
        ends = [event["type"] for event in mine if event["type"] in ENDS]
        if len(ends) != 1:
            wrong["not_ended_once"].append(f"{job['id']}: {ends}")
        if [event["seq"] for event in mine] != list(range(1, job["last_seq"] + 1)):
            wrong["events_missing"].append(job["id"])
        if job["video_id"] not in newest or newest[job["video_id"]]["created_at"] < job["created_at"]:
            newest[job["video_id"]] = job
    for video in rows.videos:
        says = video.get("processing_status")
        if says is not None and video["id"] in newest and newest[video["id"]]["status"] != says:
            wrong["videos_disagree"].append(f"{video['id']}: {says}, but {newest[video['id']]['status']}")


def judge_steps(rows: Rows, wrong: dict[str, list[str]]) -> dict[str, int]:
    """Return the attempt in which each step is done."""
    attempts, done = grouped(rows.attempts, "step_id"), {}
    for step in rows.steps:
        mine = sorted(attempts[step["id"]], key=lambda attempt: attempt["attempt"])
        outcomes = [attempt["outcome"] for attempt in mine]
        numbers = [attempt["attempt"] for attempt in mine]
        if outcomes.count("done") != 1 or outcomes[-1] != "done" or numbers != list(range(1, len(mine) + 1)):
            wrong["steps_not_done_once"].append(f"{step['id']} is {step['status']} after {outcomes}")
        else:
            done[step["id"]] = numbers[-1]
    return done


def judge_files(
    rows: Rows,
    files: Mapping[str, Callable[[], bytes]],
    done: Mapping[str, int],
    told: Mapping[str, Any],
    wrong: dict[str, list[str]],
) -> None:
    named = Counter(artifact["key"] for artifact in rows.artifacts)
    results = Counter((artifact["job_id"], artifact["name"]) for artifact in rows.artifacts)
    wrong["doubled"] += [key for key, count in (*named.items(), *results.items()) if count > 1]
    wrong["unreferenced"] = sorted(set(files) - set(named))
    videos = []
    for artifact in rows.artifacts:
        key = artifact["key"]
        if done.get(artifact["step_id"]) != artifact["attempt"]:
            wrong["doubled"].append(f"{key} is of attempt {artifact['attempt']}")
        if key not in files:
            wrong["unverified"].append(f"{key} isn't stored")
            continue
        body = files[key]()
        if len(body) != artifact["size_bytes"] or hashlib.sha256(body).hexdigest() != artifact["sha256"]:
            wrong["unverified"].append(f"{key} is stored with other bytes")
        elif artifact["content_type"].startswith("video/"):
            videos.append(key)
    with_files = {artifact["job_id"] for artifact in rows.artifacts}
    completed = [job["id"] for job in rows.jobs if job["status"] == "completed"]
    wrong["without_results"] = [job_id for job_id in completed if job_id not in with_files]
    dice = random.Random(told["seed"])
    for key in dice.sample(sorted(videos), min(len(videos), told["sample"])):
        if problem := unreadable(files[key]()):
            wrong["broken"].append(f"{key}: {problem}")


def judge_times(rows: Rows, wrong: dict[str, list[str]]) -> None:
    orders = [(job, ("created_at", "queued_at", "started_at", "completed_at")) for job in rows.jobs]
    orders += [(attempt, ("started_at", "ended_at")) for attempt in rows.attempts]
    for row, names in orders:
        stamps = [row[name] for name in names if row.get(name) is not None]
        if stamps != sorted(stamps):
            wrong["times_reversed"].append(f"{row.get('id') or row['step_id']}: {[str(stamp) for stamp in stamps]}")


def unreadable(body: bytes) -> str:
    """Return what ffprobe says against a video; nothing for a good one."""
    with tempfile.NamedTemporaryFile(suffix=".mp4") as file:
        file.write(body)
        file.flush()
        command = ["ffprobe", "-v", "error", "-count_frames", "-show_entries", "stream=codec_type,nb_read_frames"]
        ran = subprocess.run([*command, "-of", "json", file.name], capture_output=True, text=True, timeout=120)
    if ran.returncode or ran.stderr.strip():
        return ran.stderr.strip() or f"ffprobe ended with {ran.returncode}"
    streams = json.loads(ran.stdout)["streams"]
    pictures = [int(one["nb_read_frames"]) for one in streams if one["codec_type"] == "video"]
    return "" if pictures and min(pictures) > 0 else "it has no pictures"


def grouped(rows: Iterable[Row], name: str) -> defaultdict[str, list[Row]]:
    groups: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row[name]].append(row)
    return groups


# ── Storage: outputs by key ───────────────────────────────────────────────────────────────────


def in_folder(storage: Mapping[str, str]) -> dict[str, Callable[[], bytes]]:
    root = Path(storage["folder"])
    found = {str(path.relative_to(root)): path.read_bytes for path in root.rglob("*") if path.is_file()}
    return {key: read for key, read in found.items() if "/outputs/" in key}


def in_bucket(storage: Mapping[str, str]) -> dict[str, Callable[[], bytes]]:
    import boto3

    client = boto3.client("s3", endpoint_url=storage["endpoint"], region_name="us-east-1")
    bucket = storage["bucket"]
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    keys = [one["Key"] for page in pages for one in page.get("Contents", ())]

    def reader(key: str) -> Callable[[], bytes]:
        return lambda: client.get_object(Bucket=bucket, Key=key)["Body"].read()  # type: ignore[no-any-return]

    return {key: reader(key) for key in keys if "/outputs/" in key}


# ── Databases ─────────────────────────────────────────────────────────────────────────────────


def read(url: str) -> Rows:
    if url.startswith("dynamodb:"):
        return read_dynamo(url)
    rows = Rows()
    with connected(url) as query:
        for table in vars(rows):
            setattr(rows, table, [stamped(row) for row in query(f"SELECT * FROM {table}")])
    return rows


@contextmanager
def connected(url: str) -> Iterator[Callable[[str], list[Row]]]:
    if url.startswith("sqlite:"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as file:
            file.row_factory = sqlite3.Row
            yield lambda query: [dict(row) for row in file.execute(query)]
        return
    import psycopg
    from psycopg.rows import dict_row

    with psycopg.connect(url, row_factory=dict_row) as db:
        yield lambda query: db.execute(query).fetchall()


def read_dynamo(url: str) -> Rows:
    """A table as `docs/decisions/0016` tells it: step items carry their last attempt, job items their last events."""
    import boto3

    parts = urlsplit(url)
    place = {name: values[0] for name, values in parse_qs(parts.query).items()}
    client = boto3.client("dynamodb", endpoint_url=place.get("endpoint"), region_name=place["region"])
    pages = client.get_paginator("scan").paginate(TableName=parts.netloc, ConsistentRead=True)
    rows = Rows()
    for page in pages:
        for stored in page["Items"]:
            item = {name: plain(value) for name, value in stored.items() if name not in INDEXED}
            item |= {name: item.pop(f"of_{name.removesuffix('_id')}", None) for name in ("video_id", "job_id")}
            sort_dynamo(rows, item, stored[place.get("hash_key", "pk")]["S"])
    done = {(step["id"], step["attempt"]) for step in rows.steps if step["status"] == "done"}
    rows.artifacts = [one for one in rows.artifacts if (one["step_id"], one["attempt"]) in done]
    return rows


def sort_dynamo(rows: Rows, item: Row, owner: str) -> None:
    kind, _, rest = item["sk"].partition("#")
    row = stamped(item)
    match kind, rest:
        case "video", "":
            rows.videos.append(row)
        case "job", "":
            rows.jobs.append(row)
            told = json.loads(row["outbox"])
            first = row["last_seq"] - len(told) + 1
            rows.events += [{"job_id": owner, "seq": first + i, "type": one["type"]} for i, one in enumerate(told)]
        case "step", _:
            rows.steps.append(row)
            rows.attempts.append(stamped(json.loads(row["history"])))
        case "attempt", _:
            rows.attempts.append(stamped(json.loads(row["history"])))
        case "artifact", _:
            rows.artifacts.append(row)
        case "event", _:
            rows.events.append({"job_id": owner, "seq": int(rest), "type": json.loads(row["data"])["type"]})


def plain(value: Mapping[str, Any]) -> Any:
    ((kind, told),) = value.items()
    if kind == "N":
        return float(told) if "." in told or "e" in told else int(told)
    return told


def stamped(row: Row) -> Row:
    """Return the row with its moments as moments."""
    return {
        name: datetime.fromisoformat(value).astimezone(UTC)
        if name.endswith("_at") and isinstance(value, str)
        else value
        for name, value in row.items()
    }


if __name__ == "__main__":
    main()
