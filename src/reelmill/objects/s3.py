"""The object store in an S3 bucket: Amazon's, or anything that speaks its language.

    <bucket>/<prefix>/<key>          the bytes
    <bucket>/<prefix>/.probe/…       for a moment: what the store can do is tried out here (`s3_probe.py`)

Calls of the server go to the internal endpoint by boto3; URLs that are handed out name the public one and are signed
by ourselves (`sigv4.py`), for a signature covers the host. What the store was seen not to do isn't relied on.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any

import boto3
import structlog
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from reelmill.errors import (
    BodyMismatch,
    MultipartGone,
    ObjectExists,
    ObjectMissing,
    RangeUnsatisfiable,
    RequestInvalid,
    SettingInvalid,
    StorageDenied,
    StorageProblem,
    StorageUnavailable,
)
from reelmill.jobs.files import once
from reelmill.jobs.model import Capabilities, Located, ObjectInfo, SignedRequest, StoredPart, UploadLimits
from reelmill.jobs.ports import Patience
from reelmill.objects import s3_copy, s3_cors
from reelmill.objects.names import (
    OCTETS,
    base64_of,
    check_body,
    check_key,
    check_media_type,
    check_part,
    check_split,
    disposition,
    hex_of,
    is_key,
    told,
)
from reelmill.objects.s3_errors import storage
from reelmill.objects.s3_place import Place
from reelmill.objects.s3_probe import ALGORITHM, Probed, probe
from reelmill.objects.sigv4 import LONGEST_S, Presigner

log: structlog.typing.FilteringBoundLogger = structlog.get_logger("reelmill.storage")

MIB = 1 << 20
BLOCK = MIB  #: bytes read at once
PART = 16 * MIB  #: of our own files; larger ones are sent in parts
SENDERS = 4  #: parts of one file that are under way at a time
CONNECTIONS = 64  #: kept open by one process
LOCATED_S = 12 * 3600  #: life of a URL that a media tool reads: longer than a step may take
RESUMES = 3  #: a broken download is taken up again so often without a byte in between
PROBES = ".probe/"


class S3Store:
    """`ObjectStore` over a bucket; many processes may share one. See the port for what each method promises."""

    limits = UploadLimits(
        put_bytes=5 * 1024 * MIB, part_min_bytes=5 * MIB, part_max_bytes=5 * 1024 * MIB, part_count=10_000
    )

    def __init__(
        self,
        place: Place,
        *,
        cors_origins: str = "*",
        timeout_s: float = 20.0,
        tries: int = 3,
        on_retry: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Connects to nothing yet. cors_origins: `*`, or origins with commas between; which web pages may upload.

        timeout_s: for each answer of the store; tries: of each call; on_retry: is told the name of each repeated one.

        Credentials come from botocore's usual chain: environment, shared files, web identity, container, instance.
        Raises StorageDenied when there are none, SettingInvalid.
        """
        self.place = place
        self.bucket = place.bucket
        self.cors_origins = tuple(cors_origins.split(","))
        config = Config(
            signature_version="s3v4",
            connect_timeout=min(5.0, timeout_s),
            read_timeout=timeout_s,
            retries={"mode": "standard", "total_max_attempts": tries},
            max_pool_connections=CONNECTIONS,
            tcp_keepalive=True,
            # Others than Amazon don't know all of the checksums that newer clients add by themselves.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={"addressing_style": place.addressing, "us_east_1_regional_endpoint": "regional"},
        )
        try:
            session = boto3.session.Session(region_name=place.region)
            self._found = session.get_credentials()
            region = session.region_name
            if region is None:
                raise ValueError("name its region, as in s3://videos?region=eu-central-1")
            self.client = session.client("s3", endpoint_url=place.endpoint, config=config)
            once = config.merge(Config(retries={"mode": "standard", "total_max_attempts": 1}))
            trying_once = session.client("s3", endpoint_url=place.endpoint, config=once)
        except (BotoCoreError, ValueError) as error:  # a region, a profile or a shared file that makes no sense
            raise SettingInvalid(f"The bucket {place.bucket} of REELMILL_STORAGE_URL can't be used: {error}") from error
        if self._found is None:
            raise StorageDenied("no AWS credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
        self._on_retry = on_retry
        self.client.meta.events.register("request-created.s3", self._sent)
        self._inside = self._presigner(self.client.meta.endpoint_url, region)
        self._outside = self._presigner(place.public_endpoint or self.client.meta.endpoint_url, region)
        self._path = f"/{place.prefix}" if place.virtual else f"/{place.bucket}/{place.prefix}"
        self._probing = threading.Lock()
        self._probed: list[Probed] = []  #: nothing until it was tried out; shared with the store below
        # The same store for callers with a patience of their own: the tries of two layers would multiply.
        self._once = copy.copy(self)
        self._once.client = trying_once

    def _sent(self, request: Any, operation_name: str, **_: Any) -> None:
        """See each request as it goes out. botocore counts those of one call in their context."""
        attempt = request.context.get("retries", {}).get("attempt", 1)
        if attempt > 1:
            log.warning("storage is asked again", operation=operation_name, attempt=attempt)
            self._on_retry(operation_name)

    def _presigner(self, endpoint: str, region: str) -> Presigner:
        return Presigner(self.place.address(endpoint), region=region, credentials=self._credentials)

    def _credentials(self) -> Any:
        """Return the credentials as they are now, renewed if they are about to end. Raises StorageDenied."""
        try:
            return self._found.get_frozen_credentials()
        except BotoCoreError as error:
            raise StorageDenied(f"the AWS credentials can't be renewed: {error}") from error

    # what the store does
    def capabilities(self) -> Capabilities:
        """Return what the store was seen to do. Raises StorageDenied, StorageUnavailable; then it is tried anew."""
        return self._seen().capabilities

    def _seen(self) -> Probed:
        if not self._probed:
            with self._probing:
                if not self._probed:
                    self._probed.append(probe(self))
        return self._probed[0]

    # signing
    def sign_put(
        self, key: str, *, size_bytes: int, content_type: str, sha256: str | None, expires_s: int = 900
    ) -> SignedRequest:
        """Return a PUT for this object. The client's own Content-Length is part of what is signed.

        Raises RequestInvalid for a content type or checksum of a wrong form.
        """
        check_body(size_bytes, sha256)
        does = self.capabilities()
        return self.sign_bound(
            "PUT",
            key,
            headers={"content-type": check_media_type(content_type)}
            | ({"if-none-match": "*"} if does.writes_once else {}),
            size_bytes=size_bytes if does.binds_size else None,
            sha256=sha256 if does.binds_checksum else None,
            expires_s=expires_s,
        )

    def sign_part(
        self, key: str, multipart_id: str, number: int, *, size_bytes: int, sha256: str | None, expires_s: int = 900
    ) -> SignedRequest:
        """Return a PUT for one part. Raises RequestInvalid for a wrong number, or a checksum of a wrong form.

        A store that checks parts may demand a checksum of each; then RequestInvalid says so.
        """
        check_body(size_bytes, sha256)
        check_part(self.limits, number)
        seen = self._seen()
        if sha256 is None and not seen.takes_bare_parts:
            raise RequestInvalid("this object store takes parts with their SHA-256 only: name one for each part")
        return self.sign_bound(
            "PUT",
            key,
            query={"partNumber": str(number), "uploadId": multipart_id},
            size_bytes=size_bytes if seen.capabilities.binds_size else None,
            sha256=sha256 if seen.capabilities.part_checksums else None,
            expires_s=expires_s,
        )

    def sign_operation(
        self,
        method: str,
        key: str,
        *,
        multipart_id: str | None = None,
        number: int | None = None,
        size_bytes: int | None = None,
        content_type: str | None = None,
        expires_s: int = 900,
    ) -> SignedRequest:
        """Return one request of an upload as Uppy's `signRequest` asks for it; no request that deletes an object.

        | method | multipart_id | number | S3's name for it |
        |---|---|---|---|
        | PUT | | | PutObject: once, of `content_type` |
        | POST | | | CreateMultipartUpload: of `content_type` |
        | PUT | given | given | UploadPart |
        | GET | given | | ListParts |
        | POST | given | | CompleteMultipartUpload: once |
        | DELETE | given | | AbortMultipartUpload |

        size_bytes: binds a PUT to this length. Raises RequestInvalid for anything else.
        """
        if number is not None:
            check_part(self.limits, number)
        query: dict[str, str] = {}
        headers: dict[str, str] = {}
        does = self.capabilities()
        match method, multipart_id, number:
            case "PUT" | "POST", None, None:
                headers["content-type"] = check_media_type(content_type or OCTETS)
                if method == "POST":
                    query["uploads"] = ""
                elif does.writes_once:
                    headers["if-none-match"] = "*"
            case "PUT", str(known), int(part):
                query = {"partNumber": str(part), "uploadId": known}
            case "GET" | "POST" | "DELETE", str(known), None:
                query["uploadId"] = known
                if method == "POST" and does.joins_once:
                    headers["if-none-match"] = "*"
            case _:
                raise RequestInvalid(f"{method} with these fields isn't a request of an upload")
        size = size_bytes if method == "PUT" and does.binds_size else None
        return self.sign_bound(method, key, query=query, headers=headers, size_bytes=size, expires_s=expires_s)

    def sign_bound(
        self,
        method: str,
        key: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        size_bytes: int | None = None,
        sha256: str | None = None,
        expires_s: int = 900,
        inside: bool = False,
    ) -> SignedRequest:
        """Return a request that is bound to all that is given. inside: for a client on the server's own network."""
        sent = dict(headers or {})
        if sha256 is not None:
            sent["x-amz-checksum-sha256"] = base64_of(sha256)
        # Clients set Content-Length by themselves, browsers let nobody else: it is signed but not handed out.
        signed = sent if size_bytes is None else {**sent, "content-length": str(size_bytes)}
        url, expires = self._sign(method, key, expires_s, query, signed, inside)
        return SignedRequest(
            method=method,
            url=url,
            headers={_HEADERS.get(name, name): value for name, value in sent.items()},
            expires_at=datetime.fromtimestamp(expires, tz=UTC),
        )

    def generate_presigned_download_url(
        self,
        bucket: str,
        key: str,
        expiration: int = 3600,
        *,
        filename: str | None = None,
        content_type: str | None = None,
    ) -> str:
        """Return a GET URL. Raises ObjectMissing for another bucket, RequestInvalid for a bad type."""
        if bucket != self.bucket:
            raise ObjectMissing(f"there is no bucket {bucket!r}; this store's is {self.bucket!r}")
        query = {}
        if filename is not None:
            query["response-content-disposition"] = disposition(filename)
        if content_type is not None:
            query["response-content-type"] = check_media_type(content_type)
        return self._sign("GET", key, expiration, query)[0]

    def _sign(
        self,
        method: str,
        key: str,
        life_s: int,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        inside: bool = False,
    ) -> tuple[str, int]:
        """Return the URL and when it ends, in Unix seconds."""
        check_key(key)
        signer = self._inside if inside else self._outside
        # Signatures count from whole seconds; with one more, a URL of one second isn't dead at birth.
        now, life_s = time.time(), min(life_s + 1, LONGEST_S)
        url = signer.sign(method, self._path + key, life_s=life_s, query=query, headers=headers, at=now)
        return url, math.floor(now) + life_s

    # reading
    def head(self, key: str) -> ObjectInfo:
        with storage(key, bucket=self):
            found = self.client.head_object(**self.at(key), ChecksumMode="ENABLED")
        return ObjectInfo(
            key=key,
            size_bytes=found["ContentLength"],
            sha256=hex_of(found.get("ChecksumSHA256")),
            content_type=found.get("ContentType") or OCTETS,
            modified_at=found["LastModified"].astimezone(UTC),
            etag=found["ETag"],
        )

    def open(self, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        start = max(0, start)
        end = None if length is None else start + max(0, length)
        if end == start:
            self.head(key)
            return iter(())
        try:
            found = self._get(key, start, end)  # now, not at the first block: the caller learns at once
        except RangeUnsatisfiable:
            return iter(())  # it starts behind the end
        return self._blocks(key, found, start, start + found["ContentLength"])

    def _get(self, key: str, start: int, end: int | None, etag: str | None = None) -> Any:
        wanted = {"Range": f"bytes={start}-{end - 1 if end is not None else ''}"} if start or end is not None else {}
        if etag is not None:
            wanted["IfMatch"] = etag
        with storage(key, bucket=self):
            return self.client.get_object(**self.at(key), **wanted)

    def _blocks(self, key: str, found: Any, start: int, end: int) -> Iterator[bytes]:
        """Yield [start, end); a connection that breaks is taken up where it broke, if the object is the same."""
        etag, broken = found["ETag"], 0
        while True:
            try:
                with closing(found["Body"]) as body:
                    while start < end:
                        with storage(key):
                            block = body.read(BLOCK)
                        if not block:
                            raise StorageUnavailable(f"{key} broke off {end - start} bytes before its end")
                        start, broken = start + len(block), 0
                        yield block
                    return
            except StorageUnavailable:
                broken += 1
                if broken > RESUMES:
                    raise
            found = self._get(key, start, end, etag)

    def locate(self, key: str) -> Located:
        self.head(key)
        return self._sign("GET", key, LOCATED_S, inside=True)[0]

    def free_bytes(self) -> int | None:
        return None

    def keys(self, prefix: str) -> Iterator[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=self.place.prefix + prefix
        )
        with storage(f"the list of {prefix!r}"):
            for page in pages:
                for entry in page.get("Contents", ()):
                    key = entry["Key"][len(self.place.prefix) :]
                    if is_key(key) and key.startswith(prefix):  # SeaweedFS reads a// as a/
                        yield key

    # writing
    def put_file(
        self, key: str, path: Path, *, content_type: str, sha256: str, patience: Patience | None = None
    ) -> ObjectInfo:
        """Store a file: up to 16 MiB by one PUT, larger ones in parts; each checked by the store where it can.

        Raises BodyMismatch, FileNotFoundError, StorageDenied, StorageUnavailable.
        """
        check_key(key)
        content_type = check_media_type(content_type)
        # Who has no patience leaves it to botocore, which tries again by itself.
        patiently, store = patience or once, self if patience is None else self._once
        with path.open("rb") as file:
            size = path.stat().st_size
            does = patiently(f"try out the store for {key}", self.capabilities)
            if size > PART and does.multipart:
                store._send_parts(key, file, size, content_type, sha256, patiently)
            else:
                if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                    raise BodyMismatch(f"{path.name} isn't the file with SHA-256 {sha256}")
                patiently(f"PUT {key}", lambda: store._send_whole(key, file, content_type, sha256))
        stored = patiently(f"HEAD {key}", lambda: store.head(key))
        if stored.size_bytes != size or stored.sha256 not in (None, sha256):
            raise BodyMismatch(f"{key} was stored with {stored.size_bytes} bytes, {size} were sent")
        return stored

    def _send_whole(self, key: str, file: IO[bytes], content_type: str, sha256: str) -> None:
        file.seek(0)
        with storage(key):
            self.client.put_object(**self.at(key), Body=file, ContentType=content_type, **self._checksum(sha256))

    def _send_parts(
        self, key: str, file: IO[bytes], size: int, content_type: str, sha256: str, patiently: Patience
    ) -> None:
        """Send a file in parts, a few at a time; nothing is under the key unless all of it was right."""
        part_size = max(PART, -(-size // self.limits.part_count))
        begin = functools.partial(
            self.begin_multipart, key, size_bytes=size, part_size=part_size, content_type=content_type
        )
        multipart_id = patiently(f"begin the parts of {key}", begin)
        digest = hashlib.sha256()
        parts: list[StoredPart] = []
        try:
            with ThreadPoolExecutor(SENDERS, "s3-part") as pool:
                under_way: deque[Future[StoredPart]] = deque()
                number = 0
                while block := file.read(part_size):
                    number += 1
                    digest.update(block)
                    send = functools.partial(self._send_part, key, multipart_id, number, block)
                    under_way.append(pool.submit(patiently, f"PUT part {number} of {key}", send))
                    if len(under_way) == SENDERS:
                        parts.append(under_way.popleft().result())
                parts += [one.result() for one in under_way]
            if digest.hexdigest() != sha256:
                raise BodyMismatch(f"{Path(file.name).name} isn't the file with SHA-256 {sha256}")
            patiently(f"join the parts of {key}", lambda: self._joined(key, multipart_id, parts))
        except BaseException:
            with suppress(StorageProblem):  # what stays is purged later
                self.abort_multipart(key, multipart_id)
            raise

    def _joined(self, key: str, multipart_id: str, parts: Sequence[StoredPart]) -> None:
        try:
            self.join(key, multipart_id, parts)
        except MultipartGone:  # joined by a try whose reply was lost
            if self._there(key, sum(part.size_bytes for part in parts)) is None:
                raise

    def _send_part(self, key: str, multipart_id: str, number: int, body: bytes) -> StoredPart:
        sha256 = hashlib.sha256(body).hexdigest()
        with storage(key):
            sent = self.client.upload_part(
                **self.at(key), UploadId=multipart_id, PartNumber=number, Body=body, **self._checksum(sha256, part=True)
            )
        told = hex_of(sent.get("ChecksumSHA256"))
        return StoredPart(number=number, size_bytes=len(body), etag=sent["ETag"], sha256=told)

    def _checksum(self, sha256: str, *, part: bool = False) -> dict[str, str]:
        does = self.capabilities()
        return {"ChecksumSHA256": base64_of(sha256)} if (does.part_checksums if part else does.binds_checksum) else {}

    def copy(self, source: str, key: str, *, size_bytes: int, content_type: str, sha256: str) -> ObjectInfo:
        return s3_copy.copied(self, source, key, size_bytes, check_media_type(content_type), sha256)

    def delete(self, key: str) -> None:
        with storage(key):
            self.client.delete_object(**self.at(key))

    # uploads in parts
    def begin_multipart(self, key: str, *, size_bytes: int, part_size: int, content_type: str) -> str:
        """Raises RequestInvalid for parts that the store won't take."""
        check_split(self.limits, size_bytes, part_size)
        algorithm = ALGORITHM if self._seen().declares_checksums else {}
        with storage(key):
            begun = self.client.create_multipart_upload(
                **self.at(key), ContentType=check_media_type(content_type), **algorithm
            )
        return str(begun["UploadId"])

    def list_parts(self, key: str, multipart_id: str) -> list[StoredPart]:
        pages = self.client.get_paginator("list_parts").paginate(**self.at(key), UploadId=multipart_id)
        with storage(key, multipart=True):
            listed = [part for page in pages for part in page.get("Parts", ())]
        # A part that was sent twice is listed twice by SeaweedFS: the newer one counts.
        newest = {part["PartNumber"]: part for part in sorted(listed, key=lambda part: part["LastModified"])}
        return [
            StoredPart(
                number=number,
                size_bytes=part["Size"],
                etag=part["ETag"],
                sha256=hex_of(part.get("ChecksumSHA256")),
            )
            for number, part in sorted(newest.items())
        ]

    def complete_multipart(self, key: str, multipart_id: str, parts: Sequence[StoredPart]) -> ObjectInfo:
        """Raises also ObjectExists: there is an object of another size."""
        size = sum(part.size_bytes for part in parts)
        if (there := self._there(key, size)) is not None:
            return there
        try:
            arrived = self.list_parts(key, multipart_id)
            wanted = sorted(parts, key=lambda part: part.number)
            if [part.number for part in wanted] != list(range(1, len(parts) + 1)) or told(wanted) != told(arrived):
                raise BodyMismatch(f"{len(parts)} parts of {size} bytes were to be joined; the store has others")
            self.join(key, multipart_id, arrived)
        except MultipartGone:
            # Somebody else may have completed it in the meantime, or our own first try whose reply was lost.
            if (there := self._there(key, size)) is not None:
                return there
            raise
        joined = self.head(key)
        if joined.size_bytes != size:
            raise BodyMismatch(f"{key} has {joined.size_bytes} bytes, its parts had {size}")
        return joined

    def _there(self, key: str, size_bytes: int) -> ObjectInfo | None:
        try:
            there = self.head(key)
        except ObjectMissing:
            return None
        if there.size_bytes != size_bytes:
            raise ObjectExists(f"{key} is there with {there.size_bytes} bytes; the parts have {size_bytes}")
        return there

    def join(self, key: str, multipart_id: str, parts: Sequence[StoredPart]) -> None:
        """Let the store make the object of these parts; nothing is looked at before or after."""
        named = [
            {"PartNumber": part.number, "ETag": part.etag}
            | ({"ChecksumSHA256": base64_of(part.sha256)} if part.sha256 else {})
            for part in parts
        ]
        with storage(key, multipart=True):
            self.client.complete_multipart_upload(
                **self.at(key), UploadId=multipart_id, MultipartUpload={"Parts": named}
            )

    def abort_multipart(self, key: str, multipart_id: str) -> None:
        with suppress(MultipartGone), storage(key, multipart=True):
            self.client.abort_multipart_upload(**self.at(key), UploadId=multipart_id)

    def purge_incoming(self, older_than_s: float = 86400.0) -> int:
        """Abort uploads in parts that began so long ago, and remove what killed probes left; return how many."""
        count, limit = 0, datetime.now(UTC) - timedelta(seconds=older_than_s)
        uploads = self.client.get_paginator("list_multipart_uploads").paginate(
            Bucket=self.bucket, Prefix=self.place.prefix
        )
        probes = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=self.place.prefix + PROBES
        )
        with storage("uploads in parts"):
            for page in uploads:
                for upload in page.get("Uploads", ()):
                    if upload["Initiated"] < limit:
                        self.abort_multipart(upload["Key"][len(self.place.prefix) :], upload["UploadId"])
                        count += 1
            for page in probes:
                for entry in page.get("Contents", ()):
                    if entry["LastModified"] < limit:
                        self.client.delete_object(Bucket=self.bucket, Key=entry["Key"])
                        count += 1
        return count

    # web pages
    def cors_rules(self, origins: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """Return the bucket's CORS rules as boto3 takes them, for these origins or those of the settings."""
        return s3_cors.rules(origins or self.cors_origins)

    def apply_cors(self, origins: Sequence[str] | None = None) -> None:
        """Replace the bucket's CORS rules by ours. Raises StorageDenied, also where a store has no such call."""
        with storage("the bucket's CORS rules"):
            self.client.put_bucket_cors(Bucket=self.bucket, CORSConfiguration={"CORSRules": self.cors_rules(origins)})

    def check_cors(self, origins: Sequence[str] | None = None) -> list[str]:
        """Ask the public endpoint what a browser would ask; return what it would stumble over, nothing if all is well.

        Raises StorageUnavailable when the public endpoint can't be reached from here.
        """
        url = self._sign("GET", ".probe/cors", 60)[0]
        return s3_cors.faults(url, origins or self.cors_origins)

    def at(self, key: str) -> dict[str, str]:
        """Return bucket and key as boto3 names them. Raises ObjectMissing: no object can have such a key."""
        check_key(key)
        return {"Bucket": self.bucket, "Key": self.place.prefix + key}


_HEADERS = {"content-type": "Content-Type", "if-none-match": "If-None-Match"}
