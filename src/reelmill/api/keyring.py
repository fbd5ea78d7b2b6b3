"""Keys that were looked up just now: a client that sends many requests a second is looked up once."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict

from starlette.concurrency import run_in_threadpool

from reelmill.jobs.model import ApiKey
from reelmill.jobs.ports import AccessStore

TRUSTED_S = 1.0  #: a key revoked by another process goes on for so long at most
MOST_KEYS = 10_000


class KeyRing:
    """The good keys of the last second. What this process revokes is forgotten at once."""

    def __init__(self, access: AccessStore) -> None:
        self._access = access
        self._found: OrderedDict[str, tuple[float, ApiKey]] = OrderedDict()
        self._forgotten = 0  #: times; what was read before the last isn't kept
        self._guard = threading.Lock()

    async def find(self, sha256: str) -> ApiKey | None:
        """Return the key with this hash of its secret, unless it has stopped. Only good ones are remembered."""
        at_s = time.monotonic()
        with self._guard:
            until_s, key = self._found.get(sha256, (0.0, None))
            forgotten = self._forgotten
        if at_s < until_s:
            return key
        key = await run_in_threadpool(self._access.find_key, sha256)
        with self._guard:
            self._found.pop(sha256, None)
            if key is not None and forgotten == self._forgotten:
                self._found[sha256] = at_s + TRUSTED_S, key
            while len(self._found) > MOST_KEYS:
                self._found.popitem(last=False)
        return key

    def forget(self) -> None:
        """Look every key up again: one of them was revoked or rotated."""
        with self._guard:
            self._forgotten += 1
            self._found.clear()
