"""What may stand in a key, a header and a file name; the same for every object store."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from urllib.parse import quote

from reelmill.errors import ObjectMissing, RequestInvalid
from reelmill.jobs.model import StoredPart, UploadLimits

OCTETS = "application/octet-stream"

_SEGMENT = r"(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._-]{1,200}"  # with `.json` still a legal file name
_KEY = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT})*")
_MEDIA_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+(?: *; *[\w.+-]+=(?:[\w.+,-]+|\"[\w .+,-]*\"))*", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_BIDI = {ord(c): "_" for c in "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"}


def is_key(key: str) -> bool:
    """Tell whether this can be an object's key: at most 512 characters in plain segments, none `.` or `..`."""
    return len(key) <= 512 and _KEY.fullmatch(key) is not None


def check_key(key: str) -> list[str]:
    """Return a key's segments. Raises ObjectMissing: no object can have such a key."""
    if not is_key(key):
        raise ObjectMissing(f"{key[:100]!r} can't be an object's key")
    return key.split("/")


def check_media_type(value: str) -> str:
    """Return a content type as it is. Raises RequestInvalid."""
    if len(value) > 200 or not _MEDIA_TYPE.fullmatch(value):
        raise RequestInvalid(f"{value[:100]!r} isn't a content type like video/mp4")
    return value


def check_body(size_bytes: int, sha256: str | None) -> None:
    """Raises RequestInvalid for a size below 0 or a checksum that isn't 64 lower-case hex digits."""
    if size_bytes < 0:
        raise RequestInvalid(f"an object can't have {size_bytes} bytes")
    if sha256 is not None and not _SHA256.fullmatch(sha256):
        raise RequestInvalid(f"{sha256!r} isn't a SHA-256 in lower-case hex")


def check_split(limits: UploadLimits, size_bytes: int, part_size: int) -> None:
    """Raises RequestInvalid when a file can't be sent in parts of this size; the last part may be small."""
    count = -(-size_bytes // part_size) if part_size > 0 else 0
    fits = count == 1 or limits.part_min_bytes <= part_size
    if not 1 <= count <= limits.part_count or not fits or part_size > limits.part_max_bytes:
        raise RequestInvalid(f"{size_bytes} bytes can't be sent in parts of {part_size} bytes to this object store")


def check_part(limits: UploadLimits, number: int) -> None:
    """Raises RequestInvalid for a number that no part has."""
    if not 1 <= number <= limits.part_count:
        raise RequestInvalid(f"part {number} can't be: parts are numbered from 1 to {limits.part_count}")


def clean_filename(name: str) -> str:
    """Return a name that is safe to save under: no folders, control or direction characters; at most 200 long."""
    name = name.encode("utf-8", "replace").decode()
    name = re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029/\\]", "_", name).translate(_BIDI).strip(" .")
    stem, dot, suffix = name.rpartition(".")
    if len(name) > 200 and dot and len(suffix) <= 16:
        name = stem[: 199 - len(suffix)] + dot + suffix
    return name[:200] or "download"


def disposition(filename: str | None) -> str:
    """Return Content-Disposition: a file name makes it an attachment (RFC 6266, RFC 8187)."""
    if filename is None:
        return "inline"
    name = clean_filename(filename)
    plain = re.sub(r'[^\x20-\x7e]|["%]', "_", name)  # some clients decode %41 even here
    exact = "" if plain == name else f"; filename*=UTF-8''{quote(name, safe='')}"
    return f'attachment; filename="{plain}"{exact}'


def base64_of(sha256: str) -> str:
    """Return a hex digest as S3 writes it."""
    return base64.b64encode(bytes.fromhex(sha256)).decode()


def hex_of(checksum: str | None) -> str | None:
    """Return S3's SHA-256 in hex; None for that of parts (`…-N`), which isn't the object's."""
    return base64.b64decode(checksum).hex() if checksum and "-" not in checksum else None


def told(parts: Sequence[StoredPart]) -> list[tuple[int, int, str]]:
    """Return what two listings of the same parts have in common: numbers, sizes and ETags."""
    return [(part.number, part.size_bytes, part.etag.strip('"')) for part in parts]
