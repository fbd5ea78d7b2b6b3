"""All parts of one folder: bring them up, take them down, tell what runs."""

from __future__ import annotations

import contextlib
import fcntl
import json
import re
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, cast

from reelmill.cluster import parts
from reelmill.cluster.parts import HOST, WEED_PORTS, Place, Start
from reelmill.errors import ClusterFailed, SettingInvalid

if TYPE_CHECKING:
    import psutil

START_S = 90.0
STOP_S = 60.0  #: more than a worker's grace
STATE = "cluster.json"
PORTS = ("api", "postgres", "valkey", *WEED_PORTS)

Say = Callable[[str], None]


class _Process(TypedDict):
    pid: int
    started: float  #: by which a process is told from a later one with its id


class _Told(TypedDict):
    """What the folder remembers."""

    secret: str
    ports: dict[str, int]
    processes: dict[str, _Process | None]  #: None: it was taken down


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """One process of a cluster, as it stands."""

    name: str
    state: str  #: `running`, `dead`; `stopped` if it was taken down
    pid: int | None
    address: str
    log: Path


class Cluster:
    """The cluster of one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()

    # ── what there is ─────────────────────────────────────────────────────────────────────────

    @property
    def exists(self) -> bool:
        return (self.folder / STATE).is_file()

    @property
    def place(self) -> Place:
        told = self._read()
        return Place(folder=self.folder, secret=told["secret"], ports=told["ports"])

    def key(self) -> str:
        """Return the API key that the server keeps for this machine's user."""
        return (self.folder / "data" / "cli.key").read_text().strip()

    def log(self, name: str) -> Path:
        return self.folder / "logs" / f"{name}.log"

    def running(self) -> list[Running]:
        """Return all processes that belong to it, in the order in which they are started."""
        told = self._read()
        ports = told["ports"]
        found = []
        for name in sorted(told["processes"], key=_order):
            one = told["processes"][name]
            port = ports.get({"seaweed": "s3.port"}.get(name, name))
            state = "stopped" if one is None else "running" if _process(one) else "dead"
            pid = one["pid"] if one and state == "running" else None
            address = f"{HOST}:{port}" if port else ""
            found.append(Running(name=name, state=state, pid=pid, address=address, log=self.log(name)))
        return found

    # ── up and down ───────────────────────────────────────────────────────────────────────────

    def up(self, workers: int, port: int, say: Say) -> None:
        """Start what doesn't run, in order, each when the one before works. port: of the API, 0 for a free one.

        Raises ToolMissing, SettingInvalid, ClusterFailed.
        """
        parts.need_packages()
        with self._locked():
            if not self.exists:
                ports = dict(zip(PORTS, _free_ports(len(PORTS)), strict=True))
                self._write(
                    {"secret": secrets.token_hex(24), "ports": {**ports, "api": port or ports["api"]}, "processes": {}}
                )
            elif port and self._read()["ports"]["api"] != port:
                if self._alive("api"):
                    raise SettingInvalid(f"The cluster's API is at {self.place.url}; take it down to move it.")
                self._set_ports({**self._read()["ports"], "api": port})
            self._move_taken_ports(fixed=bool(port))
            self._start("postgres", parts.postgres, parts.postgres_works, say)
            self._start("valkey", parts.valkey, parts.valkey_works, say)
            self._start("seaweed", parts.seaweed, parts.seaweed_works, say)
            self._start("api", parts.api, parts.api_works, say)
            wanted = [f"worker-{n}" for n in range(1, workers + 1)]
            for name in [one.name for one in self.running() if one.name.startswith("worker-")]:
                if name not in wanted:
                    self._stop(name, say)
                    self._forget(name)
            for name in wanted:
                self._start(name, parts.worker, partial(self._worker_works, name), say)

    def down(self, say: Say) -> None:
        """End all processes, workers first, and wait until they have ended. Files stay."""
        with self._locked():
            for one in reversed(self.running()):
                self._stop(one.name, say)

    def delete(self) -> None:
        """Remove the folder of a cluster that is down. Raises SettingInvalid."""
        if not self.exists:
            raise SettingInvalid(f"{self.folder} isn't a cluster's folder.")
        if any(one.state == "running" for one in self.running()):
            raise SettingInvalid(f"The cluster in {self.folder} runs.")
        shutil.rmtree(self.folder)

    def _start(self, name: str, how: Callable[[Place], Start], works: Callable[[Place], bool], say: Say) -> None:
        if self._alive(name):
            return
        say(f"Starting {name} …")
        start = how(self.place)
        log = self.log(name)
        with log.open("ab") as out:
            begin = out.tell()
            process = subprocess.Popen(
                start.argv,
                cwd=start.folder, env=dict(start.env), stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                start_new_session=True,  # it outlives this command and its terminal
                **start.user,
            )  # fmt: skip
        self._remember(name, process.pid)
        deadline = time.monotonic() + START_S
        while not works(self.place):
            if process.poll() is not None or time.monotonic() > deadline:
                said = log.read_bytes()[begin:].decode("utf-8", "replace").strip()[-1500:]
                what = f"ended with {process.returncode}" if process.returncode is not None else "doesn't answer"
                raise ClusterFailed(f"{name} {what}; its last words in {log}:\n{said}")
            time.sleep(0.1)

    def _stop(self, name: str, say: Say) -> None:
        one = self._read()["processes"].get(name)
        process = _process(one) if one else None
        if process is not None:
            say(f"Stopping {name} …")
            # PostgreSQL's SIGTERM waits for its clients; SIGINT doesn't.
            process.send_signal(signal.SIGINT if name == "postgres" else signal.SIGTERM)
            if not _ended(process, STOP_S):
                process.kill()
                _ended(process, STOP_S)
        self._set_process(name, None)

    def _worker_works(self, name: str, place: Place) -> bool:
        """See that it is in the register of workers, as the API tells it."""
        import httpx2

        one = self._read()["processes"][name]
        headers = {"Authorization": f"Bearer {self.key()}"}
        try:
            reply = httpx2.get(f"{place.url}/api/v1/admin/workers", headers=headers, timeout=10, trust_env=False)
        except httpx2.HTTPError:
            return False
        return one is not None and any(found["pid"] == one["pid"] for found in reply.json().get("items", ()))

    # ── what is remembered ────────────────────────────────────────────────────────────────────

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other commands out. Raises SettingInvalid for a folder that is somebody else's."""
        if self.folder.is_dir() and not self.exists and any(self.folder.iterdir()):
            raise SettingInvalid(f"{self.folder} has other files in it; choose another by --folder.")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o711)  # PostgreSQL may run by another account; what is inside has its own permissions
        (self.folder / "logs").mkdir(mode=0o700, exist_ok=True)
        (self.folder / "data").mkdir(mode=0o700, exist_ok=True)
        with (self.folder / "logs" / ".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _read(self) -> _Told:
        try:
            return cast(_Told, json.loads((self.folder / STATE).read_text()))
        except FileNotFoundError as error:
            raise SettingInvalid(f"There is no cluster in {self.folder}; `reelmill cluster up` makes one.") from error

    def _write(self, told: _Told) -> None:
        fresh = self.folder / f".{STATE}"
        fresh.touch(mode=0o600)
        fresh.write_text(json.dumps(told, indent=2))
        fresh.replace(self.folder / STATE)

    def _set_ports(self, ports: dict[str, int]) -> None:
        self._write({**self._read(), "ports": ports})

    def _set_process(self, name: str, process: _Process | None) -> None:
        told = self._read()
        told["processes"][name] = process
        self._write(told)

    def _remember(self, name: str, pid: int) -> None:
        import psutil

        try:
            started = psutil.Process(pid).create_time()
        except psutil.NoSuchProcess:
            started = 0.0  # it ended at once; `_start` sees it
        self._set_process(name, {"pid": pid, "started": started})

    def _forget(self, name: str) -> None:
        told = self._read()
        del told["processes"][name]
        self._write(told)

    def _alive(self, name: str) -> bool:
        one = self._read()["processes"].get(name)
        return one is not None and _process(one) is not None

    def _move_taken_ports(self, *, fixed: bool) -> None:
        """Give parts that don't run other ports, where somebody else has taken theirs."""
        told = self._read()
        ports = dict(told["ports"])
        for name, port in ports.items():
            part = name if name in ("api", "postgres", "valkey") else "seaweed"
            if self._alive(part) or _is_free(port):
                continue
            if name == "api" and fixed:
                raise SettingInvalid(f"--port {port} is taken by another program; choose another, or 0 for a free one.")
            ports[name] = _free_ports(1)[0]
        if ports != told["ports"]:
            self._set_ports(ports)


def _order(name: str) -> tuple[int, int]:
    before = ("postgres", "valkey", "seaweed", "api")
    if name in before:
        return before.index(name), 0
    return len(before), int(re.sub(r"\D", "", name) or 0)


def _process(told: _Process) -> psutil.Process | None:
    """Return the process, if it still is the one that was started."""
    import psutil

    try:
        process = psutil.Process(told["pid"])
        if abs(process.create_time() - told["started"]) < 1 and process.status() != psutil.STATUS_ZOMBIE:
            return process
    except psutil.NoSuchProcess:
        pass
    return None


def _ended(process: psutil.Process, seconds: float) -> bool:
    import psutil

    try:
        process.wait(seconds)
    except psutil.TimeoutExpired:
        return False
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _free_ports(count: int) -> list[int]:
    """Return ports that are free and differ: each is held until all are found."""
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((HOST, 0))
        return [int(probe.getsockname()[1]) for probe in probes]
