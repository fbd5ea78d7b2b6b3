"""The log of a whole run at its most talkative: who and what on every line, and nothing secret on any."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

import httpx2
import pytest

import servers
from running import Server

if TYPE_CHECKING:
    from conftest import Client

PASSWORD = "pa55-of-the-database"
TOKEN = "a-token-of-prometheus"
CUT = {"cutting": {"duration_s": 1}}


def lines_of(server: Server) -> list[dict[str, Any]]:
    return [json.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{")]


def signatures(*urls: str) -> list[str]:
    """Return what makes signed URLs work, as it is written there and as it is meant."""
    found = []
    for url in urls:
        for name, values in parse_qs(urlsplit(url).query).items():
            if name.lower() in ("x-amz-signature", "signature"):
                found += [*values, *(unquote(one) for one in values)]
    return found


@pytest.mark.req("E-10", "E-11", "E-13")
def test_every_line_of_a_job_names_it_and_none_tells_a_secret(
    client: Client, film: Path, postgres: servers.Postgres, postgres_template: str, seaweed: servers.Seaweed,
    tmp_path: Path,
) -> None:  # fmt: skip
    name = postgres.create(postgres_template)
    database = postgres.url(name).replace("@", f":{PASSWORD}@", 1)
    place = seaweed.url(seaweed.create())
    told = {"database_url": database, "storage_url": place, "metrics_token": TOKEN}
    with Server(tmp_path / "data", log_level="debug", workers=2, **told) as server:
        about = {"headers": {"X-Request-Id": "the-request"}}
        with type(client)(server.url, server.key) as us:
            body = {"filename": film.name, "size": film.stat().st_size, "content_type": "video/mp4"}
            begun = us.call(
                "POST", "/uploads/initiate", 201, json={**body, "pipeline": "clips", "params": CUT}, **about
            )
            assert us.put(begun["upload"], film.read_bytes()).status_code == 200
            us.call("POST", "/uploads/complete", json={"video_id": begun["video_id"]}, **about)
            job = begun["job_id"]
            status = us.wait(job)
            assert status["status"] == "completed"
            broken = us.run(begun["video_id"], "slow_writer", {"steps": 2, "seconds": 0, "same_name": True})
            assert us.wait(broken)["error"]["code"] == "internal_error"
            fresh = us.call("GET", f"/jobs/{job}/status")["download_urls"]
            assert httpx2.get(f"{server.url}/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
        secrets = [server.key, PASSWORD, TOKEN, seaweed.secret_key, (server.data / "secret").read_bytes().hex()]
        secrets += signatures(begun["upload"]["url"], *status["download_urls"], *fresh)
        assert len(secrets) >= 8

    log, lines = server.log.read_text(), lines_of(server)
    for secret in secrets:
        assert secret not in log, f"{secret[:6]}… is in the log"
    assert not re.search(r"X-Amz-Signature=(?!\*\*\*)", log), "nor the signature of any URL that ffmpeg was given"

    of_job = [line for line in lines if line.get("job_id") == job]
    work = [line for line in of_job if line["logger"] in ("reelmill.runner", "reelmill.media", "reelmill.storage")]
    assert {"step started", "step ended", "program started", "program ended", "storage operation"} <= {
        line["event"] for line in work
    }
    for line in work:
        assert {"user_id", "tenant", "correlation_id", "video_id"} <= line.keys(), line
        assert line["correlation_id"] == "the-request", "from the request to ffmpeg"
    assert {line["step"] for line in work if line.get("program") == "ffmpeg"} == {f"{job}:render:0", f"{job}:render:1"}
    ended = [line for line in lines if line["event"].endswith("ended") or line["event"] == "request"]
    assert ended and all("seconds" in line for line in ended), "what ended tells how long it took"
    stored = [line for line in of_job if line.get("operation") == "put_file"]
    assert len(stored) >= 6 and all({"key", "size_bytes", "seconds", "result"} <= line.keys() for line in stored)
    (end,) = [line for line in of_job if line["event"] == "job ended"]
    assert (end["status"], end["level"]) == ("completed", "info") and end["seconds"] > 0

    bad = [line for line in lines if line.get("job_id") == broken]
    (trace,) = [line for line in bad if "exception" in line]
    assert "Traceback" in trace["exception"] and "IntegrityError" in trace["exception"], "the log has the stack trace"
    (end,) = [line for line in bad if line["event"] == "job ended"]
    assert end["level"] == "warning" and "Traceback" not in end["detail"], "who waits gets a plain cause"
