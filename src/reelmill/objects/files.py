"""Open files of the folder store: an object being read, an object being taken in, and the system's errors as ours."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from reelmill.errors import BodyMismatch, ObjectMissing, StorageDenied, StorageUnavailable
from reelmill.jobs.model import ObjectInfo

BLOCK = 1 << 20  #: bytes read or written at once


class Keeper(Protocol):
    """What an incoming object needs of its store."""

    def incoming_path(self) -> Path: ...

    def publish(
        self, key: str, source: Path, fd: int, content_type: str, sha256: str | None, *, replace: bool
    ) -> ObjectInfo: ...


class Reading:
    """One object, open: what is known of it, and its bytes at any place. Safe to share between threads."""

    def __init__(self, file: io.FileIO, info: ObjectInfo) -> None:
        self.info = info
        self._file = file
        self._lock = threading.Lock()

    def at(self, start: int, length: int) -> bytes:
        """Return up to `length` bytes from `start`; empty at the end. Raises StorageUnavailable."""
        with self._lock, storage(self.info.key):
            return os.pread(self._file.fileno(), length, start)

    def blocks(self, start: int, length: int) -> Iterator[bytes]:
        """Yield the bytes from `start` on, fewer where the object ends. Raises StorageUnavailable."""
        end = start + length
        while start < end and (block := self.at(start, min(BLOCK, end - start))):
            yield block
            start += len(block)

    def close(self) -> None:
        with self._lock:  # a read in another thread must not find its descriptor given to another file
            self._file.close()


class Incoming:
    """An object being taken in: write blocks, then commit or abort. What is not committed was never there."""

    def __init__(
        self, store: Keeper, key: str, size_bytes: int, content_type: str, sha256: str | None, *, replace: bool
    ) -> None:
        self._store, self._key, self._replace = store, key, replace
        self._size, self._content_type, self._sha256 = size_bytes, content_type, sha256
        self._hash = hashlib.sha256()
        self._taken = 0
        self._lock = threading.Lock()
        self._path = store.incoming_path()
        with storage(key, writing=True):
            check_room(self._path.parent, size_bytes)
            self._file = self._path.open("xb", buffering=0)
            os.fchmod(self._file.fileno(), 0o640)

    def write(self, block: bytes | bytearray) -> None:
        """Raises BodyMismatch beyond the announced size, StorageUnavailable when the disk is full."""
        with self._lock, storage(self._key, writing=True):
            if self._taken + len(block) > self._size:
                raise BodyMismatch(f"more than the announced {self._size} bytes were sent")
            self._hash.update(block)
            write_all(self._file.fileno(), block, self._taken)
            self._taken += len(block)

    def commit(self) -> ObjectInfo:
        """Publish the object; the same object once more is fine. Raises BodyMismatch, ObjectExists."""
        with self._lock, storage(self._key, writing=True):
            sha256 = self._hash.hexdigest()
            if self._taken != self._size:
                raise BodyMismatch(f"{self._taken} bytes were sent, {self._size} were announced")
            if self._sha256 not in (None, sha256):
                raise BodyMismatch(f"the body's SHA-256 is {sha256}, {self._sha256} was announced")
            seal(fd := self._file.fileno())
            info = self._store.publish(self._key, self._path, fd, self._content_type, sha256, replace=self._replace)
            self._discard()
            return info

    def abort(self) -> None:
        """Leave nothing; after commit it does nothing."""
        with self._lock:
            self._discard()

    def _discard(self) -> None:
        if not self._file.closed:
            self._file.close()
            with contextlib.suppress(OSError):  # already renamed, or left to purge_incoming
                self._path.unlink()


def write_all(fd: int, block: bytes | bytearray, at: int) -> None:
    """Write the whole block at this place of a file."""
    with memoryview(block) as view:
        done = 0
        while done < len(view):
            done += os.pwrite(fd, view[done:], at + done)


def check_room(folder: Path, size_bytes: int) -> None:
    """Raises StorageUnavailable when so many bytes don't fit."""
    disk = os.statvfs(folder)
    if (free := disk.f_bavail * disk.f_frsize) < size_bytes:
        raise StorageUnavailable(f"{size_bytes} bytes don't fit: {free} are free on the disk")


def seal(fd: int) -> None:
    """Sync the bytes, with a time of their own by which the meta file knows them."""
    now = time.time_ns()  # the system's own idea of now is too coarse to tell two writes apart
    os.utime(fd, ns=(now, now))
    os.fsync(fd)


@contextlib.contextmanager
def storage(what: str, *, writing: bool = False) -> Iterator[None]:
    """Turn the system's errors into the port's."""
    try:
        yield
    except OSError as error:
        cause = f"{what}: {error.strerror or error}"
        if not writing and error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise ObjectMissing(f"{what} isn't in storage") from error
        if error.errno in (errno.ENOTDIR, errno.ELOOP, errno.EISDIR, errno.ENOTEMPTY, errno.EEXIST):
            raise StorageDenied(f"{cause} (a file, folder or link of another kind is in the way)") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise StorageDenied(cause) from error
        raise StorageUnavailable(cause) from error
