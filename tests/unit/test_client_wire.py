"""What the client makes of errors: which pass, how long it waits, and when it gives up."""

from __future__ import annotations

import threading
import time

import httpx2
import pytest

from reelmill.client.wire import Again, check_storage, not_ours, passes, problem, unreachable
from reelmill.errors import (
    DatabaseUnavailable,
    NotAVideo,
    ReelmillError,
    ServerUnreachable,
    SignatureInvalid,
    Stopped,
    StorageUnavailable,
)


def reply(status: int, **headers: str) -> httpx2.Response:
    return httpx2.Response(status, headers=headers, text="from a proxy in between")


def broken(cause: Exception) -> ReelmillError:
    with pytest.raises(ServerUnreachable) as raised, unreachable("http://host"):
        raise cause
    return raised.value


def test_what_passes() -> None:
    assert passes(DatabaseUnavailable())
    assert passes(StorageUnavailable())
    assert passes(broken(httpx2.ReadError("reset")))
    assert passes(broken(httpx2.ConnectError("refused")))
    assert passes(not_ours("http://host", reply(502)))
    assert not passes(not_ours("http://host", reply(404)))
    assert not passes(broken(httpx2.UnsupportedProtocol("ftp")))
    assert not passes(broken(httpx2.InvalidURL("no")))
    assert not passes(NotAVideo())


def test_what_wont_pass_is_raised_at_once() -> None:
    began = time.monotonic()
    with pytest.raises(NotAVideo):
        Again(patience_s=60).wait(NotAVideo())
    assert time.monotonic() - began < 30


def test_patience_ends() -> None:
    again = Again(patience_s=0.1)
    again.FIRST_S = 0.01
    tries = 0
    with pytest.raises(StorageUnavailable):
        while True:
            again.wait(StorageUnavailable())
            tries += 1
    assert tries >= Again.TRIES - 1


def test_a_new_url_is_asked_for_so_many_times() -> None:
    again = Again(patience_s=60)
    again.FIRST_S = 0.001
    again.wait(SignatureInvalid(), most=2)
    again.wait(SignatureInvalid(), most=2)
    with pytest.raises(SignatureInvalid):
        again.wait(SignatureInvalid(), most=2)


@pytest.mark.parametrize(
    ("asked", "seconds"), [("7", 7.0), ("0", 1.0), ("", 1.0), ("Fri, 31 Dec 2027 23:59:59 GMT", 1.0)]
)
def test_a_limited_rate_is_waited_for(asked: str, seconds: float) -> None:
    limited = not_ours("http://host", reply(429, **{"Retry-After": asked}))
    assert limited.extra["retry_after_s"] == seconds
    with pytest.raises(StorageUnavailable) as raised:
        check_storage(reply(429, **{"Retry-After": asked}))
    assert raised.value.extra["retry_after_s"] == seconds


def test_a_wait_longer_than_the_patience_isnt_begun() -> None:
    limited = not_ours("http://host", reply(429, **{"Retry-After": "3600"}))
    with pytest.raises(ServerUnreachable):
        Again(patience_s=60).wait(limited)


def test_waiting_stops_when_it_is_told_to() -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        Again(patience_s=60, stop=stop).wait(StorageUnavailable())


def test_a_reply_of_somebody_else_is_no_problem_of_ours() -> None:
    assert problem(reply(500)) is None
