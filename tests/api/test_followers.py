"""`then` and `reuse` as a client sees them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Client

QUICK = {"steps": 1, "seconds": 0}
NEXT = {"pipeline": "slow_writer", "params": QUICK}


def followed(client: Client, job_id: str) -> list[dict[str, Any]]:
    """Wait until nothing of a job's `then` waits any more."""
    deadline = time.monotonic() + 60
    while True:
        then: list[dict[str, Any]] = client.call("GET", f"/jobs/{job_id}")["then"]
        if all(one["status"] != "waiting" for one in then):
            return then
        assert time.monotonic() < deadline, then
        time.sleep(0.02)


@pytest.mark.req("A-02")
def test_a_job_without_a_film_is_followed_on_its_own_video(client: Client, video_id: str) -> None:
    first = client.run(video_id, "slow_writer", QUICK, then=[{**NEXT, "reuse": False, "then": [NEXT]}])
    (entry,) = followed(client, first)
    assert (entry["status"], entry["why"], entry["reuse"]) == ("started", None, False)
    assert entry["job_ids"] == [entry["job_id"]]
    second = client.wait(entry["job_id"])
    assert (second["video_id"], second["status"]) == (video_id, "completed")
    told = client.call("GET", f"/jobs/{entry['job_id']}")
    assert (told["follows"], told["reuse"]) == (first, False)
    (third,) = followed(client, entry["job_id"])
    assert client.wait(third["job_id"])["status"] == "completed"
    assert client.call("GET", f"/jobs/{third['job_id']}")["then"] == []


@pytest.mark.req("A-02")
def test_a_job_that_fails_is_not_followed_and_says_why(client: Client, video_id: str) -> None:
    first = client.run(video_id, "slow_writer", {**QUICK, "steps": 2, "same_name": True}, then=[NEXT])
    assert client.wait(first)["status"] == "failed"
    (entry,) = client.call("GET", f"/jobs/{first}")["then"]
    assert (entry["status"], entry["job_id"], entry["job_ids"]) == ("not_started", None, [])
    assert "internal_error" in entry["why"]


@pytest.mark.req("D-01")
def test_what_follows_is_announced_with_the_upload(client: Client, film: Path) -> None:
    begun = client.upload(film, pipeline="slow_writer", params=QUICK, then=[NEXT], reuse=False)
    client.wait(begun["job_id"])
    (entry,) = followed(client, begun["job_id"])
    assert client.wait(entry["job_id"])["status"] == "completed"
    assert client.call("GET", f"/jobs/{begun['job_id']}")["reuse"] is False


@pytest.mark.req("D-03")
def test_a_request_that_comes_again_makes_one_chain(client: Client, video_id: str) -> None:
    body = {"video_id": video_id, "pipeline": "slow_writer", "params": QUICK, "then": [NEXT]}
    headers = {"Idempotency-Key": f"chain-{video_id}"}
    ids = {client.call("POST", "/jobs", 201, json=body, headers=headers)["job_id"] for _ in range(2)}
    (job_id,) = ids
    client.wait(job_id)
    (entry,) = followed(client, job_id)
    client.wait(entry["job_id"])
    other = {**body, "then": []}
    assert client.call("POST", "/jobs", 422, json=other, headers=headers)["code"] == "idempotency_mismatch"


@pytest.mark.req("C-01")
@pytest.mark.parametrize(
    ("then", "status", "code"),
    [
        ([{"pipeline": "nothing"}], 404, "pipeline_unknown"),
        ([{"pipeline": "slow_writer", "params": {"steps": -1}}], 422, "params_invalid"),
        ([{**NEXT, "after": "noon"}], 422, "request_invalid"),
        ([NEXT] * 17, 422, "request_invalid"),
        ([{**NEXT, "then": [NEXT] * 8}] * 2, 422, "params_invalid"),
        ("slow_writer", 422, "request_invalid"),
    ],
)
@pytest.mark.parametrize("query", ["", "?dry_run=true"])
def test_what_cannot_follow_is_refused_at_once(
    client: Client, video_id: str, then: Any, status: int, code: str, query: str
) -> None:
    before = client.call("GET", "/jobs")["items"]
    body = {"video_id": video_id, "pipeline": "slow_writer", "params": QUICK, "then": then}
    assert client.call("POST", f"/jobs{query}", status, json=body)["code"] == code
    assert client.call("GET", "/jobs")["items"] == before


@pytest.mark.req("C-01")
@pytest.mark.parametrize("depth", [5, 100, 1_000, 10_000])
def test_an_endless_nesting_is_refused(client: Client, video_id: str, depth: int) -> None:
    nested = '{"pipeline": "slow_writer", "then": [' * depth + "]}" * depth
    body = f'{{"video_id": "{video_id}", "pipeline": "slow_writer", "params": {{}}, "then": [{nested}]}}'
    reply = client.post("/api/v1/jobs", content=body, headers={"Content-Type": "application/json"})
    assert (reply.status_code, reply.json()["code"]) in ((422, "params_invalid"), (422, "request_invalid"))


@pytest.mark.req("D-01")
def test_an_upload_without_a_job_has_nothing_that_could_follow(client: Client, film: Path) -> None:
    about = {"filename": "a.mp4", "size": film.stat().st_size, "content_type": "video/mp4", "then": [NEXT]}
    assert client.call("POST", "/uploads/initiate", 422, json=about)["code"] == "request_invalid"
