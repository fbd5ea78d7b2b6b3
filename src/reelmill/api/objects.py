"""The folder store's signed URLs: PUT takes an object in, GET and HEAD hand it out, in flat memory.

The signature is the whole authority: no session, no cookie, so any origin may use the URL (CORS `*`).
Bodies are hashed, written and read in threads, 1 MiB at a time; the event loop only passes them on.
"""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Protocol, TypeVar

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse, StreamingResponse
from fastapi.routing import APIRoute
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from reelmill.errors import BodyMismatch, ObjectMissing, RangeUnsatisfiable
from reelmill.jobs.model import ObjectInfo
from reelmill.objects.files import BLOCK, Reading
from reelmill.objects.folder import FolderStore, Grant
from reelmill.objects.names import disposition

IDLE_S = 120.0  #: a body that brings nothing for so long is given up
LARGEST = 1 << 50  #: bytes; the signed size is the limit, not the one for API requests
METHODS = "GET, HEAD, PUT, OPTIONS"
REQUEST_HEADERS = "Content-Type, Range, If-Range, If-Match, If-None-Match, If-Modified-Since, X-Checksum-SHA256"
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
                headers["Content-Security-Policy"] = POLICY
                if message["status"] == 416:
                    headers["Content-Range"] = f"bytes */{scope['state']['object_size']}"
                if message["status"] >= 400:
                    headers["Cache-Control"] = "no-store"
            await send(message)

        await super().handle(scope, receive, send_open)


class ObjectResponse(StreamingResponse):
    """Streams part of an open object, and closes it however the reply ends."""

    def __init__(self, reading: Reading, start: int, length: int, status_code: int, headers: dict[str, str]) -> None:
        self.reading = reading
        super().__init__(self.blocks(start, length), status_code, headers)

    async def blocks(self, start: int, length: int) -> AsyncIterator[bytes]:
        end = start + length
        while start < end:
            block = await asyncio.to_thread(self.reading.at, start, min(BLOCK, end - start))
            if not block:
                raise RuntimeError(f"{self.reading.info.key} was cut short while it was read")
            yield block
            start += len(block)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            # Not awaited: the reply may have been cancelled, and a read may still run in its thread.
            asyncio.get_running_loop().run_in_executor(None, self.reading.close)


def router(store: FolderStore, *, elsewhere: Callable[[Grant], str] | None = None) -> APIRouter:
    """Return the routes `/objects/{key}` (or the store's own); include them where the store's `base_url` points to.

    elsewhere: where an object went that isn't here any more; nothing is taken in then, only handed out.
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

    @routes.api_route(path, methods=["GET", "HEAD"])
    async def get(key: str, request: Request) -> Response:
        grant = store.verify(request.method, key, request.query_params.multi_items())
        try:
            reading = await asyncio.to_thread(store.read, key)
        except ObjectMissing:
            if elsewhere is None:
                raise
            return RedirectResponse(elsewhere(grant), status_code=307, headers={"Cache-Control": "no-store"})
        try:
            response = _reply(request, grant, reading)
        except BaseException:
            reading.close()
            raise
        if not isinstance(response, ObjectResponse):
            reading.close()
        return response

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


def _reply(request: Request, grant: Grant, reading: Reading) -> Response:
    info = reading.info
    life_s = max(0, grant.expires - int(datetime.now(UTC).timestamp()))
    headers = {
        "ETag": info.etag,
        "Last-Modified": format_datetime(info.modified_at, usegmt=True),
        "Cache-Control": f"private, max-age={life_s}",
    }
    if _unchanged(request.headers, info):
        return Response(status_code=304, headers=headers)
    headers |= {
        "Accept-Ranges": "bytes",
        "Content-Type": grant.response_type or info.content_type,
        "Content-Disposition": disposition(grant.filename),
        "Content-Length": str(info.size_bytes),
    }
    if request.method == "HEAD":
        return Response(headers=headers)
    request.state.object_size = info.size_bytes
    part = _range(request.headers, info)
    if part is None:
        return ObjectResponse(reading, 0, info.size_bytes, 200, headers)
    start, end = part
    headers["Content-Length"] = str(end - start)
    headers["Content-Range"] = f"bytes {start}-{end - 1}/{info.size_bytes}"
    return ObjectResponse(reading, start, end - start, 206, headers)


def _unchanged(headers: Headers, info: ObjectInfo) -> bool:
    """Tell whether the client's copy is still good (RFC 9110 §13.1.2, §13.1.3)."""
    if (tags := headers.get("if-none-match")) is not None:
        return tags.strip() == "*" or info.etag in re.findall(r'"[^"]*"', tags)
    since = _date(headers.get("if-modified-since"))
    return since is not None and info.modified_at.replace(microsecond=0) <= since


def _range(headers: Headers, info: ObjectInfo) -> tuple[int, int] | None:
    """Return the asked part as [start, end), None for the whole (RFC 9110 §14.2). Raises RangeUnsatisfiable.

    Several ranges, other units and malformed ones get the whole object, as the RFC allows.
    """
    asked = re.fullmatch(r"bytes=\s*(\d{0,18})-(\d{0,18})\s*", headers.get("range", ""), re.ASCII | re.IGNORECASE)
    validator = headers.get("if-range")
    if asked is None or (validator is not None and validator != info.etag and not _same_date(validator, info)):
        return None
    first, last = asked.groups()
    size = info.size_bytes
    if not first:
        if not last or (size == 0 and int(last)):
            return None
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < start:
            return None
    if start >= size:
        raise RangeUnsatisfiable(f"the object has {size} bytes", size_bytes=size)
    return start, end


def _same_date(validator: str, info: ObjectInfo) -> bool:
    return _date(validator) == info.modified_at.replace(microsecond=0)


def _date(value: str | None) -> datetime | None:
    try:
        date = parsedate_to_datetime(value or "")
        return date if date.tzinfo else date.replace(tzinfo=UTC)
    except ValueError:
        return None
