"""Jobs go on in any weather: whatever is killed, frozen, cut off or forgotten, each ends once and nothing is left over.

The weather is drawn from a printed seed (CHAOS_SEED). The verdict is that of `verdict.py`, a program which
reads database and storage by itself.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from weather import HERE, Broker, Place, Weather

import servers
from faults import Proxy
from media_sources import make_source
from reelmill.stores.migrate import upgrade
from reelmill.wiring import open_table
from running import Server
from working import Works, until

SEED = int(os.environ.get("CHAOS_SEED", "20261121"))
JOBS = int(os.environ.get("CHAOS_JOBS", "2000"))
LEASE_S = 3.0
ABANDONED_AFTER_S = 61.0  #: a request whose server died may come again by then
SETTINGS = {
    "lease_s": LEASE_S, "heartbeat_s": 1, "watch_s": 0.3, "sweep_s": 0.5, "poll_s": 5, "backoff_s": 0.2,
    # What is tested is that nothing is lost, not when a job that was hit again and again is given up.
    "max_crashes": 20, "max_retries": 20, "rate_limit": 0,
}  # fmt: skip
AHEAD = 24  #: jobs that a client has in work at a time
# SQLite belongs to one process, so there is nobody whom a broker could wake: that pair is refused at start.
PAIRS = ["sqlite-inprocess", "postgres-inprocess", "postgres-celery", "dynamodb-inprocess", "dynamodb-celery"]
SHORT = ["sqlite-inprocess", "postgres-celery"]


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("films")
    return {
        "short": make_source(folder / "short.mp4", seconds=2, width=320, height=180),
        "long": make_source(folder / "long.mp4", seconds=6, width=1280, height=720),
    }


@dataclass(frozen=True)
class Wish:
    """A job that is asked for, under a key of its own."""

    number: int
    body: dict[str, Any]
    asked_at: float


class Customer:
    """Queues jobs as fast as they get done, and keeps what it was told. It forgives any answer but a wrong one.

    What it got no answer to, it asks for again: under the same key, when the server must have given that up.
    """

    def __init__(self, server: Server, films: dict[str, Path], seed: int, *, rare: int) -> None:
        """rare: real films are among the jobs so many times more seldom than in the short form."""
        self.server = server
        self.rare = rare
        self.videos = {name: server.upload(film)["video_id"] for name, film in films.items()}
        self.acknowledged: list[str] = []
        self.unanswered: deque[Wish] = deque()
        self.repeated = 0
        self.enough = threading.Event()
        self._dice = random.Random(seed)
        self._http = httpx2.Client(
            base_url=server.url, headers={"Authorization": f"Bearer {server.key}"}, timeout=30, trust_env=False
        )

    def queue(self) -> None:
        """Queue jobs until it is enough."""
        waiting: deque[str] = deque()
        asked = 0
        while not self.enough.is_set():
            if self._is_due():
                self.repeated += 1
                wish = self.unanswered.popleft()
            else:
                asked += 1
                wish = Wish(asked, self._wish(asked), time.monotonic())
            made = self._get(wish)
            if made is None:
                continue
            waiting.append(made)
            while len(waiting) >= AHEAD and not self.enough.is_set():
                if self._has_ended(waiting[0]):
                    waiting.popleft()
                else:
                    time.sleep(0.05)

    def insist(self) -> None:
        """Ask again until there is an answer to all."""
        while self.unanswered:
            until(self._is_due, "the server gives the request up", 2 * ABANDONED_AFTER_S)
            self.repeated += 1
            self._get(self.unanswered.popleft())

    def close(self) -> None:
        self._http.close()

    def _get(self, wish: Wish) -> str | None:
        """Return the job of the wish; None, and the wish is noted, when there was no answer."""
        words = {"X-Request-Id": f"wish-{wish.number}", "Idempotency-Key": f"wish-{wish.number}"}
        made = self._ask("POST", "/jobs", json=wish.body, headers=words)
        if made is None:
            self.unanswered.append(replace(wish, asked_at=time.monotonic()))
            return None
        self.acknowledged.append(made["job_id"])
        return str(made["job_id"])

    def _is_due(self) -> bool:
        return bool(self.unanswered) and time.monotonic() - self.unanswered[0].asked_at > ABANDONED_AFTER_S

    def _wish(self, number: int) -> dict[str, Any]:
        if number % (25 * self.rare) == 1:
            params = {"cutting": {"duration_s": 60}, "video": {"preset": "slow", "crf": 0, "rendering": "full"}}
            return {"video_id": self.videos["long"], "pipeline": "clips", "params": params, "reuse": False}
        if number % (10 * self.rare) == 2:
            cuts = {"cutting": {"kind": "fixed", "duration_s": 1.0}, "text": {"text": f"Storm {number}"}}
            return {"video_id": self.videos["short"], "pipeline": "clips", "params": cuts}
        slow = {"steps": self._dice.randint(1, 3), "seconds": self._dice.choice([0, 0, 0.1, 0.5])}
        return {"video_id": self.videos["short"], "pipeline": "slow_writer", "params": slow}

    def _has_ended(self, job_id: str) -> bool:
        status = self._ask("GET", f"/jobs/{job_id}/status")
        return status is not None and status["status"] in ("completed", "failed", "cancelled")

    def _ask(self, method: str, path: str, **more: Any) -> Any:
        """Return the answer; None when there was none."""
        try:
            while True:
                try:
                    reply = self._http.request(method, f"/api/v1{path}", **more)
                    break
                except httpx2.ConnectError:  # nobody was there to be asked
                    time.sleep(0.1)
        except httpx2.TransportError:
            time.sleep(0.1)
            return None
        if reply.status_code >= 500 or "idempotency_in_progress" in reply.text:
            time.sleep(0.1)
            return None
        assert reply.status_code < 300, f"{method} {path}: {reply.status_code} {reply.text}"
        return reply.json()


@contextmanager
def placed(pair: str, folder: Path) -> Iterator[Place]:
    """Run a platform on servers of its own: those of the session serve other tests too."""
    store, _, dispatcher = pair.partition("-")
    with ExitStack() as stack:
        settings: dict[str, Any] = {**SETTINGS, "workers": 0 if dispatcher == "celery" else 2}
        postgres = broker = to_storage = to_database = None
        data = folder / "data"
        if store == "sqlite":
            data.mkdir()
            database_url = f"sqlite:///{data / 'reelmill.db'}"
            upgrade(database_url)
            bucket = {"folder": str(data / "objects" / "objects")}
        else:
            if store == "postgres":
                postgres = servers.start_postgres()
                stack.callback(postgres.stop)
                database_url = postgres.url(postgres.create())
                upgrade(database_url)
                port = postgres.port
            else:
                dynalite = servers.start_dynalite()
                stack.callback(dynalite.stop)
                stack.enter_context(environment(dynalite.environment()))
                database_url = dynalite.url(dynalite.name())
                with open_table(database_url) as table:
                    table.create()
                port = dynalite.port
            to_database = stack.enter_context(Proxy("127.0.0.1", port))
            settings["database_url"] = database_url.replace(str(port), str(to_database.port))
            seaweed = servers.start_seaweed()
            stack.callback(seaweed.stop)
            stack.enter_context(environment(seaweed.environment()))
            name = seaweed.create()
            to_storage = stack.enter_context(Proxy("127.0.0.1", seaweed.port))
            settings["storage_url"] = f"s3://{name}?endpoint={to_storage.url}&region={seaweed.region}"
            bucket = {"endpoint": seaweed.endpoint(), "bucket": name}
        if dispatcher == "celery":
            broker = Broker()
            stack.callback(broker.close)
            settings["broker_url"] = broker.url
        server = Server(data, **settings)
        works = Works(server)
        stack.enter_context(server)
        stack.callback(works.end)
        place = Place(
            folder=folder, works=works, lease_s=LEASE_S, database_url=database_url, bucket=bucket,
            to_storage=to_storage, to_database=to_database, postgres=postgres, broker=broker,
        )  # fmt: skip
        if store != "sqlite":
            # Beside the server's own workers, or instead of them.
            place.workers = [works.worker() for _ in range(2 if broker else 1)]
        yield place


@contextmanager
def environment(values: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def weather_over(place: Place, films: dict[str, Path], jobs: int, *, long: bool = False) -> dict[str, Any]:
    """Let it storm while a customer queues so many jobs; return the verdict on what is left when all is calm.

    long: it blows less often, so that thousands of jobs get done between; and the customer insists on every answer.
    """
    print(f"seed {SEED}: CHAOS_SEED={SEED} makes the same weather")
    customer = Customer(place.server, films, SEED, rare=max(1, jobs // 200))
    problems: list[BaseException] = []
    queueing = threading.Thread(target=noting(problems, customer.queue))
    weather = Weather(place, SEED, pause_s=(0.5, 5) if long else (0.1, 1.5))
    began = time.monotonic()
    queueing.start()
    try:
        weather.blow(lambda: len(customer.acknowledged) >= jobs or bool(problems))
    finally:
        customer.enough.set()
        queueing.join()
    assert not problems, problems
    if long:
        customer.insist()
    customer.close()
    ghosts = weather.ghosts()
    until(lambda: not open_jobs(place), "all jobs end", 1800 if long else 300)
    until(lambda: judged(place, [])["open"] == 0, "what their lost attempts left is swept")
    took = time.monotonic() - began
    left = [str(path) for path in place.server.scratch()]
    for worker in place.workers:
        assert worker.stop() == 0
    place.server.stop()
    told = judged(place, customer.acknowledged)
    told |= {
        "seed": SEED,
        "seconds": round(took),
        "weather": Counter(weather.done),
        "unanswered": len(customer.unanswered),
        "repeated": customer.repeated,
        "refused": sum(len(ghost["refused"]) for ghost in ghosts) + place.logs().count("write refused"),
        "written_late": [ghost for ghost in ghosts if ghost["written"]],
        "processes_left": [process.cmdline() for process in place.server.children()],
        "scratch_left": left + [str(path) for path in place.server.scratch()],
    }
    print(json.dumps(told, indent=1))
    return told


def noting(problems: list[BaseException], act: Callable[[], None]) -> Callable[[], None]:
    def run() -> None:
        try:
            act()
        except BaseException as problem:
            problems.append(problem)

    return run


def open_jobs(place: Place) -> int:
    time.sleep(0.2)
    statuses = ("awaiting_upload", "queued", "running")
    found = [place.server.call("GET", "/jobs", params={"status": status})["items"] for status in statuses]
    return sum(len(items) for items in found)


def judged(place: Place, acknowledged: list[str]) -> dict[str, Any]:
    told = {
        "database_url": place.database_url, "storage": place.bucket, "acknowledged": acknowledged, "sample": 5,
        "seed": SEED,
    }  # fmt: skip
    ran = subprocess.run(
        [sys.executable, str(HERE / "verdict.py")], input=json.dumps(told), capture_output=True, text=True, timeout=600
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)  # type: ignore[no-any-return]


def assert_all_well(told: dict[str, Any], jobs: int) -> None:
    from verdict import WRONG

    wrong = {name: told[name] for name in (*WRONG, "written_late", "processes_left", "scratch_left") if told[name]}
    assert not wrong, wrong
    assert told["acknowledged"] >= jobs
    assert told["refused"] > 0, "no late write was ever tried"
    assert told["steps_of_2_s"] > 0, "no real work was among them"


@pytest.mark.req("A-01", "A-02", "A-03", "A-04", "C-07", "E-05", "E-08", "E-14")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("pair", SHORT)
def test_a_storm(tmp_path: Path, films: dict[str, Path], pair: str) -> None:
    with placed(pair, tmp_path) as place:
        assert_all_well(weather_over(place, films, 24), 24)


@pytest.mark.long
@pytest.mark.req("A-01", "A-02", "A-03", "A-04", "C-07", "E-05", "E-08", "E-14")
@pytest.mark.parametrize("pair", PAIRS)
def test_a_long_storm(tmp_path: Path, films: dict[str, Path], pair: str) -> None:
    with placed(pair, tmp_path) as place:
        assert_all_well(weather_over(place, films, JOBS, long=True), JOBS)
