"""A person's browser: signing in with a key, the web UI's files, the live list, and the system report."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import httpx2
import pytest

from reelmill.api import web

if TYPE_CHECKING:
    from conftest import Client, Running

Connect = Callable[..., "Client"]


@pytest.fixture
def browser(server: Running, connect: Connect) -> Client:
    """Signed in with a key that may read and write jobs."""
    it = connect()
    reply = it.post("/session", json={"key": server.key("jobs:read", "jobs:write")}, headers={"Origin": server.url})
    assert reply.status_code == 200, reply.text
    assert reply.json()["scopes"] == ["jobs:read", "jobs:write"]
    cookie = reply.headers["set-cookie"]
    assert "HttpOnly" in cookie and "samesite=strict" in cookie.lower()
    return it


@pytest.mark.req("B-01")
def test_a_key_is_traded_for_a_cookie_with_its_scopes(browser: Client, server: Running) -> None:
    assert browser.get("/session").json()["user_id"] == "tests"
    assert browser.get("/api/v1/jobs").status_code == 200
    assert browser.get("/api/v1/keys").json()["code"] == "scope_missing"
    refused = browser.post("/api/v1/jobs", json={}, headers={"Origin": "https://evil.example"})
    assert refused.json()["code"] == "origin_refused"


def test_the_cookie_ends_with_its_key(server: Running, connect: Connect, client: Client) -> None:
    made = client.call("POST", "/keys", 201, json={"name": "short", "scopes": ["jobs:read"]})
    it = connect()
    origin = {"Origin": server.url}
    assert it.post("/session", json={"key": made["secret"]}, headers=origin).status_code == 200
    assert it.get("/api/v1/jobs").status_code == 200
    client.call("DELETE", f"/keys/{made['id']}")
    assert it.get("/api/v1/jobs").json()["code"] == "key_invalid"


def test_signing_out_ends_the_cookie_of_a_key(browser: Client, server: Running, connect: Connect) -> None:
    ((name, value),) = browser.cookies.items()
    copy = connect()
    copy.cookies.set(name, value)
    assert browser.post("/signout", headers={"Origin": server.url}).status_code == 204
    assert not browser.cookies
    assert copy.get("/api/v1/jobs").json()["code"] == "key_invalid"


def test_who_guesses_or_comes_from_elsewhere_gets_no_cookie(server: Running, connect: Connect) -> None:
    for body, headers, code in (
        ({"key": "rm_guess"}, {"Origin": server.url}, "key_invalid"),
        ({"key": ""}, {"Origin": server.url}, "request_invalid"),
        (["x"], {"Origin": server.url}, "request_invalid"),
        ({"key": server.key("admin")}, {"Origin": "https://evil.example"}, "origin_refused"),
    ):
        reply = connect().post("/session", json=body, headers=headers)
        assert reply.json()["code"] == code and "set-cookie" not in reply.headers
    assert connect().get("/session").json()["code"] == "key_missing"


def test_a_used_link_leads_a_person_to_the_sign_in(server: Running, connect: Connect) -> None:
    reply = connect().get("/signin?token=old", headers={"Accept": "text/html,*/*"})
    assert (reply.status_code, reply.headers["location"]) == (303, "/sign-in?problem=link")


# ── the web UI's files ────────────────────────────────────────────────────────────────────────


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A folder as the build leaves it."""
    folder = tmp_path_factory.mktemp("web")
    (folder / "assets").mkdir()
    (folder / "index.html").write_text(
        f'<!doctype html><html><head>{web.BASE}<script src="./theme.js"></script></head>'
    )
    script = "console.log(1);" * 500
    (folder / "assets" / "index-abc.js").write_text(script)
    (folder / "assets" / "index-abc.js.gz").write_bytes(gzip.compress(script.encode()))
    (folder / "theme.js").write_text("0")
    (folder / "secret").write_text("not for you")
    monkeypatch.setattr(web, "FOLDER", folder)


def test_pages_are_one_document_with_a_strict_policy(built: None, connect: Connect) -> None:
    some = "0193e0a0-0000-7000-8000-000000000000"
    for path in ("/", "/jobs", f"/videos/{some}/cut", "/system", "/sign-in?problem=link"):
        reply = connect().get(path)
        assert reply.status_code == 200 and '<base href="/" />' in reply.text
        policy = reply.headers["content-security-policy"]
        assert "script-src 'self';" in policy and "default-src 'none'" in policy
        assert reply.headers["cache-control"] == "no-cache"
    etag = connect().get("/").headers["etag"]
    assert connect().get("/", headers={"If-None-Match": etag}).status_code == 304


def test_files_with_a_hash_never_change_and_come_packed(built: None, connect: Connect) -> None:
    reply = connect().get("/assets/index-abc.js", headers={"Accept-Encoding": "gzip"})
    assert (reply.headers["content-encoding"], reply.headers["content-type"].split(";")[0]) == (
        "gzip",
        "text/javascript",
    )
    assert "immutable" in reply.headers["cache-control"] and reply.text.startswith("console.log")
    plain = connect().get("/assets/index-abc.js", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers and plain.text == reply.text
    for path in ("/assets/nothing.js", "/assets/..%2Fsecret", "/assets/index-abc.js.gz", "/secret"):
        assert connect().get(path).json()["code"] == "not_found", path


def test_pages_shadow_nothing(built: None, connect: Connect) -> None:
    assert connect().get("/api/v1/jobs").json()["code"] == "key_missing"
    assert connect().get("/healthz").json()["status"] == "ok"
    for path in ("/api/v1/nothing", "/videos", "/videos/upload", "/jobs/nothing", "/library"):
        assert connect().get(path).json()["code"] == "not_found", path


def test_a_checkout_says_how_to_build_the_pages(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.setattr(web, "FOLDER", tmp_path_factory.mktemp("none") / "web")
    reply = connect().get("/")
    assert reply.status_code == 200 and "make web" in reply.text
    assert connect().get("/theme.js").status_code == 404


# ── what pages read ───────────────────────────────────────────────────────────────────────────


@pytest.mark.req("E-04")
def test_the_live_list_tells_of_every_job_of_the_tenant_and_no_other(
    server: Running, client: Client, connect: Connect, video_id: str
) -> None:
    told: list[dict[str, object]] = []
    ready, ended = threading.Event(), threading.Event()

    def listen() -> None:
        with httpx2.stream(
            "GET", f"{server.url}/api/v1/events?for_s=60", timeout=60, trust_env=False,
            headers={"Authorization": f"Bearer {server.key('jobs:read')}"},
        ) as reply:  # fmt: skip
            kind = ""
            for line in reply.iter_lines():
                name, _, value = line.partition(": ")
                if name == "event":
                    kind = value
                    if kind == "ready":
                        ready.set()
                elif name == "data" and kind == "job":
                    told.append(json.loads(value))
                    if told[-1]["status"] == "completed":
                        ended.set()
                        return

    reader = threading.Thread(target=listen)
    reader.start()
    assert ready.wait(30)
    stranger = connect()
    with stranger.stream(
        "GET", "/api/v1/events?for_s=1", headers={"Authorization": f"Bearer {server.key('jobs:read', tenant='other')}"}
    ) as foreign:
        job_id = client.run(video_id, "slow_writer", {"steps": 2, "seconds": 0.5})
        assert ended.wait(60), told
        assert "event: job" not in foreign.read().decode()
    reader.join(30)
    assert {one["job_id"] for one in told} == {job_id}
    assert [one["progress_pct"] for one in told] == sorted(one["progress_pct"] for one in told)  # type: ignore[type-var]


def test_the_system_report_is_that_of_doctor(client: Client, server: Running) -> None:
    report = client.call("GET", "/system")
    levels = {one["name"]: one["level"] for one in report["findings"]}
    assert {"packages", "ffmpeg", "database", "schema", "storage", "disk", "put", "range"} <= levels.keys()
    assert report["ok"], [one for one in report["findings"] if one["level"] == "failed"]
    assert levels["put"] == levels["range"] == "ok", "tried by this very server"
    assert client.call("GET", "/system")["checked_at"] == report["checked_at"]
    assert client.call("GET", "/system?fresh=true")["checked_at"] > report["checked_at"]


def test_another_tenant_is_told_nothing_of_the_installation(server: Running, connect: Connect) -> None:
    header = {"Authorization": f"Bearer {server.key('admin', tenant='other')}"}
    assert connect().get("/api/v1/system", headers=header).json()["findings"] == []
