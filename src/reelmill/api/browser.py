"""A person's browser: signing in by the one-time link or by a key, who is signed in, signing out.

Not part of the API proper: programs send their key with each request and need none of it.
"""

from __future__ import annotations

import time

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse
from starlette.concurrency import run_in_threadpool

from reelmill import __version__
from reelmill.api.access import (
    OWNER,
    Identity,
    address_of,
    admit,
    base_path,
    caller,
    check_origin,
    cookie_of,
    platform,
    read_body,
    sha256,
    take,
)
from reelmill.api.errors import fault, read_json
from reelmill.api.keyring import KeyRing
from reelmill.api.limits import Limits
from reelmill.api.signin import KeySessions, SignIn
from reelmill.errors import KeyInvalid, KeyMissing

by_link = APIRouter(include_in_schema=False)  #: only where a person sits at the server's own machine
router = APIRouter(include_in_schema=False)


@by_link.get("/signin")
def sign_in(request: Request, token: str = "") -> Response:
    """Trade the one-time token for the cookie, and go to the library; a person is told on the sign-in page."""
    signin: SignIn = request.app.state.signin
    base = base_path(request)
    try:
        value = signin.redeem(token)
    except KeyInvalid:
        limits: Limits = request.app.state.limits
        take(request, limits.addresses, address_of(request), time.monotonic())
        if "text/html" in request.headers.get("accept", ""):
            return RedirectResponse(f"{base}/sign-in?problem=link", status_code=303)
        raise
    request.state.identity = OWNER
    platform(request).access.audit(caller(request), action="browser.signin", target=OWNER.user_id)
    reply = RedirectResponse(f"{base}/", status_code=303, headers={"Referrer-Policy": "no-referrer"})
    _set(request, reply, signin.cookie, value, signin.life_s)
    return reply


@router.post("/session")
async def open_session(request: Request) -> Response:
    """Trade an API key for a cookie that stands for it. Raises KeyInvalid, OriginRefused, RateLimited."""
    check_origin(request)
    given = read_json(await read_body(request) or b"null")
    key = given.get("key") if isinstance(given, dict) else None
    if not isinstance(key, str) or not key.strip():
        raise fault("body.key", "an API key is needed")
    key_sha256 = sha256(key.strip())
    keyring: KeyRing = request.app.state.keyring
    limits: Limits = request.app.state.limits
    if limits.addresses.empty(address_of(request), time.monotonic()):
        take(request, limits.addresses, address_of(request), time.monotonic())
    found = await keyring.find(key_sha256)
    if found is None:
        take(request, limits.addresses, address_of(request), time.monotonic())
        raise KeyInvalid
    identity = Identity(found.tenant, found.subject, frozenset(found.scopes), found.id, browser=True)
    request.state.identity = identity
    access = platform(request).access
    await run_in_threadpool(access.audit, caller(request), action="browser.signin", target=found.id)
    sessions: KeySessions = request.app.state.sessions
    reply = JSONResponse(_told(identity))
    _set(request, reply, sessions.cookie, sessions.opened(key_sha256), sessions.life_s)
    return reply


@router.get("/session")
async def get_session(request: Request) -> Response:
    """Tell who is signed in, and what they may do. Raises KeyMissing, KeyInvalid."""
    return JSONResponse(_told(await admit(request)))


@router.post("/signout", status_code=204)
async def sign_out(request: Request) -> Response:
    """End the browser's sign-in: its cookie opens nothing any more, whoever has a copy of it."""
    identity = await admit(request)
    value = cookie_of(request)
    if not identity.browser or value is None:
        raise KeyMissing("Only a signed-in browser can sign out; a key is revoked by DELETE /api/v1/keys/{key_id}.")
    check_origin(request)
    sessions: KeySessions = request.app.state.sessions
    request.state.identity = identity
    access = platform(request).access
    await run_in_threadpool(access.sign_out, sha256(value), sessions.life_s, caller(request))
    reply = Response(status_code=204)
    _drop(request, reply)
    return reply


def _told(identity: Identity) -> dict[str, object]:
    return {
        "user_id": identity.user_id,
        "tenant": identity.tenant,
        "scopes": sorted(identity.scopes),
        "version": __version__,
    }


def _set(request: Request, reply: Response, name: str, value: str, life_s: int) -> None:
    _drop(request, reply)  # one sign-in follows another
    public = platform(request).settings.public_url or ""
    secure = request.url.scheme == "https" or public.startswith("https:")
    reply.set_cookie(
        name, value, max_age=life_s, path=f"{base_path(request)}/", httponly=True, samesite="strict", secure=secure
    )


def _drop(request: Request, reply: Response) -> None:
    signin: SignIn | None = request.app.state.signin
    sessions: KeySessions = request.app.state.sessions
    for name in filter(None, (signin and signin.cookie, sessions.cookie)):
        if name in request.cookies:
            reply.delete_cookie(name, path=f"{base_path(request)}/", httponly=True, samesite="strict")
