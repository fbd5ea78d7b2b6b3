"""From a video to finished clips in the web UI, and its jobs: a person at a real Chromium, a real `reelmill serve`."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

import browsing
from browsing import person, violations
from media_sources import make_source
from running import Server

PATIENCE_MS = 120_000  #: for what a worker does on a busy machine
WAITS = {"steps": 100, "seconds": 3}  #: of a job that is still at work when it is cancelled


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    assert browsing.BUILT.is_file(), "the web UI isn't built: run `make web`"
    with browsing.chromium() as it:
        yield it


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("clips") / "data", workers=2) as it:
        yield it


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six seconds of 320×180 with sound."""
    return make_source(tmp_path_factory.mktemp("film") / "harbour.mp4", seconds=6, width=320, height=180)


@pytest.fixture(scope="module")
def video(server: Server, film: Path) -> str:
    return str(server.upload(film)["video_id"])


@pytest.fixture
def page(browser: Browser, server: Server) -> Iterator[Page]:
    with person(browser, server) as context:
        page = context.new_page()
        page.set_default_timeout(60_000)
        yield page


def editor(page: Page, video: str) -> None:
    """Open New clips and wait for the server's plan."""
    page.goto(f"videos/{video}/cut")
    clips_shown(page).first.wait_for(state="attached")


def clips_shown(page: Page) -> Locator:
    """Return the clips on the timeline."""
    return page.get_by_role("listbox", name="Clips").get_by_role("option")


def job_of(page: Page) -> str:
    page.wait_for_url(re.compile(r"/jobs/[0-9a-f-]{36}$"))
    return page.url.rpartition("/")[2]


def ended(page: Page, status: str) -> None:
    page.locator(f'header [data-status="{status}"]').wait_for(timeout=PATIENCE_MS)


def plays(film: Locator, width: int) -> None:
    """Wait until a film's time advances, and look at its size."""
    film.page.wait_for_function(
        "([film, width]) => film.currentTime > 0.2 && film.videoWidth === width", arg=[film.element_handle(), width]
    )


def clips_of(server: Server, job_id: str) -> list[dict[str, Any]]:
    items = server.call("GET", f"/jobs/{job_id}/artifacts")["items"]
    return [one["meta"] for one in sorted(items, key=lambda one: str(one["name"])) if one["primary"]]


# ── the whole way ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.req("B-01", "B-02", "B-04", "A-06")
def test_the_whole_way_by_the_keyboard_alone(browser: Browser, server: Server, tmp_path: Path) -> None:
    film = make_source(tmp_path / "lighthouse.mp4", seconds=6, width=320, height=180)
    key = (server.data / "cli.key").read_text().strip()
    with browser.new_context(base_url=f"{server.url}/") as context:
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("filechooser", lambda asked: asked.set_files(film))
        keys = page.keyboard
        page.goto("")
        expect(page.get_by_label("API key")).to_be_focused()
        keys.type(key)
        keys.press("Enter")
        page.get_by_role("heading", level=1, name="Library").wait_for()
        keys.press("u")
        page.locator('[data-phase="done"]', has_text=film.name).wait_for(timeout=PATIENCE_MS)
        keys.press("Control+k")
        expect(page.get_by_placeholder("Find a video")).to_be_focused()
        keys.type("lighthouse")
        page.get_by_role("button", name=re.compile("^lighthouse")).wait_for()
        keys.press("Enter")
        page.wait_for_url(re.compile(r"/videos/[0-9a-f-]{36}$"))
        page.get_by_role("heading", level=1, name=film.name).wait_for()
        keys.press("n")
        page.wait_for_url(re.compile("/cut$"))
        expect(clips_shown(page)).to_have_count(6)  # of a second each
        keys.press("Enter")
        for number in range(1, 7):
            expect(page.get_by_label(f"Text of clip {number}", exact=True)).to_be_focused()
            keys.type(f"Light {number}")
            if number < 6:
                keys.press("Enter")
        expect(page.get_by_role("button", name="Make 6 clips")).to_be_enabled()
        keys.press("Control+Enter")
        job_id = job_of(page)
        ended(page, "completed")
        frames = page.get_by_role("button", name=re.compile("Play or pause"))
        expect(frames).to_have_count(6)
        keys.press("ArrowRight")
        expect(frames.nth(1)).to_be_focused()
        keys.press("Space")
        plays(frames.nth(1).locator("video"), 320)
        keys.press("k")
        expect(page.get_by_role("link", name="Download the 1 kept")).to_be_visible()
        keys.press("s")
        expect(page.get_by_role("dialog", name="Share the results")).to_be_visible()
        for _ in range(8):
            if page.get_by_role("button", name="Make a link").evaluate("one => one === document.activeElement"):
                break
            keys.press("Tab")
        keys.press("Enter")
        link = page.get_by_label("Links").get_by_role("link")
        link.wait_for()
        assert page.request.get(str(link.get_attribute("href"))).ok
    made = clips_of(server, job_id)
    assert [one["text"] for one in made] == [f"Light {number}" for number in range(1, 7)]
    assert [round(one["clip_duration_s"], 2) for one in made] == [1.0] * 6


@pytest.mark.req("B-02", "B-03", "B-04")
def test_pasted_lines_become_as_many_clips_and_a_reload_loses_nothing(page: Page, server: Server, video: str) -> None:
    editor(page, video)
    page.get_by_text("Each its own", exact=True).click()
    page.get_by_role("button", name="Paste lines").click()
    page.get_by_label("One text a line").fill("North\tx\nEast\ty\nSouth\tz\n")
    page.get_by_role("button", name="Use them").click()
    clips = clips_shown(page)
    expect(clips).to_have_count(3)
    expect(page.get_by_label("Text of clip 3", exact=True)).to_have_value("South")
    # An edge by keys, another by a typed time code; undo brings the first back.
    edge = page.get_by_role("slider", name="End of clip 1")
    edge.focus()
    page.keyboard.press("ArrowLeft")
    expect(edge).not_to_have_attribute("aria-valuenow", "2")
    page.keyboard.press("Control+z")
    expect(edge).to_have_attribute("aria-valuenow", "2")
    end = page.get_by_role("textbox", name="End of clip 3")
    end.fill("5.4s")
    end.press("Enter")
    expect(end).to_have_value("0:05.400")
    page.reload()
    expect(page.get_by_label("Text of clip 3", exact=True)).to_have_value("South")
    expect(page.get_by_role("textbox", name="End of clip 3")).to_have_value("0:05.400")
    page.get_by_role("button", name="Make 3 clips").click()
    job_id = job_of(page)
    ended(page, "completed")
    made = clips_of(server, job_id)
    assert [(one["text"], round(one["start_s"], 2), round(one["end_s"], 2)) for one in made] == [
        ("North", 0, 2), ("East", 2, 4), ("South", 4, 5.4),
    ]  # fmt: skip


@pytest.mark.req("B-02")
def test_the_plan_that_is_drawn_is_the_servers_and_a_seed_gives_it_again(
    page: Page, server: Server, video: str
) -> None:
    editor(page, video)
    page.get_by_role("radio", name="Random").click()
    for label, seconds in (("Min", "0.5"), ("Max", "2")):
        page.get_by_label(label, exact=True).fill(seconds)
        page.get_by_label(label, exact=True).blur()
    page.get_by_label("Seed", exact=True).fill("7")
    page.get_by_label("Seed", exact=True).blur()
    wanted = server.call(
        "POST", "/videos/analyze-duration",
        json={"video_id": video, "cutting": {"kind": "random", "min_s": 0.5, "max_s": 2, "seed": 7}},
    )  # fmt: skip
    clips = clips_shown(page)
    expect(clips).to_have_count(wanted["segment_count"])
    shown = clips.evaluate_all("all => all.map(one => parseFloat(one.style.insetInlineStart))")
    whole = wanted["duration_s"]
    assert shown == pytest.approx([100 * one["start_s"] / whole for one in wanted["segments"]], abs=0.01)
    page.get_by_label("Max", exact=True).fill("0.2")
    page.get_by_label("Max", exact=True).blur()
    expect(page.locator('[data-code="params_invalid"]')).to_contain_text("What to do")
    expect(page.get_by_role("button", name=re.compile("Make .*clip"))).to_be_disabled()


# ── jobs ──────────────────────────────────────────────────────────────────────────────────────


def run(server: Server, video: str, params: dict[str, Any], pipeline: str = "slow_writer") -> str:
    job = server.call("POST", "/jobs", 201, json={"video_id": video, "pipeline": pipeline, "params": params})
    return str(job["job_id"])


@pytest.mark.req("E-04", "E-09")
def test_two_tabs_agree_on_a_job_that_is_cancelled_and_retried(page: Page, server: Server, video: str) -> None:
    job_id = run(server, video, WAITS)
    other = page.context.new_page()
    page.goto("jobs")
    other.goto(f"jobs/{job_id}")
    row = page.locator(f'[data-job="{job_id}"]')
    row.locator('[data-status="running"]').wait_for(timeout=PATIENCE_MS)
    ended(other, "running")
    row.get_by_role("button", name=re.compile("^Cancel ")).click()
    row.locator('[data-status="cancelled"]').wait_for()
    ended(other, "cancelled")
    other.get_by_role("button", name=re.compile("^Retry")).click()
    ended(other, "running")
    row.locator('[data-status="running"]').wait_for(timeout=PATIENCE_MS)
    other.get_by_role("button", name="Cancel").click()
    row.locator('[data-status="cancelled"]').wait_for()


def test_two_hundred_jobs_are_read_to_the_end_and_cancelled_at_once(page: Page, server: Server, video: str) -> None:
    held = run(server, video, WAITS)  # its steps keep both workers busy: what follows waits
    for _ in range(200):
        run(server, video, {"steps": 1, "seconds": 0})
    asked: set[str] = set()
    page.on("request", lambda one: asked.add(one.url) if one.url.endswith("/status") else None)
    page.goto("jobs?status=queued")
    rows = page.locator("[data-job]")
    more = page.get_by_role("button", name="Show older jobs")
    for count in (60, 120, 180):
        expect(rows).to_have_count(count, timeout=PATIENCE_MS)
        more.click()
    expect(rows).to_have_count(200, timeout=PATIENCE_MS)
    expect(more).to_have_count(0)
    expect(rows.first.locator("[data-status=queued]")).to_contain_text("before")
    assert 0 < len(asked) < 100, "only those in sight are asked for their place"
    page.keyboard.press("Control+a")
    page.get_by_role("button", name="Cancel 200").click()
    expect(rows).to_have_count(0, timeout=PATIENCE_MS)
    server.call("POST", f"/jobs/{held}/cancel")


@pytest.mark.req("B-04")
def test_results_play_as_they_finish_and_what_is_kept_comes_in_one_archive(
    page: Page, server: Server, video: str
) -> None:
    job_id = run(server, video, {"cutting": {"kind": "fixed", "duration_s": 2}}, "clips")
    page.goto(f"jobs/{job_id}")
    frame = page.get_by_role("button", name=re.compile("Play or pause")).nth(2)
    frame.click(timeout=PATIENCE_MS)
    plays(frame.locator("video"), 320)
    ended(page, "completed")
    for name in ("clip-0001.mp4", "clip-0003.mp4"):
        page.get_by_role("button", name=f"Keep {name}").click()
    page.get_by_role("button", name="Reject clip-0002.mp4").click()
    with page.expect_download() as asked:
        page.get_by_role("link", name="Download the 2 kept").click()
    with zipfile.ZipFile(asked.value.path()) as archive:
        assert [Path(name).name for name in sorted(archive.namelist())] == ["clip-0001.mp4", "clip-0003.mp4"]
        assert archive.testzip() is None


@pytest.mark.req("E-05")
def test_a_failure_tells_cause_remedy_and_command(page: Page, server: Server, video: str) -> None:
    text = "word " * 900  # more than any picture holds at a readable size
    reply = server.client.post(
        "/api/v1/jobs", json={"video_id": video, "pipeline": "clips", "params": {"text": {"text": text}}}
    )
    assert reply.status_code == 422
    editor(page, video)
    page.get_by_text("Same", exact=True).click()
    page.get_by_label("Text of every clip").fill(text)
    expect(page.locator(f'[data-code="{reply.json()["code"]}"]')).to_contain_text("What to do")
    job_id = run(server, video, {"cutting": {"kind": "fixed", "duration_s": 3}}, "clips")
    page.goto(f"jobs/{job_id}")
    ended(page, "completed")
    page.locator("details", has_text="render 1").locator("summary").click()
    expect(page.get_by_label("Command").first).to_contain_text("ffmpeg")


@pytest.mark.req("A-07")
def test_a_link_plays_for_anybody_until_it_is_ended(page: Page, browser: Browser, server: Server, video: str) -> None:
    job_id = run(server, video, {"cutting": {"kind": "fixed", "duration_s": 3}}, "clips")
    page.goto(f"jobs/{job_id}")
    ended(page, "completed")
    page.get_by_role("button", name="Share").click()
    page.get_by_role("button", name="Make a link").click()
    link = str(page.get_by_label("Links").get_by_role("link").get_attribute("href"))
    with browser.new_context() as anybody:
        stranger = anybody.new_page()
        stranger.goto(link)
        shown = stranger.locator("video").first
        shown.evaluate("one => { one.muted = true; return one.play() }")
        plays(shown, 320)
        page.get_by_role("button", name="End the link now").click()
        expect(page.get_by_label("Links")).to_have_count(0)
        reply = stranger.goto(link)
        assert reply is not None
        assert reply.status == 403
        expect(stranger.locator("body")).to_contain_text("has ended")


def test_a_video_plays_and_deleting_it_can_be_undone(page: Page, server: Server, film: Path) -> None:
    video = str(server.upload(film)["video_id"])
    page.goto(f"videos/{video}")
    shown = page.locator("video")
    shown.wait_for()
    page.wait_for_function("() => document.querySelector('video')?.readyState >= 2")
    page.keyboard.press("Space")
    plays(shown, 320)
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Undo").click()
    page.locator(f'[data-video="{video}"]').wait_for()
    assert server.call("GET", f"/videos/{video}")["upload_status"] == "uploaded"


# ── for everybody ─────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def made(server: Server, video: str) -> str:
    """A job that made two clips, and an analysis of the same video."""
    params = {"cutting": {"kind": "fixed", "duration_s": 3}, "text": {"text": "Low tide"}}
    jobs = [run(server, video, params, "clips"), run(server, video, {}, "analysis")]
    for job in jobs:
        assert server.wait(job, 300)["status"] == "completed"
    return jobs[0]


@pytest.mark.parametrize("size", browsing.SIZES)
@pytest.mark.parametrize("theme", browsing.THEMES)
def test_a_video_its_clips_and_jobs_break_no_rule_of_axe(
    browser: Browser, server: Server, video: str, made: str, theme: Any, size: str
) -> None:
    link = server.call("POST", f"/jobs/{made}/share", 201, json={"life_s": 3600})["url"]
    found: list[str] = []
    with person(browser, server, size=size, color_scheme=theme, reduced_motion="reduce") as context:
        page = context.new_page()
        page.set_default_timeout(60_000)

        def judged() -> None:
            found.extend(violations(page))
            if not page.evaluate("document.documentElement.scrollWidth <= innerWidth"):
                found.append(f"{page.url} is wider than the screen")

        page.goto(f"jobs/{made}")
        page.get_by_role("button", name=re.compile("Play or pause")).first.wait_for()
        judged()
        page.get_by_role("button", name="Share").click()
        page.get_by_role("dialog").wait_for()
        judged()
        page.goto("jobs")
        page.locator("[data-job]").first.wait_for()
        judged()
        page.goto(f"videos/{video}")
        page.locator("media-controller").wait_for()
        page.get_by_role("button", name=re.compile("^Shot 1,")).wait_for()
        judged()
        editor(page, video)
        page.get_by_text("Vary", exact=True).click()
        page.get_by_label("Text to vary").fill("{Low|High|Spring} tide {now|soon|again}")
        page.get_by_role("button", name=re.compile("variations")).click()
        expect(page.get_by_label("Text of clip 1", exact=True)).not_to_have_value("")
        judged()
        page.goto(link)
        page.locator("video").first.wait_for()
        judged()
    assert found == []
