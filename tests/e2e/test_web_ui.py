"""The web UI's frame, library, uploads, keys and system: a person at a real Chromium before a real `reelmill serve`."""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Request, expect

import browsing
from browsing import choose, drop, person, settled, violations
from faults import Proxy
from media_sources import make_source
from running import Server

MIB = 1 << 20
LANES = 4  #: parts that are under way at a time
SLOW = 96 << 10  #: bytes/s at which nothing large ends


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    assert browsing.BUILT.is_file(), "the web UI isn't built: run `make web`"
    with browsing.chromium() as it:
        yield it


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("web") / "data", workers=2) as it:
        yield it


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_source(tmp_path_factory.mktemp("film") / "harbour.mp4", seconds=4, width=320, height=180)


@pytest.fixture
def page(browser: Browser, server: Server) -> Iterator[Page]:
    with person(browser, server) as context:
        page = context.new_page()
        page.goto("")
        settled(page)
        yield page


def large(film: Path, path: Path, size: int = 40 * MIB) -> Path:
    """Write the same film, ended by a `free` box (ISO/IEC 14496-12, 8.1.2): it goes in parts."""
    rest = size - film.stat().st_size
    path.write_bytes(film.read_bytes() + rest.to_bytes(4) + b"free" + secrets.token_bytes(rest - 8))
    return path


def row(page: Page, name: str, phase: str) -> None:
    """Wait until the tray shows an upload in a phase."""
    page.locator(f'[data-phase="{phase}"]', has_text=name).wait_for(timeout=120_000)


def stored(server: Server, video_id: str) -> str:
    (key,) = [key for key in server.stored() if key.endswith(f"{video_id}/source")]
    return hashlib.sha256((server.data / "objects" / "objects" / key).read_bytes()).hexdigest()


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# ── uploading ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.req("B-01")
def test_a_dropped_film_is_verified_and_stands_in_the_library_with_its_picture(
    page: Page, server: Server, film: Path
) -> None:
    drop(page, film)
    row(page, film.name, "done")
    video_id = str(page.locator('[data-phase="done"]').get_attribute("data-video"))
    assert stored(server, video_id) == sha(film)
    card = page.locator(f'li[data-video="{video_id}"]', has=page.locator("img"))
    card.locator('[data-status="uploaded"]').wait_for()
    page.wait_for_function("id => document.querySelector(`li[data-video='${id}'] img`)?.naturalWidth > 0", arg=video_id)


@pytest.mark.req("B-01", "D-02")
def test_what_is_no_film_says_what_to_do_and_others_go_through(page: Page, film: Path, tmp_path: Path) -> None:
    (tmp_path / "letter.mp4").write_text("Dear Sirs")
    choose(page, "Upload", tmp_path / "letter.mp4", film)
    row(page, film.name, "done")
    row(page, "letter.mp4", "failed")
    card = page.locator('[data-code="not_a_video"]')
    expect(card).to_contain_text("What to do")
    assert not page.get_by_role("button", name="Try letter.mp4 again").count(), "it will never be a film"
    page.get_by_role("button", name="Take letter.mp4 off the list").click()
    expect(card).to_have_count(0)


class Slow:
    """A server behind a network that can be slowed, and a person with its page open."""

    def __init__(self, proxy: Proxy, server: Server, context: BrowserContext) -> None:
        self.proxy, self.server, self.context = proxy, server, context
        self.page = context.new_page()
        self.page.on("dialog", lambda dialog: dialog.accept())  # that an upload is under way
        self.puts: list[int] = []  #: numbers of the parts that were sent
        self.page.on("request", self._note)
        self.page.goto("")
        settled(self.page)

    def _note(self, request: Request) -> None:
        if request.method == "PUT":
            self.puts.append(int(parse_qs(urlsplit(request.url).query)["part"][0]))

    def begun(self, film: Path) -> str:
        """Send a film until some of its parts have arrived and hardly anything goes through any more; return its id."""
        before = self.proxy.carried()
        lock, braked = threading.Lock(), threading.Event()

        def brake() -> None:
            # Four parts of 8 MiB are under way at a time: beyond 32 MiB, at least one has gone as a whole. Connections
            # have threads of their own: only one may brake, and never after this method has returned.
            with lock:
                if not braked.is_set() and self.proxy.carried() - before > 34 * MIB:
                    self.proxy.rate = SLOW
                    braked.set()

        self.proxy.on_block = brake
        choose(self.page, "Upload", film)
        row(self.page, film.name, "sending")
        video_id = str(self.page.locator('[data-phase="sending"]').get_attribute("data-video"))
        assert braked.wait(120), "what was carried never reached the brake"
        self.proxy.wait(lambda: bool(self.parts(video_id)), "a part arriving", seconds=120)
        return video_id

    def parts(self, video_id: str) -> list[int]:
        return [one["number"] for one in self.server.call("GET", f"/uploads/{video_id}")["parts"]]

    def ended(self, film: Path, video_id: str) -> None:
        row(self.page, film.name, "done")
        assert stored(self.server, video_id) == sha(film)


@pytest.fixture
def slow(browser: Browser, tmp_path: Path) -> Iterator[Slow]:
    with Proxy() as proxy, Server(tmp_path / "data", public_url=proxy.url, workers=1) as server:
        proxy.target = ("127.0.0.1", server.port)
        with person(browser, server, url=proxy.url) as context:
            yield Slow(proxy, server, context)
            proxy.rate = None


@pytest.mark.req("B-01")
def test_an_upload_goes_on_after_a_reload(slow: Slow, film: Path, tmp_path: Path) -> None:
    path = large(film, tmp_path / "long.mp4")
    video_id = slow.begun(path)
    slow.page.goto("about:blank")
    slow.proxy.rate = None
    slow.page.goto(slow.proxy.url)
    settled(slow.page)
    row(slow.page, path.name, "needs_file")

    other = tmp_path / "other" / path.name
    other.parent.mkdir()
    large(film, other)
    choose(slow.page, "Choose the file", other)
    slow.page.get_by_text("isn't the file whose upload was begun").first.wait_for()

    before = slow.parts(video_id)
    assert before
    slow.puts.clear()
    choose(slow.page, "Choose the file", path)
    slow.ended(path, video_id)
    assert not set(before) & set(slow.puts), "what had arrived isn't sent again"
    assert len(slow.puts) - len(set(slow.puts)) <= LANES, "at most what each lane had under way is sent twice"


@pytest.mark.req("B-01")
def test_a_second_tab_tells_of_an_upload_and_takes_it_over_when_the_first_is_closed(
    slow: Slow, film: Path, tmp_path: Path
) -> None:
    path = large(film, tmp_path / "long.mp4")
    video_id = slow.begun(path)
    second = slow.context.new_page()
    second.goto(slow.proxy.url)
    row(second, path.name, "elsewhere")
    slow.page.close()
    slow.proxy.rate = None
    row(second, path.name, "needs_file")
    slow.page = second
    choose(second, "Choose the file", path)
    slow.ended(path, video_id)


@pytest.mark.req("B-01")
def test_a_lost_network_is_told_and_waited_for(slow: Slow, film: Path, tmp_path: Path) -> None:
    path = large(film, tmp_path / "long.mp4")
    video_id = slow.begun(path)
    slow.context.set_offline(True)
    told = slow.page.locator('[data-phase="offline"]', has_text=path.name)
    # Chromium sends anew by itself what breaks on a connection that had served before: that one is cut as well.
    slow.proxy.wait(lambda: slow.proxy.cut_all() >= 0 and told.count() == 1, "being told of it", seconds=120)
    expect(slow.page.locator("aside").get_by_text("Offline")).to_be_visible()
    slow.proxy.rate = None
    slow.context.set_offline(False)
    slow.ended(path, video_id)


@pytest.mark.req("B-01")
def test_connections_that_break_cost_only_time(slow: Slow, film: Path, tmp_path: Path) -> None:
    path = large(film, tmp_path / "long.mp4")
    video_id = slow.begun(path)
    slow.proxy.cut_all()
    slow.proxy.rate = None
    slow.ended(path, video_id)


@pytest.mark.req("D-01")
def test_pause_holds_and_cancel_leaves_nothing(slow: Slow, film: Path, tmp_path: Path) -> None:
    path = large(film, tmp_path / "long.mp4")
    video_id = slow.begun(path)
    slow.page.get_by_role("button", name=f"Pause {path.name}").click()
    row(slow.page, path.name, "paused")
    slow.proxy.rate = None
    slow.page.get_by_role("button", name=f"Cancel {path.name}").click()
    expect(slow.page.locator("[data-phase]")).to_have_count(0)
    slow.proxy.wait(
        lambda: slow.server.call("GET", f"/uploads/{video_id}")["upload_status"] == "aborted", "the abort arriving"
    )
    assert slow.parts(video_id) == []


# ── the library ───────────────────────────────────────────────────────────────────────────────


def test_search_and_filters_stand_in_the_address(page: Page, server: Server, film: Path) -> None:
    server.upload(film, filename="red door.mp4", labels={"camera": "door"})
    server.upload(film, filename="blue gate.mp4", labels={"camera": "gate"})
    page.goto("?q=blue")
    names = page.locator("ul[aria-label=Videos] li a:not([aria-hidden])").filter(has_text=".mp4")
    expect(names).to_have_text(["blue gate.mp4"])
    page.get_by_role("button", name="Search nothing").click()
    page.get_by_role("button", name="Label").click()
    page.get_by_role("menuitem", name="camera = door").click()
    expect(names).to_have_text(["red door.mp4"])
    page.reload()
    expect(names).to_have_text(["red door.mp4"])


def test_deleting_can_be_undone(page: Page, server: Server, film: Path) -> None:
    video_id = server.upload(film, filename="undone.mp4")["video_id"]
    page.goto("?q=undone")
    page.get_by_role("checkbox", name="Pick undone.mp4").check(force=True)
    page.get_by_role("button", name="Delete").click()
    expect(page.locator(f'li[data-video="{video_id}"]')).to_have_count(0)
    page.get_by_role("button", name="Undo").click()
    page.locator(f'li[data-video="{video_id}"]').wait_for()
    assert server.call("GET", f"/videos/{video_id}")["upload_status"] == "uploaded"


@pytest.mark.req("E-04")
def test_a_pipeline_runs_by_its_form_and_the_library_follows(page: Page, server: Server, film: Path) -> None:
    video_id = server.upload(film, filename="form.mp4")["video_id"]
    page.goto(f"videos/{video_id}/run?pipeline=proxy")
    page.get_by_label("Height").fill("65")  # even ones are wanted
    page.get_by_role("button", name="Run", exact=True).click()
    page.locator('[data-code="params_invalid"]').wait_for()
    page.get_by_label("Height").fill("96")
    page.get_by_role("button", name="Run", exact=True).click()
    page.wait_for_url("**/jobs/*")
    page.goto("?q=form")
    page.locator('[data-status="completed"]').wait_for(timeout=60_000)
    (job,) = server.call("GET", f"/jobs?video_id={video_id}")["items"]
    assert (job["status"], server.job(job["job_id"])["params"]["height"]) == ("completed", 96)


# ── the frame ─────────────────────────────────────────────────────────────────────────────────


def test_the_keyboard_leads_everywhere(page: Page, server: Server, film: Path) -> None:
    server.upload(film)  # an empty library has no search
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_contain_text("Go to System")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.keyboard.press("g")
    page.keyboard.press("k")
    page.wait_for_url("**/keys")
    page.keyboard.press("Control+k")
    page.get_by_label("Find", exact=True).fill("go to library")
    page.keyboard.press("Enter")
    page.get_by_role("heading", level=1, name="Library").wait_for()
    search = page.get_by_label("Search by name or label")
    page.keyboard.press("/")
    page.keyboard.type("g k")
    expect(search).to_have_value("g k")
    page.keyboard.press("Escape")
    page.goto("keys")
    page.get_by_role("heading", level=1, name="API keys").wait_for()
    page.keyboard.press("/")  # leads to the search from everywhere
    expect(search).to_be_focused()


def test_signing_in_by_a_key_leads_back_to_where_one_wanted_to_be(browser: Browser, server: Server) -> None:
    key = server.run("keys", "create", "reader", "--scope", "jobs:read", "--quiet").strip()
    with browser.new_context(base_url=f"{server.url}/") as context:
        page = context.new_page()
        page.goto("jobs")
        page.wait_for_url("**/sign-in?**")
        page.get_by_label("API key").fill("rm_guess")
        page.get_by_role("button", name="Sign in").click()
        expect(page.locator('[data-code="key_invalid"]')).to_contain_text("What to do")
        page.get_by_label("API key").fill(key)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url("**/jobs")
        expect(page.get_by_role("link", name="Library")).to_be_visible()
        expect(page.get_by_role("link", name="API keys")).to_have_count(0)
        page.get_by_role("button", name="Sign out").click()
        page.wait_for_url("**/sign-in**")
        page.goto("")
        page.wait_for_url("**/sign-in?**")


def test_a_key_is_made_shown_once_and_revoked(page: Page, server: Server) -> None:
    page.goto("keys")
    page.get_by_role("button", name="Make a key").click()
    page.get_by_label("Name").fill("kiosk")
    page.get_by_role("button", name="Make the key").click()
    told = page.get_by_role("dialog", name="The key kiosk")
    secret = told.locator("code").inner_text()
    reply = server.client.get("/api/v1/videos", headers={"Authorization": f"Bearer {secret}"})
    assert reply.status_code == 200
    told.get_by_role("button", name="Close").click()
    page.get_by_role("button", name="Revoke kiosk").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke", exact=True).click()
    page.get_by_text("kiosk opens nothing any more.").wait_for()
    reply = server.client.get("/api/v1/videos", headers={"Authorization": f"Bearer {secret}"})
    assert reply.status_code == 401


@pytest.mark.parametrize("size", browsing.SIZES)
@pytest.mark.parametrize("theme", browsing.THEMES)
def test_no_screen_breaks_a_rule_of_axe(
    browser: Browser, server: Server, film: Path, size: str, theme: str, tmp_path: Path
) -> None:
    video_id = server.upload(film, filename="axe.mp4", labels={"camera": "door"})["video_id"]
    (tmp_path / "letter.mp4").write_text("Dear Sirs")
    with person(browser, server, size=size, color_scheme=theme) as context:
        page = context.new_page()
        for path in ("", "?view=list", "?q=nothing+is+called+so", "keys", "system", "welcome", "sign-in"):
            page.goto(path)
            settled(page)
            assert violations(page) == [], path
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (
                f"{path} is wider than its window"
            )
        for pipeline in ("clips", "proxy", "renditions"):
            page.goto(f"videos/{video_id}/run?pipeline={pipeline}")
            settled(page)
            assert violations(page) == [], pipeline
        page.goto("")
        settled(page)
        choose(page, "Upload", tmp_path / "letter.mp4")
        row(page, "letter.mp4", "failed")
        page.get_by_role("checkbox", name="Pick axe.mp4").first.check()
        page.get_by_role("button", name="Pick nothing").wait_for()
        assert violations(page) == [], "the tray"


def test_axe_is_at_work(page: Page) -> None:
    page.evaluate("document.querySelector('main').append(new Image())")
    assert [one for one in violations(page) if one.startswith("image-alt")]
