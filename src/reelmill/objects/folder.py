"""The object store in a folder: signed URLs are served by the API itself (`api/objects.py`).

    root/objects/<key>       the bytes; a file appears here whole, by one rename
    root/meta/<key>.json     content type, SHA-256, and which bytes they belong to
    root/incoming/           files being written; leftovers are purged
    root/multipart/          uploads in parts (`parts.py`)
    root/locks/              one advisory lock for each 256th of the keys

*Invariant*: what lies under `objects/` is whole, synced and checked. The meta file is written before the
object is renamed, and names the bytes it describes by (size, mtime); while an object is being replaced it
describes both, so that a crash between the two writes never gives bytes the checksum of other bytes.
Paths are walked one segment at a time without following links. Needs a POSIX system.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import hashlib
import hmac
import io
import json
import math
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from reelmill.errors import (
    BodyMismatch,
    MultipartGone,
    ObjectExists,
    ObjectMissing,
    RequestInvalid,
    SettingInvalid,
    SignatureExpired,
    SignatureInvalid,
    StorageUnavailable,
)
from reelmill.jobs.model import Capabilities, Located, ObjectInfo, SignedRequest, StoredPart, UploadLimits
from reelmill.jobs.ports import Patience
from reelmill.objects.files import BLOCK, Incoming, Reading, seal, storage
from reelmill.objects.names import (
    OCTETS,
    check_body,
    check_key,
    check_media_type,
    check_part,
    check_split,
    clean_filename,
    is_key,
)
from reelmill.objects.parts import About, IncomingPart, PartsFolder

SECRET_BYTES = 32

_SIGNED = ("expires", "size", "type", "sha256", "upload", "part", "filename", "response_type")
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a valid signature allows."""

    key: str
    expires: int  #: Unix seconds
    size_bytes: int = 0
    content_type: str = OCTETS
    sha256: str | None = None
    upload: str | None = None  #: the id of an upload in parts
    part: int | None = None
    filename: str | None = None
    response_type: str | None = None


def load_secret(path: Path) -> bytes:
    """Return the signing secret in a file; make it (32 random bytes, mode 0600) if there is none.

    Processes that start at once get the same: the file is filled under a lock, and never read half.
    Raises SettingInvalid when the file is too short or readable by everybody, StorageDenied, StorageUnavailable.
    """
    with storage(f"the secret file {path}", writing=True):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(fd, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            secret = file.read()
            if not secret:  # new, or its maker died before it was filled
                with path.open("r+b") as out:
                    os.fchmod(out.fileno(), 0o600)
                    secret = secrets.token_bytes(SECRET_BYTES)
                    out.write(secret)
                    out.flush()
                    os.fsync(out.fileno())
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
    if len(secret) < SECRET_BYTES:
        raise SettingInvalid(f"{path} holds {len(secret)} bytes, {SECRET_BYTES} are needed; delete it to get a new one")
    if mode & 0o007:
        raise SettingInvalid(f"{path} can be read by every user of this machine; delete it to get a new one (0600)")
    return secret


class FolderStore:
    """`ObjectStore` over a folder; many processes may share one. See the port for what each method promises."""

    def __init__(
        self,
        root: Path,
        *,
        secret: bytes,
        base_url: Callable[[], str] | str,
        clock: Callable[[], float] = time.time,
        bucket: str = "local",
        route: str = "objects",
    ) -> None:
        """Make the folders. base_url: what precedes `/{route}/…` in signed URLs, read at each signing."""
        if len(secret) < SECRET_BYTES:
            raise SettingInvalid(f"the signing secret needs at least {SECRET_BYTES} bytes")
        self.bucket = bucket
        self.route = route
        self._secret = secret
        self._base_url = base_url
        self._clock = clock
        with storage(f"the folder {root}", writing=True):
            root.mkdir(mode=0o750, parents=True, exist_ok=True)
            self._root = root.resolve(strict=True)
            for name in ("objects", "meta", "incoming", "multipart", "locks"):
                with self._folder(name, (), make=True):
                    pass
        self._parts = PartsFolder(self._root / "multipart", self)

    limits = UploadLimits(put_bytes=1 << 50, part_min_bytes=1 << 20, part_max_bytes=5 << 30, part_count=10_000)

    def capabilities(self) -> Capabilities:
        """Return what our own routes do (`api/objects.py`): everything."""
        return Capabilities(
            binds_size=True,
            binds_checksum=True,
            writes_once=True,
            joins_once=True,
            multipart=True,
            part_checksums=True,
            ranges=True,
        )

    # uploads in parts
    def begin_multipart(self, key: str, *, size_bytes: int, part_size: int, content_type: str) -> str:
        check_key(key)
        check_split(self.limits, size_bytes, part_size)
        return self._parts.begin(About(key, size_bytes, part_size, check_media_type(content_type)))

    def sign_part(
        self, key: str, multipart_id: str, number: int, *, size_bytes: int, sha256: str | None, expires_s: int = 900
    ) -> SignedRequest:
        """Return a PUT for this part. Raises RequestInvalid for a checksum of a wrong form."""
        check_body(size_bytes, sha256)
        check_part(self.limits, number)
        fields = {"size": str(size_bytes), "sha256": sha256 or "", "upload": multipart_id, "part": str(number)}
        url, expires = self._sign("PUT", key, expires_s, fields)
        headers = {"x-checksum-sha256": sha256} if sha256 else {}
        return SignedRequest(method="PUT", url=url, headers=headers, expires_at=datetime.fromtimestamp(expires, tz=UTC))

    def sign_operation(
        self,
        method: str,
        key: str,
        *,
        multipart_id: str | None,
        number: int | None,
        size_bytes: int | None,
        content_type: str,
        expires_s: int = 900,
    ) -> SignedRequest:
        if method != "PUT" or multipart_id is not None or number is not None or size_bytes is None:
            raise RequestInvalid(
                "This server keeps files in a folder, which takes S3's multipart operations only by its own "
                "/uploads/{video_id}/parts; tell the uploader to send single PUTs (Uppy: shouldUseMultipart: false)."
            )
        return self.sign_put(key, size_bytes=size_bytes, content_type=content_type, sha256=None, expires_s=expires_s)

    def begin_part(
        self, key: str, multipart_id: str, number: int, *, size_bytes: int, sha256: str | None
    ) -> IncomingPart:
        """Begin to take a part in. Raises MultipartGone, BodyMismatch."""
        return self._parts.open_part(key, multipart_id, number, size_bytes, sha256)

    def list_parts(self, key: str, multipart_id: str) -> list[StoredPart]:
        return self._parts.arrived(key, multipart_id)

    def complete_multipart(self, key: str, multipart_id: str, parts: Sequence[StoredPart]) -> ObjectInfo:
        """Raises also ObjectExists: there is an object of another size."""
        size = sum(part.size_bytes for part in parts)
        try:
            return self._there(key, size) or self._parts.join(key, multipart_id, parts)
        except MultipartGone:
            if (there := self._there(key, size)) is not None:  # somebody else was faster
                return there
            raise

    def _there(self, key: str, size_bytes: int) -> ObjectInfo | None:
        try:
            there = self.head(key)
        except ObjectMissing:
            return None
        if there.size_bytes != size_bytes:
            raise ObjectExists(f"{key} is there with {there.size_bytes} bytes; the parts have {size_bytes}")
        return there

    def abort_multipart(self, key: str, multipart_id: str) -> None:
        self._parts.drop(key, multipart_id)

    # signing
    def sign_put(
        self, key: str, *, size_bytes: int, content_type: str, sha256: str | None, expires_s: int = 900
    ) -> SignedRequest:
        """Return a PUT for this object. Raises RequestInvalid for a content type or checksum of a wrong form."""
        check_body(size_bytes, sha256)
        fields = {"size": str(size_bytes), "type": check_media_type(content_type), "sha256": sha256 or ""}
        url, expires = self._sign("PUT", key, expires_s, fields)
        headers = {"Content-Type": content_type}
        if sha256:
            headers["x-checksum-sha256"] = sha256
        return SignedRequest(method="PUT", url=url, headers=headers, expires_at=datetime.fromtimestamp(expires, tz=UTC))

    def generate_presigned_download_url(
        self,
        bucket: str,
        key: str,
        expiration: int = 3600,
        *,
        filename: str | None = None,
        content_type: str | None = None,
    ) -> str:
        """Return a GET (and HEAD) URL. Raises ObjectMissing for another bucket, RequestInvalid for a bad type."""
        if bucket != self.bucket:
            raise ObjectMissing(f"there is no bucket {bucket!r}; this store's is {self.bucket!r}")
        fields = {
            "filename": clean_filename(filename) if filename is not None else "",
            "response_type": check_media_type(content_type) if content_type is not None else "",
        }
        return self._sign("GET", key, expiration, fields)[0]

    def verify(self, method: str, key: str, query: Sequence[tuple[str, str]]) -> Grant:
        """Return what the request may do. Raises SignatureInvalid, SignatureExpired.

        A signature has one form only: unknown, repeated and empty fields are refused.
        """
        fields = dict(query)
        given = fields.pop("signature", "")
        strict = len(dict(query)) == len(query) and set(fields) <= set(_SIGNED) and all(fields.values())
        method = "GET" if method == "HEAD" else method
        # Without a branch on what was wrong, a guess learns nothing.
        expected = self._signature(method, key, fields)
        matches = hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())
        if not (matches and strict and is_key(key)):
            raise SignatureInvalid
        expires = int(fields["expires"])
        if self._clock() >= expires:
            raise SignatureExpired
        return Grant(
            key=key,
            expires=expires,
            size_bytes=int(fields.get("size", "0")),
            content_type=fields.get("type", OCTETS),
            sha256=fields.get("sha256"),
            upload=fields.get("upload"),
            part=int(fields["part"]) if "part" in fields else None,
            filename=fields.get("filename"),
            response_type=fields.get("response_type"),
        )

    def _sign(self, method: str, key: str, life_s: int, fields: Mapping[str, str]) -> tuple[str, int]:
        check_key(key)
        expires = math.ceil(self._clock() + life_s)
        query = {"expires": str(expires), **{name: value for name, value in fields.items() if value}}
        query["signature"] = self._signature(method, key, query)
        base = self._base_url if isinstance(self._base_url, str) else self._base_url()
        return f"{base.rstrip('/')}/{self.route}/{key}?{urlencode(query)}", expires

    def _signature(self, method: str, key: str, fields: Mapping[str, str]) -> str:
        # A JSON list can't be read in two ways, whatever the fields contain.
        text = json.dumps(["reelmill-1", method, key, *(fields.get(name, "") for name in _SIGNED)])
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()

    # reading
    def head(self, key: str) -> ObjectInfo:
        with contextlib.closing(self.read(key)) as reading:
            return reading.info

    def read(self, key: str) -> Reading:
        """Open one object for reading at any place; it stays readable while it is replaced or deleted."""
        *parents, name = check_key(key)
        with storage(key):
            with self._folder("objects", parents) as folder:
                fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
            file = io.FileIO(fd)
            try:
                found = os.fstat(fd)
                if not stat.S_ISREG(found.st_mode):
                    raise ObjectMissing(f"{key} isn't a file")
                return Reading(file, _describe(key, found, self._meta(parents, name)))
            except BaseException:
                file.close()
                raise

    def open(self, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        size = self.head(key).size_bytes  # now, not at the first block: the caller learns at once
        return self._blocks(key, max(0, start), size if length is None else start + length)

    def _blocks(self, key: str, start: int, end: int) -> Iterator[bytes]:
        with contextlib.closing(self.read(key)) as reading:
            yield from reading.blocks(start, end - start)

    def locate(self, key: str) -> Located:
        self.head(key)
        return self._root.joinpath("objects", *check_key(key))

    def free_bytes(self) -> int | None:
        with storage("the disk of the folder"):
            disk = os.statvfs(self._root)
        return disk.f_bavail * disk.f_frsize

    def keys(self, prefix: str) -> Iterator[str]:
        parents = prefix.split("/")[:-1]
        if parents and not is_key("/".join(parents)):
            return iter(())
        return self._walk(parents, prefix)

    def _walk(self, parents: Sequence[str], prefix: str) -> Iterator[str]:
        """Hold the names of one folder at a time; a folder sorts as `name/`, as whole keys do."""
        try:
            with storage(prefix), self._folder("objects", parents) as folder, os.scandir(folder) as entries:
                names = sorted(
                    entry.name + "/" if entry.is_dir(follow_symlinks=False) else entry.name
                    for entry in entries
                    if entry.is_dir(follow_symlinks=False) or entry.is_file(follow_symlinks=False)
                )
        except ObjectMissing:
            return
        for name in names:
            key = "/".join((*parents, name))
            if name.endswith("/") and (key.startswith(prefix) or prefix.startswith(key)):
                yield from self._walk((*parents, name[:-1]), prefix)
            elif key.startswith(prefix) and is_key(key):
                yield key

    # writing
    def put_file(
        self, key: str, path: Path, *, content_type: str, sha256: str, patience: Patience | None = None
    ) -> ObjectInfo:
        """Move a file in (a copy if it lies on another file system or has a second name), checked.

        When this fails the file is still at `path`; when it succeeded before and `path` is gone, so is the work.
        Raises BodyMismatch, FileNotFoundError, StorageDenied, StorageUnavailable.
        """
        check_key(key)
        take = functools.partial(self._take, key, path, content_type, sha256)
        return take() if patience is None else patience(f"store {key}", take)

    def _take(self, key: str, path: Path, content_type: str, sha256: str) -> ObjectInfo:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            with contextlib.suppress(ObjectMissing):
                if (info := self.head(key)).sha256 == sha256:
                    return info  # an earlier try moved the file and failed after that
            raise
        with io.FileIO(fd) as source:
            return self._move(key, path, source, content_type, sha256) or self._copy(key, source, content_type, sha256)

    def _move(self, key: str, path: Path, source: io.FileIO, content_type: str, sha256: str) -> ObjectInfo | None:
        """Return None when the file can't be moved, only copied."""
        fd, named = source.fileno(), path.lstat()
        found = os.fstat(fd)
        alone = found.st_nlink == 1 and os.path.samestat(named, found) and stat.S_ISREG(found.st_mode)
        if not alone or found.st_dev != self._root.stat().st_dev:
            return None
        with storage(key, writing=True):
            if hashlib.file_digest(source, "sha256").hexdigest() != sha256:
                raise BodyMismatch(f"{path.name} isn't the file with SHA-256 {sha256}")
            try:
                os.fchmod(fd, 0o640)
                seal(fd)
                return self.publish(key, path, fd, content_type, sha256, replace=True)
            except OSError as error:
                if error.errno not in (errno.EXDEV, errno.EPERM, errno.EACCES):
                    raise
                source.seek(0)  # a bind mount, or somebody else's file
                return None

    def _copy(self, key: str, source: io.FileIO, content_type: str, sha256: str) -> ObjectInfo:
        size = os.fstat(source.fileno()).st_size
        incoming = Incoming(self, key, size, content_type, sha256, replace=True)
        try:
            with storage(key, writing=True):
                while block := source.read(BLOCK):
                    incoming.write(block)
            return incoming.commit()
        finally:
            incoming.abort()

    def copy(self, source: str, key: str, *, size_bytes: int, content_type: str, sha256: str) -> ObjectInfo:
        """Give the same bytes a second name, a copy on disks without these; they are read once, to be checked."""
        *parents, name = check_key(source)
        link = self.incoming_path()
        try:
            with storage(source), self._folder("objects", parents) as folder:
                try:
                    os.link(name, link, src_dir_fd=folder, follow_symlinks=False)
                except OSError as error:
                    if error.errno not in (errno.EMLINK, errno.EPERM, errno.ENOTSUP):
                        raise
            with storage(key, writing=True), io.FileIO(link if link.exists() else self.locate(source)) as file:
                if os.fstat(file.fileno()).st_size != size_bytes:
                    raise BodyMismatch(f"{source} hasn't {size_bytes} bytes")
                if not link.exists():
                    return self._copy(key, file, content_type, sha256)
                if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                    raise BodyMismatch(f"{source} isn't the file with SHA-256 {sha256}")
                return self.publish(key, link, file.fileno(), content_type, sha256, replace=True)
        finally:
            with contextlib.suppress(OSError):  # a rename onto another name of the same file leaves this one
                link.unlink(missing_ok=True)

    def begin_put(self, key: str, *, size_bytes: int, content_type: str, sha256: str | None) -> Incoming:
        """Begin to take an object in, which never replaces another.

        Raises ObjectExists when there is one that can't be the same, StorageUnavailable when it won't fit.
        """
        with contextlib.suppress(ObjectMissing):
            there = self.head(key)
            if there.size_bytes != size_bytes or (sha256 is not None and there.sha256 != sha256):
                raise ObjectExists
        return Incoming(self, key, size_bytes, content_type, sha256, replace=False)

    def delete(self, key: str) -> None:
        *parents, name = check_key(key)
        with storage(key, writing=True), self._lock(key):
            for kind, file in (("objects", name), ("meta", f"{name}.json")):
                # NotADirectoryError: a parent of this key is an object itself, so there is none
                with contextlib.suppress(FileNotFoundError, NotADirectoryError), self._folder(kind, parents) as folder:
                    os.unlink(file, dir_fd=folder)
                    os.fsync(folder)
                self._prune(kind, parents)

    def _prune(self, kind: str, parents: Sequence[str]) -> None:
        """Remove empty folders upwards; one that somebody has just put a file into isn't empty."""
        for depth in range(len(parents), 0, -1):
            try:
                with self._folder(kind, parents[: depth - 1]) as folder:
                    os.rmdir(parents[depth - 1], dir_fd=folder)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY):
                    raise
                return

    def purge_incoming(self, older_than_s: float = 86400.0) -> int:
        """Remove what broken uploads and killed processes left; return how many files and uploads in parts."""
        count, limit = self._parts.purge(older_than_s), time.time() - older_than_s
        with storage("incoming", writing=True):
            for path in (self._root / "incoming").iterdir():
                with contextlib.suppress(FileNotFoundError):
                    if path.lstat().st_mtime < limit:
                        path.unlink()
                        count += 1
        return count

    def publish(
        self, key: str, source: Path, fd: int, content_type: str, sha256: str | None, *, replace: bool
    ) -> ObjectInfo:
        """Rename a sealed file to its place. Raises ObjectExists, OSError."""
        with self._lock(key):
            for _ in range(100):
                try:
                    return self._place(key, source, os.fstat(fd), content_type, sha256, replace)
                except FileNotFoundError:
                    if not source.exists():  # purged, not a folder that was pruned under our hands
                        raise
        raise StorageUnavailable(f"the folder of {key} is removed again and again")

    def _place(
        self, key: str, source: Path, new: os.stat_result, content_type: str, sha256: str | None, replace: bool
    ) -> ObjectInfo:
        *parents, name = check_key(key)
        old = None
        with contextlib.suppress(ObjectMissing):
            old = self.head(key)
        if old is not None and not replace:
            if (old.size_bytes, old.sha256) != (new.st_size, sha256):
                raise ObjectExists
            return old
        entry = {"sha256": sha256, "content_type": content_type, "size": new.st_size, "mtime_ns": new.st_mtime_ns}
        with self._folder("objects", parents, make=True) as objects, self._folder("meta", parents, make=True) as meta:
            before = (
                _matching(self._meta(parents, name), os.stat(name, dir_fd=objects, follow_symlinks=False))
                if old
                else None
            )
            self._write_meta(meta, name, {**entry, "before": before} if before else entry)
            os.rename(source, name, dst_dir_fd=objects)
            os.fsync(objects)
        return _describe(key, new, entry)

    def _write_meta(self, folder: int, name: str, entry: Mapping[str, Any]) -> None:
        path = self.incoming_path()
        try:
            with path.open("xb") as file:
                file.write(json.dumps(entry).encode())
                file.flush()
                os.fsync(file.fileno())
            os.rename(path, f"{name}.json", dst_dir_fd=folder)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        os.fsync(folder)  # before the object's own rename: bytes without their checksum are never seen

    def _meta(self, parents: Sequence[str], name: str) -> Mapping[str, Any]:
        """Return the meta file's content; empty when somebody put the object there by hand."""
        try:
            with self._folder("meta", parents) as folder:
                fd = os.open(f"{name}.json", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            with os.fdopen(fd, "rb") as file:
                meta = json.loads(file.read())
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return {}
        return meta if isinstance(meta, dict) else {}

    def incoming_path(self) -> Path:
        return self._root / "incoming" / secrets.token_hex(16)

    @contextlib.contextmanager
    def _lock(self, key: str) -> Iterator[None]:
        """Let one process and thread at a time change this key (and every 256th other); ends with its holder."""
        path = self._root / "locks" / hashlib.sha256(key.encode()).hexdigest()[:2]
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def _folder(self, kind: str, parents: Sequence[str], *, make: bool = False) -> Iterator[int]:
        """Open a folder below the root, segment by segment, following no link."""
        fd = os.open(self._root, _FOLDER)
        try:
            for name in (kind, *parents):
                try:
                    inner = os.open(name, _FOLDER, dir_fd=fd)
                except FileNotFoundError:
                    if not make:
                        raise
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(name, 0o750, dir_fd=fd)
                        os.fsync(fd)
                    inner = os.open(name, _FOLDER, dir_fd=fd)
                os.close(fd)
                fd = inner
            yield fd
        finally:
            os.close(fd)


def _matching(meta: Mapping[str, Any], found: os.stat_result) -> dict[str, Any] | None:
    """Return the entry that describes these bytes: the meta file's own, or that of the object it replaces."""
    for entry in (meta, meta.get("before")):
        if isinstance(entry, dict) and (entry.get("size"), entry.get("mtime_ns")) == (found.st_size, found.st_mtime_ns):
            return {name: value for name, value in entry.items() if name != "before"}
    return None


def _describe(key: str, found: os.stat_result, meta: Mapping[str, Any]) -> ObjectInfo:
    entry = _matching(meta, found)
    sha256 = entry["sha256"] if entry else None  # bytes that we didn't write have no checksum
    return ObjectInfo(
        key=key,
        size_bytes=found.st_size,
        sha256=sha256,
        content_type=(entry or meta).get("content_type", OCTETS),
        modified_at=datetime.fromtimestamp(found.st_mtime, tz=UTC),
        etag=f'"{sha256}"' if sha256 else f'"{found.st_size:x}-{found.st_mtime_ns:x}"',
    )
