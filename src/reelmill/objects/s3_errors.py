"""botocore's errors as the port's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    InvalidRegionError,
    NoAuthTokenError,
    NoCredentialsError,
    NoRegionError,
    ParamValidationError,
    PartialCredentialsError,
    SSLError,
    SSOError,
)
from urllib3.exceptions import HTTPError

from reelmill.errors import (
    BodyMismatch,
    MultipartGone,
    ObjectExists,
    ObjectMissing,
    RangeUnsatisfiable,
    StorageDenied,
    StorageProblem,
    StorageUnavailable,
)

_DENIED = (
    CredentialRetrievalError,
    InvalidRegionError,
    NoAuthTokenError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    SSOError,
    SSLError,
)
_BODY = {
    "BadDigest",
    "EntityTooSmall",
    "InvalidDigest",
    "InvalidPart",
    "InvalidPartOrder",
    "XAmzContentChecksumMismatch",
    "XAmzContentSHA256Mismatch",
}
_BUSY = {"RequestTimeout", "RequestTimeoutException", "SlowDown", "Throttling", "ThrottlingException"}


class Bucket(Protocol):
    """What is asked when a 404 doesn't say whether the object or the whole bucket is missing."""

    bucket: str
    client: Any


@contextmanager
def storage(what: str, *, multipart: bool = False, bucket: Bucket | None = None) -> Iterator[None]:
    """Turn what boto3 raises into the port's errors. multipart: a 404 is about an upload in parts."""
    try:
        yield
    except ClientError as error:
        raise _named(error, what, multipart, bucket) from error
    except ParamValidationError:
        raise  # our own mistake
    except _DENIED as error:
        raise StorageDenied(f"{what}: {error}") from error
    except (BotoCoreError, HTTPError, OSError) as error:
        raise StorageUnavailable(f"{what}: {type(error).__name__}") from error


def _named(error: ClientError, what: str, multipart: bool, bucket: Bucket | None) -> StorageProblem:
    reply = error.response.get("Error", {})
    code = str(reply.get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    cause = f"{what}: {code} {reply.get('Message', '')}".rstrip()
    if code in _BUSY or status in (408, 429) or status >= 500:
        return StorageUnavailable(cause)
    if code == "NoSuchBucket":
        return StorageDenied(f"{cause} (make the bucket, or correct its name in REELMILL_STORAGE_URL)")
    if code == "NoSuchUpload" or (multipart and status == 404):
        return MultipartGone()
    if status == 404:
        if bucket is not None and code != "NoSuchKey":  # a HEAD's reply has no words
            with storage("the bucket"):
                _look(bucket)
        return ObjectMissing(f"{what} isn't in storage")
    if code in _BODY:
        return BodyMismatch(cause)
    if code == "PreconditionFailed" or status in (409, 412):
        return ObjectExists(cause)
    if code == "InvalidRange" or status == 416:
        return RangeUnsatisfiable(cause)
    return StorageDenied(cause)


def _look(bucket: Bucket) -> None:
    try:
        bucket.client.head_bucket(Bucket=bucket.bucket)
    except ClientError as error:
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 404:
            raise StorageDenied(
                f"there is no bucket {bucket.bucket!r} (make it, or correct its name in REELMILL_STORAGE_URL)"
            ) from error
        raise
