"""How many requests a minute: a token bucket for each key, and for each address that comes without a good one.

The buckets are this process's own: behind N processes a client may get up to N times as much.
"""

from __future__ import annotations

import ipaddress
import math
import threading
from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache

WINDOW_S = 60
MOST_BUCKETS = 20_000  #: in memory, each about 200 bytes; of more the longest unused are forgotten
IPV6_HOST_BITS = 64  #: one customer of a provider has at least so many addresses


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one request, and the headers that say so."""

    headers: dict[str, str]
    wait_s: int  #: seconds until the next request is taken; 0 when this one was


class RateLimiter:
    """Buckets that hold `per_minute` requests and fill up in a minute (GCRA: one number a bucket)."""

    def __init__(self, name: str, per_minute: int) -> None:
        """name: of the policy in the headers. per_minute: 0 takes everything."""
        self.name = name
        self.per_minute = per_minute
        self._full_at: OrderedDict[str, float] = OrderedDict()  #: when each bucket will be full again
        self._guard = threading.Lock()

    def take(self, who: str, at_s: float) -> Verdict | None:
        """Take one request out of a bucket. at_s: now, by a monotonic clock. None without a limit."""
        if not self.per_minute:
            return None
        one_s = WINDOW_S / self.per_minute
        with self._guard:
            full_at = max(self._full_at.get(who, at_s), at_s)
            missing_s = full_at + one_s - at_s - WINDOW_S
            if missing_s <= 1e-9:
                full_at += one_s
            self._full_at[who] = full_at
            self._full_at.move_to_end(who)
            while len(self._full_at) > MOST_BUCKETS:
                self._full_at.popitem(last=False)
        left = max(0, int((WINDOW_S - (full_at - at_s)) / one_s + 1e-9))
        # draft-ietf-httpapi-ratelimit-headers-10: q and w say what a whole bucket is, r what is left, t when it is full
        headers = {
            "RateLimit-Policy": f'"{self.name}";q={self.per_minute};w={WINDOW_S}',
            "RateLimit": f'"{self.name}";r={left};t={math.ceil(full_at - at_s)}',
        }
        return Verdict(headers, math.ceil(missing_s) if missing_s > 1e-9 else 0)

    def empty(self, who: str, at_s: float) -> bool:
        """Tell whether the bucket has nothing left; nothing is taken."""
        with self._guard:
            full_at = self._full_at.get(who, at_s)
        return bool(self.per_minute) and full_at + WINDOW_S / self.per_minute - at_s - WINDOW_S > 1e-9

    def knows(self, who: str) -> bool:
        """Tell whether this bucket was used, as far back as is remembered."""
        with self._guard:
            return who in self._full_at

    def forget(self, who: str) -> None:
        with self._guard:
            self._full_at.pop(who, None)


class Limits:
    """The buckets of this process."""

    def __init__(self, per_minute: int) -> None:
        self.keys = RateLimiter("key", per_minute)
        self.addresses = RateLimiter("address", per_minute)  #: for requests without a good key


@lru_cache(maxsize=4096)
def network_of(address: str) -> str:
    """Return whom an address stands for: itself, of IPv6 its /64."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address  # a Unix socket has none
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return str(ip.ipv4_mapped)
        return str(ipaddress.IPv6Network((ip, IPV6_HOST_BITS), strict=False))
    return str(ip)
