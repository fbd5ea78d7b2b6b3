"""Behind a reverse proxy that gives us a part of its paths: `https://host/reelmill/…`, as REELMILL_PUBLIC_URL says."""

from __future__ import annotations

from urllib.parse import urlsplit

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

OUR_OWN = {"api", "videos", "objects", "spool", "streams", "share"}  #: a path that begins so is ours, not the proxy's


def install(api: FastAPI, public_url: str | None) -> None:
    """Let the API be reached under the public URL's path too, whether or not the proxy takes it off."""
    base = urlsplit(public_url or "").path.rstrip("/")
    if not base:
        return
    api.servers = [{"url": base}]
    if base.split("/")[1] not in OUR_OWN:  # or it couldn't be told whether the proxy has taken it off
        api.add_middleware(WithoutBase, base=base)


class WithoutBase:
    """Takes the base off the path, if it is there."""

    def __init__(self, app: ASGIApp, base: str) -> None:
        self.app = app
        self.base = base

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and f"{scope['path']}/".startswith(f"{self.base}/"):
            path, raw = scope["path"].removeprefix(self.base), scope["raw_path"].removeprefix(self.base.encode())
            scope = {**scope, "path": path or "/", "raw_path": raw or b"/"}
        await self.app(scope, receive, send)
