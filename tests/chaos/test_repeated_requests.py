"""A server dies before it can answer, and the client asks again: one request makes one thing, whenever it comes."""

from __future__ import annotations

import itertools
import os
import random
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from verdict import read

from faults import Proxy
from looks import set_back
from media_sources import make_source
from reelmill.stores.dynamo.place import read_place
from reelmill.wiring import open_store
from running import Server

SEED = int(os.environ.get("CHAOS_SEED", "20261121"))
SETTINGS = {"workers": 1, "sweep_s": 0.3, "poll_s": 0.3, "lease_s": 2, "heartbeat_s": 0.5, "rate_limit": 0}
KILLS = 3


@dataclass
class Statement:
    """Kills a server when the first message of this kind is on its way to the database."""

    server: Server
    words: tuple[bytes, ...]
    before: int = 0
    seen: int = 0

    def __call__(self, block: bytes) -> bool:
        if not all(word in block for word in self.words):
            return False
        self.seen += 1
        if self.seen != self.before + 1:
            return False
        assert self.server.process is not None
        self.server.process.kill()
        return True


#: when a server dies, on PostgreSQL: amid the work, and when only the reply is yet to be kept
STATEMENTS = (b"INSERT INTO jobs", b"UPDATE requests")
#: the writes to a request's item on DynamoDB: its reservation, its reply
WRITES = (b"ConditionExpression", b"request#")


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_source(tmp_path_factory.mktemp("film") / "film.mp4", seconds=1, width=320, height=180)


@contextmanager
def proxied(folder: Path, database_url: str, port: int) -> Iterator[tuple[Server, Proxy]]:
    with Proxy("127.0.0.1", port) as proxy:
        url = database_url.replace(str(port), str(proxy.port))
        with Server(folder / "data", database_url=url, **SETTINGS) as server:
            yield server, proxy


def wishes(video_id: str) -> dict[str, dict[str, Any]]:
    """What is asked for: path and body."""
    return {
        "/api/v1/jobs": {"video_id": video_id, "pipeline": "slow_writer", "params": {"steps": 1, "seconds": 0}},
        "/api/v1/uploads/initiate": {
            "filename": "a.mp4", "size": 100, "content_type": "video/mp4", "pipeline": "slow_writer",
        },
    }  # fmt: skip


def ask(server: Server, path: str, body: dict[str, Any], key: str) -> httpx2.Response:
    return server.client.post(path, json=body, headers={"Idempotency-Key": key, "X-Request-Id": key})


def pass_a_minute(database_url: str) -> None:
    """Let every request that has no reply be one that nobody works on any more."""
    store = open_store(database_url)
    set_back(store, "requests", "created_at", 61)
    store.close_engine()


def asked_again(server: Server, database_url: str, path: str, body: dict[str, Any], key: str) -> None:
    """Ask as a client does that got no answer, and see that all answers are one."""
    pass_a_minute(database_url)
    first, second = (ask(server, path, body, key) for _ in range(2))
    assert (first.status_code, second.status_code) == (201, 201), (first.text, second.text)
    assert second.headers["Idempotent-Replayed"] == "true"
    ids = [(reply.json().get("job_id"), reply.json().get("video_id")) for reply in (first, second)]
    assert ids[0] == ids[1] and None not in ids[0]
    made = [(job["id"], job["video_id"]) for job in read(database_url).jobs if job["correlation_id"] == key]
    assert made == [ids[0]], "one request, one job"
    if path.endswith("/jobs"):
        assert server.wait(str(ids[0][0]))["status"] == "completed"


def killed_amid(
    server: Server, proxy: Proxy, database_url: str, video_id: str, words: tuple[bytes, ...], before: int
) -> None:
    for path, body in wishes(video_id).items():
        key = str(uuid.uuid4())
        proxy.loses_reply = moment = Statement(server, words, before)
        with pytest.raises(httpx2.TransportError):
            ask(server, path, body, key)
        assert server.process is not None
        server.process.wait(30)
        assert moment.seen > before
        proxy.loses_reply = lambda _: False
        server.start()
        asked_again(server, database_url, path, body, key)


@pytest.mark.req("D-03", "E-05", "A-02")
def test_a_server_killed_at_any_statement_makes_what_was_asked_for_once(
    tmp_path: Path, film: Path, postgres_url: str
) -> None:
    port = urlsplit(postgres_url).port
    assert port is not None
    with proxied(tmp_path, postgres_url, port) as (server, proxy):
        video = server.upload(film)["video_id"]
        for statement in STATEMENTS:
            killed_amid(server, proxy, postgres_url, video, (statement,), 0)


class LostCommit:
    """Picks the COMMIT that follows a statement: it is done, and its answer is lost."""

    def __init__(self, statement: bytes) -> None:
        self._statement = statement
        self._near = False
        self.lost = 0

    def __call__(self, block: bytes) -> bool:
        self._near = self._near or self._statement in block
        if self.lost or not self._near or b"COMMIT" not in block:
            return False
        self.lost += 1
        return True


@pytest.mark.req("D-03", "E-05", "A-02")
def test_a_request_whose_commit_was_not_confirmed_may_come_again_at_once(
    tmp_path: Path, film: Path, postgres_url: str
) -> None:
    port = urlsplit(postgres_url).port
    assert port is not None
    with proxied(tmp_path, postgres_url, port) as (server, proxy):
        asked = wishes(server.upload(film)["video_id"])
        for statement, (path, body) in itertools.product(STATEMENTS, asked.items()):
            key = str(uuid.uuid4())
            proxy.loses_reply = commit = LostCommit(statement)
            first = ask(server, path, body, key)
            assert commit.lost == 1
            proxy.loses_reply = lambda _: False
            again = ask(server, path, body, key)
            assert again.status_code == 201, again.text
            assert first.status_code == 503 or first.json()["job_id"] == again.json()["job_id"]
            made = [job["id"] for job in read(postgres_url).jobs if job["correlation_id"] == key]
            assert made == [again.json()["job_id"]]


@pytest.mark.req("D-03", "E-05", "A-02")
def test_a_server_killed_before_its_reply_is_kept_makes_it_once_on_dynamodb(
    tmp_path: Path, film: Path, dynamodb_url: str
) -> None:
    endpoint = read_place(dynamodb_url).endpoint
    port = urlsplit(endpoint or "").port
    assert port is not None
    with proxied(tmp_path, dynamodb_url, port) as (server, proxy):
        video = server.upload(film)["video_id"]
        killed_amid(server, proxy, dynamodb_url, video, WRITES, 1)


@pytest.mark.req("D-03", "E-05", "A-02")
def test_requests_that_an_embedded_server_was_killed_in_make_one_job_each(tmp_path: Path, film: Path) -> None:
    dice = random.Random(SEED)
    print(f"seed {SEED}")
    url = f"sqlite:///{tmp_path / 'data' / 'reelmill.db'}"
    with Server(tmp_path / "data", **SETTINGS) as server:
        path, body = next(iter(wishes(server.upload(film)["video_id"]).items()))
        unanswered = 0
        for _ in range(KILLS):
            keys, answered, dead = [str(uuid.uuid4()) for _ in range(200)], set[str](), threading.Event()

            def queue(mine: list[str], answered: set[str] = answered, dead: threading.Event = dead) -> None:
                for key in mine:
                    if dead.is_set():
                        return
                    try:
                        if ask(server, path, body, key).status_code == 201:
                            answered.add(key)
                    except httpx2.TransportError:
                        return

            customers = [threading.Thread(target=queue, args=(keys[n::4],)) for n in range(4)]
            for customer in customers:
                customer.start()
            while not answered and any(customer.is_alive() for customer in customers):
                dead.wait(0.01)
            dead.wait(dice.uniform(0, 0.2))
            server.kill()
            dead.set()
            for customer in customers:
                customer.join()
            server.start()
            made = {job["correlation_id"] for job in read(url).jobs}
            assert answered <= made
            cut_off = [key for key in keys if key in made and key not in answered]
            unanswered += len(cut_off)
            for key in [*cut_off, *sorted(answered)[:3]]:
                asked_again(server, url, path, body, key)
        print(f"{unanswered} jobs were made whose request had no answer")
