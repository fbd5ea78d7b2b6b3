"""The cookies by which a browser is known: of the one-time link, and of a key that somebody signed in with."""

from __future__ import annotations

import hmac
import secrets
import threading
import time
from collections.abc import Callable
from functools import cached_property

from reelmill.errors import KeyInvalid

LIFE_S = 7 * 86_400  #: of a cookie, in seconds


class SignIn:
    """A one-time link for the person at this machine, and the signed cookie that it is traded for."""

    def __init__(self, secret: bytes, *, life_s: int = LIFE_S) -> None:
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
        return _signed(self._key, f"{int(time.time()) + self.life_s}.{secrets.token_urlsafe(16)}")

    def accepts(self, value: str) -> bool:
        """Tell whether a cookie's value is ours and still good."""
        told = _told(self._key, value)
        return told is not None and int(told.partition(".")[0]) > time.time()


class KeySessions:
    """A signed cookie that stands for a key: it holds the SHA-256 of the key's secret, and ends with the key."""

    def __init__(self, secret: Callable[[], bytes], *, life_s: int = LIFE_S) -> None:
        """secret: gives the database's, so that all API processes accept it; asked when it is first needed."""
        self._secret = secret
        self.life_s = life_s

    @cached_property
    def _key(self) -> bytes:
        return hmac.digest(self._secret(), b"reelmill key session 1", "sha256")

    @cached_property
    def cookie(self) -> str:
        """Its name: two servers of one machine must not overwrite each other's."""
        return f"reelmill_key_{hmac.digest(self._key, b'name', 'sha256').hex()[:8]}"

    def opened(self, key_sha256: str) -> str:
        """Return a cookie's value for the key with this hash."""
        return _signed(self._key, f"{int(time.time()) + self.life_s}.{key_sha256}.{secrets.token_urlsafe(16)}")

    def accepted(self, value: str) -> str | None:
        """Return the hash of the key that a cookie's value stands for; None if it isn't ours, or too old."""
        told = _told(self._key, value)
        if told is None:
            return None
        until, key_sha256, _ = told.split(".")
        return key_sha256 if int(until) > time.time() else None


def _signed(key: bytes, told: str) -> str:
    return f"{told}.{_signature(key, told)}"


def _told(key: bytes, value: str) -> str | None:
    told, _, signature = value.rpartition(".")
    if not hmac.compare_digest(_signature(key, told).encode(), signature.encode("utf-8", "replace")):
        return None
    return told


def _signature(key: bytes, told: str) -> str:
    return hmac.digest(key, told.encode("utf-8", "replace"), "sha256").hex()
