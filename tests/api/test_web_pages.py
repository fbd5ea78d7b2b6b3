"""Pages of other origins: those that are named may call the API, by their key and without cookies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

if TYPE_CHECKING:
    from conftest import Client, Running

Connect = Callable[..., "Client"]
MINE, ALSO_MINE, OTHER = "https://videos.example", "https://more.example:8443", "https://else.example"
ORIGIN = "access-control-allow-origin"
INITIATE = "/api/v1/uploads/initiate"


@pytest.fixture(scope="module")
def named(serve: Callable[..., AbstractContextManager[Running]], tmp_path_factory: Any) -> Iterator[Running]:
    """A server that names two origins."""
    with serve(tmp_path_factory.mktemp("pages") / "data", cors_origins=f"{MINE},{ALSO_MINE}") as it:
        yield it


def asked(client: Client, origin: str, path: str = INITIATE, method: str = "POST") -> httpx2.Response:
    """Send the preflight that a browser sends before a request with a key and JSON."""
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "authorization,content-type,idempotency-key",
    }
    return client.request("OPTIONS", path, headers=headers)


def listed(reply: httpx2.Response, header: str) -> set[str]:
    return {name.strip().lower() for name in reply.headers.get(header, "").split(",")}


@pytest.mark.req("B-01")
@pytest.mark.parametrize("path", [INITIATE, "/api/upload/initiate", "/videos/upload/initiate"])
def test_named_pages_may_ask_and_no_others(named: Running, connect: Connect, path: str) -> None:
    with connect(of=named) as client:
        for origin in (MINE, ALSO_MINE):
            reply = asked(client, origin, path)
            assert (reply.status_code, reply.headers[ORIGIN]) == (200, origin)
            assert "Origin" in reply.headers["vary"]
            assert "access-control-allow-credentials" not in reply.headers
        refused = asked(client, OTHER, path)
        assert refused.status_code == 400
        assert ORIGIN not in refused.headers


def test_a_named_page_reads_replies_and_refusals(named: Running, connect: Connect) -> None:
    with connect("admin", of=named) as client, connect(of=named) as nobody:
        for one, status in ((client, 200), (nobody, 401)):
            reply = one.get("/api/v1/jobs", headers={"Origin": MINE})
            assert (reply.status_code, reply.headers[ORIGIN]) == (status, MINE)
            assert {"x-request-id", "retry-after"} <= listed(reply, "access-control-expose-headers")
            other = one.get("/api/v1/jobs", headers={"Origin": OTHER})
            assert (other.status_code, other.headers.get(ORIGIN)) == (status, None)


def test_what_needs_no_key_is_not_opened(named: Running, connect: Connect, server: Running) -> None:
    with connect(of=named) as client, connect(of=server) as everybody_s:
        for path in ("/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"):
            for one in (client, everybody_s):
                assert ORIGIN not in one.get(path, headers={"Origin": MINE}).headers


def test_every_page_may_unless_told(server: Running, connect: Connect) -> None:
    with connect("jobs:read", of=server) as client:
        assert asked(client, OTHER).headers[ORIGIN] == "*"
        assert asked(client, OTHER, method="PATCH").status_code == 400
        assert client.get("/api/v1/jobs", headers={"Origin": OTHER}).headers[ORIGIN] == "*"


def test_a_cookie_lets_no_page_of_another_origin_read(serve: Any, connect: Connect, tmp_path: Any) -> None:
    """The browser's own sign-in: `*` without credentials keeps its replies from other pages."""
    with serve(tmp_path / "data") as server, connect(of=server) as client:
        link = str(server.restarted().link)
        assert client.get(link).status_code == 303
        reply = client.get("/api/v1/jobs", headers={"Origin": OTHER})
        assert (reply.status_code, reply.headers[ORIGIN]) == (200, "*")
        assert "access-control-allow-credentials" not in reply.headers
        body = {"filename": "a.mp4", "size": 1, "content_type": "video/mp4"}
        refused = client.post(INITIATE, json=body, headers={"Origin": OTHER})
        assert (refused.status_code, refused.json()["code"]) == (403, "origin_refused")


def test_signed_urls_keep_their_own_rules(named: Running, connect: Connect) -> None:
    """A signature is the whole authority: any page may use it."""
    with connect("admin", of=named) as client:
        body = {"filename": "a.mp4", "size": 5, "content_type": "video/mp4"}
        put = client.call("POST", "/uploads/initiate", 201, json=body)["upload"]
        reply = client.request("OPTIONS", put["url"], headers={"Origin": OTHER, "Access-Control-Request-Method": "PUT"})
        assert (reply.status_code, reply.headers[ORIGIN]) == (204, "*")
        sent = client.put(put | {"headers": put["headers"] | {"Origin": OTHER}}, b"hello")
        assert (sent.status_code, sent.headers[ORIGIN]) == (200, "*")
