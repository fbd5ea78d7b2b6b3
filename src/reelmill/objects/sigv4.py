"""Presigned URLs by AWS Signature Version 4, the signature in the query: cheap enough to sign thousands a second.

What depends only on the credentials and the day is made once and kept. The URLs are botocore's, byte for byte.
Source: "Authenticating Requests: Using Query Parameters (AWS Signature Version 4)", Amazon S3 API Reference.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from hashlib import sha256
from typing import NamedTuple, Protocol
from urllib.parse import quote, urlsplit

LONGEST_S = 604_800  #: seconds that a signature may live: seven days

_PORTS = {"http": 80, "https": 443}
_SAFE = "-_.~"


class Credentials(Protocol):
    """Who signs. `token` belongs to temporary ones; when they end, so do the URLs that they signed."""

    @property
    def access_key(self) -> str: ...
    @property
    def secret_key(self) -> str: ...
    @property
    def token(self) -> str | None: ...


class Presigner:
    """Signs URLs below one endpoint; safe to share between threads."""

    def __init__(self, endpoint: str, *, region: str, credentials: Callable[[], Credentials]) -> None:
        """endpoint: `https://host[:port][/path]`. credentials: asked at each signature, for they may be renewed."""
        url = urlsplit(endpoint)
        port = f":{url.port}" if url.port not in (None, _PORTS[url.scheme]) else ""
        name = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname
        self._host = f"{name}{port}"  # as clients write their Host header
        self._origin = f"{url.scheme}://{url.netloc}"
        self._path = url.path.rstrip("/")
        self._region = region
        self._credentials = credentials

    def sign(
        self,
        method: str,
        path: str,
        *,
        life_s: int,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        at: float | None = None,
    ) -> str:
        """Return the URL of a request that is good for `life_s` seconds from the last whole second on.

        path: unquoted, begins with a slash. life_s: 1 … 604,800. headers: what the client has to send, with these
        very values; names in lower case. at: Unix time, now unless told.
        """
        who = self._credentials()
        stamp = _stamp(int(time.time() if at is None else at))
        scope = _scope(who.access_key, who.secret_key, who.token, stamp[:8], self._region)
        given = {"host": self._host, **headers} if headers else {"host": self._host}
        names = sorted(given)
        lines = "\n".join([f"{name}:{' '.join(given[name].split())}" for name in names])
        about = (
            f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={scope.credential}"
            f"&X-Amz-Date={stamp}&X-Amz-Expires={life_s}"
        )
        signed = f"&X-Amz-SignedHeaders={'%3B'.join(names)}"
        sent, ordered = f"{about}{signed}{scope.token}", f"{about}{scope.token}{signed}"
        if query:
            pairs = [f"{_quote(name)}={_quote(value)}" for name, value in query.items()]
            sent = f"{'&'.join(pairs)}&{sent}"
            pairs.sort(key=_by_name)
            if pairs[0] < "Y":
                ordered = "&".join(sorted([*pairs, *ordered.split("&")], key=_by_name))
            else:  # what S3 asks for is in lower case, and so comes behind X-Amz-…
                ordered = f"{ordered}&{'&'.join(pairs)}"
        quoted = quote(self._path + path, safe="/-_.~")
        canonical = f"{method}\n{quoted}\n{ordered}\n{lines}\n\n{';'.join(names)}\nUNSIGNED-PAYLOAD"
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope.name}\n{sha256(canonical.encode()).hexdigest()}"
        signature = hmac.digest(scope.key, text.encode(), "sha256").hex()
        return f"{self._origin}{quoted}?{sent}&X-Amz-Signature={signature}"


class _Scope(NamedTuple):
    """What one set of credentials signs with for one day."""

    name: str
    credential: str  #: quoted
    token: str  #: a quoted piece of the query, or nothing
    key: bytes


@lru_cache(maxsize=64)
def _scope(access_key: str, secret_key: str, token: str | None, day: str, region: str) -> _Scope:
    key = f"AWS4{secret_key}".encode()
    for part in (day, region, "s3", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    name = f"{day}/{region}/s3/aws4_request"
    return _Scope(
        name=name,
        credential=quote(f"{access_key}/{name}", safe=_SAFE),
        token=f"&X-Amz-Security-Token={quote(token, safe=_SAFE)}" if token is not None else "",
        key=key,
    )


@lru_cache(maxsize=16)
def _stamp(second: int) -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))


@lru_cache(maxsize=1024)
def _quote(text: str) -> str:
    return quote(text, safe=_SAFE)


def _by_name(pair: str) -> tuple[str, str]:
    name, _, value = pair.partition("=")  # as a whole, `a-b=` would come before `a=`
    return name, value
