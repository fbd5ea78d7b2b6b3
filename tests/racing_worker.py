"""A worker in a process of its own, made to be stopped, killed and woken too late: `python racing_worker.py URL NAME`.

For each line `go SECONDS` it claims one step under a short lease, says so, works for so long, and closes the step.
Each line that it prints is one JSON object.
"""

from __future__ import annotations

import ctypes
import json
import signal
import sys
import time
from typing import Any

from making import artifact, done
from reelmill.errors import StaleAttempt
from reelmill.jobs.ports import Held
from reelmill.wiring import open_store

LEASE_S = 0.4
BEAT_S = 0.15


def say(**words: Any) -> None:
    print(json.dumps(words), flush=True)


def main(url: str, name: str) -> None:
    if sys.platform == "linux":  # also a stopped worker must end with the tests: a closed pipe doesn't wake it
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    store = open_store(url)
    say(said="ready")
    for line in sys.stdin:
        work_s = float(line.split()[1])
        (claim,) = store.claim(name, limit=1, lease_s=LEASE_S)
        held = Held(claim.step.id, claim.attempt)
        say(said="claimed", step=claim.step.id, attempt=claim.attempt)
        until = time.monotonic() + work_s
        while time.monotonic() < until:
            time.sleep(min(BEAT_S, max(0.0, until - time.monotonic())))
            store.beat([held], lease_s=LEASE_S)
        # No look at the lease: a worker that believes in it is the one that must be stopped.
        try:
            store.close(claim, done({"by": name, "attempt": claim.attempt}, [artifact(claim)]))
        except StaleAttempt:
            say(said="stale", step=claim.step.id, attempt=claim.attempt)
        else:
            say(said="closed", step=claim.step.id, attempt=claim.attempt)


if __name__ == "__main__":
    main(*sys.argv[1:])
