"""The web UI in a real Chromium, as a person uses it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from running import Server

ROOT = Path(__file__).parents[1]
AXE = ROOT / "web" / "node_modules" / "axe-core" / "axe.min.js"
SIZES = {"wide": {"width": 1440, "height": 900}, "narrow": {"width": 390, "height": 844}}
THEMES = ("light", "dark")
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")


@contextmanager
def chromium() -> Iterator[Browser]:
    """The system's own."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    assert program, "there is no Chromium: run `make players`"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def person(
    browser: Browser, server: Server, *, url: str = "", size: str = "wide", **more: Any
) -> Iterator[BrowserContext]:
    """An admin, signed in by a key. Any error of the page, or of its policy, fails at the end."""
    faults: list[str] = []
    key = server.run("keys", "create", "person", "--scope", "admin", "--quiet").strip()
    with browser.new_context(base_url=f"{url or server.url}/", viewport=SIZES[size], **more) as context:
        context.on("weberror", lambda error: faults.append(str(error.error)))
        context.on("console", lambda line: faults.append(line.text) if "Content Security Policy" in line.text else None)
        reply = context.request.post("session", data={"key": key}, headers={"Origin": url or server.url})
        assert reply.ok, reply.text()
        yield context
    assert faults == []


def violations(page: Page) -> list[str]:
    """Return what axe finds wrong with the page as it stands, each with its place."""
    # The page's policy allows no script of others: this one is run by the browser's own debugger.
    page.evaluate(AXE.read_text() + "; void 0")
    found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    return [
        f"{one['id']}: {one['help']}: {node['target']} {' '.join(node['html'].split())[:160]}"
        for one in found["violations"]
        for node in one["nodes"]
    ]


def settled(page: Page) -> None:
    """Wait until nothing is loading and all pictures that can be seen are there."""
    page.wait_for_function(
        "() => !document.querySelector('[role=status] .rm-hidden') && "
        "[...document.images].filter(one => one.getBoundingClientRect().top < innerHeight).every(one => one.complete)"
    )
