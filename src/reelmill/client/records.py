"""What a client remembers of its uploads under way, so that any later process goes on with them.

    $XDG_STATE_HOME/reelmill/uploads/<server and path>.json    which upload belongs to this file; mode 0600
    $XDG_STATE_HOME/reelmill/uploads/<server and path>.lock    held by the process that sends it

What has arrived isn't written here: the server knows. A record is a hint; without one (or in a folder that can't be
written to) an upload works as well, only another process won't find it by itself.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

if sys.platform != "win32":
    import fcntl

KEPT_S = 30 * 86_400.0  #: a record that nobody has touched for so long is removed
AT_ONCE = 16  #: uploads of one file at the same time that are remembered


@dataclass(frozen=True, slots=True)
class Record:
    """An upload, and the file that it belongs to."""

    video_id: str
    url: str
    path: str
    size: int
    mtime_ns: int
    edges: str  #: SHA-256 of the first and last MiB
    asked: str  #: SHA-256 of what the upload was begun with: labels, pipeline, parameters, type


class Slot:
    """The place of one record. Only one process has it at a time."""

    def __init__(self, path: Path | None) -> None:
        """path: None remembers nothing."""
        self._path = path

    def read(self) -> Record | None:
        """Return the record; None when there is none that can be read."""
        if self._path is None:
            return None
        try:
            return Record(**json.loads(self._path.read_bytes()))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, record: Record) -> None:
        """Put the record there, whole or not at all."""
        if self._path is not None:
            part = self._path.with_suffix(".part")  # ours alone, as the slot is
            with suppress(OSError):
                part.unlink(missing_ok=True)
                with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                    json.dump(asdict(record), file)
                    file.flush()
                    os.fsync(file.fileno())
                part.replace(self._path)

    def clear(self) -> None:
        if self._path is not None:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)


def state_folder() -> Path:
    """Return the user's folder for such records (XDG Base Directory Specification)."""
    given = Path(os.environ.get("XDG_STATE_HOME", ""))
    return (given if given.is_absolute() else Path.home() / ".local" / "state") / "reelmill" / "uploads"


@contextmanager
def held(folder: Path, url: str, path: Path) -> Iterator[Slot]:
    """Hold the record of a file's upload to a server; of several uploads of it at once, each holds one of its own."""
    name = hashlib.sha256(json.dumps([url, str(path.absolute())]).encode()).hexdigest()[:32]
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _forget_old(folder)
        lock, fd = _first_free(folder, name)
    except OSError:
        yield Slot(None)
        return
    slot = Slot(lock.with_suffix(".json"))
    try:
        yield slot
    finally:
        if slot.read() is None:
            with suppress(OSError):
                lock.unlink()
        os.close(fd)


def _first_free(folder: Path, name: str) -> tuple[Path, int]:
    """Lock the first place that nobody holds, one with a record rather than an empty one. Raises BlockingIOError."""
    places = [folder / f"{name}-{number}.lock" for number in range(AT_ONCE)]
    for lock in sorted(places, key=lambda lock: not lock.with_suffix(".json").exists()):
        fd = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if sys.platform != "win32":
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(fd), lock.stat()):  # not one that its holder has just removed
                return lock, fd
        except (BlockingIOError, FileNotFoundError):
            pass
        os.close(fd)
    raise BlockingIOError


def _forget_old(folder: Path) -> None:
    limit = time.time() - KEPT_S
    for record in folder.glob("*.json"):
        with suppress(FileNotFoundError):
            if record.stat().st_mtime < limit:
                record.unlink()
