"""`dynamodb://table?region=…` taken apart."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from reelmill.errors import SettingInvalid

GOOD = "dynamodb://reelmill?region=eu-central-1 or dynamodb://prod-video-metadata?region=us-east-1&hash_key=video_id"
_TABLE = re.compile(r"[A-Za-z0-9_.-]{3,255}")
_HASH_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_FIELDS = {"region", "endpoint", "hash_key"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Which table, and how it is reached."""

    table: str
    region: str | None = None  #: None is botocore's own choice (AWS_REGION, shared files)
    endpoint: str | None = None  #: None is Amazon's for the region
    hash_key: str = "pk"  #: the name of the table's partition key; a job's item has the job id in it


def read_place(url: str) -> Place:
    """Return the table that a REELMILL_DATABASE_URL names. Raises SettingInvalid."""
    parts = urlsplit(url)
    fields = parse_qsl(parts.query, keep_blank_values=True)
    given = dict(fields)
    if parts.scheme != "dynamodb" or not _TABLE.fullmatch(parts.netloc) or parts.path.strip("/") or parts.fragment:
        raise _invalid(f"{url!r} names no table")
    if unknown := sorted(set(given) - _FIELDS) or [name for name, value in fields if not value]:
        raise _invalid(f"{unknown[0]!r} isn't understood; there are {', '.join(sorted(_FIELDS))}")
    if len(given) != len(fields):
        raise _invalid("a field is there twice")
    endpoint = given.get("endpoint")
    if endpoint is not None and not re.fullmatch(r"https?://[^/?#@\s]+/?", endpoint):
        raise _invalid(f"the endpoint {endpoint!r} isn't like https://host:port")
    hash_key = given.get("hash_key", "pk")
    if not _HASH_KEY.fullmatch(hash_key):
        raise _invalid(f"the hash key {hash_key!r} may have letters, digits and '_'")
    return Place(
        table=parts.netloc,
        region=given.get("region") or ("us-east-1" if endpoint else None),
        endpoint=endpoint.rstrip("/") if endpoint else None,
        hash_key=hash_key,
    )


def _invalid(fault: str) -> SettingInvalid:
    return SettingInvalid(f"REELMILL_DATABASE_URL: {fault}. A good value is {GOOD}.")
