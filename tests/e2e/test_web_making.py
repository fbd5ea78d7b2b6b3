"""Films out of words, and looks of texts, in the web UI: a person at a real Chromium, a real `reelmill serve`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

import browsing
from browsing import person, settled, violations
from media_sources import make_source
from running import Server

PATIENCE_MS = 180_000  #: for what a worker does on a busy machine
SCRIPT = "# The lake\n\nBirds sing.\n\nIt is cold.\n\n# Come and see"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    assert browsing.BUILT.is_file(), "the web UI isn't built: run `make web`"
    with browsing.chromium() as it:
        yield it


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("making") / "data", workers=2, voice="espeak") as it:
        yield it


@pytest.fixture(scope="module")
def video(server: Server, tmp_path_factory: pytest.TempPathFactory) -> str:
    film = make_source(tmp_path_factory.mktemp("film") / "harbour.mp4", seconds=4, width=320, height=180)
    return str(server.upload(film)["video_id"])


@pytest.fixture
def page(browser: Browser, server: Server, video: str) -> Iterator[Page]:
    with person(browser, server) as context:
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        yield page


def small(page: Page) -> None:
    """Choose a film that is quickly made."""
    for size in ("360p", "720p", "1080p"):
        page.get_by_role("group", name="Sizes").get_by_text(size, exact=True).click()


def ready(page: Page) -> None:
    page.get_by_role("region", name="The film").locator('[data-status="completed"]').wait_for(timeout=PATIENCE_MS)


def drawn(server: Server, page: Page) -> list[bool]:
    """Tell of each scene of the film that is shown, in order, whether it was drawn for it."""
    link = page.get_by_role("link", name="Its job, step by step").get_attribute("href") or ""
    steps = server.job(link.rpartition("/")[2])["steps"]
    return [one["reused_from"] is None for one in steps if one["kind"] == "scene"]


@pytest.mark.req("E-01")
def test_a_script_becomes_a_film_and_one_changed_scene_is_one_scene_made(page: Page, server: Server) -> None:
    page.goto("generate")
    page.get_by_role("textbox", name="Script").fill(SCRIPT)
    rows = page.get_by_role("list", name="Storyboard").get_by_role("listitem")
    expect(rows).to_have_count(3)
    rows.nth(2).locator("[data-drawn] img").wait_for()  # a true picture of each
    small(page)
    page.reload()
    expect(page.get_by_role("textbox", name="Script")).to_have_value(SCRIPT)
    expect(page.get_by_role("checkbox", name="720p")).not_to_be_checked()
    page.get_by_role("button", name="Make the film").click()
    ready(page)
    assert drawn(server, page) == [True, True, True]
    plays(page)

    page.get_by_label("Narration of scene 2").fill("It is warm and bright.")
    expect(page.get_by_role("radio", name="Scenes")).to_be_checked()  # they are one's own now
    page.get_by_text("1 to be made, 2 taken over").wait_for()
    page.get_by_role("button", name="Make it with 1 new scene").click()
    page.get_by_text("1 of 3 scenes was made, 2 taken over.").wait_for()
    assert drawn(server, page) == [False, True, False]

    # From its job, the film is opened again; a scene that moves is none that is made anew.
    page.get_by_role("link", name="Its job, step by step").click()
    page.evaluate("localStorage.removeItem('reelmill.draft.generate')")
    page.get_by_role("link", name="Edit its scenes").click()
    expect(page.get_by_label("Narration of scene 2")).to_have_value("It is warm and bright.")
    page.get_by_text("all as they were").wait_for()
    page.get_by_label("Narration of scene 2").focus()
    page.keyboard.press("Alt+ArrowUp")
    expect(page.get_by_label("Narration of scene 1")).to_have_value("It is warm and bright.")
    page.get_by_text("all as they were").wait_for()
    page.keyboard.press("Control+z")
    expect(page.get_by_label("Narration of scene 2")).to_have_value("It is warm and bright.")


def plays(page: Page) -> None:
    film = page.get_by_label("The finished film")
    film.evaluate("one => { one.muted = true; return one.play() }")
    page.wait_for_function("one => one.currentTime > 0.2 && one.videoWidth === 640", arg=film.element_handle())


@pytest.mark.req("E-01", "E-05")
def test_a_fault_stands_where_it_was_made_with_what_to_do(page: Page, server: Server, video: str) -> None:
    page.goto("generate")
    way = page.get_by_role("radiogroup", name="What the film is made of")
    way.get_by_text("Topic", exact=True).click()
    page.get_by_role("textbox", name="Topic").fill("Bees")
    expect(page.locator('[data-code="text_model_needed"]')).to_contain_text("What to do")
    way.get_by_text("Scenes", exact=True).click()
    page.get_by_label("Text of scene 1").fill("Harbour")
    page.get_by_label("Seconds of scene 1").fill("0.2")
    expect(page.locator('[data-code="params_invalid"]')).to_contain_text("What to do")
    expect(page.locator("[data-scene='0']")).to_contain_text("greater than or equal to 0.5")
    expect(page.get_by_role("button", name="Make the film")).to_be_disabled()
    page.get_by_label("Seconds of scene 1").fill("2")
    expect(page.locator('[data-code="params_invalid"]')).to_have_count(0)
    scene = page.get_by_role("region", name="Scene 1")
    scene.get_by_text("Picture", exact=True).click()
    scene.get_by_text("Choose the film to take it from.").wait_for()
    expect(page.get_by_role("button", name="Make the film")).to_be_disabled()
    scene.get_by_role("combobox", name="Of which film").click()
    page.get_by_role("option", name=re.compile("harbour")).first.click()
    scene.get_by_role("textbox", name="Picture at").fill("2")
    scene.get_by_role("textbox", name="Picture at").press("Enter")
    scene.locator("[data-drawn] img").wait_for()
    shown = scene.locator("[data-drawn] img").evaluate("one => [one.naturalWidth, one.naturalHeight]")
    assert shown == [854, 480]
    page.get_by_text("9:16", exact=True).click()
    page.wait_for_function("() => document.querySelector('#scene-panel [data-drawn] img')?.naturalHeight === 854")
    (kept,) = page.evaluate("JSON.parse(localStorage.getItem('reelmill.draft.generate')).draft.scenes")
    assert kept["background"] == {"kind": "image", "video_id": video, "at_s": 2, "motion": "zoom_in"}
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("radio", name="16:9")).to_be_checked()


@pytest.mark.req("B-04")
def test_a_brand_is_made_on_a_real_frame_and_used_on_a_clip(page: Page, server: Server, video: str) -> None:
    page.goto("presets")
    page.locator("[data-preset=tag] [data-drawn] img").wait_for()
    page.get_by_role("button", name="Copy boxed").click()
    name = page.get_by_role("textbox", name="Name", exact=True)
    expect(name).to_have_value("boxed 2")
    name.fill("clean")  # that is built in
    picture = page.locator("[data-drawn] img")
    picture.wait_for()
    before = picture.get_attribute("src")
    page.get_by_role("region", name="Letters").get_by_role("textbox", name="Colour").fill("#FFD400")
    expect(picture).not_to_have_attribute("src", before or "")
    page.get_by_role("switch", name="Safe area").click()
    page.locator("[data-safe]").wait_for(state="attached")
    page.get_by_role("button", name="Keep the brand").click()
    expect(page.locator('[data-code="name_taken"]')).to_contain_text("What to do")
    name.fill("acme")
    page.reload()
    expect(name).to_have_value("acme")
    page.keyboard.press("Control+Enter")
    page.locator("[data-preset=acme] [data-drawn] img").wait_for()
    kept: dict[str, Any] = next(one for one in server.call("GET", "/presets")["items"] if one["name"] == "acme")
    assert (kept["style"]["color"], kept["style"]["box_color"]) == ("#FFD400", "#0B0E14")

    page.goto(f"videos/{video}/cut")
    page.get_by_text("Same", exact=True).click()
    page.get_by_label("Text of every clip").fill("Hello")
    with page.expect_response(
        lambda reply: reply.url.endswith("/texts/preview") and "acme" in (reply.request.post_data or "")
    ) as answered:
        page.get_by_role("radio", name="acme").click()
    assert answered.value.ok
    page.get_by_text("The frame as the clip will have it").wait_for()

    page.goto("presets")
    page.get_by_role("button", name="More for acme").click()
    page.get_by_role("menuitem", name="Remove").click()
    expect(page.locator("[data-preset=acme]")).to_have_count(0)
    page.get_by_role("button", name="Undo").click()
    page.locator("[data-preset=acme]").wait_for()


def test_keys_and_the_palette_lead_to_both(page: Page) -> None:
    page.goto("")
    settled(page)
    for keys, heading in (("ge", "Generate a film"), ("gp", "Presets")):
        for key in keys:
            page.keyboard.press(key)
        page.get_by_role("heading", name=heading).wait_for(state="attached")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_contain_text("Go to Generate")
    page.keyboard.press("Escape")
    page.keyboard.press("Control+k")
    page.get_by_label("Find", exact=True).fill("go to generate")
    page.keyboard.press("Enter")
    page.wait_for_url("**/generate")


@pytest.mark.parametrize("size", browsing.SIZES)
@pytest.mark.parametrize("theme", browsing.THEMES)
def test_neither_screen_breaks_a_rule_of_axe(
    browser: Browser,
    server: Server,
    video: str,
    size: str,
    theme: str,
) -> None:
    with person(browser, server, size=size, color_scheme=theme, reduced_motion="reduce") as context:
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)

        def good(what: str) -> None:
            assert violations(page) == [], what
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{what} is too wide"

        page.goto("generate")
        page.get_by_role("textbox", name="Script").wait_for()
        good("an empty storyboard")
        page.get_by_role("textbox", name="Script").fill("# السلام عليكم\n\nمرحبا بكم في الميناء.\n\n" + SCRIPT)
        page.get_by_label("Text of scene 4").wait_for()
        page.locator("[data-scene='0'] [data-drawn] img").wait_for()
        good("a storyboard")
        assert page.get_by_label("Text of scene 1").evaluate("one => getComputedStyle(one).direction") == "rtl"
        page.goto("presets")
        page.locator("[data-preset=caption] [data-drawn] img").wait_for()
        good("the presets")
        page.get_by_role("button", name="Copy quote").click()
        page.get_by_role("region", name="Placement").wait_for()
        page.locator("[data-drawn] img").wait_for()
        good("a brand")
