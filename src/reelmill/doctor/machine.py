"""This machine: ffmpeg, fonts, folders, secrets, disks, the port."""

from __future__ import annotations

import errno
import getpass
import os
import shlex
import socket
import stat
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import httpx2

from reelmill.doctor.findings import Finding, failed, ok, warned
from reelmill.doctor.packages import again
from reelmill.errors import DataFolderUnusable, DiskLow, PortTaken, SecretExposed, SettingInvalid, ToolMissing
from reelmill.media import find_ffmpeg, fonts, tools, version

GIB = 1 << 30
LEAST_BYTES = 256 << 20  #: less free space than this is an error
LOW = 0.10  #: less than this part of the disk is a warning
ASK_S = 3.0
LOCAL = ("127.0.0.1", "localhost", "[::1]")


def ffmpeg(chosen: Path | None) -> Finding:
    """See that ffmpeg runs, is new enough and has all that pipelines use. chosen: REELMILL_FFMPEG."""
    try:
        path = find_ffmpeg(str(chosen) if chosen else None)
        if lacking := tools.lacking(path):
            raise ToolMissing(f"{path} has no {', '.join(lacking)}.")
    except ToolMissing as problem:
        return failed(problem, fix="unset REELMILL_FFMPEG" if chosen else again("imageio-ffmpeg"))
    counts = [f"{len(names)} {kind}" for kind, names in tools.NEEDED.items() if kind in ("filters", "encoders")]
    return ok(f"{version(path)}, with all {' and '.join(counts)}", path=str(path))


def drawing() -> Finding:
    """See that each font that is installed with us loads and paints."""
    faces = {face.path: face for face in fonts.faces()}
    broken = []
    for path, face in faces.items():
        try:
            if not face.draws():
                broken.append(path)
        except Exception:  # a font file may be broken in any way
            broken.append(path)
    if broken:
        package = broken[0].parent.name.replace("_", "-")
        return failed(
            ToolMissing(f"{counted(len(broken), 'font')} can't be drawn with: {', '.join(map(str, broken))}."),
            fix=again(package),
        )
    return ok(f"all {len(faces)} load and draw")


def folder(data: Path) -> Finding:
    """See that the data folder is there and takes files, and that nothing is in the way of its scratch folder."""
    place = shlex.quote(str(data))
    if not data.exists():

        def make() -> str:
            data.mkdir(parents=True, exist_ok=True)
            return f"made {data}"

        return failed(DataFolderUnusable(f"{data} doesn't exist yet."), fix=f"mkdir -p {place}", mend=make)
    for path in (data, data / "scratch"):
        if path.exists() and not path.is_dir():
            place = shlex.quote(str(path))
            return failed(
                DataFolderUnusable(f"{path} is a file, not a folder."), fix=f"mv {place} {place}.away && mkdir {place}"
            )
    try:
        with tempfile.NamedTemporaryFile(dir=data, prefix=".doctor-") as file:
            file.write(b"ready?")
            file.flush()
            os.fsync(file.fileno())
    except OSError as problem:
        unwritable = DataFolderUnusable(f"{data} can't be written to: {problem.strerror}.")
        if problem.errno in (errno.EACCES, errno.EPERM):
            return failed(unwritable, fix=f"sudo chown -R {shlex.quote(getpass.getuser())} {place}")
        return failed(unwritable)
    return ok(f"{data} can be written to", path=str(data))


def secrets(paths: Iterable[Path]) -> Finding:
    """See that files with secrets are only their owner's."""
    there = [path for path in paths if path.is_file()]
    exposed = [path for path in there if stat.S_IMODE(path.stat().st_mode) & 0o007]
    if exposed:

        def close() -> str:
            for path in exposed:
                path.chmod(0o600)
            return f"took back the permissions of {', '.join(map(str, exposed))}"

        return failed(
            SecretExposed(f"Every user of this machine can read {', '.join(map(str, exposed))}."),
            fix=f"chmod 600 {' '.join(shlex.quote(str(path)) for path in exposed)}",
            mend=close,
        )
    if not there:
        return ok("none yet; the first start makes them")
    return ok(f"{', '.join(path.name for path in there)}: only their owner's")


def disk(folders: Mapping[str, Path], *, least_bytes: int = LEAST_BYTES, low: float = LOW) -> Finding:
    """See that each disk that we write to has room. folders: what is kept there → where.

    least_bytes: an error below it. low: a warning below this part of the disk.
    """
    disks: dict[int, list[str]] = {}
    paths: dict[int, Path] = {}
    for name, path in folders.items():
        there = next(parent for parent in (path, *path.parents) if parent.exists())
        number = there.stat().st_dev
        disks.setdefault(number, []).append(name)
        paths.setdefault(number, there)
    told, problems = [], []
    free_bytes: dict[str, Any] = {}
    for number, names in disks.items():
        found = os.statvfs(paths[number])
        free, size = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
        line = f"{free / GIB:.1f} GiB ({100 * free / max(1, size):.0f} %) free for {', '.join(names)}"
        told.append(line)
        free_bytes |= dict.fromkeys(names, free)
        if free < least_bytes or free < low * size:
            look = f"du -xh --max-depth=2 {shlex.quote(str(paths[number]))} | sort -h | tail"
            problems.append((free >= least_bytes, DiskLow(f"Only {line}."), look))
    if problems:
        bearable, problem, look = min(problems, key=lambda one: one[0])
        return warned(problem, fix=look, **free_bytes) if bearable else failed(problem, fix=look, **free_bytes)
    return ok("; ".join(told), **free_bytes)


def port(host: str, number: int) -> Finding:
    """See that the server's port is free, or that a Reelmill server holds it."""
    if number == 0:
        return ok("any free one")
    try:
        _bind(host, number)
    except OSError as problem:
        return _unbound(host, number, problem)
    return ok(f"{host} port {number} is free")


def _unbound(host: str, number: int, problem: OSError) -> Finding:
    if isinstance(problem, socket.gaierror) or problem.errno == errno.EADDRNOTAVAIL:
        foreign = SettingInvalid(f"REELMILL_HOST={host!r} isn't an address of this machine; a good value is 127.0.0.1.")
        return failed(foreign, fix="export REELMILL_HOST=127.0.0.1")
    running = reelmill_at(local_url(host, number))
    if running is not None:
        return ok(f"a Reelmill server ({running}) listens on {host} port {number}", version=running)
    free = next((near for near in range(max(number, 1023) + 1, max(number, 1023) + 100) if _is_free(host, near)), 0)
    return failed(
        PortTaken(f"{host} port {number} can't be bound to: {problem.strerror}."), fix=f"export REELMILL_PORT={free}"
    )


def _is_free(host: str, number: int) -> bool:
    try:
        _bind(host, number)
    except (OSError, OverflowError):
        return False
    return True


def _bind(host: str, number: int) -> None:
    family, kind, protocol, _, place = socket.getaddrinfo(
        host, number, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    with socket.socket(family, kind, protocol) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        trial.bind(place)


def local_url(host: str, number: int) -> str:
    """Return the URL under which this machine reaches a server that is bound to host and port."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - told apart, not bound to
    return f"http://[{host}]:{number}" if ":" in host else f"http://{host}:{number}"


def reelmill_at(url: str) -> str | None:
    """Return the version of the Reelmill server at a URL; None when something else answers, or nothing."""
    try:
        with web(ASK_S) as http:
            told = http.get(f"{url}/healthz").json()
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError):
        return None
    is_ours = isinstance(told, dict) and told.get("status") == "ok" and "version" in told
    return str(told["version"]) if is_ours else None


def web(timeout_s: float) -> httpx2.Client:
    """Return an HTTP client that reaches this machine itself without a proxy."""
    return httpx2.Client(timeout=timeout_s, mounts={f"all://{name}": None for name in LOCAL})


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
