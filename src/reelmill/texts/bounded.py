"""An HTTP client for models: no answer may take too long as a whole, or be too large, however it trickles in."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from functools import cache

import httpx2

from reelmill.errors import TextModelTimedOut, TextReplyBroken
from reelmill.texts.replies import MOST_BYTES


def open_client(timeout_s: float) -> httpx2.Client:
    """Return a client whose every answer has arrived `timeout_s` after its request began.

    Its requests raise TextModelTimedOut and TextReplyBroken beside what httpx2 raises. Redirects aren't followed:
    they would take the key elsewhere.
    """
    return httpx2.Client(
        transport=_Bounded(timeout_s), timeout=httpx2.Timeout(timeout_s, connect=min(10.0, timeout_s)), trust_env=False
    )


@cache
def _tls() -> ssl.SSLContext:
    """Return what all clients of this process share: reading the certificates is the dear part of a client."""
    return httpx2.create_ssl_context()


class _Bounded(httpx2.BaseTransport):
    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._inner = httpx2.HTTPTransport(verify=_tls())

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        deadline = time.monotonic() + self._timeout_s
        response = self._inner.handle_request(request)
        assert isinstance(response.stream, httpx2.SyncByteStream)
        response.stream = _BoundedStream(response.stream, deadline, self._timeout_s)
        return response

    def close(self) -> None:
        self._inner.close()


class _BoundedStream(httpx2.SyncByteStream):
    def __init__(self, inner: httpx2.SyncByteStream, deadline: float, timeout_s: float) -> None:
        self._inner, self._deadline, self._timeout_s = inner, deadline, timeout_s

    def __iter__(self) -> Iterator[bytes]:
        size = 0
        for block in self._inner:
            size += len(block)
            if size > MOST_BYTES:
                raise TextReplyBroken(f"The answer is larger than {MOST_BYTES >> 10} KiB.")
            if time.monotonic() > self._deadline:
                raise TextModelTimedOut(f"The answer wasn't there after {self._timeout_s:g} s.")
            yield block

    def close(self) -> None:
        self._inner.close()
