"""Try out what an S3 store really does: many take a condition, a length or a checksum and don't look at it."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx2

from reelmill.errors import MultipartGone, ObjectMissing, StorageDenied, StorageProblem, StorageUnavailable
from reelmill.jobs.model import Capabilities, SignedRequest
from reelmill.objects.s3_errors import storage

if TYPE_CHECKING:
    from reelmill.objects.s3 import S3Store

BODY, OTHER = b"Reelmill was here", b"Reelmill was HERE"  # of one length
ALGORITHM = {"ChecksumAlgorithm": "SHA256"}
TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """What was seen."""

    capabilities: Capabilities
    declares_checksums: bool  #: parts are checked if the upload was begun with SHA-256 as its algorithm
    takes_bare_parts: bool  #: parts without a checksum, too


def probe(store: S3Store) -> Probed:
    """Try each thing with a right request and a wrong one: it is done if the right one works and the wrong one fails.

    Writes a few objects below `.probe/` and removes them. Takes about thirty requests to the internal endpoint.
    Raises StorageDenied, StorageUnavailable.
    """
    with httpx2.Client(timeout=TIMEOUT_S) as http:
        trial = _Trial(store, http)
        try:
            return trial.run()
        except httpx2.TransportError as error:
            raise StorageUnavailable(f"{store.client.meta.endpoint_url}: {type(error).__name__}") from error
        finally:
            trial.clean()


class _Trial:
    """One round of trials: every object has a name of its own."""

    def __init__(self, store: S3Store, http: httpx2.Client) -> None:
        self._store = store
        self._http = http
        self._keys: list[str] = []
        self._uploads: list[tuple[str, str]] = []

    def run(self) -> Probed:
        self._server_can_write()
        plain = self._key()
        if not self._works(self._put(plain), BODY):
            raise StorageDenied(
                "the store refuses a signed PUT that is right: something on the way changes Host or headers, "
                "or the clocks differ"
            )
        # Amazon wants the checksums' algorithm when the upload begins, and then a checksum of each part. SeaweedFS
        # checks parts in any case, but if the algorithm was named it asks at the end for what ListParts doesn't tell.
        declares = self._joins_checked(ALGORITHM)
        return Probed(
            capabilities=Capabilities(
                binds_size=self._binds_size(),
                binds_checksum=self._binds_checksum(),
                writes_once=self._writes_once(),
                joins_once=self._joins_once(),
                multipart=declares or self._joins({}),
                part_checksums=declares or self._joins_checked({}),
                ranges=self._ranges(plain),
            ),
            declares_checksums=declares,
            takes_bare_parts=not declares or self._joins(ALGORITHM),
        )

    def _server_can_write(self) -> None:
        """The plainest request first: its error says the most."""
        key = self._key()
        with storage(key):
            self._store.client.put_object(**self._store.at(key), Body=BODY)

    def _binds_size(self) -> bool:
        right, wrong = self._key(), self._key()
        return self._works(self._put(right, size_bytes=len(BODY)), BODY) and not self._works(
            self._put(wrong, size_bytes=len(BODY)), BODY + b"!"
        )

    def _binds_checksum(self) -> bool:
        right, wrong = self._key(), self._key()
        return self._works(self._put(right, sha256=_sha256(BODY)), BODY) and not self._works(
            self._put(wrong, sha256=_sha256(BODY)), OTHER
        )

    def _writes_once(self) -> bool:
        key, once = self._key(), {"if-none-match": "*"}
        return self._works(self._put(key, headers=once), BODY) and not self._works(self._put(key, headers=once), OTHER)

    def _joins_once(self) -> bool:
        key = self._key()
        return self._works(*self._completion(key)) and not self._works(*self._completion(key))

    def _completion(self, key: str) -> tuple[SignedRequest, bytes]:
        """Send a part of a new upload; return the request that makes it the object, if there is none."""
        if (upload := self._begin(key, {})) is not None:
            self._works(self._part(key, upload), BODY)
        etag = hashlib.md5(BODY, usedforsecurity=False).hexdigest()
        part = f"<Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part>"
        signed = self._store.sign_bound(
            "POST", key, query={"uploadId": upload or ""}, headers={"if-none-match": "*"}, inside=True
        )
        return signed, f"<CompleteMultipartUpload>{part}</CompleteMultipartUpload>".encode()

    def _joins(self, options: Mapping[str, str]) -> bool:
        """Tell whether an upload of one part without a checksum comes to its end."""
        key = self._key()
        upload = self._begin(key, options)
        return upload is not None and self._works(self._part(key, upload), BODY) and self._completes(key, upload)

    def _joins_checked(self, options: Mapping[str, str]) -> bool:
        """The same with a checksum, of which a wrong part is refused."""
        key, sha256 = self._key(), _sha256(BODY)
        upload = self._begin(key, options)
        return (
            upload is not None
            and not self._works(self._part(key, upload, sha256=sha256), OTHER)
            and self._works(self._part(key, upload, sha256=sha256), BODY)
            and self._completes(key, upload)
        )

    def _completes(self, key: str, upload: str) -> bool:
        try:
            self._store.join(key, upload, self._store.list_parts(key, upload))
            return self._store.head(key).size_bytes == len(BODY)
        except StorageUnavailable:
            raise
        except StorageProblem:
            return False

    def _ranges(self, key: str) -> bool:
        signed = self._store.sign_bound("GET", key, inside=True)
        reply = self._http.get(signed.url, headers={"Range": "bytes=2-5"})
        return (reply.status_code, reply.content) == (206, BODY[2:6])

    def _begin(self, key: str, options: Mapping[str, str]) -> str | None:
        try:
            with storage(key):
                begun = self._store.client.create_multipart_upload(**self._store.at(key), **options)
        except StorageUnavailable:
            raise
        except StorageProblem:
            return None
        self._uploads.append((key, begun["UploadId"]))
        return str(begun["UploadId"])

    def _put(
        self,
        key: str,
        *,
        headers: dict[str, str] | None = None,
        size_bytes: int | None = None,
        sha256: str | None = None,
    ) -> SignedRequest:
        return self._store.sign_bound("PUT", key, headers=headers, size_bytes=size_bytes, sha256=sha256, inside=True)

    def _part(self, key: str, upload: str, *, sha256: str | None = None) -> SignedRequest:
        query = {"partNumber": "1", "uploadId": upload}
        return self._store.sign_bound("PUT", key, query=query, sha256=sha256, inside=True)

    def _works(self, signed: SignedRequest, body: bytes) -> bool:
        """Send it; tell whether it was taken. Raises StorageUnavailable: neither can be told."""
        reply = self._http.request(signed.method, signed.url, headers=dict(signed.headers), content=body)
        if reply.status_code == 429 or (reply.status_code >= 500 and reply.status_code != 501):
            raise StorageUnavailable(f"the store answered {reply.status_code} when it was tried out")
        return reply.is_success

    def _key(self) -> str:
        key = f".probe/{secrets.token_hex(12)}"
        self._keys.append(key)
        return key

    def clean(self) -> None:
        with suppress(StorageProblem):  # what stays is purged later
            for key, upload in self._uploads:
                with suppress(MultipartGone):
                    self._store.abort_multipart(key, upload)
            for key in self._keys:
                with suppress(ObjectMissing):
                    self._store.delete(key)


def _sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
