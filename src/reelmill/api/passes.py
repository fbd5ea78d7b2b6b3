"""Signed paths that open one job's files without a key: passes, which end by themselves, and links of shares.

A pass is `{job_id}.{expires}.{quality}.{signature}`, a source's `{video_id}.{expires}.{signature}`, a share's token
`{job_id}.{share_id}.{signature}`. All processes
on one database sign alike. A player follows relative names below such a path, so a playlist needn't say it again.
"""

from __future__ import annotations

import base64
import hmac
import json
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from reelmill.errors import SignatureExpired, SignatureInvalid

AUTO = "auto"
QUALITY = re.compile(r"[A-Za-z0-9_-]{1,32}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Pass:
    """What a valid pass allows: the files of one job until then; of its stream, perhaps one quality alone."""

    job_id: str
    expires: int  #: Unix seconds
    quality: str = AUTO


class Signer:
    """Signs and verifies; safe to share between threads."""

    def __init__(self, secret: Callable[[], bytes], clock: Callable[[], float] = time.time) -> None:
        """secret: asked for once, when it is first needed."""
        self._ask = secret
        self._secret: bytes | None = None
        self._clock = clock

    def sign(self, job_id: str, life_s: int, quality: str = AUTO) -> str:
        """Return a pass for `life_s` seconds."""
        expires = int(self._clock()) + life_s
        return f"{job_id}.{expires}.{quality}.{self._signature('pass', job_id, str(expires), quality)}"

    def verify(self, given: str) -> Pass:
        """Raises SignatureInvalid, SignatureExpired."""
        job_id, expires, quality, signature = _parts(given, 4)
        if not hmac.compare_digest(signature.encode(), self._signature("pass", job_id, expires, quality).encode()):
            raise SignatureInvalid
        if self._clock() >= int(expires):
            raise SignatureExpired
        return Pass(job_id, int(expires), quality)

    def sign_source(self, video_id: str, life_s: int) -> str:
        """Return a pass of a video's source for `life_s` seconds."""
        expires = int(self._clock()) + life_s
        return f"{video_id}.{expires}.{self._signature('source', video_id, str(expires))}"

    def source_of(self, given: str) -> str | None:
        """Return the video that a source's pass opens; None: it is of another kind.

        Raises SignatureInvalid, SignatureExpired.
        """
        if given.count(".") != 2:
            return None
        video_id, expires, signature = _parts(given, 3)
        if not hmac.compare_digest(signature.encode(), self._signature("source", video_id, expires).encode()):
            raise SignatureInvalid
        if self._clock() >= int(expires):
            raise SignatureExpired
        return video_id

    def token(self, job_id: str, share_id: str) -> str:
        """Return what a share's link holds; the same each time."""
        return f"{job_id}.{share_id}.{self._signature('share', job_id, share_id)}"

    def share_of(self, token: str) -> tuple[str, str]:
        """Return the ids of job and share; whether it is still open, the store knows. Raises SignatureInvalid."""
        job_id, share_id, signature = _parts(token, 3)
        if not hmac.compare_digest(signature.encode(), self._signature("share", job_id, share_id).encode()):
            raise SignatureInvalid
        return job_id, share_id

    def _signature(self, *fields: str) -> str:
        if self._secret is None:
            self._secret = self._ask()
        # A JSON list can't be read in two ways, whatever the fields contain.
        digest = hmac.digest(self._secret, json.dumps(["reelmill-1", *fields]).encode(), "sha256")
        return base64.urlsafe_b64encode(digest[:24]).decode()


def new_id() -> str:
    return str(uuid.uuid4())


def _parts(given: str, count: int) -> list[str]:
    parts = given.split(".")
    if len(parts) != count or not given.isascii():
        raise SignatureInvalid
    return parts
