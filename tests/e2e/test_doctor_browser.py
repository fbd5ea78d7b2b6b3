"""Storage as a browser sees it, through a proxy that spoils one thing at a time: that line is red, and then green."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reelmill.cli.doctor import lend
from reelmill.doctor import storage
from reelmill.doctor.browser import Browser
from reelmill.doctor.findings import Check, Examiner, Finding, Level
from reelmill.objects.folder import FolderStore
from spoiling import Proxy

ORIGIN = "https://page.example"


class Setup:
    """A folder store, the routes that serve it, and a proxy before them under which it is known."""

    def __init__(self, root: Path) -> None:
        self.base_url = ""
        self.objects = FolderStore(root, secret=secrets.token_bytes(32), base_url=lambda: self.base_url)

    def browser(self, **how: Any) -> Browser:
        return Browser(self.objects, origin=ORIGIN, **{"signs_host": False, **how})

    def leftovers(self) -> list[str]:
        return list(self.objects.keys(""))


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Setup:
    return Setup(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def upstream(setup: Setup) -> Iterator[str]:
    with lend(setup.objects) as url:
        yield url


@pytest.fixture
def proxy(setup: Setup, upstream: str) -> Iterator[Proxy]:
    with Proxy(upstream) as it:
        setup.base_url = it.url
        yield it


def seen(look: Callable[[], Finding]) -> Finding:
    """Make one check as the doctor makes it."""
    [found] = Examiner([Check(name="it", title="it", look=look, limit_s=60)]).examine()
    return found


@pytest.mark.parametrize(
    ("fault", "name", "code"),
    [
        ("shows its own page", "fetches", "public_url_broken"),
        ("refuses OPTIONS", "preflight", "cors_missing"),
        ("drops CORS headers", "preflight", "cors_missing"),
        ("drops CORS headers", "puts", "cors_missing"),
        ("drops CORS headers", "ranges", "cors_missing"),
        ("hides ETag", "puts", "cors_missing"),
        ("hides ETag", "parts", "cors_missing"),
        ("drops ETag", "puts", "storage_misbehaves"),
        ("drops ETag", "parts", "storage_misbehaves"),
        ("ignores ranges", "ranges", "storage_misbehaves"),
        ("cuts bodies", "sizes", "storage_misbehaves"),
    ],
)
def test_what_a_proxy_spoils_is_found(setup: Setup, proxy: Proxy, fault: str, name: str, code: str) -> None:
    browser = setup.browser()
    proxy.fault = fault
    red = seen(getattr(browser, name))
    assert (red.level, red.problem and red.problem.code) == (Level.FAILED, code), red
    proxy.fault = ""
    green = seen(getattr(browser, name))
    assert green.level is Level.OK, green
    browser.close()
    assert setup.leftovers() == []


def test_a_cache_that_outlives_the_url_is_found(setup: Setup, proxy: Proxy) -> None:
    browser = setup.browser()
    proxy.fault = "caches"
    red = seen(lambda: browser.expires(late_s=3))
    assert red.level is Level.FAILED and red.problem is not None and red.problem.code == "storage_misbehaves"
    proxy.fault = ""
    assert seen(browser.expires).level is Level.OK
    browser.close()


@pytest.mark.parametrize(
    ("off_s", "level"), [(-7200, Level.FAILED), (7200, Level.FAILED), (-300, Level.WARNING), (300, Level.WARNING)]
)
def test_a_clock_that_is_off_is_found(setup: Setup, proxy: Proxy, off_s: float, level: Level) -> None:
    browser = setup.browser()
    proxy.fault, proxy.clock_off_s = "has another clock", off_s
    told = seen(browser.clock)
    assert (told.level, told.problem and told.problem.code) == (level, "clock_skewed")
    assert abs(told.data["apart_s"] - off_s) < 60
    proxy.fault = ""
    assert seen(browser.clock).level is Level.OK
    browser.close()


def test_a_host_that_the_signature_doesnt_cover_is_found(setup: Setup, proxy: Proxy) -> None:
    strict, lenient = setup.browser(signs_host=True), setup.browser()
    red = seen(strict.hosts)
    assert red.level is Level.FAILED and red.problem is not None and red.problem.code == "storage_misbehaves"
    green = seen(lenient.hosts)
    assert green.level is Level.OK and "whatever the host's name" in green.detail
    strict.close()
    lenient.close()


def test_urls_for_another_host_than_the_public_one_are_found(setup: Setup, proxy: Proxy) -> None:
    browser = setup.browser(host="video.example")
    red = seen(browser.hosts)
    assert red.level is Level.FAILED and red.problem is not None and red.problem.code == "public_url_broken"
    browser.close()


def test_an_address_where_nothing_answers_is_found(setup: Setup, upstream: str) -> None:
    gone = Proxy(upstream)
    gone.stop()
    setup.base_url = gone.url
    browser = setup.browser()
    for look in (browser.fetches, browser.preflight, browser.puts, browser.parts, browser.sizes):
        red = seen(look)
        assert red.level is Level.FAILED and red.problem is not None and red.problem.code == "public_url_broken", red
        assert gone.url in red.detail
    browser.close()
    assert setup.leftovers() == []


def test_the_inside_of_storage_is_tried_and_left_clean(setup: Setup) -> None:
    assert seen(lambda: storage.works(setup.objects)).level is Level.OK
    assert seen(lambda: storage.abilities(setup.objects)).level is Level.OK
    assert setup.leftovers() == []
