"""The same POST twice: one effect, one reply."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import pytest
import sqlalchemy as sa

from reelmill.stores.schema import requests

if TYPE_CHECKING:
    from conftest import Client, Running

ABOUT = {"filename": "a.mp4", "size": 100, "content_type": "video/mp4"}


def key() -> dict[str, str]:
    return {"Idempotency-Key": str(uuid.uuid4())}


def test_a_repeated_initiate_gets_the_first_reply_and_makes_no_second_video(client: Client) -> None:
    headers = key()
    first = client.post("/api/v1/uploads/initiate", json=ABOUT, headers=headers)
    second = client.post("/api/v1/uploads/initiate", json=ABOUT, headers=headers)
    assert (first.status_code, second.status_code) == (201, 201)
    assert {**first.json(), "upload": None} == {**second.json(), "upload": None}
    assert second.headers["Idempotent-Replayed"] == "true" and "Idempotent-Replayed" not in first.headers
    assert second.headers["content-type"] == first.headers["content-type"]
    newest = client.call("GET", "/videos", params={"limit": 2})["items"]
    assert [one["id"] for one in newest].count(first.json()["video_id"]) == 1
    assert newest[0]["id"] == first.json()["video_id"]


def test_a_replayed_initiate_signs_afresh_for_no_signed_url_is_stored(
    client: Client, server: Running, film: Path
) -> None:
    headers = key()
    about = {"filename": film.name, "size": film.stat().st_size, "content_type": "video/mp4"}
    first = client.call("POST", "/uploads/initiate", 201, json=about, headers=headers)
    with server.app.store.engine.connect() as connection:
        stored = connection.execute(sa.select(requests).where(requests.c.key == headers["Idempotency-Key"])).one()
        assert "signature" not in str(connection.execute(sa.select(requests)).all())
    assert stored.body == first["video_id"]
    again = client.call("POST", "/uploads/initiate", 201, json=about, headers=headers)
    assert again["upload"]["method"] == "PUT" and "signature=" in again["upload"]["url"]
    assert client.put(again["upload"], film.read_bytes()).status_code == 200
    client.call("POST", "/uploads/complete", json={"video_id": first["video_id"]})
    ended = client.call("POST", "/uploads/initiate", 409, json=about, headers=headers)
    assert ended["code"] == "transition_refused" and first["video_id"] in ended["detail"]


def test_a_replay_signs_parts_and_operations_afresh(client: Client, server: Running, film: Path) -> None:
    about = {"filename": film.name, "size": film.stat().st_size, "content_type": "video/mp4", "multipart": True}
    headers = key()
    begun, again = (client.call("POST", "/uploads/initiate", 201, json=about, headers=headers) for _ in range(2))
    assert begun == again and begun["upload"]["part_count"] == 1
    parts, headers = f"/uploads/{begun['video_id']}/parts", key()
    for _ in range(2):
        (part,) = client.call("POST", parts, json={"parts": [{"number": 1}]}, headers=headers)["parts"]
        assert client.put(part, film.read_bytes()).status_code == 200
    with server.app.store.engine.connect() as connection:
        assert "signature" not in str(connection.execute(sa.select(requests)).all())


def test_another_body_under_the_same_key_is_refused(client: Client) -> None:
    headers = key()
    client.call("POST", "/uploads/initiate", 201, json=ABOUT, headers=headers)
    told = client.call("POST", "/uploads/initiate", 422, json={**ABOUT, "size": 101}, headers=headers)
    assert told["code"] == "idempotency_mismatch"


def test_a_dry_run_is_another_request_than_the_job(client: Client, video_id: str) -> None:
    headers, body = key(), {"video_id": video_id, "pipeline": "slow_writer", "params": {"steps": 1, "seconds": 0}}
    client.call("POST", "/jobs", json=body, params={"dry_run": "true"}, headers=headers)
    assert client.call("POST", "/jobs", 422, json=body, headers=headers)["code"] == "idempotency_mismatch"


def test_the_key_belongs_to_its_path_and_tenant(client: Client, connect: Callable[..., Client]) -> None:
    headers = key()
    client.call("POST", "/uploads/initiate", 201, json=ABOUT, headers=headers)
    told = client.call("POST", "/uploads/complete", 404, json={"video_id": str(uuid.uuid4())}, headers=headers)
    assert told["code"] == "not_found"
    reply = connect("admin", tenant="idempotent").post("/api/v1/uploads/initiate", json=ABOUT, headers=headers)
    assert reply.status_code == 201 and "Idempotent-Replayed" not in reply.headers


def test_refusals_are_replayed_too(client: Client, film: Path) -> None:
    headers = key()
    begun = client.initiate(film)
    body = {"video_id": begun["video_id"]}
    first = client.post("/api/v1/uploads/complete", json=body, headers=headers)
    client.put(begun["upload"], film.read_bytes())
    second = client.post("/api/v1/uploads/complete", json=body, headers=headers)
    assert (first.status_code, first.content) == (second.status_code, second.content)
    assert second.headers["content-type"] == "application/problem+json"
    client.call("POST", "/uploads/complete", json=body, headers=key())


@pytest.mark.req("D-03")
def test_the_same_request_ten_times_at_once_makes_one_job(client: Client, video_id: str) -> None:
    headers, body = key(), {"video_id": video_id, "pipeline": "slow_writer", "params": {"steps": 1, "seconds": 0}}

    def send(_: int) -> httpx2.Response:
        return client.post("/api/v1/jobs", json=body, headers=headers)

    with ThreadPoolExecutor(10) as pool:
        replies = list(pool.map(send, range(10)))
    made = [reply for reply in replies if reply.status_code == 201]
    assert made and {reply.json()["job_id"] for reply in made} == {made[0].json()["job_id"]}
    for reply in replies:
        if reply.status_code != 201:
            assert (reply.status_code, reply.json()["code"]) == (409, "idempotency_in_progress")
            assert reply.headers["retry-after"] == "1"
    assert sum("Idempotent-Replayed" not in reply.headers for reply in made) == 1
    last = send(0)
    assert last.json()["job_id"] == made[0].json()["job_id"] and last.headers["Idempotent-Replayed"] == "true"


def test_a_new_keys_secret_is_never_replayed(client: Client) -> None:
    headers, body = key(), {"name": "once", "scopes": ["jobs:read"]}
    first = client.call("POST", "/keys", 201, json=body, headers=headers)
    second = client.call("POST", "/keys", 201, json=body, headers=headers)
    assert first["secret"].startswith("rm_") and second["secret"] is None
    assert first["id"] == second["id"]


def test_a_weaker_key_gets_no_replay_of_what_it_may_not_do(client: Client, connect: Callable[..., Client]) -> None:
    headers, body = key(), {"name": "x", "scopes": ["jobs:read"]}
    client.call("POST", "/keys", 201, json=body, headers=headers)
    assert connect("jobs:read").call("POST", "/keys", 403, json=body, headers=headers)["code"] == "scope_missing"


@pytest.mark.parametrize("bad", ["", "a b", "x" * 256, "\u00e9"])
def test_a_bad_key_is_refused(client: Client, bad: str) -> None:
    headers = {b"Idempotency-Key": bad.encode("latin-1")}
    reply = client.post("/api/v1/uploads/initiate", json=ABOUT, headers=headers)  # type: ignore[arg-type]
    assert (reply.status_code, reply.json()["code"]) == (422, "request_invalid")


def test_every_post_takes_the_header(client: Client) -> None:
    for path, item in client.get("/openapi.json").json()["paths"].items():
        if "post" in item and path.startswith("/api/v1"):
            assert "Idempotency-Key" in [one["name"] for one in item["post"]["parameters"]], path
