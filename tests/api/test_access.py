"""API keys, and signing in by the one-time link. Who may do what is in test_matrix.py."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from reelmill.api.access import make_key
from reelmill.api.signin import SignIn

if TYPE_CHECKING:
    from conftest import Client, Running

Connect = Callable[..., "Client"]


@pytest.mark.parametrize("wrong", ["rm_wrong", "Bearer", "\u00e9", "' OR 1=1 --", "x" * 5000])
def test_a_wrong_key_opens_nothing(connect: Connect, wrong: str) -> None:
    stranger = connect()
    stranger.headers = httpx2.Headers({"X-API-Key": wrong.encode()})  # type: ignore[dict-item]
    assert stranger.call("GET", "/jobs", 401)["code"] == "key_invalid"
    assert stranger.call("POST", "/keys", 401, json={"name": "x", "scopes": ["admin"]})["code"] == "key_invalid"


def test_without_a_key_the_reply_says_how_to_send_one(connect: Connect) -> None:
    reply = connect().get("/api/v1/jobs")
    assert (reply.status_code, reply.headers["www-authenticate"]) == (401, 'Bearer realm="reelmill"')


def test_a_revoked_key_stops_at_once(client: Client, connect: Connect) -> None:
    made = client.call("POST", "/keys", 201, json={"name": "short-lived", "scopes": ["admin"]})
    there = connect(key=made["secret"])
    assert there.get("/api/v1/jobs").status_code == 200
    revoked = client.call("DELETE", f"/keys/{made['id']}")
    assert revoked["revoked_at"] and not revoked["active"]
    assert there.call("GET", "/jobs", 401)["code"] == "key_invalid"
    assert client.call("DELETE", f"/keys/{made['id']}") == revoked


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
    assert (reply.status_code, reply.headers["location"]) == (303, "/")
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


def test_signing_out_ends_every_copy_of_the_cookie(
    signed_in: Client, server: Running, client: Client, connect: Connect
) -> None:
    ((name, value),) = signed_in.cookies.items()
    copy = connect()
    copy.cookies.set(name, value)
    assert copy.get("/api/v1/jobs").status_code == 200
    for bad in ({}, {"Origin": "https://evil.example"}):
        assert copy.post("/signout", headers=bad).json()["code"] == "origin_refused"
    reply = signed_in.post("/signout", headers={"Origin": server.url})
    assert reply.status_code == 204 and "Max-Age=0" in reply.headers["set-cookie"]
    assert not signed_in.cookies
    assert copy.call("GET", "/jobs", 401)["code"] == "key_invalid"
    server.restarted()
    assert copy.call("GET", "/jobs", 401)["code"] == "key_invalid", "also after a restart"
    assert [one["action"] for one in client.call("GET", "/audit")["items"][:2]] == ["browser.signout", "browser.signin"]


def test_only_a_browser_signs_out(client: Client, connect: Connect) -> None:
    assert client.post("/signout").json()["code"] == "key_missing"
    assert connect().post("/signout").status_code == 401
    assert client.get("/api/v1/jobs").status_code == 200


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
    assert line["seconds"] > 0 and line["logger"] == "reelmill.access"
    assert "signature" not in text and "token=" not in text
    for word in (secret, client.key, *signed_in.cookies.values()):
        assert word and word not in text
