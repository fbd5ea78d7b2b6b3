"""What may befall a running platform, each thing real, in an order that a seed decides.

Processes are killed and frozen by their ids, PostgreSQL loses a backend to SIGKILL and recovers from its log, Valkey is
emptied and killed, and the ways to storage and database lead through proxies that cut, delay and answer 500.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import servers
from faults import Proxy
from running import Server, free_port
from working import Worker, Works, until

HERE = Path(__file__).parent
STATEMENTS = 120  #: a process is killed at one of its next so many messages to the database


@dataclass
class Place:
    """A platform, and all that it stands on."""

    folder: Path
    works: Works
    lease_s: float
    database_url: str  #: past the proxy
    bucket: dict[str, str]  #: as the verdict wants it
    to_storage: Proxy | None = None
    to_database: Proxy | None = None
    postgres: servers.Postgres | None = None
    broker: Broker | None = None
    workers: list[Worker] = field(default_factory=list)

    @property
    def server(self) -> Server:
        return self.works.server

    def logs(self) -> str:
        return "".join(path.read_text(errors="replace") for path in self.server.data.parent.glob("*.log"))


class Broker:
    """A Valkey server of its own, which may be killed and comes back on the same port."""

    def __init__(self) -> None:
        self._port = free_port()
        self._server = servers.start_valkey(self._port)

    @property
    def url(self) -> str:
        return self._server.url()

    def flush(self) -> None:
        self._server.flush()

    def kill(self) -> None:
        os.kill(self._server.pid, signal.SIGKILL)
        self._server.stop()

    def start(self) -> None:
        self._server = servers.start_valkey(self._port)

    def close(self) -> None:
        self._server.stop()


class Weather:
    """Does to a place what the seed says: each thing at least once, then whatever comes."""

    def __init__(self, place: Place, seed: int, *, pause_s: tuple[float, float]) -> None:
        """pause_s: between two acts, at least and at most."""
        self.place = place
        self._pause_s = pause_s
        self.done: list[str] = []
        self._dice = random.Random(seed)
        self._ghosts: list[subprocess.Popen[str]] = []
        p = place
        known: dict[str, tuple[Callable[[], None], bool]] = {
            "server killed": (self.kill_server, True),
            "server killed at a statement": (self.kill_server_at_a_statement, p.to_database is not None),
            "server frozen past the lease": (self.freeze_server, True),
            "worker killed": (self.kill_worker, bool(p.workers)),
            "worker frozen past the lease": (self.freeze_worker, bool(p.workers)),
            "worker replaced": (self.replace_worker, bool(p.workers)),
            "database crashed": (self.crash_database, p.postgres is not None),
            "database cut off": (self.cut_database, p.to_database is not None),
            "broker emptied": (self.flush_broker, p.broker is not None),
            "broker killed": (self.kill_broker, p.broker is not None),
            "storage cut": (self.cut_storage, p.to_storage is not None),
            "storage slow": (self.slow_storage, p.to_storage is not None),
            "storage answers 500": (self.fail_storage, p.to_storage is not None),
            "a worker that hangs past its lease": (self.haunt, True),
        }
        self.acts = {name: act for name, (act, here) in known.items() if here}

    def blow(self, enough: Callable[[], bool]) -> None:
        """Do everything once, in a drawn order, and then more until it is enough."""
        coming = self._dice.sample(sorted(self.acts), len(self.acts))
        while coming or not enough():
            name = coming.pop() if coming else self._dice.choice(sorted(self.acts))
            time.sleep(self._dice.uniform(*self._pause_s))
            print(f"{time.strftime('%X')} {name}", flush=True)
            self.acts[name]()
            self.done.append(name)

    def ghosts(self) -> list[dict[str, Any]]:
        """Wait for the workers that hung; return what each was refused."""
        told = []
        for ghost in self._ghosts:
            out, _ = ghost.communicate(timeout=300)
            assert ghost.returncode == 0
            told.append(json.loads(out))
        return told

    # ── processes ─────────────────────────────────────────────────────────────────────────────

    def kill_server(self) -> None:
        self.place.server.kill()
        self.place.server.start()

    def kill_server_at_a_statement(self) -> None:
        """Kill it when the n-th message from now to the database is on its way: before, between or after its writes."""
        server, proxy = self.place.server, self.place.to_database
        assert server.process is not None and proxy is not None
        left, turn = self._dice.randrange(1, STATEMENTS), threading.Lock()
        passes = self._dice.random() < 0.5  # whether the message still arrives
        process = server.process

        def count() -> None:
            nonlocal left
            with turn:
                left -= 1
                if left == 0:
                    process.kill()
                    if not passes:
                        proxy.cut_all()

        proxy.on_block = count
        try:
            process.wait(60)  # it looks at its leases, sweeps and claims by itself: messages always come
        finally:
            proxy.on_block = lambda: None
        server.start()

    def freeze_server(self) -> None:
        assert self.place.server.process is not None
        self._freeze(self.place.server.process.pid)

    def kill_worker(self) -> None:
        at = self._dice.randrange(len(self.place.workers))
        self.place.workers[at].kill()
        self.place.workers[at] = self.place.works.worker()

    def freeze_worker(self) -> None:
        self._freeze(self._dice.choice(self.place.workers).process.pid)

    def replace_worker(self) -> None:
        at = self._dice.randrange(len(self.place.workers))
        assert self.place.workers[at].stop() == 0
        self.place.workers[at] = self.place.works.worker()

    def haunt(self) -> None:
        command = [sys.executable, str(HERE / "ghost.py"), self.place.database_url, str(self.place.lease_s)]
        env = {**os.environ, "PYTHONPATH": str(HERE.parent)}
        ghost = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._ghosts.append(ghost)

    def _freeze(self, pid: int) -> None:
        os.kill(pid, signal.SIGSTOP)
        try:
            time.sleep(self.place.lease_s + self._dice.uniform(0.5, 2))
        finally:
            os.kill(pid, signal.SIGCONT)

    # ── what they stand on ────────────────────────────────────────────────────────────────────

    def crash_database(self) -> None:
        """Kill one backend: PostgreSQL then throws everybody out, and comes back from its write-ahead log."""
        connection = until(self._connection, "the database answers")
        os.kill(connection.info.backend_pid, signal.SIGKILL)
        connection.close()

    def _connection(self) -> Any:
        import psycopg

        try:
            return psycopg.connect(self.place.database_url)
        except psycopg.OperationalError:  # it still recovers from the time before
            return None

    def cut_database(self) -> None:
        assert self.place.to_database is not None
        self.place.to_database.cut_all()

    def flush_broker(self) -> None:
        assert self.place.broker is not None
        self.place.broker.flush()

    def kill_broker(self) -> None:
        assert self.place.broker is not None
        self.place.broker.kill()
        time.sleep(self._dice.uniform(0, 2))
        self.place.broker.start()

    def cut_storage(self) -> None:
        assert self.place.to_storage is not None
        for _ in range(5):
            self.place.to_storage.cut_all()
            time.sleep(self._dice.uniform(0, 0.5))

    def slow_storage(self) -> None:
        assert self.place.to_storage is not None
        self.place.to_storage.latency_s = self._dice.uniform(0.1, 0.5)
        time.sleep(2)
        self.place.to_storage.latency_s = 0.0

    def fail_storage(self) -> None:
        assert self.place.to_storage is not None
        self.place.to_storage.failing = True
        time.sleep(self._dice.uniform(0.5, 2))
        self.place.to_storage.failing = False
