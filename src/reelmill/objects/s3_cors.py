"""What a bucket has to allow so that web pages can upload to it, and whether it does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import httpx2

from reelmill.errors import StorageUnavailable

METHODS = ("GET", "HEAD", "PUT", "POST", "DELETE")
EXPOSED = ("ETag", "Content-Range", "Accept-Ranges", "Content-Length", "x-amz-checksum-sha256")
SENT = ("content-type", "if-none-match", "x-amz-checksum-sha256")  #: headers of signed uploads
ANY_PAGE = "https://any-page.example"  #: stands for every origin where `*` is allowed
TIMEOUT_S = 20.0


def rules(origins: Sequence[str]) -> list[dict[str, Any]]:
    """Return the rules as S3 takes them."""
    return [
        {
            "AllowedOrigins": list(origins),
            "AllowedMethods": list(METHODS),
            "AllowedHeaders": ["*"],
            "ExposeHeaders": list(EXPOSED),
            "MaxAgeSeconds": 3600,
        }
    ]


def faults(url: str, origins: Sequence[str]) -> list[str]:
    """Send the preflights of a browser to a signed GET URL's object, and a GET; return what is wrong, in words.

    Raises StorageUnavailable.
    """
    with httpx2.Client(timeout=TIMEOUT_S) as http:
        try:
            return [fault for origin in origins for fault in _faults(http, url, ANY_PAGE if origin == "*" else origin)]
        except httpx2.TransportError as error:
            raise StorageUnavailable(f"the public endpoint: {type(error).__name__}") from error


def _faults(http: httpx2.Client, url: str, origin: str) -> Iterator[str]:
    for method in METHODS:
        asked = {"Origin": origin, "Access-Control-Request-Method": method}
        if method == "PUT":
            asked["Access-Control-Request-Headers"] = ",".join(SENT)
        reply = http.options(url.partition("?")[0], headers=asked)
        if not reply.is_success or reply.headers.get("access-control-allow-origin") not in ("*", origin):
            yield f"pages of {origin} may not send {method}"
            continue
        if method not in _listed(reply, "access-control-allow-methods"):
            yield f"{method} isn't among the allowed methods for {origin}"
        allowed = {name.lower() for name in _listed(reply, "access-control-allow-headers")}
        if method == "PUT" and "*" not in allowed and (missing := [name for name in SENT if name not in allowed]):
            yield f"pages of {origin} may not send the headers {', '.join(missing)}"
    reply = http.get(url, headers={"Origin": origin})
    shown = {name.lower() for name in _listed(reply, "access-control-expose-headers")}
    if hidden := [name for name in EXPOSED if name.lower() not in shown]:
        yield f"pages of {origin} can't read the headers {', '.join(hidden)}"


def _listed(reply: httpx2.Response, header: str) -> list[str]:
    return [name.strip() for name in reply.headers.get(header, "").split(",")]
