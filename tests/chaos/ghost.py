"""A worker that hangs past its lease and believes in it all the same: `python ghost.py DATABASE_URL LEASE_S`.

It claims one step through the store's own port, does nothing until it has lost it, and then writes all that a worker
can write. It prints one JSON object: what was refused, and what was written, which must be nothing. When its standard
input is closed before there was a step, it ends without.
"""

from __future__ import annotations

import ctypes
import json
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from making import artifact, done, ended
from reelmill.errors import DatabaseUnavailable, StaleAttempt
from reelmill.jobs.lifecycle import StepEvent
from reelmill.jobs.ports import Held
from reelmill.wiring import open_store

LOOK_S = 0.05


def main(url: str, lease_s: str) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: it ends with the tests
    store = open_store(url)
    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    while not (claims := patiently(lambda: store.claim("ghost", limit=1, lease_s=float(lease_s)))):
        if over.wait(LOOK_S):
            print(json.dumps({"refused": [], "written": []}))
            return
    (claim,) = claims
    held = Held(claim.step.id, claim.attempt)
    while patiently(lambda: store.still_held([held])):
        time.sleep(LOOK_S)
    refused, written = [], []
    if patiently(lambda: store.beat([held], lease_s=60)):
        written.append("beat")
    writes: dict[str, Callable[[], Any]] = {
        "report": lambda: store.report(claim, 0.5),
        "crash": lambda: store.close(claim, ended(StepEvent.CRASH)),
        "finish": lambda: store.close(claim, done({"by": "ghost"}, [artifact(claim)])),
    }
    for name, write in writes.items():
        try:
            patiently(write)
        except StaleAttempt:
            refused.append(name)
        else:
            written.append(name)
    print(json.dumps({"step": held.step_id, "attempt": held.attempt, "refused": refused, "written": written}))


def patiently(act: Callable[[], Any]) -> Any:
    """Do it as soon as the database answers: it goes away again and again here."""
    while True:
        try:
            return act()
        except DatabaseUnavailable:
            time.sleep(LOOK_S)


if __name__ == "__main__":
    main(*sys.argv[1:])
