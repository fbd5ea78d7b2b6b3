"""Uploads in parts, in a folder: each part is written to its own place of one sparse file, which becomes the object.

    root/multipart/<id>/about.json   key, size, size of a part, content type; its lock orders all that happens here
    root/multipart/<id>/data         the object to be
    root/multipart/<id>/<n>.json     size and SHA-256 of part n: it is there, synced and checked
    root/multipart/<id>/<n>.by       the token of the request that writes part n at present

*Invariant*: `<n>.json` describes bytes that nobody writes. A request takes a part over by putting its token into
`<n>.by` and removing `<n>.json`; whoever finds another token there stops. Completing and aborting remove all tokens,
so no straggler touches a file that has become an object.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reelmill.errors import BodyMismatch, MultipartGone
from reelmill.jobs.model import ObjectInfo, StoredPart
from reelmill.objects.files import Keeper, check_room, seal, storage, write_all

_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class About:
    """What an upload in parts is going to be."""

    key: str
    size_bytes: int
    part_size: int
    content_type: str

    @property
    def count(self) -> int:
        return -(-self.size_bytes // self.part_size)

    def size_of(self, number: int) -> int:
        """Return the bytes of a part. Raises BodyMismatch when there is no such part."""
        if not 1 <= number <= self.count:
            raise BodyMismatch(f"there is no part {number}; the object has {self.count}")
        return min(self.part_size, self.size_bytes - (number - 1) * self.part_size)


class PartsFolder:
    """All uploads in parts of one folder store; many processes may share it."""

    def __init__(self, root: Path, keeper: Keeper) -> None:
        self._root = root
        self._keeper = keeper

    def begin(self, about: About) -> str:
        """Return the id of a new upload. Raises StorageUnavailable when it won't fit."""
        multipart_id = secrets.token_hex(16)
        folder = self._root / multipart_id
        with storage(about.key, writing=True):
            check_room(self._root, about.size_bytes)
            folder.mkdir(mode=0o750)
            with (folder / "data").open("xb") as data:
                os.fchmod(data.fileno(), 0o640)
                os.ftruncate(data.fileno(), about.size_bytes)
            told = {name: getattr(about, name) for name in About.__slots__}
            _write(folder / "about.json", told)  # last: with it, the upload is there
        return multipart_id

    def open_part(self, key: str, multipart_id: str, number: int, size_bytes: int, sha256: str | None) -> IncomingPart:
        """Begin to take a part in, instead of whatever was there. Raises MultipartGone, BodyMismatch."""
        with self._entered(key, multipart_id, alone=True) as (folder, about):
            if about.size_of(number) != size_bytes:
                raise BodyMismatch(f"part {number} has {about.size_of(number)} bytes, not {size_bytes}")
            token = secrets.token_hex(8)
            (folder / f"{number}.by").write_text(token)
            (folder / f"{number}.json").unlink(missing_ok=True)
            fd = os.open(folder / "data", os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        return IncomingPart(
            self, key, multipart_id, number, fd, (number - 1) * about.part_size, size_bytes, sha256, token
        )

    def arrived(self, key: str, multipart_id: str) -> list[StoredPart]:
        """Return the parts that are there, by number. Raises MultipartGone."""
        with self._entered(key, multipart_id) as (folder, _):
            return _arrived(folder)

    def join(self, key: str, multipart_id: str, parts: Sequence[StoredPart]) -> ObjectInfo:
        """Make the object. Raises MultipartGone, BodyMismatch when these aren't all parts, as they are."""
        with self._entered(key, multipart_id, alone=True) as (folder, about):
            there = _arrived(folder)
            if len(there) != about.count or sorted(parts, key=lambda part: part.number) != there:
                raise BodyMismatch(
                    f"{len(there)} of {about.count} parts are there; not all, or not those that were named"
                )
            for left in folder.glob("*.by"):
                left.unlink()
            with (folder / "data").open("r+b") as data:
                seal(data.fileno())
                made = self._keeper.publish(
                    key, folder / "data", data.fileno(), about.content_type, None, replace=False
                )
            shutil.rmtree(folder, ignore_errors=True)
            return made

    def drop(self, key: str, multipart_id: str) -> None:
        """Remove an upload; nothing happens when it is gone."""
        with contextlib.suppress(MultipartGone), self._entered(key, multipart_id, alone=True) as (folder, _):
            (folder / "about.json").unlink()  # first: without it, the upload isn't there
            shutil.rmtree(folder)

    def purge(self, older_than_s: float) -> int:
        """Remove uploads to which nothing was added for so long; return how many."""
        count, limit = 0, time.time() - older_than_s
        with storage("multipart", writing=True):
            for folder in self._root.iterdir():
                with contextlib.suppress(FileNotFoundError):
                    if max(path.lstat().st_mtime for path in (folder, folder / "data")) < limit:
                        (folder / "about.json").unlink(missing_ok=True)
                        shutil.rmtree(folder)
                        count += 1
        return count

    @contextlib.contextmanager
    def _entered(self, key: str, multipart_id: str, *, alone: bool = False) -> Iterator[tuple[Path, About]]:
        """Hold the upload's lock, shared or alone. Raises MultipartGone."""
        gone = MultipartGone(f"There is no upload in parts {multipart_id[:64]!r} of {key}.")
        if not _ID.fullmatch(multipart_id):
            raise gone
        folder = self._root / multipart_id
        try:
            fd = os.open(folder / "about.json", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            raise gone from None
        with storage(key, writing=True), os.fdopen(fd, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
            about = About(**json.load(file))
            if about.key != key or not os.fstat(file.fileno()).st_nlink:  # another's, or removed while we waited
                raise gone
            yield folder, about

    @contextlib.contextmanager
    def owned(self, key: str, multipart_id: str, number: int, token: str) -> Iterator[Path]:
        """Hold the upload's lock as the present writer of a part. Raises MultipartGone, BodyMismatch."""
        with self._entered(key, multipart_id) as (folder, _):
            try:
                mine = (folder / f"{number}.by").read_text() == token
            except FileNotFoundError:
                mine = False
            if not mine:
                raise BodyMismatch(f"part {number} is being sent by another request, or the upload has ended")
            yield folder


class IncomingPart:
    """A part being taken in: write blocks, then commit or abort. Not committed, it hasn't arrived."""

    def __init__(
        self, uploads: PartsFolder, key: str, multipart_id: str, number: int, fd: int, place: int, size_bytes: int,
        sha256: str | None, token: str,
    ) -> None:  # fmt: skip
        self._uploads, self._key, self._id, self._number, self._token = uploads, key, multipart_id, number, token
        self._fd: int | None = fd
        self._place, self._size, self._sha256 = place, size_bytes, sha256
        self._hash = hashlib.sha256()
        self._taken = 0
        self._lock = threading.Lock()

    def write(self, block: bytes | bytearray) -> None:
        """Raises BodyMismatch beyond the announced size, or when another request has taken the part over."""
        with self._lock, self._owned():
            if self._taken + len(block) > self._size:
                raise BodyMismatch(f"more than the announced {self._size} bytes were sent")
            assert self._fd is not None
            self._hash.update(block)
            write_all(self._fd, block, self._place + self._taken)
            self._taken += len(block)

    def commit(self) -> StoredPart:
        """Record the part as arrived. Raises BodyMismatch, MultipartGone."""
        with self._lock:
            sha256 = self._hash.hexdigest()
            if self._taken != self._size:
                raise BodyMismatch(f"{self._taken} bytes were sent, {self._size} were announced")
            if self._sha256 not in (None, sha256):
                raise BodyMismatch(f"the body's SHA-256 is {sha256}, {self._sha256} was announced")
            assert self._fd is not None
            with storage(self._key, writing=True):
                os.fdatasync(self._fd)
            with self._owned() as folder:
                _write(folder / f"{self._number}.json", {"size": self._size, "sha256": sha256})
                (folder / f"{self._number}.by").unlink(missing_ok=True)
            self._close()
            return _part(self._number, self._size, sha256)

    def abort(self) -> None:
        """Leave the part as not arrived; after commit it does nothing."""
        with self._lock:
            self._close()

    def _owned(self) -> contextlib.AbstractContextManager[Path]:
        return self._uploads.owned(self._key, self._id, self._number, self._token)

    def _close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def _arrived(folder: Path) -> list[StoredPart]:
    found = []
    for path in folder.glob("*.json"):
        if path.stem.isdecimal():
            told = json.loads(path.read_bytes())
            found.append(_part(int(path.stem), told["size"], told["sha256"]))
    return sorted(found, key=lambda part: part.number)


def _part(number: int, size_bytes: int, sha256: str) -> StoredPart:
    return StoredPart(number=number, size_bytes=size_bytes, etag=f'"{sha256}"', sha256=sha256)


def _write(path: Path, told: dict[str, Any]) -> None:
    """Write a small file whole or not at all."""
    part = path.with_suffix(f".{secrets.token_hex(4)}.tmp")
    with part.open("xb") as file:
        file.write(json.dumps(told).encode())
        file.flush()
        os.fsync(file.fileno())
    part.rename(path)
