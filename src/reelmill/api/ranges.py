"""A file over HTTP: unchanged, a part of it, or the whole (RFC 9110 §13, §14).

What fits into one block is read where it was looked up, in one thread, and goes out in one piece. Longer replies are
read a block at a time while they go out, in flat memory.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Protocol

from fastapi import Response
from fastapi.responses import StreamingResponse
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from reelmill.errors import RangeUnsatisfiable
from reelmill.jobs.model import ObjectInfo
from reelmill.objects.files import BLOCK


class Source(Protocol):
    """An object that can be read at any place."""

    info: ObjectInfo

    def blocks(self, start: int, length: int) -> Iterator[bytes]: ...

    def close(self) -> None: ...


def answer(method: str, asked: Headers, source: Source, headers: Mapping[str, str]) -> Response:
    """Return the reply to a GET or HEAD; it closes the source. To be called in a thread: it may read the first block.

    headers: of the file itself, Content-Type among them. Raises RangeUnsatisfiable; then the source isn't closed.
    """
    info = source.info
    known = {
        "ETag": info.etag,
        "Last-Modified": format_datetime(info.modified_at.astimezone(UTC).replace(microsecond=0), usegmt=True),
    }
    if is_unchanged(asked, info):
        source.close()
        kept = {name: value for name, value in headers.items() if name == "Cache-Control"}
        return Response(status_code=304, headers=known | kept)
    told = {**known, "Accept-Ranges": "bytes", **headers, "Content-Length": str(info.size_bytes)}
    if method == "HEAD":
        source.close()
        return Response(headers=told)
    part = wanted_part(asked, info)
    start, end = part or (0, info.size_bytes)
    if part is not None:
        told |= {"Content-Length": str(end - start), "Content-Range": f"bytes {start}-{end - 1}/{info.size_bytes}"}
    status = 200 if part is None else 206
    if end - start > BLOCK:
        return BlocksResponse(source.blocks(start, end - start), end - start, source.close, status, told)
    body = b"".join(source.blocks(start, end - start))
    source.close()
    _check_length(info.key, len(body), end - start)
    return Response(body, status, told)


class BlocksResponse(StreamingResponse):
    """Sends blocks that are read in threads, and ends the reading however the reply ends."""

    def __init__(
        self,
        blocks: Iterator[bytes],
        length: int,
        close: Callable[[], None],
        status_code: int,
        headers: Mapping[str, str],
    ) -> None:
        self._blocks = blocks
        self._length = length
        self._close = close
        self._turn = threading.Lock()  # a read in a thread outlives the reply that was cancelled
        super().__init__(self._sent(), status_code, headers)

    async def _sent(self) -> AsyncIterator[bytes]:
        sent = 0
        while block := await asyncio.to_thread(self._next):
            yield block
            sent += len(block)
        _check_length("the file", sent, self._length)

    def _next(self) -> bytes:
        with self._turn:
            return next(self._blocks, b"")

    def _end(self) -> None:
        with self._turn:
            if isinstance(self._blocks, Generator):
                self._blocks.close()
            self._close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            # Not awaited: the reply may have been cancelled, and a read may still run in its thread.
            asyncio.get_running_loop().run_in_executor(None, self._end)


def _check_length(what: str, sent: int, length: int) -> None:
    if sent != length:  # only a broken connection tells the client
        raise RuntimeError(f"{what} was cut short while it was read: {sent} of {length} bytes")


def is_unchanged(headers: Headers, info: ObjectInfo) -> bool:
    """Tell whether the client's copy is still good (RFC 9110 §13.1.2, §13.1.3)."""
    if (tags := headers.get("if-none-match")) is not None:
        return has_tag(tags, info.etag)
    since = _date(headers.get("if-modified-since"))
    return since is not None and info.modified_at.replace(microsecond=0) <= since


def has_tag(tags: str, etag: str) -> bool:
    """Tell whether If-None-Match names this ETag; a weak one does, too."""
    return tags.strip() == "*" or etag in re.findall(r'"[^"]*"', tags)


def wanted_part(headers: Headers, info: ObjectInfo) -> tuple[int, int] | None:
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
