"""How many steps a second does the engine carry, and how long is the way there and back, beside Celery's own no-op?

Each round: Celery 5.7 (two worker processes, Valkey that keeps nothing on disk) is sent no-ops and gives their
results back; then SQLite and PostgreSQL take as many steps in jobs of ten from `queued` to `completed`, with job,
video, attempt and event rows. Claims and ends are timed; that the jobs are made, is told apart. The ratios are to
Celery's rate in the same round. SQLite: one process, as the embedded server. PostgreSQL: two.

Beside them the bare driver writes the same rows (`bare.py`): no engine can be faster than that. The way of a job from
its making to its end is timed in one process, and through Celery: from one process to another, and word of it back.

    python benchmarks/engine.py [--pairs N] [--json FILE]
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from typing import Any

import structlog
from bare import Bare
from common import Ratios, options, report
from queueing import STEPS, Process, close, database, fill, part, percentile, valkey, warm, work

from reelmill.dispatch.celery import CeleryDispatcher
from reelmill.dispatch.inline import InlineDispatcher
from reelmill.stores.sql import SqlStore, open_store

COUNT = 4000  #: no-ops, or steps, of each side in a round
TRIPS = 150
WARM_UP = 20  #: trips through Celery that aren't counted: connections, statements
ME = os.path.abspath(__file__)  # noqa: PTH100 - given to other processes as it is

if url := os.environ.get("BENCH_BROKER"):
    from celery import Celery

    app = Celery("engine", broker=url, backend=url)
    app.conf.update(task_serializer="json", result_serializer="json", worker_prefetch_multiplier=4)

    @app.task(name="noop")
    def noop(number: int) -> int:
        return number


def celery_side(broker: str) -> dict[str, float]:
    """Return the rate of Celery's no-ops with results, and the median of single round trips, in ms."""
    env = {**os.environ, "BENCH_BROKER": broker, "PYTHONPATH": os.path.dirname(ME)}  # noqa: PTH120
    words = ["-A", "engine", "worker", "-c", "2", "-l", "ERROR", "--without-gossip", "--without-mingle"]
    worker = subprocess.Popen([sys.executable, "-m", "celery", *words], env=env, stdout=subprocess.DEVNULL)
    try:
        told = Process(ME, "celery", broker)
        told.go()
        return told.result()
    finally:
        worker.terminate()
        worker.wait()


def celery_client(broker: str) -> dict[str, float]:
    from celery import Celery

    sender = Celery("engine", broker=broker, backend=broker)
    task = sender.signature("noop", args=(1,))
    task.apply_async().get(timeout=60)
    trips = []
    for _ in range(TRIPS):
        began = time.perf_counter()
        task.apply_async().get(timeout=60)
        trips.append(time.perf_counter() - began)
    began = time.perf_counter()
    results = [task.apply_async() for _ in range(COUNT)]
    for result in results:
        result.get(timeout=120)
    return {"rate": COUNT / (time.perf_counter() - began), "trip_ms": percentile(trips, 0.5) * 1000}


def engine_side(kind: str, processes: int, threads: int, batch: int) -> dict[str, float]:
    """Return the rate of steps, and of steps with the making of their jobs."""
    with database(kind) as (url, _):
        store = open_store(url)
        began = time.perf_counter()
        fill(store, COUNT // STEPS)
        made_s = time.perf_counter() - began
        store.close_engine()
        workers = [Process(ME, "work", url, threads, batch) for _ in range(processes)]
        began = time.perf_counter()
        for worker in workers:
            worker.go()
        told = [worker.result() for worker in workers]
        took_s = time.perf_counter() - began
        assert sum(one["steps"] for one in told) == COUNT
        return {
            "rate": COUNT / took_s,
            "with_making": COUNT / (took_s + made_s),
            "cpu_ms": sum(one["cpu_s"] for one in told) / COUNT * 1000,
        }


def trips(kind: str) -> dict[str, float]:
    """Return medians in ms: of one claim and end, and of a job of one step from its making to its end."""
    with database(kind) as (url, _):
        store = open_store(url)
        fill(store, TRIPS // STEPS + 1)
        loop = []
        for _ in range(TRIPS):
            began = time.perf_counter()
            (claim,) = store.claim("bench", limit=1, lease_s=600)
            close(store, claim)
            loop.append(time.perf_counter() - began)
        work(warm(url), 1, 1)
        whole = in_process(store)
        store.close_engine()
        return {"loop_ms": percentile(loop, 0.5) * 1000, "whole_ms": percentile(whole, 0.5) * 1000}


def in_process(store: SqlStore) -> list[float]:
    import threading

    from making import make_video, new_job, opening

    bell, ended = InlineDispatcher(), threading.Semaphore(0)

    def worker() -> None:
        for _ in range(TRIPS):
            while not (claims := store.claim("bench", limit=1, lease_s=600)):
                bell.wait(30)
            close(store, claims[0])
            ended.release()

    thread = threading.Thread(target=worker)
    thread.start()
    took = []
    video = make_video(store)
    for _ in range(TRIPS):
        began = time.perf_counter()
        store.add_job(new_job(video.id), opening("render", 1))
        bell.ring()
        ended.acquire()
        took.append(time.perf_counter() - began)
    thread.join()
    return took


def through_celery(broker: str) -> float:
    """Return the median in ms of a job's way through the broker to another process, until that says it has ended."""
    from making import make_video, new_job, opening

    with database("postgresql") as (url, _):
        words = [sys.executable, ME, "--part", "listen", url, broker]
        worker = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
        store, dispatcher = open_store(url), CeleryDispatcher(broker)
        video = make_video(store)
        took = []
        for _ in range(WARM_UP + TRIPS):
            began = time.perf_counter()
            job = store.add_job(new_job(video.id), opening("render", 1))
            dispatcher.ring(job_id=job.id)
            assert worker.stdout.readline() == f"{job.id}\n"
            took.append(time.perf_counter() - began)
        worker.wait()
        dispatcher.close()
        store.close_engine()
    return percentile(took[WARM_UP:], 0.5) * 1000


def listen(url: str, broker: str) -> None:
    """Be a worker of one slot that the broker wakes."""
    from reelmill.worker import Listener

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    store, dispatcher = warm(url), CeleryDispatcher(broker)
    listener = Listener(dispatcher)
    listener.start()
    print("ready", flush=True)
    for _ in range(WARM_UP + TRIPS):
        while not (claims := store.claim("bench", limit=1, lease_s=600)):
            dispatcher.wait(30)
        close(store, claims[0])
        print(claims[0].job.id, flush=True)
    listener.stop()
    store.close_engine()


def bare_side(kind: str, group: int) -> dict[str, float]:
    """Return the rate at which the bare driver writes a step's rows, by one connection."""
    with database(kind) as (url, _):
        store = open_store(url)
        fill(store, COUNT // STEPS)
        store.close_engine()
        bare = Bare(url)
        began, cpu = time.perf_counter(), time.process_time()
        count = bare.work(group)
        took_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu
        bare.connection.close()
        assert count == COUNT
        return {"rate": COUNT / took_s, "cpu_ms": cpu_s / COUNT * 1000}


SIDES: dict[str, tuple[tuple[str, int, int, int], str]] = {
    "SQLite, 32 slots": (("sqlite", 1, 32, 1), "≥ 5"),
    "SQLite, claims of 32": (("sqlite", 1, 32, 32), "≥ 5"),
    "SQLite, one slot": (("sqlite", 1, 1, 1), ""),
    "PostgreSQL, one by one, two slots": (("postgresql", 2, 1, 1), "≥ 1.5"),
    "PostgreSQL, claims of 32": (("postgresql", 2, 32, 32), "≥ 4"),
}
BARE = {
    "bare sqlite3, groups of 32": ("sqlite", 32),
    "bare sqlite3, one by one": ("sqlite", 1),
    "bare psycopg, groups of 32": ("postgresql", 32),
    "bare psycopg, one by one": ("postgresql", 1),
}


def main() -> None:
    wanted = options(__doc__)
    ratios: Ratios = {}
    bounds: dict[str, str] = {}

    def keep(name: str, value: float, bound: str = "") -> None:
        ratios.setdefault(name, []).append(value)
        bounds[name] = bound

    for number in range(wanted.pairs):
        with valkey() as broker:
            theirs = celery_side(broker)
            again = celery_side(broker)
            rung_ms = through_celery(broker)
        keep("Celery, no-ops a second", theirs["rate"])
        keep("Celery / Celery (null)", again["rate"] / theirs["rate"], "1")
        said: dict[str, Any] = {"Celery": round(theirs["rate"])}
        for name, (side, bound) in SIDES.items():
            ours = engine_side(*side)
            keep(f"{name} / Celery", ours["rate"] / theirs["rate"], bound)
            keep(f"{name}: steps a second", ours["rate"])
            keep(f"{name}: with the jobs' making", ours["with_making"])
            keep(f"{name}: CPU ms a step", ours["cpu_ms"])
            said[name] = round(ours["rate"])
        for name, bare in BARE.items():
            floor = bare_side(*bare)
            keep(f"{name}: steps a second", floor["rate"])
            keep(f"{name}: CPU ms a step", floor["cpu_ms"])
        keep("Celery, round trip, ms", theirs["trip_ms"])
        for kind in ("sqlite", "postgresql"):
            ours = trips(kind)
            keep(f"{kind}: claim and end, ms", ours["loop_ms"])
            keep(f"{kind}: claim and end / Celery's trip", ours["loop_ms"] / theirs["trip_ms"], "≤ 1")
            keep(f"{kind}: job made, run, completed in-process, ms", ours["whole_ms"])
            keep(f"{kind}: job in-process / Celery's trip", ours["whole_ms"] / theirs["trip_ms"], "≤ 1")
        keep("postgresql: job made, run, completed through Celery, ms", rung_ms)
        keep("postgresql: the same, beyond Celery's trip, ms", rung_ms - theirs["trip_ms"], "≤ 10")
        print(f"{number + 1}: {said}", flush=True)
    report("Steps a second, and the way there and back", ratios, bounds, wanted.json)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--part"]:
        kind, target, *numbers = sys.argv[2:]
        if kind == "celery":
            part(lambda: celery_client(target))
        elif kind == "listen":
            listen(target, *numbers)
        else:
            warmed = warm(target)
            part(lambda: {"steps": work(warmed, *map(int, numbers))})
    else:
        main()
