"""Web pages of other origins that call the API: which may, what they may send and what they may read.

What needs a key is open to the pages that REELMILL_CORS_ORIGINS names, and cookies never come along: a page is let in
by its key, not by who looks at it. Signed URLs below /objects/ have rules of their own.
"""

from __future__ import annotations

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.types import Receive, Scope, Send

PLACES = ("/api/", "/videos/")  #: everything below needs a key
METHODS = ("GET", "POST", "PUT", "DELETE")
SENT = (
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "If-None-Match",
    "If-Range",
    "Last-Event-ID",
    "Range",
    "X-API-Key",
    "X-Request-Id",
)
READ = (
    "Accept-Ranges",
    "Content-Disposition",
    "Content-Length",
    "Content-Range",
    "ETag",
    "Idempotent-Replayed",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "WWW-Authenticate",
    "X-Request-Id",
)
REMEMBERED_S = 600  #: browsers needn't ask again for so long


def install(api: FastAPI, origins: str) -> None:
    """Let pages of these origins call the API. origins: `*`, or several with commas between."""
    api.add_middleware(
        Cors,
        allow_origins=origins.split(","),
        allow_methods=METHODS,
        allow_headers=SENT,
        expose_headers=READ,
        max_age=REMEMBERED_S,
    )


class Cors(CORSMiddleware):
    """Starlette's, for what needs a key."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith(PLACES):
            await super().__call__(scope, receive, send)
        else:
            await self.app(scope, receive, send)
