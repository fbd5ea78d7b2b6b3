"""Requests to a server and to its storage: which replies are errors, and which errors pass if one waits."""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import httpx2
from pydantic import BaseModel, ValidationError

from reelmill.errors import (
    IdempotencyInProgress,
    InternalError,
    ObjectExists,
    ObjectMissing,
    ReelmillError,
    Refused,
    ServerUnreachable,
    SignatureInvalid,
    Stopped,
    StorageUnavailable,
    catalogue,
)
from reelmill.schemas import Problem, Upload

LONG_S = 900.0  #: for replies that come after hashing or probing a whole file
MOST_LOOKS = 20  #: at a request of ours that the server is still at work on
BUSY = frozenset({502, 503, 504})  #: what stands before a server that is being started answers so

BY_CODE = {kind.code: kind for kind in catalogue()}
Reply = TypeVar("Reply", bound=BaseModel)


class Wire:
    """The connections to one server. Threads may share it."""

    def __init__(self, url: str, api_key: str | None, *, timeout_s: float, patience_s: float) -> None:
        """timeout_s: longest silence on a connection. patience_s: how long an error that may pass is put up with."""
        self.url = url.rstrip("/")
        self.timeout_s = timeout_s
        self.patience_s = patience_s
        key = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        direct = {f"all://{host}": None for host in ("127.0.0.1", "localhost", "[::1]")}  # never through a proxy
        self.api = httpx2.Client(headers=key, timeout=timeout_s, mounts=direct)
        self.storage = httpx2.Client(timeout=timeout_s, mounts=direct)

    def close(self) -> None:
        self.api.close()
        self.storage.close()

    def path(self, path: str) -> str:
        return f"{self.url}/api/v1{path}"

    def fetch(self, method: str, path: str, **more: Any) -> httpx2.Response:
        """Send one request whose reply is no JSON. Raises what the server says, ServerUnreachable."""
        with unreachable(self.url):
            reply = self.api.request(method, self.path(path), **more)
        if not reply.is_success:
            raise problem(reply) or not_ours(self.url, reply)
        return reply

    def ask(self, kind: type[Reply], method: str, path: str, **more: Any) -> Reply:
        """Send one request. Raises what the server says, ServerUnreachable."""
        reply = self.fetch(method, path, **more)
        try:
            return kind.model_validate_json(reply.content)
        except ValidationError as error:
            raise not_ours(self.url, reply) from error

    def call(self, kind: type[Reply], method: str, path: str, **more: Any) -> Reply:
        """Do the same, and wait as long as a server that limits the rate asks for."""
        again = Again(self.patience_s)
        while True:
            try:
                return self.ask(kind, method, path, **more)
            except ReelmillError as error:
                if "retry_after_s" not in error.extra:
                    raise
                again.wait(error)

    def make(self, kind: type[Reply], path: str, **more: Any) -> Reply:
        """Make something, once: when a reply is lost, the request is sent again under its Idempotency-Key.

        A server that can't be reached in the first place is told of at once.
        """
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        again = Again(self.patience_s)
        reached = False
        while True:
            try:
                return self.ask(kind, "POST", path, headers=headers, **more)
            except IdempotencyInProgress as error:
                again.wait(error, most=MOST_LOOKS)
            except ReelmillError as error:
                if not reached and isinstance(error.__cause__, httpx2.ConnectError):
                    raise
                again.wait(error)
            reached = True

    def insist(self, again: Again, kind: type[Reply], method: str, path: str, **more: Any) -> Reply:
        """Do the same through whatever passes: broken connections, a server that is being started again."""
        while True:
            try:
                return self.ask(kind, method, path, **more)
            except ReelmillError as error:
                again.wait(error)

    def put(self, upload: Upload, size: int, body: Iterable[bytes], *, timeout_s: float | None = None) -> None:
        """Send a body to storage, exactly as the upload says. Raises StorageProblem, ServerUnreachable.

        timeout_s: how long storage may take to answer once it has everything.
        """
        timeout = httpx2.Timeout(self.timeout_s, read=timeout_s or 2 * self.timeout_s)
        headers = {**upload.headers, "Content-Length": str(size)}
        with unreachable(upload.url):
            reply = self.storage.request(upload.method, upload.url, headers=headers, content=body, timeout=timeout)
        check_storage(reply)


class Again:
    """Waits before another try, longer each time and never equally long; gives up in the end."""

    FIRST_S = 0.25
    LONGEST_S = 8.0
    TRIES = 6  #: at least; and as many as there is patience for

    def __init__(self, patience_s: float, stop: threading.Event | None = None) -> None:
        """stop: ends the waiting."""
        self._patience_s = patience_s
        self._stop = stop or threading.Event()
        self.worked()

    def worked(self) -> None:
        """Begin to count anew."""
        self._tries = 0
        self._began: float | None = None

    def wait(self, error: ReelmillError, *, most: int | None = None) -> None:
        """Sleep until it may be tried again. Raises the error when it won't pass or has lasted too long; Stopped.

        most: this error may pass, whatever it is, but so many times in a row at most.
        """
        now = time.monotonic()
        self._began = now if self._began is None else self._began
        self._tries += 1
        asked_s = float(error.extra.get("retry_after_s", 0))
        lasted_s = now - self._began
        if most is not None:
            over = self._tries > most
        elif asked_s:
            over = lasted_s + asked_s > self._patience_s
        else:
            over = not passes(error) or (self._tries >= self.TRIES and lasted_s > self._patience_s)
        if over:
            raise error
        longest = min(self.LONGEST_S, self.FIRST_S * 2.0 ** min(self._tries, 16))
        jittered = longest * random.uniform(0.5, 1)  # noqa: S311 - jitter, not a secret
        if self._stop.wait(max(jittered, asked_s)):
            raise Stopped


def passes(error: ReelmillError) -> bool:
    """Tell whether the same request may work in a moment."""
    if isinstance(error, ServerUnreachable):
        cause = error.__cause__
        if isinstance(cause, httpx2.UnsupportedProtocol | httpx2.LocalProtocolError):
            return False
        return isinstance(cause, httpx2.TransportError) or error.extra.get("status") in BUSY
    return error.retryable or "retry_after_s" in error.extra


# ── what replies mean ─────────────────────────────────────────────────────────────────────────


@contextmanager
def unreachable(url: str) -> Iterator[None]:
    """Raises ServerUnreachable for whatever a connection may end with."""
    try:
        yield
    except (httpx2.TransportError, httpx2.InvalidURL) as error:
        reason = str(error).rstrip(".") or type(error).__name__
        raise ServerUnreachable(f"{url.partition('?')[0]} doesn't answer: {reason}.") from error


def not_ours(url: str, reply: httpx2.Response) -> ServerUnreachable:
    """Return the error for a reply that no Reelmill server gives."""
    told = f"{url} answered {reply.status_code}, but not as a Reelmill server of this version does."
    return ServerUnreachable(told, status=reply.status_code, **_asked_to_wait(reply))


def problem(reply: httpx2.Response) -> ReelmillError | None:
    """Return the error that a reply tells of; None when it isn't problem+json of ours."""
    try:
        told = Problem.model_validate_json(reply.content)
    except ValidationError:
        return None
    extra: dict[str, Any] = {"correlation_id": told.correlation_id, **_asked_to_wait(reply)}
    if told.errors:
        extra["errors"] = [error.model_dump() for error in told.errors]
    if told.missing_parts:
        extra["missing_parts"] = told.missing_parts
    kind = BY_CODE.get(told.code)
    if kind is None:  # a newer server's
        kind, told_detail = (InternalError if told.status >= 500 else Refused), f"{told.detail} [{told.code}]"
        return kind(told_detail, **extra)
    return kind(told.detail, **extra)


def check_storage(reply: httpx2.Response) -> None:
    """Raises what a store's reply says; ours speak problem+json, others only by their status."""
    if reply.is_success:
        return
    kinds: dict[int, type[ReelmillError]] = {403: SignatureInvalid, 404: ObjectMissing, 412: ObjectExists}
    kind = kinds.get(reply.status_code, StorageUnavailable)
    raise problem(reply) or kind(f"{kind.what} It answered {reply.status_code}.", **_asked_to_wait(reply))


def _asked_to_wait(reply: httpx2.Response) -> dict[str, float]:
    """Return how long a reply that limits the rate asks to wait: seconds; a date or nothing counts as one second."""
    if reply.status_code != 429:
        return {}
    asked = reply.headers.get("Retry-After", "")
    return {"retry_after_s": max(1.0, float(asked)) if asked.isdecimal() else 1.0}
