"""The folder store's signed URLs: PUT takes an object in, GET and HEAD hand it out, in flat memory.

The signature is the whole authority: no session, no cookie, so any origin may use the URL (CORS `*`).
Bodies are hashed, written and read in threads, 1 MiB at a time; the event loop only passes them on.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Protocol, TypeVar

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse
from fastapi.routing import APIRoute
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from reelmill.api.ranges import Source, answer
from reelmill.errors import BodyMismatch, ObjectMissing
from reelmill.jobs.model import ObjectInfo
from reelmill.objects.files import BLOCK
from reelmill.objects.folder import FolderStore, Grant
from reelmill.objects.names import disposition

IDLE_S = 120.0  #: a body that brings nothing for so long is given up
LARGEST = 1 << 50  #: bytes; the signed size is the limit, not the one for API requests
METHODS = "GET, HEAD, PUT, OPTIONS"
REQUEST_HEADERS = (
    "Content-Type, Range, If-Range, If-Match, If-None-Match, If-Modified-Since, X-Checksum-SHA256, "
    "Authorization, X-API-Key"  # of a page that was redirected here; what they say counts for nothing
)
EXPOSED = "ETag, Accept-Ranges, Content-Range, Content-Length, Content-Disposition, Last-Modified"

# Nothing in a stored file may run or load anything; but a film or picture opened by its URL plays in the browser.
POLICY = "sandbox; default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'"


T = TypeVar("T", covariant=True)


class Taking(Protocol[T]):
    """An object or a part being taken in."""

    def write(self, block: bytes | bytearray) -> None: ...

    def commit(self) -> T: ...

    def abort(self) -> None: ...


class SignedRoute(APIRoute):
    """Puts what browsers need onto every reply, errors too, whoever rendered them."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_open(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Access-Control-Allow-Origin"] = "*"
                headers["Access-Control-Expose-Headers"] = EXPOSED
                headers["Cross-Origin-Resource-Policy"] = "cross-origin"
                headers["X-Content-Type-Options"] = "nosniff"
                headers.setdefault("Content-Security-Policy", POLICY)
                if message["status"] == 416 and "object_size" in scope["state"]:
                    headers["Content-Range"] = f"bytes */{scope['state']['object_size']}"
                if message["status"] >= 400:
                    headers["Cache-Control"] = "no-store"
            await send(message)

        await super().handle(scope, receive, send_open)


def router(
    store: FolderStore, *, elsewhere: Callable[[Grant], str] | None = None, accel: str | None = None
) -> APIRouter:
    """Return the routes `/objects/{key}` (or the store's own); include them where the store's `base_url` points to.

    elsewhere: where an object went that isn't here any more; nothing is taken in then, only handed out.
    accel: path by which a proxy in front of us finds the store's objects and sends them by itself.
    """
    routes = APIRouter(route_class=SignedRoute, include_in_schema=False, max_body_size=LARGEST)
    path = f"/{store.route}/{{key:path}}"

    methods = METHODS if elsewhere is None else METHODS.replace("PUT, ", "")

    async def put(key: str, request: Request) -> Response:
        grant = store.verify("PUT", key, request.query_params.multi_items())
        _check_headers(grant, request.headers)
        if grant.upload is not None and grant.part is not None:
            taking = functools.partial(
                store.begin_part, key, grant.upload, grant.part, size_bytes=grant.size_bytes, sha256=grant.sha256
            )
            part = await _taken(request, await asyncio.to_thread(taking))
            return JSONResponse({"size": part.size_bytes, "sha256": part.sha256}, headers={"ETag": part.etag})
        incoming = await asyncio.to_thread(
            store.begin_put,
            key,
            size_bytes=grant.size_bytes,
            content_type=grant.content_type,
            sha256=grant.sha256,
        )
        info = await _taken(request, incoming)
        return JSONResponse({"size": info.size_bytes, "sha256": info.sha256}, headers={"ETag": info.etag})

    if elsewhere is None:
        routes.add_api_route(path, put, methods=["PUT"])

    def take(key: str, request: Request) -> Response:
        grant = store.verify(request.method, key, request.query_params.multi_items())
        try:
            reading = store.read(key)
        except ObjectMissing:
            if elsewhere is None:
                raise
            return RedirectResponse(elsewhere(grant), status_code=307, headers={"Cache-Control": "no-store"})
        try:
            request.state.object_size = reading.info.size_bytes
            headers = _headers(grant, reading.info)
            if accel is not None:
                return accelerated(accel, key, reading, headers)
            return answer(request.method, request.headers, reading, headers)
        except BaseException:
            reading.close()
            raise

    @routes.api_route(path, methods=["GET", "HEAD"])
    async def get(key: str, request: Request) -> Response:
        return await asyncio.to_thread(take, key, request)

    @routes.options(path)
    async def preflight() -> Response:
        headers = {
            "Allow": methods,
            "Access-Control-Allow-Methods": methods,
            "Access-Control-Allow-Headers": REQUEST_HEADERS,
            "Access-Control-Max-Age": "600",
        }
        return Response(status_code=204, headers=headers)

    return routes


# ── PUT ───────────────────────────────────────────────────────────────────────────────────────


def _check_headers(grant: Grant, headers: Headers) -> None:
    """Refuse before the body is read what can't be the signed object. Raises BodyMismatch."""
    length = headers.get("content-length")
    if length is None and "transfer-encoding" not in headers and grant.size_bytes:
        raise BodyMismatch("Content-Length is missing")
    if length is not None and length != str(grant.size_bytes):
        raise BodyMismatch(f"Content-Length is {length}, the URL was signed for {grant.size_bytes}")
    content_type = headers.get("content-type", "")
    if grant.part is None and content_type != grant.content_type:
        raise BodyMismatch(f"Content-Type is {content_type!r}, the URL was signed for {grant.content_type!r}")
    checksum = headers.get("x-checksum-sha256", grant.sha256)
    if grant.sha256 is not None and checksum != grant.sha256:
        raise BodyMismatch("x-checksum-sha256 isn't the checksum that the URL was signed for")


async def _taken(request: Request, incoming: Taking[T]) -> T:
    """Take the body in, whole or not at all."""
    try:
        await _receive(request, incoming)
        return await asyncio.to_thread(incoming.commit)
    finally:
        await asyncio.shield(asyncio.to_thread(incoming.abort))


async def _receive(request: Request, incoming: Taking[T]) -> None:
    """Write the body in blocks of 1 MiB or a little more. Raises BodyMismatch when it breaks off or stalls."""
    block = bytearray()
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(IDLE_S) as idle:
            async for chunk in request.stream():
                block += chunk
                if len(block) >= BLOCK:
                    idle.reschedule(None)
                    await asyncio.to_thread(incoming.write, block)
                    block = bytearray()
                idle.reschedule(loop.time() + IDLE_S)
    except ClientDisconnect:
        raise BodyMismatch("the connection broke off; nothing was stored") from None
    except TimeoutError:
        raise BodyMismatch(f"nothing arrived for {IDLE_S:.0f} s; nothing was stored") from None
    await asyncio.to_thread(incoming.write, block)


# ── GET and HEAD ──────────────────────────────────────────────────────────────────────────────


def _headers(grant: Grant, info: ObjectInfo) -> dict[str, str]:
    life_s = max(0, grant.expires - int(datetime.now(UTC).timestamp()))
    return {
        "Cache-Control": f"private, max-age={life_s}",
        "Content-Type": grant.response_type or info.content_type,
        "Content-Disposition": disposition(grant.filename),
    }


def accelerated(accel: str, key: str, source: Source, headers: Mapping[str, str]) -> Response:
    """Let the proxy in front of us send the file by itself: ranges, conditions and all."""
    source.close()
    return Response(headers={**headers, "X-Accel-Redirect": f"{accel}/{key}"})
