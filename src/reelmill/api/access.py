"""Who may do what: API keys and their scopes, and the sign-in of a person at this machine's browser.

Every route below /api/v1 is a `Guarded` one: it names its scope by `@needs`, or the server doesn't start.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
import uuid
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import RedirectResponse
from fastapi.routing import APIRoute
from pydantic import AfterValidator
from starlette.concurrency import run_in_threadpool
from starlette.types import Message, Receive

from reelmill.api import idempotency
from reelmill.api.errors import check_value, documented, fault, read_json
from reelmill.errors import (
    IdempotencyInProgress,
    IdempotencyMismatch,
    KeyInvalid,
    KeyMissing,
    NotFound,
    OriginRefused,
    ReelmillError,
    RequestInvalid,
    RequestTooLarge,
    ScopeMissing,
)
from reelmill.jobs.model import ApiKey
from reelmill.jobs.ports import AccessStore
from reelmill.jobs.service import Caller
from reelmill.schemas import KeyCreated, KeyList, KeyReply, KeyRequest, Scope
from reelmill.wiring import App

SCOPES: tuple[Scope, ...] = ("upload", "jobs:read", "jobs:write", "admin")
LARGEST_BODY = 1 << 20  #: bytes; videos go to their signed URLs
SHOWN = 11  #: characters of a secret that are kept readable
UNSAFE = frozenset({"POST", "PUT", "PATCH", "DELETE"})

SECURITY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "`Authorization: Bearer KEY`"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


# ── keys ──────────────────────────────────────────────────────────────────────────────────────


def make_key(
    access: AccessStore, name: str, scopes: Sequence[str], subject: str | None = None, tenant: str = "default"
) -> tuple[str, ApiKey]:
    """Make an API key; return its secret, which nobody can show again, and what is stored of it.

    Raises RequestInvalid for an unknown scope.
    """
    unknown = set(scopes) - set(SCOPES)
    if unknown or not scopes:
        raise RequestInvalid(f"Unknown scope {', '.join(sorted(unknown))!r}; there are: {', '.join(SCOPES)}.")
    secret = "rm_" + secrets.token_urlsafe(32)
    key = ApiKey(
        id=str(uuid.uuid4()),
        name=name,
        prefix=secret[:SHOWN],
        scopes=tuple(scopes),
        subject=subject or name,
        tenant=tenant,
        created_at=datetime.now(UTC),  # the store stamps the row by its own clock
    )
    return secret, access.add_key(key, _sha256(secret))


def _sha256(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


# ── sign-in ───────────────────────────────────────────────────────────────────────────────────


class SignIn:
    """A one-time link for the person at this machine, and the signed cookie that it is traded for."""

    def __init__(self, secret: bytes, *, life_s: int = 7 * 86_400) -> None:
        """secret: the data folder's; cookies outlive a restart. life_s: of a cookie, in seconds."""
        self._key = hmac.digest(secret, b"reelmill sign-in 1", "sha256")
        self._token: str | None = secrets.token_urlsafe(32)
        self._guard = threading.Lock()
        self.life_s = life_s
        # Cookies don't know ports: two servers of one machine must not overwrite each other's.
        self.cookie = f"reelmill_{hmac.digest(self._key, b'name', 'sha256').hex()[:8]}"

    @property
    def link(self) -> str | None:
        """Path and query of the sign-in link; None once it was used."""
        return f"/signin?token={self._token}" if self._token else None

    def redeem(self, token: str) -> str:
        """Return a cookie's value for the token, the first time. Raises KeyInvalid."""
        with self._guard:
            if self._token is None or not hmac.compare_digest(self._token.encode(), token.encode()):
                raise KeyInvalid(
                    "This sign-in link was used before or isn't valid; start the server again for a new one."
                )
            self._token = None
        told = f"{int(time.time()) + self.life_s}.{secrets.token_urlsafe(16)}"
        return f"{told}.{self._signature(told)}"

    def accepts(self, value: str) -> bool:
        """Tell whether a cookie's value is ours and still good."""
        told, _, signature = value.rpartition(".")
        if not hmac.compare_digest(self._signature(told).encode(), signature.encode("utf-8", "replace")):
            return False
        return int(told.partition(".")[0]) > time.time()

    def _signature(self, told: str) -> str:
        return hmac.digest(self._key, told.encode("utf-8", "replace"), "sha256").hex()


# ── who asks ──────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a request comes from."""

    tenant: str
    user_id: str
    scopes: frozenset[str]

    def must(self, scope: str) -> None:
        """Raises ScopeMissing."""
        if scope not in self.scopes and "admin" not in self.scopes:
            raise ScopeMissing(f"This needs the scope {scope!r}; the key has: {', '.join(sorted(self.scopes))}.")


OWNER = Identity("default", "owner", frozenset({"admin"}))


async def identify(request: Request) -> Identity:
    """Return who asks. The key is looked up each time, so a revoked one stops working at once.

    Raises KeyMissing, KeyInvalid, OriginRefused.
    """
    secret = _secret(request)
    if secret is None:
        signin: SignIn | None = request.app.state.signin
        value = request.cookies.get(signin.cookie) if signin else None
        if signin is None or value is None:
            raise KeyMissing
        if not signin.accepts(value):
            raise KeyInvalid("The sign-in has expired; start the server again for a new link.")
        if request.method in UNSAFE:
            _check_origin(request)
        return OWNER
    key = await run_in_threadpool(platform(request).access.find_key, _sha256(secret))
    if key is None:
        raise KeyInvalid
    return Identity(key.tenant, key.subject, frozenset(key.scopes))


def _secret(request: Request) -> str | None:
    scheme, _, rest = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    return request.headers.get("x-api-key")


def _check_origin(request: Request) -> None:
    """Raises OriginRefused when a signed-in browser acts for the page of another site."""
    own = {f"{request.url.scheme}://{request.headers.get('host', '')}"}
    if public := platform(request).settings.public_url:
        parts = urlsplit(public)
        own.add(f"{parts.scheme}://{parts.netloc}")
    origin = request.headers.get("origin")
    same = origin in own if origin is not None else request.headers.get("sec-fetch-site") == "same-origin"
    if not same:
        raise OriginRefused(f"The Origin is {origin!r}; this server's is {' or '.join(sorted(own))}.")


# ── guarded routes ────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Rule:
    scope: Scope
    raises: tuple[type[ReelmillError], ...]


_rules: dict[Callable[..., Any], Rule] = {}
F = TypeVar("F", bound=Callable[..., Any])


def needs(scope: Scope, *raises: type[ReelmillError]) -> Callable[[F], F]:
    """Name the scope that a handler needs, and the errors that the OpenAPI document should list for it."""

    def note(handler: F) -> F:
        _rules[handler] = Rule(scope, raises)
        return handler

    return note


class Guarded(APIRoute):
    """A route that knows who asks before it reads anything: key, scope, body, Idempotency-Key, in this order."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **more: Any) -> None:
        rule = _rules[endpoint]
        kinds: list[type[ReelmillError]] = [KeyMissing, KeyInvalid, ScopeMissing, RequestInvalid, *rule.raises]
        extra: dict[str, Any] = {
            "security": [{name: [rule.scope]} for name in SECURITY_SCHEMES],
            "x-scope": rule.scope,
        }
        if "POST" in (more.get("methods") or ()):
            kinds += [IdempotencyMismatch, IdempotencyInProgress, RequestTooLarge]
            extra["parameters"] = [idempotency.PARAMETER]
        more["openapi_extra"] = {**extra, **(more.get("openapi_extra") or {})}
        more["responses"] = {**documented(kinds), **(more.get("responses") or {})}
        self.rule = rule
        super().__init__(path, endpoint, **more)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()
        known = {parameter.alias for parameter in self.dependant.query_params}

        async def handle(request: Request) -> Response:
            identity = await identify(request)
            request.state.identity = identity
            identity.must(self.rule.scope)
            _check_query(request, known)
            if request.method not in UNSAFE:
                return await answer(request)
            body = await _read_body(request)
            parsed = ParsedRequest(request, body)
            key = idempotency.key_of(request) if request.method == "POST" else None
            if key is None:
                return await answer(parsed)
            return await idempotency.once(
                parsed, answer, access=platform(request).access, tenant=identity.tenant, key=key, body=body
            )

        return handle


class ParsedRequest(Request):
    """A request whose body was read and checked; it goes on to FastAPI as if it came from the wire."""

    def __init__(self, request: Request, body: bytes) -> None:
        """Raises RequestInvalid for a body that isn't JSON."""
        if body and request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise RequestInvalid("The body must be JSON, sent with Content-Type: application/json.")
        super().__init__(request.scope, _replayed(body, request.receive))
        self._value = read_json(body) if body else None

    async def json(self) -> Any:
        return self._value


def _replayed(body: bytes, receive: Receive) -> Receive:
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _check_query(request: Request, known: set[str]) -> None:
    """Raises RequestInvalid: a misspelt `dry_run` must not make a job."""
    for name, value in request.query_params.multi_items():
        field = f"query.{name[:64]}"
        if name not in known:
            raise fault(field, "there is no such parameter")
        check_value(field, value)


async def _read_body(request: Request) -> bytes:
    """Raises RequestTooLarge before more than the limit is in memory."""
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > LARGEST_BODY:
        raise RequestTooLarge(f"The body has {length[:20]} bytes; at most {LARGEST_BODY} are taken here.")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_BODY:
            raise RequestTooLarge(f"The body has more than {LARGEST_BODY} bytes.")
    return bytes(body)


def platform(request: Request) -> App:
    """Return the platform that this API serves."""
    app: App = request.app.state.platform
    return app


def caller(request: Request) -> Caller:
    """Return who asks, for the service."""
    identity: Identity = request.state.identity
    return Caller(tenant=identity.tenant, user_id=identity.user_id, correlation_id=request.state.correlation_id)


async def _platform(request: Request) -> App:
    return platform(request)  # async: what isn't would take the way through a thread


async def _caller(request: Request) -> Caller:
    return caller(request)


Platform = Annotated[App, Depends(_platform)]
Who = Annotated[Caller, Depends(_caller)]


def known_form(noun: str) -> Callable[[str], str]:
    """Return a validator that answers an id that can't exist like one that doesn't: with NotFound."""

    def check(value: str) -> str:
        try:
            if str(uuid.UUID(value)) == value:
                return value
        except ValueError:
            pass
        raise NotFound(f"There is no {noun} {value[:64].encode('ascii', 'backslashreplace').decode()}.")

    return check


JobId = Annotated[str, AfterValidator(known_form("job"))]
VideoId = Annotated[str, AfterValidator(known_form("video"))]
KeyId = Annotated[str, AfterValidator(known_form("API key"))]


# ── routes ────────────────────────────────────────────────────────────────────────────────────

router = APIRouter(prefix="/api/v1/keys", tags=["keys"], route_class=Guarded)


@router.get("")
@needs("admin")
def list_keys(app: Platform, who: Who) -> KeyList:
    """List the keys, revoked ones too."""
    return KeyList(items=[_shown(key) for key in app.access.keys(who.tenant)])


@router.post("", status_code=201)
@needs("admin")
def create_key(request: Request, app: Platform, who: Who, wanted: KeyRequest) -> KeyCreated:
    """Make a key. Its secret is in this reply and nowhere else."""
    secret, key = make_key(app.access, wanted.name, wanted.scopes, wanted.subject, who.tenant)
    created = KeyCreated(**_shown(key).model_dump(), secret=secret)
    idempotency.keep(request, created.model_copy(update={"secret": None}))
    return created


@router.delete("/{key_id}")
@needs("admin", NotFound)
def revoke_key(app: Platform, who: Who, key_id: KeyId) -> KeyReply:
    """Revoke a key, at once; revoking it again changes nothing."""
    return _shown(app.access.revoke_key(key_id, who.tenant))


def _shown(key: ApiKey) -> KeyReply:
    return KeyReply(
        id=key.id,
        name=key.name,
        prefix=key.prefix,
        scopes=list(key.scopes),
        subject=key.subject,
        created_at=key.created_at,
        revoked_at=key.revoked_at,
    )


signin_routes = APIRouter(include_in_schema=False)


@signin_routes.get("/signin")
def sign_in(request: Request, token: str = "") -> Response:
    """Trade the one-time token for the cookie, and go to /docs."""
    signin: SignIn = request.app.state.signin
    value = signin.redeem(token)
    reply = RedirectResponse("/docs", status_code=303, headers={"Referrer-Policy": "no-referrer"})
    public = platform(request).settings.public_url or ""
    secure = request.url.scheme == "https" or public.startswith("https:")
    reply.set_cookie(
        signin.cookie, value, max_age=signin.life_s, path="/", httponly=True, samesite="strict", secure=secure
    )
    return reply
