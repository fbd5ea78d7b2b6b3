"""Storage from inside: what the server itself does with it."""

from __future__ import annotations

import hashlib
import secrets
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reelmill.doctor.findings import Finding, ok, warned
from reelmill.errors import ObjectMissing, StorageMisbehaves
from reelmill.jobs.ports import ObjectStore

OCTETS = "application/octet-stream"
SIZE_BYTES = 4096
PART = slice(1000, 1200)


def fresh_key() -> str:
    """Return a key that nothing has: below `.probe/`, where no upload goes."""
    return f".probe/doctor-{uuid.uuid4()}"


@contextmanager
def stored(objects: ObjectStore) -> Iterator[tuple[str, bytes]]:
    """Store a small object; yield its key and bytes; remove it."""
    key, body = fresh_key(), secrets.token_bytes(SIZE_BYTES)
    with tempfile.TemporaryDirectory(prefix="reelmill-doctor-") as folder:
        path = Path(folder) / "trial"
        path.write_bytes(body)
        objects.put_file(key, path, content_type=OCTETS, sha256=hashlib.sha256(body).hexdigest())
    try:
        yield key, body
    finally:
        objects.delete(key)


def works(objects: ObjectStore) -> Finding:
    """Store an object, look at it, read a part of it, find it by its prefix, remove it."""
    with stored(objects) as (key, body):
        size = objects.head(key).size_bytes
        part = b"".join(objects.open(key, PART.start, PART.stop - PART.start))
        if size != len(body) or part != body[PART]:
            raise StorageMisbehaves(f"Of {len(body)} bytes that were stored, {size} are there, or others.")
        if key not in objects.keys(key):
            raise StorageMisbehaves("An object that was stored isn't listed.")
    try:
        objects.head(key)
    except ObjectMissing:
        return ok("stores, reads a part, lists, deletes")
    raise StorageMisbehaves("An object that was deleted is still there.")


def abilities(objects: ObjectStore) -> Finding:
    """Tell what the store was seen not to do; the server then does without, and verifies uploads all the same."""
    missing = objects.capabilities().missing
    if missing:
        return warned(StorageMisbehaves(f"This store doesn't do: {', '.join(missing)}."), missing=list(missing))
    return ok("binds size and checksum, writes once, takes parts and ranges")
