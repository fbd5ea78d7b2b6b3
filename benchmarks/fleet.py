"""From one worker to 800: how near is the fleet to the ideal schedule, and what does a step cost the store?

Real PostgreSQL, real claims, beats and ends; the work itself sleeps 5–15 s, as long as its number says. The ideal
schedule hands the same steps, in the same order, to as many workers that need no time between two steps. Workers are
threads of up to eight processes; efficiency = ideal wall / measured wall, from the first claim to the last end.

    python benchmarks/fleet.py [--pairs N] [--workers 1,8,80,800] [--json FILE]
"""

from __future__ import annotations

import hashlib
import heapq
import os
import sys
import threading
import time
from typing import Any

from common import Ratios, options, report
from queueing import Process, close, cpu_of, database, fill, part, warm

from reelmill.jobs.ports import Held
from reelmill.stores.sql import SqlStore, open_store

ROUNDS = 6  #: steps for each worker
PROCESSES = 8
LEASE_S, BEAT_S = 60.0, 10.0
ME = os.path.abspath(__file__)  # noqa: PTH100 - given to other processes as it is


def sleep_s(step_id: str) -> float:
    return 5 + 10 * int.from_bytes(hashlib.sha256(step_id.encode()).digest()[:4], "big") / 2**32


def ideal_s(durations: list[float], workers: int) -> float:
    free = [0.0] * workers
    for duration in durations:
        heapq.heapreplace(free, free[0] + duration)
    return max(free)


def work(store: SqlStore, threads: int) -> dict[str, Any]:
    """Be `threads` workers until nothing is left; return which steps they did in which order, and when."""
    held: set[Held] = set()
    done: list[tuple[float, str, float]] = []
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(BEAT_S):
            store.beat(list(held), lease_s=LEASE_S)

    def worker() -> None:
        while claims := store.claim("fleet", limit=1, lease_s=LEASE_S):
            (claim,) = claims
            began = time.time()
            mine = Held(claim.step.id, claim.attempt)
            held.add(mine)
            time.sleep(sleep_s(claim.step.id))
            held.discard(mine)
            close(store, claim)
            done.append((began, claim.step.id, time.time()))

    began = time.time()
    beating = threading.Thread(target=beat)
    beating.start()
    working = [threading.Thread(target=worker) for _ in range(threads)]
    for thread in working:
        thread.start()
    for thread in working:
        thread.join()
    ended.set()
    beating.join()
    store.close_engine()
    return {"began": began, "done": done}


def fleet(workers: int) -> dict[str, float]:
    with database("postgresql") as (url, pid):
        assert pid is not None
        store = open_store(url)
        fill(store, max(1, workers * ROUNDS // 10))
        store.close_engine()
        split = [workers // PROCESSES + (number < workers % PROCESSES) for number in range(PROCESSES)]
        processes = [Process(ME, "work", url, threads) for threads in split if threads]
        before = cpu_of(pid)
        for process in processes:
            process.go()
        told = [process.result() for process in processes]
        server_s = cpu_of(pid) - before
    began = min(one["began"] for one in told)
    done = sorted(tuple(step) for one in told for step in one["done"])
    ideal = ideal_s([sleep_s(step_id) for _, step_id, _ in done], workers)
    wall = max(end for _, _, end in done) - began
    cost = sum(one["cpu_s"] for one in told)
    return {
        "efficiency": ideal / wall,
        "steps": len(done),
        "wall_s": wall,
        "worker_ms": cost / len(done) * 1000,
        "server_ms": server_s / len(done) * 1000,
    }


def main() -> None:
    sizes = [1, 8, 80, 800]
    if "--workers" in sys.argv:
        place = sys.argv.index("--workers")
        sizes = [int(size) for size in sys.argv[place + 1].split(",")]
        del sys.argv[place : place + 2]
    wanted = options(__doc__, pairs=1)
    ratios: Ratios = {}
    bounds: dict[str, str] = {}
    for number in range(wanted.pairs):
        for size in sizes:
            told = fleet(size)
            ratios.setdefault(f"{size} workers: ideal / wall", []).append(told["efficiency"])
            bounds[f"{size} workers: ideal / wall"] = "≥ 0.97"
            ratios.setdefault(f"{size} workers: CPU ms of the workers a step", []).append(told["worker_ms"])
            ratios.setdefault(f"{size} workers: CPU ms of the database a step", []).append(told["server_ms"])
            print(f"{number + 1}: {size} workers, {told}", flush=True)
    report("A fleet beside its ideal schedule", ratios, bounds, wanted.json)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--part"]:
        _, target, count = sys.argv[2:]
        warmed = warm(target)
        part(lambda: work(warmed, int(count)))
    else:
        main()
