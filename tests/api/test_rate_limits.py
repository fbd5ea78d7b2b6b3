"""Rate limits over HTTP, on servers with small ones."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import pytest

from running import Server

if TYPE_CHECKING:
    from conftest import Client, Running

Connect = Callable[..., "Client"]
LIMIT = 20  #: one more every three seconds


@pytest.fixture
def limited(serve: Callable[..., AbstractContextManager[Running]], tmp_path: Path, plugins: None) -> Iterator[Running]:
    with serve(tmp_path / "data", rate_limit=LIMIT) as server:
        yield server


def burst(client: Client, path: str = "/api/v1/jobs") -> list[httpx2.Response]:
    """Ask until the limit says no, and once more."""
    replies = []
    while not replies or replies[-1].status_code != 429:
        replies.append(client.get(path))
        assert len(replies) < 1000, "nothing is limited"
    replies.append(client.get(path))
    return replies


def test_too_many_requests_of_one_key_are_refused_until_its_time_has_come(limited: Running, connect: Connect) -> None:
    busy, calm = connect("jobs:read", of=limited), connect("jobs:read", of=limited)
    replies = burst(busy)
    taken, refused = replies[:-2], replies[-2]
    assert len(taken) >= LIMIT
    for reply in replies:
        assert reply.headers["RateLimit-Policy"] == f'"key";q={LIMIT};w=60'
        assert re.fullmatch(r'"key";r=\d+;t=\d+', reply.headers["RateLimit"])
    assert taken[0].headers["RateLimit"] == f'"key";r={LIMIT - 1};t=3'
    assert (refused.json()["code"], refused.headers["content-type"]) == ("rate_limited", "application/problem+json")
    assert refused.headers["RateLimit"].startswith('"key";r=0;')
    wait_s = int(refused.headers["Retry-After"])
    assert 1 <= wait_s <= 3
    assert calm.get("/api/v1/jobs").status_code == 200, "another key isn't touched by it"
    time.sleep(wait_s)
    assert busy.get("/api/v1/jobs").status_code == 200


def test_refusals_count_and_carry_the_headers_too(limited: Running, connect: Connect) -> None:
    there = connect("upload", of=limited)
    replies = burst(there)
    assert {reply.status_code for reply in replies} == {403, 429}
    assert all("RateLimit" in reply.headers for reply in replies)


def test_guessing_keys_is_limited_by_address_and_locks_nobody_out_who_works(
    serve: Callable[..., AbstractContextManager[Running]], tmp_path: Path, plugins: None, connect: Connect
) -> None:
    with serve(tmp_path / "data", rate_limit=6) as server:
        worker, newcomer = connect("jobs:read", of=server), connect("jobs:read", of=server)
        assert worker.get("/api/v1/jobs").status_code == 200
        guesses, keyless = burst(connect(key="rm_guess", of=server)), burst(connect(of=server))
        assert [reply.status_code for reply in guesses[:6]] == [401] * 6
        for reply in (*guesses, *keyless):
            assert reply.headers["RateLimit-Policy"] == '"address";q=6;w=60'
        reply = newcomer.get("/api/v1/jobs")
        assert reply.status_code == 429, "a right guess looks like a wrong one"
        assert worker.get("/api/v1/jobs").status_code == 200
        time.sleep(int(reply.headers["Retry-After"]))
        assert newcomer.get("/api/v1/jobs").status_code == 200


def test_health_and_signed_urls_are_not_limited(limited: Running, connect: Connect, film: Path) -> None:
    there = connect("upload", of=limited)
    begun = there.initiate(film)
    burst(there, "/api/v1/uploads/00000000-0000-4000-8000-000000000000")
    nobody = connect(of=limited)
    burst(nobody)
    for _ in range(LIMIT + 5):
        reply = nobody.get("/healthz")
        assert reply.status_code == 200 and "RateLimit" not in reply.headers
    assert there.put(begun["upload"], film.read_bytes()).status_code == 200


def test_no_limit_no_headers(
    serve: Callable[..., AbstractContextManager[Running]], tmp_path: Path, plugins: None, connect: Connect
) -> None:
    with serve(tmp_path / "data", rate_limit=0) as server:
        replies = [connect("jobs:read", of=server).get("/api/v1/jobs") for _ in range(3)]
    assert all(reply.status_code == 200 and "RateLimit" not in reply.headers for reply in replies)


@pytest.mark.parametrize("trusted", [None, "127.0.0.1"])
def test_an_address_is_the_sockets_unless_a_trusted_proxy_tells_another(tmp_path: Path, trusted: str | None) -> None:
    settings = {"rate_limit": LIMIT, "workers": 1, **({"trusted_proxies": trusted} if trusted else {})}
    with Server(tmp_path / "data", **settings) as server:

        def ask(n: int) -> int:
            headers = {"X-Forwarded-For": f"198.51.100.{n}", "Authorization": "Bearer rm_guess"}
            return httpx2.get(f"{server.url}/api/v1/jobs", headers=headers, trust_env=False).status_code

        codes = {ask(n % 250) for n in range(LIMIT * 3)}
    assert codes == ({401} if trusted else {401, 429})
