"""A copy within the bucket: the store moves the bytes, and tells their SHA-256 where it can."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, Protocol

from reelmill.errors import BodyMismatch
from reelmill.jobs.model import ObjectInfo
from reelmill.objects.s3_errors import storage
from reelmill.objects.s3_probe import ALGORITHM


class Bucket(Protocol):
    """What a copy needs of `S3Store`."""

    bucket: str
    client: Any

    def at(self, key: str) -> dict[str, str]: ...

    def head(self, key: str) -> ObjectInfo: ...

    def open(self, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]: ...

    def delete(self, key: str) -> None: ...


def copied(store: Bucket, source: str, key: str, size_bytes: int, content_type: str, sha256: str) -> ObjectInfo:
    """Copy an object and see that the copy is what it should be; else it is removed again.

    Raises ObjectMissing, BodyMismatch. A store that tells no SHA-256 of the copy has it read once.
    """
    store.head(source)  # some stores tell the bucket, others the key, when what is to be copied isn't there
    with storage(source, bucket=store):
        store.client.copy_object(
            **store.at(key), CopySource=store.at(source), ContentType=content_type, MetadataDirective="REPLACE",
            **ALGORITHM,
        )  # fmt: skip
    there = store.head(key)
    found = there.sha256
    if found is None and there.size_bytes == size_bytes:
        digest = hashlib.sha256()
        for block in store.open(key):
            digest.update(block)
        found = digest.hexdigest()
    if (there.size_bytes, found) != (size_bytes, sha256):
        store.delete(key)
        raise BodyMismatch(f"{source} isn't the object with {size_bytes} bytes and SHA-256 {sha256}")
    return there
