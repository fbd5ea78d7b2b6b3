"""`s3://bucket/prefix?endpoint=…` taken apart."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qsl, urlsplit

from reelmill.errors import SettingInvalid
from reelmill.objects.names import is_key

Addressing = Literal["path", "virtual"]

GOOD = "s3://videos/optional/prefix?endpoint=https://s3.example&public_endpoint=https://media.example&region=us-east-1"
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")
_FIELDS = {"endpoint", "public_endpoint", "region", "addressing"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a store's objects are, and how it is reached from inside and from outside."""

    bucket: str
    prefix: str = ""  #: of all keys; empty or ending in a slash
    endpoint: str | None = None  #: for the server's own calls; None is Amazon's for the region
    public_endpoint: str | None = None  #: in URLs that are handed out; None is the same
    region: str | None = None  #: None is botocore's own choice (AWS_REGION, shared files)
    addressing: Addressing = "path"

    @property
    def virtual(self) -> bool:
        """Whether the bucket is part of the host."""
        return self.addressing == "virtual"

    def address(self, endpoint: str) -> str:
        """Return an endpoint as the bucket is reached by it."""
        scheme, rest = endpoint.split("://", 1)
        return f"{scheme}://{self.bucket}.{rest}" if self.virtual else endpoint


def read_place(url: str) -> Place:
    """Return the place that a REELMILL_STORAGE_URL names. Raises SettingInvalid."""
    parts = urlsplit(url)
    fields = parse_qsl(parts.query, keep_blank_values=True)
    given = dict(fields)
    prefix = parts.path.strip("/")
    if parts.scheme != "s3" or not _BUCKET.fullmatch(parts.netloc) or parts.fragment:
        raise _invalid(f"{url!r} names no bucket")
    if unknown := sorted(set(given) - _FIELDS) or [name for name, value in fields if not value]:
        raise _invalid(f"{unknown[0]!r} isn't understood; there are {', '.join(sorted(_FIELDS))}")
    if len(given) != len(fields):
        raise _invalid("a field is there twice")
    if prefix and (not is_key(prefix) or len(prefix) > 200):
        raise _invalid(f"the prefix {prefix!r} may have letters, digits, '.', '_', '-' and '/', 200 at most")
    endpoint = _endpoint(given.get("endpoint"))
    # Amazon's certificates and host names don't reach below a bucket with a dot; others rarely have names for each.
    usual = "path" if endpoint or "." in parts.netloc else "virtual"
    addressing = given.get("addressing", usual)
    if addressing not in ("path", "virtual"):
        raise _invalid(f"addressing is {addressing!r}; it is path or virtual")
    return Place(
        bucket=parts.netloc,
        prefix=f"{prefix}/" if prefix else "",
        endpoint=endpoint,
        public_endpoint=_endpoint(given.get("public_endpoint")),
        region=given.get("region") or ("us-east-1" if endpoint else None),
        addressing="virtual" if addressing == "virtual" else "path",
    )


def _endpoint(value: str | None) -> str | None:
    if value is None:
        return None
    try:
        url = urlsplit(value)
        good = url.scheme in ("http", "https") and url.hostname and (url.port is None or url.port > 0)
    except ValueError:
        good = False
    if not good or url.username is not None or url.query or url.fragment:
        raise _invalid(f"the endpoint {value!r} isn't like https://host:port")
    return value.rstrip("/")


def _invalid(fault: str) -> SettingInvalid:
    return SettingInvalid(f"REELMILL_STORAGE_URL: {fault}. A good value is {GOOD}.")
