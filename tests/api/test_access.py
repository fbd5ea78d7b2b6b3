"""Who may do what, for every operation of the OpenAPI document; and signing in by the one-time link."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from reelmill.api.access import SCOPES, SignIn, make_key

if TYPE_CHECKING:
    from conftest import Client, Running

Connect = Callable[..., "Client"]
NOWHERE = "00000000-0000-4000-8000-000000000000"
Operation = tuple[str, str, dict[str, Any]]


def operations(client: Client) -> Iterator[Operation]:
    """Yield (METHOD, path template, operation) of everything below /api/v1."""
    for path, item in client.get("/openapi.json").json()["paths"].items():
        if path.startswith("/api/v1"):
            for method, operation in item.items():
                yield method.upper(), path, operation


def send(client: Client, method: str, path: str, thing: str = NOWHERE) -> httpx2.Response:
    """Call an operation about `thing`, with a body that is good as far as it goes."""
    bodies: dict[str, dict[str, Any]] = {
        "/api/v1/uploads/initiate": {"filename": "a.mp4", "size": 1, "content_type": "video/mp4"},
        "/api/v1/uploads/complete": {"video_id": thing},
        "/api/v1/videos/analyze-duration": {"video_id": thing},
        "/api/v1/jobs": {"video_id": thing, "pipeline": "slow_writer", "params": {"steps": 1, "seconds": 0}},
        "/api/v1/keys": {"name": "made by the matrix", "scopes": ["jobs:read"]},
        "/api/v1/uploads/{video_id}/parts": {"parts": [{"number": 1}]},
        "/api/v1/uploads/{video_id}/sign": {"method": "PUT"},
    }
    body = bodies.get(path) if method == "POST" else None
    return client.request(method, re.sub(r"\{\w+\}", thing, path), json=body)


def test_the_document_names_a_scope_for_every_operation(client: Client) -> None:
    found = list(operations(client))
    assert len(found) >= 18
    for method, path, operation in found:
        assert operation["x-scope"] in SCOPES, (method, path)
        assert operation["security"] == [{"bearer": [operation["x-scope"]]}, {"header": [operation["x-scope"]]}]


def test_without_a_key_nothing_answers(client: Client, connect: Connect) -> None:
    nobody = connect()
    for method, path, _ in operations(client):
        reply = send(nobody, method, path)
        assert (reply.status_code, reply.json()["code"]) == (401, "key_missing"), (method, path)
        assert reply.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("wrong", ["rm_wrong", "Bearer", "\u00e9", "' OR 1=1 --", "x" * 5000])
def test_a_wrong_key_opens_nothing(client: Client, connect: Connect, wrong: str) -> None:
    stranger = connect()
    stranger.headers = httpx2.Headers({"X-API-Key": wrong.encode()})  # type: ignore[dict-item]
    for method, path, _ in operations(client):
        reply = send(stranger, method, path)
        assert (reply.status_code, reply.json()["code"]) == (401, "key_invalid"), (method, path)


def test_a_revoked_key_stops_at_once(client: Client, connect: Connect) -> None:
    made = client.call("POST", "/keys", 201, json={"name": "short-lived", "scopes": ["admin"]})
    there = connect(key=made["secret"])
    assert there.get("/api/v1/jobs").status_code == 200
    revoked = client.call("DELETE", f"/keys/{made['id']}")
    assert revoked["revoked_at"] and client.call("DELETE", f"/keys/{made['id']}") == revoked
    for method, path, _ in operations(client):
        reply = send(there, method, path)
        assert (reply.status_code, reply.json()["code"]) == (401, "key_invalid"), (method, path)


def test_each_scope_opens_its_operations_and_no_other(client: Client, connect: Connect) -> None:
    for scope in ("upload", "jobs:read", "jobs:write"):
        there = connect(scope)
        for method, path, operation in operations(client):
            reply = send(there, method, path)
            refused = reply.status_code == 403 and reply.json()["code"] == "scope_missing"
            assert refused == (operation["x-scope"] != scope), (scope, method, path, reply.text)
            assert reply.status_code < 500
    boss = connect("admin")
    for method, path, _ in operations(client):
        assert send(boss, method, path).status_code not in (401, 403), (method, path)


def test_anothers_id_is_an_unknown_id_to_the_byte(client: Client, connect: Connect, video_id: str) -> None:
    job_id = client.run(video_id, "slow_writer", {"steps": 1, "seconds": 0})
    client.wait(job_id)
    key_id = client.call("GET", "/keys")["items"][0]["id"]
    other = connect("admin", tenant="other")
    same = {"X-Request-Id": "same"}
    other.headers.update(same)
    looked = 0
    for method, path, _ in operations(client):
        real = key_id if "key_id" in path else job_id if "job_id" in path else video_id
        if "{" not in path and path in ("/api/v1/keys", "/api/v1/uploads/initiate", "/api/v1/pipelines"):
            continue
        unknown = str(uuid.uuid4())
        foreign_reply, unknown_reply = send(other, method, path, real), send(other, method, path, unknown)
        if method == "GET" and "{" not in path:
            assert foreign_reply.json() == {"items": [], "next_cursor": None}
            continue
        looked += 1
        assert (foreign_reply.status_code, foreign_reply.json()["code"]) == (404, "not_found"), (method, path)
        assert foreign_reply.content.replace(real.encode(), b"ID") == unknown_reply.content.replace(
            unknown.encode(), b"ID"
        ), (method, path)
        ignored = {"date"}
        assert {k: v for k, v in foreign_reply.headers.items() if k not in ignored} == {
            k: v for k, v in unknown_reply.headers.items() if k not in ignored
        }
    assert looked >= 12
    assert client.call("GET", f"/jobs/{job_id}")["status"] == "completed"
    assert other.call("GET", "/keys")["items"][0]["id"] != key_id


@pytest.mark.parametrize("odd", ["x", "%00", "..%2f..%2fetc", "a" * 3000, "%F0%9F%8E%AC", "'%20OR%201=1"])
def test_an_id_that_no_server_makes_is_just_unknown(client: Client, odd: str) -> None:
    for path in (
        f"/api/v1/jobs/{odd}",
        f"/api/v1/videos/{odd}",
        f"/api/v1/uploads/{odd}",
        f"/api/v1/jobs/{odd}/events",
    ):
        reply = client.get(path)
        assert (reply.status_code, reply.json()["code"]) == (404, "not_found"), path


def test_who_made_it_is_the_keys_subject(client: Client, connect: Connect, video_id: str) -> None:
    body = {"name": "shop", "scopes": ["jobs:write", "jobs:read"], "subject": "customer-17"}
    made = client.call("POST", "/keys", 201, json=body)
    there = connect(key=made["secret"])
    job_id = there.run(video_id, "slow_writer", {"steps": 1, "seconds": 0})
    assert there.call("GET", f"/jobs/{job_id}")["user_id"] == "customer-17"


def test_a_secret_is_shown_once_and_kept_as_a_hash(client: Client, server: Running) -> None:
    made = client.call("POST", "/keys", 201, json={"name": "web", "scopes": ["upload"]})
    assert re.fullmatch(r"rm_[A-Za-z0-9_-]{43}", made["secret"])
    assert made["secret"].startswith(made["prefix"])
    assert made["secret"] not in client.get("/api/v1/keys").text
    for file in server.app.settings.data.glob("reelmill.db*"):
        assert made["secret"].encode() not in file.read_bytes()


@pytest.mark.parametrize(
    "body",
    [
        {"name": "x", "scopes": []},
        {"name": "x", "scopes": ["root"]},
        {"name": "x", "scopes": ["upload", "upload"]},
        {"name": "", "scopes": ["upload"]},
        {"name": "x", "scopes": ["upload"], "tenant": "other"},
    ],
)
def test_keys_are_asked_for_properly(client: Client, body: dict[str, Any]) -> None:
    assert client.call("POST", "/keys", 422, json=body)["code"] == "request_invalid"


# ── sign-in ───────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def signed_in(server: Running, connect: Connect) -> Client:
    """A browser that has used a one-time link."""
    browser = connect()
    reply = browser.get(str(server.restarted().link))
    assert (reply.status_code, reply.headers["location"]) == (303, "/docs")
    cookie = reply.headers["set-cookie"]
    assert "HttpOnly" in cookie and "samesite=strict" in cookie.lower() and "Max-Age=604800" in cookie
    assert "secure" not in cookie.lower(), "over plain HTTP on loopback"
    return browser


def test_the_sign_in_link_works_once(server: Running, connect: Connect) -> None:
    signin = server.restarted()
    link = str(signin.link)
    assert connect().get("/signin?token=guess").json()["code"] == "key_invalid"
    assert connect().get(link).status_code == 303
    second = connect().get(link)
    assert (second.status_code, second.json()["code"]) == (401, "key_invalid")
    assert "set-cookie" not in second.headers and signin.link is None


def test_a_signed_in_browser_reads_and_changes_from_its_own_pages_only(
    signed_in: Client, server: Running, video_id: str
) -> None:
    assert signed_in.get("/api/v1/jobs").status_code == 200
    body = {"video_id": video_id, "pipeline": "slow_writer", "params": {"steps": 1, "seconds": 0}}

    def post(**headers: str) -> httpx2.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return signed_in.post("/api/v1/jobs", json=body, headers=named)

    assert post(Origin=server.url).status_code == 201
    assert post(Sec_Fetch_Site="same-origin").status_code == 201
    for bad in (
        {},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": server.url + ".evil.example"},
        {"Origin": server.url.replace("http:", "https:")},
        {"Sec_Fetch_Site": "same-site"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Origin": "https://evil.example", "Sec_Fetch_Site": "same-origin"},
    ):
        reply = post(**bad)
        assert (reply.status_code, reply.json()["code"]) == (403, "origin_refused"), bad


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value[:-1] + ("0" if value[-1] != "0" else "1"),
        lambda value: "9" + value,
        lambda value: value.rpartition(".")[0],
        lambda value: "",
        lambda value: ".",
        lambda value: "x.y.z",
    ],
)
def test_a_changed_cookie_is_worth_nothing(signed_in: Client, connect: Connect, change: Callable[[str], str]) -> None:
    ((name, value),) = signed_in.cookies.items()
    thief = connect()
    thief.cookies.set(name, change(value))
    reply = thief.get("/api/v1/jobs")
    assert (reply.status_code, reply.json()["code"]) == (401, "key_invalid")


def test_the_browser_stays_signed_in_over_a_restart(signed_in: Client, server: Running) -> None:
    server.restarted()
    assert signed_in.get("/api/v1/jobs").status_code == 200
    server.restarted(b"another data folder's secret")
    assert signed_in.get("/api/v1/jobs").status_code == 401


def test_a_cookie_outlives_a_restart_but_not_its_week() -> None:
    secret = b"s" * 32
    first = SignIn(secret)
    assert first.link is not None
    cookie = first.redeem(first.link.partition("=")[2])
    assert SignIn(secret).accepts(cookie) and SignIn(secret).cookie == first.cookie
    assert not SignIn(b"t" * 32).accepts(cookie)
    short = SignIn(secret, life_s=0)
    assert short.link is not None
    assert not short.accepts(short.redeem(short.link.partition("=")[2]))


def test_nothing_secret_is_logged(server: Running, client: Client, signed_in: Client, server_log: Path) -> None:
    url = client.call("POST", "/uploads/initiate", 201, json={"filename": "a", "size": 1, "content_type": "a/b"})
    httpx2.put(url["upload"]["url"], content=b"xx", trust_env=False)
    secret, _ = make_key(server.app.access, "logged", ["admin"])
    other = httpx2.get(f"{server.url}/api/v1/jobs", headers={"X-API-Key": secret, "X-Request-Id": "look-for-me"})
    assert other.status_code == 200
    deadline = time.monotonic() + 5
    while "look-for-me" not in (text := server_log.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    lines = [json.loads(line) for line in text.splitlines()]
    (line,) = [line for line in lines if line.get("correlation_id") == "look-for-me"]
    assert (line["method"], line["path"], line["status"], line["user_id"]) == ("GET", "/api/v1/jobs", 200, "logged")
    assert line["duration_ms"] > 0 and line["logger"] == "reelmill.access"
    assert "signature" not in text and "token=" not in text
    for word in (secret, client.key, *signed_in.cookies.values()):
        assert word and word not in text
