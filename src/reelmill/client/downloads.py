"""Fetch a signed URL into a file: resumed after a break or a kill, checked as a whole, there by one rename.

.<name>.part        what has come so far; held by the process that fetches it
.<name>.part.etag   the ETag of the object that these bytes are of
"""

from __future__ import annotations

import hashlib
import os
import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path

import httpx2

from reelmill.client.wire import Again, Wire, check_storage, unreachable
from reelmill.errors import (
    BodyMismatch,
    RangeUnsatisfiable,
    ReelmillError,
    SignatureExpired,
    SignatureInvalid,
    StorageUnavailable,
)

if sys.platform != "win32":
    import fcntl

RENEWALS = 3

Got = Callable[[int], None]  #: is told how many bytes are there so far
Fresh = Callable[[], str]  #: returns a new URL of the same object


class Part:
    """The beginning of a file, and which object it is of."""

    def __init__(self, file: FileIO, path: Path, *, kept: bool) -> None:
        self._file = file
        self._path = path
        self._note = path.with_name(f"{path.name}.etag") if kept else None
        self.size = os.fstat(file.fileno()).st_size
        self.etag = ""
        if self._note is not None:
            with suppress(OSError, ValueError):
                self.etag = self._note.read_text()

    def begin(self, etag: str) -> None:
        """Be of this object, from its first byte."""
        self.cut(0)
        self.etag = etag if etag.startswith('"') else ""  # a weak one says nothing about bytes (RFC 9110, 8.8.1)
        if self._note is not None:
            self._note.write_text(self.etag)

    def cut(self, size: int) -> None:
        self._file.truncate(size)
        self.size = size

    def add(self, block: bytes) -> None:
        self._file.seek(self.size)
        with memoryview(block) as view:
            done = 0
            while done < len(view):
                done += self._file.write(view[done:])
        self.size += len(block)

    def sha256(self) -> str:
        self._file.seek(0)
        return hashlib.file_digest(self._file, "sha256").hexdigest()

    def become(self, path: Path) -> None:
        """Be the file."""
        os.fsync(self._file.fileno())
        self._path.replace(path)
        self._forget()

    def drop(self) -> None:
        self._path.unlink(missing_ok=True)
        self._forget()

    def _forget(self) -> None:
        if self._note is not None:
            self._note.unlink(missing_ok=True)


def download(
    wire: Wire, url: str, path: Path, *, sha256: str | None, fresh: Fresh | None, got: Got | None, patient: bool
) -> None:
    """Fetch a URL into a file; see `Client.download`. patient: the server was there a moment ago, so wait for it."""
    with _part_of(path) as part:
        resumed = part.size > 0
        _fetch(wire, url, part, fresh, got, patient)
        arrived = part.sha256() if sha256 is not None else None
        if arrived != sha256 and resumed:  # the beginning may be damaged: a power cut can do that
            part.cut(0)
            _fetch(wire, url, part, fresh, got, patient)
            arrived = part.sha256()
        if arrived != sha256:
            part.cut(0)
            raise BodyMismatch(f"{path.name} arrived with the SHA-256 {arrived}; it should be {sha256}.")
        part.become(path)


def is_there(path: Path, size: int, sha256: str) -> bool:
    """Tell whether a file is this one."""
    try:
        with path.open("rb") as file:
            same_size = os.fstat(file.fileno()).st_size == size
            return same_size and hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except OSError:
        return False


@contextmanager
def _part_of(path: Path) -> Iterator[Part]:
    """Hold the file's beginning; while somebody else holds it, another one that isn't kept."""
    shared = path.with_name(f".{path.name}.part")
    with os.fdopen(os.open(shared, os.O_RDWR | os.O_CREAT, 0o666), "r+b", buffering=0) as file:
        if _is_ours(file, shared):
            part = Part(file, shared, kept=True)
            try:
                yield part
            finally:
                if not part.size:
                    part.drop()
            return
    own = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    with own.open("x+b", buffering=0) as file:
        try:
            yield Part(file, own, kept=False)
        finally:
            own.unlink(missing_ok=True)


def _is_ours(file: FileIO, path: Path) -> bool:
    """Lock the file; False when somebody else holds it, or has just made the whole of it."""
    try:
        if sys.platform != "win32":
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except (BlockingIOError, FileNotFoundError):
        return False


def _fetch(wire: Wire, url: str, part: Part, fresh: Fresh | None, got: Got | None, patient: bool) -> None:
    """Fetch until the part is the whole."""
    again = Again(wire.patience_s)
    while True:
        before = part.size
        try:
            _fetch_rest(wire, url, part, got)
            return
        except (SignatureExpired, SignatureInvalid) as error:
            if fresh is None:
                raise
            again.wait(error, most=RENEWALS)
            url = fresh()
        except RangeUnsatisfiable as error:  # a store that doesn't know If-Range, and a shorter object
            part.cut(0)
            again.wait(error, most=RENEWALS)
        except ReelmillError as error:
            if part.size > before:
                again.worked()
            if not patient and isinstance(error.__cause__, httpx2.ConnectError | httpx2.ConnectTimeout):
                raise  # there was nobody from the start
            patient = True
            again.wait(error)


def _fetch_rest(wire: Wire, url: str, part: Part, got: Got | None) -> None:
    headers = {"Accept-Encoding": "identity"}
    if part.size > 1 and part.etag:
        part.cut(part.size - 1)  # so that there is something to ask for, even if it is all there
        headers |= {"Range": f"bytes={part.size}-", "If-Range": part.etag}
    with unreachable(url), wire.storage.stream("GET", url, headers=headers) as reply:
        if not reply.is_success:
            reply.read()
            check_storage(reply)
        if reply.status_code != 206:
            part.begin(reply.headers.get("ETag", ""))
        elif not reply.headers.get("Content-Range", "").startswith(f"bytes {part.size}-"):
            part.cut(0)
            raise StorageUnavailable("The store sent another range than it was asked for.")
        for block in reply.iter_raw():
            part.add(block)
            if got is not None:
                got(part.size)
