"""`Idempotency-Key`: a POST that is sent again gets the first one's reply, and nothing happens twice."""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

import structlog
from fastapi import Request, Response
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from reelmill.api.errors import as_error, fault, problem
from reelmill.errors import NotFound, ReelmillError
from reelmill.jobs.ports import AccessStore, Reservation, StoredReply

log: structlog.typing.FilteringBoundLogger = structlog.get_logger("reelmill.api")

HEADER = "Idempotency-Key"
REPLAYED = "Idempotent-Replayed"
VISIBLE = re.compile(r"[\x21-\x7e]{1,255}")
LONGEST_PATH = 255
REMEMBERED = "reelmill/remembered"  #: in the place of a content type: the body is what the handler remembered

T = TypeVar("T")

PARAMETER = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "description": "1–255 visible ASCII characters. For 24 hours the same key and body get the same reply.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
}


def key_of(request: Request) -> str | None:
    """Return the request's key, None without one. Raises RequestInvalid."""
    key = request.headers.get(HEADER)
    if key is not None and not VISIBLE.fullmatch(key):
        raise fault(f"header.{HEADER}", "it must be 1 to 255 visible ASCII characters")
    return key


def keep(request: Request, reply: BaseModel) -> None:
    """Let replays get `reply`, not the reply itself: for one that holds a secret."""
    request.state.kept = reply.model_dump_json()


def remember(request: Request, made: str) -> None:
    """Store `made`, an id, and no reply: a replay runs the handler again, which finds it by `remembered`.

    For replies with signed URLs: these are never stored, and a replay signs afresh.
    """
    request.state.remember = made


def reserved(request: Request) -> str | None:
    """Return the id for what this request makes, the same each time it comes; None without an Idempotency-Key."""
    reservation: Reservation | None = getattr(request.state, "reservation", None)
    return reservation.made if reservation is not None else None


def made_before(request: Request, look: Callable[[str], T]) -> T | None:
    """Return what this request made when it came before, None when it has yet to make it.

    look: returns what has an id. Raises NotFound: it was made, answered and removed.
    """
    remembered: str | None = getattr(request.state, "remembered", None)
    if remembered is not None:
        return look(remembered)
    reservation: Reservation | None = getattr(request.state, "reservation", None)
    if reservation is not None and reservation.again:
        with suppress(NotFound):  # it ended before it had made anything
            return look(reservation.made)
    return None


async def once(
    request: Request,
    answer: Callable[[Request], Awaitable[Response]],
    *,
    access: AccessStore,
    tenant: str,
    key: str,
    body: bytes,
) -> Response:
    """Answer the request, or give the reply that its key already got.

    Raises IdempotencyMismatch, IdempotencyInProgress. Replies from 500 on aren't kept: they may do better next time.
    """
    path = _path(request)
    digest = hashlib.sha256(request.url.query.encode() + b"\0" + body).hexdigest()
    known = await run_in_threadpool(access.begin_request, tenant, path, key, digest, str(uuid.uuid4()))
    if isinstance(known, StoredReply):
        if known.content_type != REMEMBERED:
            return Response(known.body, known.status_code, media_type=known.content_type, headers={REPLAYED: "true"})
        request.state.remembered = known.body
        response = await _answered(request, answer)
        response.headers[REPLAYED] = "true"
        return response
    request.state.reservation = known
    try:
        response = await _answered(request, answer)
    except Exception:  # whatever it was, the same request may do better next time
        await run_in_threadpool(access.drop_request, tenant, path, key)
        raise
    if response.status_code >= 500:
        await run_in_threadpool(access.drop_request, tenant, path, key)
        return response
    reply = _stored(request, response)
    try:
        await run_in_threadpool(access.finish_request, tenant, path, key, reply)
    except ReelmillError as error:  # what was asked is done; the client should hear of it
        log.warning("reply not kept for its Idempotency-Key", code=error.code, detail=error.detail)
    return response


async def _answered(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
    try:
        return await answer(request)
    except Exception as error:
        known = as_error(request, error)
        if known is None:
            raise
        return problem(request, known)


def _stored(request: Request, response: Response) -> StoredReply:
    made: str | None = getattr(request.state, "remember", None)
    if made is not None:
        return StoredReply(response.status_code, made, REMEMBERED)
    text = getattr(request.state, "kept", None) or bytes(response.body).decode()
    return StoredReply(response.status_code, text, response.headers.get("content-type", "application/json"))


def _path(request: Request) -> str:
    """Return the path as it was sent: it names the operation and holds no character that a database refuses."""
    raw: bytes = request.scope["raw_path"]
    path = raw.decode("ascii", "backslashreplace")
    return path if len(path) <= LONGEST_PATH else f"sha256:{hashlib.sha256(raw).hexdigest()}"
