"""What an HTTP server of speech says, bounded, and what its failures mean."""

from __future__ import annotations

import json
from typing import Any

import httpx2

from reelmill.errors import VoiceBroken, VoiceDenied, VoiceProblem, VoiceUnavailable, VoiceUnknown

MOST_BYTES = 64 << 20  #: of one spoken line: eleven minutes at 48 kHz


def open_client(timeout_s: float) -> httpx2.Client:
    """Return a client. Redirects aren't followed: they would take the key elsewhere."""
    return httpx2.Client(timeout=httpx2.Timeout(timeout_s, connect=min(10.0, timeout_s)), trust_env=False)


def sent(client: httpx2.Client, method: str, url: str, *, who: str, **request: Any) -> bytes:
    """Return the body of a successful answer. Raises VoiceProblem."""
    try:
        with client.stream(method, url, **request) as reply:
            body = bytearray()
            for block in reply.iter_bytes():
                body += block
                if len(body) > MOST_BYTES:
                    raise VoiceBroken(f"The answer of {who} is larger than {MOST_BYTES >> 20} MiB.")
            if not reply.is_success:
                raise problem_of(reply.status_code, said(bytes(body)), who)
            return bytes(body)
    except (httpx2.TransportError, httpx2.InvalidURL) as error:
        raise VoiceUnavailable(f"{who}: {type(error).__name__} {error}".rstrip(" .") + ".") from error


def problem_of(status: int, words: str, who: str) -> VoiceProblem:
    """Return the error that an HTTP status stands for."""
    told = f"{who}: HTTP {status}: {words}" if words else f"{who}: HTTP {status}."
    match status:
        case 401 | 403:
            return VoiceDenied(told)
        case 400 | 404 | 422:
            return VoiceUnknown(told)
        case 408 | 429 | 500 | 502 | 503 | 504:
            return VoiceUnavailable(told)
        case _:
            return VoiceBroken(told)


def said(body: bytes) -> str:
    """Return an error's own words, shortened."""
    text = body[:4000].decode("utf-8", "replace")
    try:
        told: Any = json.loads(text)
    except ValueError:
        return text[:300]
    for name in ("error", "message", "detail"):
        if isinstance(told, dict) and name in told:
            told = told[name]
    return str(told)[:300]
