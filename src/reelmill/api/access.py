"""Who may do what: API keys and their scopes, and who asks.

Every route below /api/v1 is a `Guarded` one: it names its scope by `@needs`, or the server doesn't start.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import re
import secrets
import time
import uuid
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit

import structlog
from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from pydantic import AfterValidator, BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.types import Message, Receive

from reelmill.api import idempotency
from reelmill.api.errors import check_value, documented, fault, read_json
from reelmill.api.keyring import KeyRing
from reelmill.api.limits import Limits, RateLimiter, network_of
from reelmill.api.received import receiving
from reelmill.api.signin import KeySessions, SignIn
from reelmill.errors import (
    IdempotencyInProgress,
    IdempotencyMismatch,
    KeyInvalid,
    KeyMissing,
    KeyRevoked,
    NotFound,
    OriginRefused,
    RateLimited,
    ReelmillError,
    RequestInvalid,
    RequestTooLarge,
    ScopeMissing,
)
from reelmill.jobs.model import OPERATOR, ApiKey, Caller
from reelmill.jobs.ports import AccessStore, FreshSecret
from reelmill.schemas import KeyCreated, KeyList, KeyReply, KeyRequest, KeyRotated, RotateRequest, Scope
from reelmill.wiring import App

SCOPES: tuple[Scope, ...] = ("upload", "jobs:read", "jobs:write", "admin")
ID = re.compile(r"[0-9a-f-]{36}", re.ASCII)
LARGEST_BODY = 1 << 20  #: bytes; videos go to their signed URLs
TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)  #: it is a part of object keys
LONGEST_NAME = 128
SHOWN = 11  #: characters of a secret that are kept readable
UNSAFE = frozenset({"POST", "PUT", "PATCH", "DELETE"})

SECURITY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "`Authorization: Bearer KEY`"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


# ── keys ──────────────────────────────────────────────────────────────────────────────────────


def make_key(
    access: AccessStore,
    name: str,
    scopes: Sequence[str],
    subject: str | None = None,
    tenant: str = "default",
    by: Caller = OPERATOR,
) -> tuple[str, ApiKey]:
    """Make an API key; return its secret, which nobody can show again, and what is stored of it.

    by: who is told of in the audit log. Raises RequestInvalid for an unknown scope, or a name that can't be kept.
    """
    unknown = set(scopes) - set(SCOPES)
    if unknown or not scopes:
        raise RequestInvalid(f"Unknown scope {', '.join(sorted(unknown))!r}; there are: {', '.join(SCOPES)}.")
    if not all(1 <= len(text) <= LONGEST_NAME for text in (name, subject or name)):
        raise RequestInvalid(f"A key's name and subject have 1 to {LONGEST_NAME} characters.")
    if not TENANT.fullmatch(tenant):
        raise RequestInvalid(
            f"The tenant {tenant!r} must be 1 to 64 letters, digits, '.', '_' or '-', a letter or digit first."
        )
    secret, fresh = _fresh_secret()
    key = ApiKey(
        id=fresh.id,
        name=name,
        prefix=fresh.prefix,
        scopes=tuple(scopes),
        subject=subject or name,
        tenant=tenant,
        created_at=datetime.now(UTC),  # the store stamps the row by its own clock
    )
    return secret, access.add_key(key, fresh.sha256, by)


def rotate(
    access: AccessStore, key_id: str, overlap_s: int = 0, tenant: str | None = None, by: Caller = OPERATOR
) -> tuple[str, ApiKey, ApiKey]:
    """Give a key a successor; return its secret, the new key and the old one, which stops in `overlap_s` seconds.

    Raises NotFound, KeyRevoked.
    """
    secret, fresh = _fresh_secret()
    return secret, *access.rotate_key(key_id, fresh, overlap_s, tenant, by)


def _fresh_secret() -> tuple[str, FreshSecret]:
    secret = "rm_" + secrets.token_urlsafe(32)
    return secret, FreshSecret(str(uuid.uuid4()), secret[:SHOWN], sha256(secret))


def sha256(secret: str) -> str:
    """Return what is stored of a secret, in hex."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


# ── who asks ──────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a request comes from."""

    tenant: str
    user_id: str
    scopes: frozenset[str]
    key_id: str | None = None  #: None: the owner, by a sign-in link
    browser: bool = False  #: known by a cookie, which a browser sends for other sites' pages too

    def must(self, scope: str) -> None:
        """Raises ScopeMissing."""
        if scope not in self.scopes and "admin" not in self.scopes:
            raise ScopeMissing(f"This needs the scope {scope!r}; the key has: {', '.join(sorted(self.scopes))}.")


OWNER = Identity("default", "owner", frozenset({"admin"}), browser=True)


@dataclass(frozen=True, slots=True)
class Shown:
    """What a request shows of who sends it: a key's secret, or else the browser's cookie."""

    sha256: str
    cookie: str | None = None


async def identify(request: Request, shown: Shown | None = None) -> Identity:
    """Return who asks. A revoked key stops working within a second, in this process at once.

    Raises KeyMissing, KeyInvalid.
    """
    shown = shown or _shown_by(request)
    if shown is None:
        raise KeyMissing
    if shown.cookie is None:
        return await _of_key(request, shown.sha256)
    signin: SignIn | None = request.app.state.signin
    sessions: KeySessions = request.app.state.sessions
    owner = signin is not None and signin.accepts(shown.cookie)
    key_sha256 = None if owner else sessions.accepted(shown.cookie)
    if not owner and key_sha256 is None:
        raise KeyInvalid("The sign-in has ended: sign in with a key, or start the server again for a new link.")
    if await run_in_threadpool(platform(request).access.signed_out, shown.sha256):
        raise KeyInvalid("This browser has signed out.")
    return OWNER if key_sha256 is None else await _of_key(request, key_sha256, browser=True)


async def _of_key(request: Request, key_sha256: str, *, browser: bool = False) -> Identity:
    """Raises KeyInvalid."""
    keyring: KeyRing = request.app.state.keyring
    key = await keyring.find(key_sha256)
    if key is None:
        raise KeyInvalid
    return Identity(key.tenant, key.subject, frozenset(key.scopes), key.id, browser)


async def admit(request: Request) -> Identity:
    """Return who asks, if the rate limit lets them. Raises KeyMissing, KeyInvalid, RateLimited.

    A good key has a bucket of its own. Whatever fails is taken from its address's; while that is empty, only keys
    that were good before are looked up from there: guessing stops, and nobody who works is locked out by it.
    """
    limits: Limits = request.app.state.limits
    now_s = time.monotonic()
    shown = _shown_by(request)
    if (shown is None or not limits.keys.knows(shown.sha256)) and limits.addresses.empty(address_of(request), now_s):
        take(request, limits.addresses, address_of(request), now_s)
    try:
        identity = await identify(request, shown)
    except (KeyMissing, KeyInvalid):
        if shown is not None:
            limits.keys.forget(shown.sha256)
        take(request, limits.addresses, address_of(request), now_s)
        raise
    assert shown is not None, "nobody is identified by nothing"
    take(request, limits.keys, shown.sha256, now_s)
    return identity


def _shown_by(request: Request) -> Shown | None:
    secret = _secret(request)
    if secret is not None:
        return Shown(sha256(secret))
    value = cookie_of(request)
    return Shown(sha256(value), value) if value is not None else None


def address_of(request: Request) -> str:
    return network_of(request.client.host if request.client else "")


def take(request: Request, limiter: RateLimiter, who: str, now_s: float) -> None:
    """Raises RateLimited."""
    verdict = limiter.take(who, now_s)
    if verdict is None:
        return
    request.state.rate_headers = verdict.headers
    if verdict.wait_s:
        raise RateLimited(
            f"At most {limiter.per_minute} requests a minute are taken here; wait {verdict.wait_s} s.",
            retry_after_s=verdict.wait_s,
        )


def _secret(request: Request) -> str | None:
    scheme, _, rest = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    return request.headers.get("x-api-key")


def cookie_of(request: Request) -> str | None:
    """Return the value of the cookie by which a browser is signed in, if it sent one."""
    signin: SignIn | None = request.app.state.signin
    sessions: KeySessions = request.app.state.sessions
    by_link = request.cookies.get(signin.cookie) if signin else None
    return by_link if by_link is not None else request.cookies.get(sessions.cookie)


def check_origin(request: Request) -> None:
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
    file_bytes: int


_rules: dict[Callable[..., Any], Rule] = {}
F = TypeVar("F", bound=Callable[..., Any])


def needs(scope: Scope, *raises: type[ReelmillError], file_bytes: int = 0) -> Callable[[F], F]:
    """Name the scope that a handler needs, and the errors that the OpenAPI document should list for it.

    file_bytes: the body is no JSON but a file of at most so many bytes, which is `request.state.received`.
    """

    def note(handler: F) -> F:
        _rules[handler] = Rule(scope, raises, file_bytes)
        return handler

    return note


class Guarded(APIRoute):
    """A route that knows who asks before it reads anything: key, scope, body, Idempotency-Key, in this order."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **more: Any) -> None:
        rule = _rules[endpoint]
        always = (KeyMissing, KeyInvalid, ScopeMissing, OriginRefused, RateLimited, RequestInvalid)
        kinds: list[type[ReelmillError]] = [*always, *rule.raises]
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
        super().__init__(path, _answering(endpoint, more.get("status_code") or 200), **more)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()
        known = {parameter.alias for parameter in self.dependant.query_params}

        async def handle(request: Request) -> Response:
            identity = await admit(request)
            request.state.identity = identity
            structlog.contextvars.bind_contextvars(
                user_id=identity.user_id, tenant=identity.tenant, **_named(request.path_params)
            )
            if identity.browser and request.method in UNSAFE:
                check_origin(request)
            identity.must(self.rule.scope)
            _check_query(request, known)
            if request.method not in UNSAFE:
                return await answer(request)
            if self.rule.file_bytes:
                scratch = platform(request).settings.data / "scratch"
                async with receiving(request, scratch, self.rule.file_bytes) as received:
                    request.state.received = received
                    return await once(request, received.sha256.encode())
            body = await read_body(request)
            return await once(ParsedRequest(request, body), body)

        async def once(request: Request, body: bytes) -> Response:
            key = idempotency.key_of(request) if request.method == "POST" else None
            if key is None:
                return await answer(request)
            tenant = request.state.identity.tenant
            return await idempotency.once(
                request, answer, access=platform(request).access, tenant=tenant, key=key, body=body
            )

        return handle


def _answering(endpoint: Callable[..., Any], status_code: int) -> Callable[..., Any]:
    """Return a handler as FastAPI is to call it: with what a `Guarded` route knows, and its reply ready to be sent.

    A reply is written by the thread that did the work: FastAPI would send it through another one for that.
    """
    signature = inspect.signature(endpoint, eval_str=True)
    parameters = signature.parameters.values()
    given = {one.name: _given[one.annotation] for one in parameters if one.annotation in _given}
    takes = [one for one in parameters if one.name not in given]
    writes = not any(one.annotation is Response for one in takes)
    asked = next((one.name for one in takes if one.annotation is Request), None)  # FastAPI gives it under one name only

    def filled(kwargs: dict[str, Any]) -> dict[str, Any]:
        request = kwargs[asked] if asked else kwargs.pop("request")
        return kwargs | {name: give(request) for name, give in given.items()}

    if inspect.iscoroutinefunction(endpoint):

        @functools.wraps(endpoint)
        async def answer(**kwargs: Any) -> Any:
            return await endpoint(**filled(kwargs))

    else:

        @functools.wraps(endpoint)
        def answer(**kwargs: Any) -> Any:
            reply = endpoint(**filled(kwargs))
            if not writes or not isinstance(reply, BaseModel):
                return reply
            return Response(reply.model_dump_json(by_alias=True), status_code, media_type="application/json")

    if asked is None:
        takes.append(inspect.Parameter("request", inspect.Parameter.KEYWORD_ONLY, annotation=Request))
    answer.__signature__ = signature.replace(parameters=takes)  # type: ignore[attr-defined]
    return answer


def _named(params: Mapping[str, Any]) -> dict[str, str]:
    """Return the ids that a path names, if they are ids, for the lines of the log."""
    names = ("job_id", "video_id")
    return {name: params[name] for name in names if ID.fullmatch(str(params.get(name, "")))}


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
    if not request.scope["query_string"]:
        return
    for name, value in request.query_params.multi_items():
        field = f"query.{name[:64]}"
        if name not in known:
            raise fault(field, "there is no such parameter")
        check_value(field, value)


async def read_body(request: Request) -> bytes:
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


def base_path(request: Request) -> str:
    """Return what precedes our paths in the browser: the public URL's path, of a request that came to that host."""
    public = urlsplit(platform(request).settings.public_url or "")
    return public.path.rstrip("/") if request.headers.get("host") == public.netloc else ""


def caller(request: Request) -> Caller:
    """Return who asks, for the service."""
    identity: Identity = request.state.identity
    return Caller(
        tenant=identity.tenant,
        user_id=identity.user_id,
        correlation_id=request.state.correlation_id,
        trace_context=request.state.trace_context,
        key_id=identity.key_id,
    )


Platform = Annotated[App, "given by the route"]
Who = Annotated[Caller, "given by the route"]
_given: dict[Any, Callable[[Request], Any]] = {Platform: platform, Who: caller}


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
    """List the keys, those that have stopped too."""
    return KeyList(items=[_shown(key) for key in app.access.keys(who.tenant)])


@router.post("", status_code=201)
@needs("admin")
def create_key(request: Request, app: Platform, who: Who, wanted: KeyRequest) -> KeyCreated:
    """Make a key of one's own tenant. Its secret is in this reply and nowhere else."""
    secret, key = make_key(app.access, wanted.name, wanted.scopes, wanted.subject, who.tenant, who)
    created = KeyCreated(**_shown(key).model_dump(), secret=secret)
    idempotency.keep(request, created.model_copy(update={"secret": None}))
    return created


@router.post("/{key_id}/rotate", status_code=201)
@needs("admin", NotFound, KeyRevoked)
def rotate_key(request: Request, app: Platform, who: Who, key_id: KeyId, wanted: RotateRequest) -> KeyRotated:
    """Make a key like this one, which goes on for `overlap_s` seconds. The new secret is in this reply only."""
    secret, new, old = rotate(app.access, key_id, wanted.overlap_s, who.tenant, who)
    request.app.state.keyring.forget()
    rotated = KeyRotated(**_shown(new).model_dump(), secret=secret, replaces=_shown(old))
    idempotency.keep(request, rotated.model_copy(update={"secret": None}))
    return rotated


@router.delete("/{key_id}")
@needs("admin", NotFound)
def revoke_key(request: Request, app: Platform, who: Who, key_id: KeyId) -> KeyReply:
    """Revoke a key, at once, also one that was rotated; revoking it again changes nothing."""
    revoked = app.access.revoke_key(key_id, who.tenant, who)
    request.app.state.keyring.forget()
    return _shown(revoked)


def _shown(key: ApiKey) -> KeyReply:
    return KeyReply(
        id=key.id,
        name=key.name,
        prefix=key.prefix,
        scopes=list(key.scopes),
        subject=key.subject,
        active=key.active,
        created_at=key.created_at,
        revoked_at=key.revoked_at,
    )
