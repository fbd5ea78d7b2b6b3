"""The token bucket: what it lets through at which moment, what its headers promise, and that it stays small."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelmill.api import limits
from reelmill.api.limits import RateLimiter, Verdict, network_of


def took(limiter: RateLimiter, who: str, at_s: float) -> Verdict:
    verdict = limiter.take(who, at_s)
    assert verdict is not None
    return verdict


def left(verdict: Verdict) -> tuple[int, int]:
    found = re.fullmatch(r'"key";r=(\d+);t=(\d+)', verdict.headers["RateLimit"])
    assert found is not None
    return int(found[1]), int(found[2])


def test_a_whole_minutes_requests_may_come_at_once_and_then_one_by_one() -> None:
    limiter = RateLimiter("key", 4)
    assert [left(took(limiter, "a", 100.0)) for _ in range(4)] == [(3, 15), (2, 30), (1, 45), (0, 60)]
    refused = took(limiter, "a", 100.0)
    assert (refused.wait_s, left(refused)) == (15, (0, 60))
    assert took(limiter, "a", 114.9).wait_s == 1
    assert took(limiter, "a", 115.0).wait_s == 0
    assert took(limiter, "a", 115.0).wait_s == 15
    assert left(took(limiter, "a", 1000.0)) == (3, 15), "it never holds more than a minute's requests"


def test_the_policy_is_told() -> None:
    assert took(RateLimiter("key", 1200), "a", 0.0).headers["RateLimit-Policy"] == '"key";q=1200;w=60'


def test_each_has_a_bucket_of_its_own() -> None:
    limiter = RateLimiter("key", 1)
    assert took(limiter, "a", 0.0).wait_s == 0
    assert took(limiter, "a", 0.0).wait_s == 60
    assert took(limiter, "b", 0.0).wait_s == 0
    assert limiter.empty("a", 0.0) and limiter.empty("b", 0.0) and not limiter.empty("c", 0.0)
    assert not limiter.empty("a", 60.0)


def test_no_limit_is_no_limit() -> None:
    limiter = RateLimiter("key", 0)
    assert [limiter.take("a", 0.0) for _ in range(100)] == [None] * 100
    assert not limiter.empty("a", 0.0)


@given(st.integers(1, 50), st.lists(st.floats(0, 5), max_size=300))
def test_in_no_span_of_time_more_than_the_bucket_and_its_refill(per_minute: int, gaps: list[float]) -> None:
    limiter, at_s, taken = RateLimiter("key", per_minute), 0.0, []
    for gap in gaps:
        at_s += gap
        before = limiter.empty("a", at_s)
        verdict = took(limiter, "a", at_s)
        assert before == bool(verdict.wait_s)
        if not verdict.wait_s:
            taken.append(at_s)
        else:
            again = RateLimiter("key", per_minute)
            for moment in taken:
                again.take("a", moment)
            assert took(again, "a", at_s + verdict.wait_s).wait_s == 0, "who waits as told is let in"
    for i, first in enumerate(taken):
        for j in range(i, len(taken)):
            assert j - i + 1 <= per_minute + (taken[j] - first) * per_minute / 60 + 1e-6


def test_its_memory_is_bounded_and_the_longest_unused_are_forgotten() -> None:
    limiter = RateLimiter("address", 1)
    for n in range(limits.MOST_BUCKETS + 1000):
        limiter.take(f"10.0.{n}", 0.0)
        limiter.take("busy", 0.0)
    assert len(limiter._full_at) == limits.MOST_BUCKETS
    assert limiter.knows("busy") and not limiter.knows("10.0.0") and limiter.knows(f"10.0.{n}")


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_an_address_stands_for_its_network(address: str, network: str) -> None:
    assert network_of(address) == network
