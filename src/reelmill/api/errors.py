"""Every error as problem+json (RFC 9457), from the catalogue in `reelmill.errors`; and one log line a request."""

from __future__ import annotations

import json
import math
import re
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reelmill.errors import (
    IdempotencyInProgress,
    InternalError,
    JobsQuotaReached,
    KeyInvalid,
    KeyMissing,
    MethodNotAllowed,
    NotFound,
    RangeUnsatisfiable,
    RateLimited,
    ReelmillError,
    RequestInvalid,
    RequestTooLarge,
    catalogue,
)
from reelmill.observe.metrics import Metrics
from reelmill.observe.observer import PlatformObserver
from reelmill.observe.tracing import NamedSpan, NoSpan, NoTraces, valid
from reelmill.schemas import ErrorReply, Problem

log: structlog.typing.FilteringBoundLogger = structlog.get_logger("reelmill.api")
access_log: structlog.typing.FilteringBoundLogger = structlog.get_logger("reelmill.access")

MEDIA_TYPE = "application/problem+json"
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
MOST_ERRORS = 50  #: faults named in one reply
BY_CODE = {kind.code: kind for kind in catalogue()}
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}  #: a client may invent any number of others
OPENED = ("/streams/", "/share/")
HIDDEN = re.compile(rf"^({'|'.join(OPENED)})[^/]+")  #: in a path: what opens it without a key
QUIET = {"/healthz", "/metrics", "/readyz"}  #: asked every few seconds by machines


def problem(request: Request, error: ReelmillError) -> JSONResponse:
    """Return the reply for an error. What a 5xx says in detail stays in the log."""
    kind = type(error)
    detail = error.detail
    if kind.status_code >= 500 and kind.status_code != HTTPStatus.INSUFFICIENT_STORAGE:  # that one is for its reader
        log.warning("request failed", code=kind.code, detail=error.detail)
        detail = kind.what
    body = Problem(
        type=f"urn:reelmill:error:{kind.code}",
        title=kind.what,
        status=kind.status_code,
        code=kind.code,
        detail=detail,
        why=kind.why,
        remedy=kind.remedy,
        correlation_id=request.state.correlation_id,
        errors=error.extra.get("errors"),
        missing_parts=error.extra.get("missing_parts"),
        longest=error.extra.get("longest"),
    )
    return JSONResponse(
        body.model_dump(mode="json", exclude_none=True),
        status_code=kind.status_code,
        headers=_headers(error),
        media_type=MEDIA_TYPE,
    )


def as_error(request: Request, error: Exception) -> ReelmillError | None:
    """Return the catalogue's error for what FastAPI and Starlette raise; None for an unknown exception."""
    match error:
        case ReelmillError():
            return error
        case ClientDisconnect():
            return RequestInvalid("The connection broke off before the whole body had arrived.")
        case RequestValidationError():
            return request_invalid(error.errors())
        case HTTPException(status_code=404):
            return NotFound("There is no such path; /docs lists those that exist.")
        case HTTPException(status_code=405):
            return MethodNotAllowed(
                f"{request.method} isn't among this path's methods.", allow=_methods(request) or error.headers
            )
        case HTTPException(status_code=413):
            return RequestTooLarge()
        case HTTPException(status_code=status) if status < 500:
            return RequestInvalid(str(error.detail))
    return None


def request_invalid(found: Iterable[Any]) -> RequestInvalid:
    """Return pydantic's findings as one error: the first in the detail, each in `errors`."""
    errors = [{"field": ".".join(str(part) for part in e["loc"])[:500], "message": str(e["msg"])[:500]} for e in found][
        :MOST_ERRORS
    ]
    first = errors[0]
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return RequestInvalid(f"{first['field']}: {first['message']}{more}.", errors=errors)


def described(code: str | None, detail: str | None) -> ErrorReply | None:
    """Return a stored error with its remedy; None without a code."""
    if code is None:
        return None
    kind = BY_CODE.get(code)
    return ErrorReply(code=code, detail=detail or (kind.what if kind else ""), remedy=kind.remedy if kind else "")


def documented(kinds: Iterable[type[ReelmillError]]) -> dict[int | str, dict[str, Any]]:
    """Return these errors as OpenAPI responses, by status."""
    by_status: dict[int, list[type[ReelmillError]]] = {}
    for kind in dict.fromkeys(kinds):
        by_status.setdefault(kind.status_code, []).append(kind)
    schema = {"schema": {"$ref": "#/components/schemas/Problem"}}
    return {
        status: {
            "description": "\n".join(f"- `{kind.code}`: {kind.what}" for kind in of_status),
            "content": {MEDIA_TYPE: schema},
        }
        for status, of_status in sorted(by_status.items())
    }


def install(api: FastAPI, observer: PlatformObserver | None = None) -> None:
    """Render everything that can be raised below this app. observer: is told of each request."""
    api.state.observer = observer or PlatformObserver(Metrics(), NoTraces())

    async def render(request: Request, error: Exception) -> JSONResponse:
        known = as_error(request, error)
        if known is None:
            raise error
        return problem(request, known)

    for kind in (ReelmillError, RequestValidationError, HTTPException, ClientDisconnect):
        api.add_exception_handler(kind, render)
    api.add_middleware(Envelope)


class Envelope:
    """Around each request: its correlation id, its log line, and a proper reply to what nobody foresaw."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        given = request.headers.get("x-request-id", "")
        correlation_id = given if REQUEST_ID.fullmatch(given) else secrets.token_hex(16)
        request.state.correlation_id = correlation_id
        status: int | None = None

        async def send_named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                told = {"X-Request-Id": correlation_id, "X-Content-Type-Options": "nosniff"}
                told |= getattr(request.state, "rate_headers", {})
                if not scope["path"].startswith("/objects/"):
                    told["Cache-Control"] = "no-store"  # replies hold signed URLs
                _fill(message, told)
            await send(message)

        observer: PlatformObserver = scope["app"].state.observer
        given_trace = valid(request.headers.get("traceparent"))
        began = time.monotonic()
        with (
            _bound(correlation_id=correlation_id),
            observer.metrics.requests.track_inprogress(),
            _spanned(observer, scope, given_trace) as span,
        ):
            request.state.trace_context = observer.traces.context() or given_trace
            try:
                await self.app(scope, receive, send_named)
            except Exception as error:
                if status is not None:  # half a reply is out: only a broken connection tells the client
                    raise
                log.exception("request failed unexpectedly", error=type(error).__name__)
                await problem(request, InternalError())(scope, receive, send_named)
            finally:
                seconds = time.monotonic() - began
                route = getattr(scope.get("route"), "path", "none")
                method = scope["method"] if scope["method"] in METHODS else "other"
                observer.observe(
                    "http_request_seconds", seconds, method=method, route=route, status=f"{(status or 499) // 100}xx"
                )
                span.name(f"{method} {route}")
                known = {"http.request.method": method, "http.route": route, "correlation_id": correlation_id}
                failed = {"error": f"status {status}"} if status is None or status >= 500 else {}
                span.tell(**known, **failed, **{"http.response.status_code": status or 499})
                line = access_log.debug if scope["path"] in QUIET else access_log.info
                path = scope["path"]
                line(  # never the query: it may hold a signature or a sign-in token
                    "request",
                    method=scope["method"],
                    path=HIDDEN.sub(r"\1-", path) if path.startswith(OPENED) else path,
                    status=status,
                    seconds=round(seconds, 4),
                )


def _fill(message: Message, headers: Mapping[str, str]) -> None:
    """Add these headers to the start of a reply, but for those that it has."""
    raw: list[tuple[bytes, bytes]] = list(message["headers"])
    there = {name for name, _ in raw}
    for name, value in headers.items():
        key = name.lower().encode("latin-1")
        if key not in there:
            raw.append((key, value.encode("latin-1")))
    message["headers"] = raw


@contextmanager
def _bound(**known: str) -> Iterator[None]:
    """Let lines of the log have these. structlog's own context manager first copies all that is known."""
    tokens = structlog.contextvars.bind_contextvars(**known)
    try:
        yield
    finally:
        structlog.contextvars.reset_contextvars(**tokens)


def _spanned(observer: PlatformObserver, scope: Scope, trace_context: str | None) -> AbstractContextManager[NamedSpan]:
    if scope["path"] in QUIET:
        return nullcontext(NoSpan())
    return observer.span(scope["method"], trace_context=trace_context, kind="server")


def _headers(error: ReelmillError) -> dict[str, str]:
    match error:
        case KeyMissing():
            return {"WWW-Authenticate": 'Bearer realm="reelmill"'}
        case KeyInvalid():
            return {"WWW-Authenticate": 'Bearer realm="reelmill", error="invalid_token"'}
        case MethodNotAllowed():
            return {"Allow": ", ".join(sorted(error.extra["allow"]))}
        case RateLimited() | JobsQuotaReached():
            return {"Retry-After": str(error.extra["retry_after_s"])}
        case IdempotencyInProgress():
            return {"Retry-After": "1"}
        case RangeUnsatisfiable(extra={"size_bytes": size}):
            return {"Content-Range": f"bytes */{size}"}
        case ReelmillError(status_code=HTTPStatus.SERVICE_UNAVAILABLE):
            return {"Retry-After": "2"}
    return {}


def _methods(request: Request) -> set[str]:
    """Return the methods of every route with this path: a router knows only its first."""
    path = request.scope["path"]
    return {
        method
        for route in iter_route_contexts(request.app.routes)
        if route.path_regex.match(path)
        for method in route.methods or ()
    }


def check_value(where: str, value: Any) -> None:
    """Refuse what some database or client couldn't hold, anywhere in a JSON value or a query. Raises RequestInvalid.

    PostgreSQL has no U+0000 in text, UTF-8 has no lone surrogates, and 64 bits are what integers have elsewhere.
    """
    waiting: list[tuple[str, Any]] = [(where, value)]
    while waiting:
        place, item = waiting.pop()
        match item:
            case str():
                _check_text(place, item)
            case dict():
                for name, inner in item.items():
                    _check_text(place, name)
                    waiting.append((f"{place}.{name}", inner))
            case list():
                waiting += [(f"{place}.{n}", inner) for n, inner in enumerate(item)]
            case int() if not -(1 << 63) <= item < 1 << 63:
                raise fault(place, "an integer must fit into 64 bits")
            case float() if not math.isfinite(item):
                raise fault(place, "a number must be finite")


def read_json(body: bytes) -> Any:
    """Return a request's body. Raises RequestInvalid for what isn't JSON, or can't be kept."""
    try:
        value = json.loads(body, parse_constant=_no_constant)
    except RecursionError:
        raise fault("body", "it is nested too deeply") from None
    except ValueError as error:  # bad syntax, bad UTF-8, a number of thousands of digits
        raise fault("body", f"it isn't JSON: {str(error)[:200]}") from None
    check_value("body", value)
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _check_text(where: str, text: str) -> None:
    if "\x00" in text:
        raise fault(where, "a text must not contain the character U+0000")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise fault(where, "a text must not contain lone surrogates") from None


def fault(field: str, message: str) -> RequestInvalid:
    """Return the error for one field."""
    field = field.encode("ascii", "backslashreplace").decode()[:500]
    return RequestInvalid(f"{field}: {message}.", errors=[{"field": field, "message": message}])
