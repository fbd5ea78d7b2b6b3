"""The web UI in a real Chromium, as a person uses it."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from running import Server

ROOT = Path(__file__).parents[1]
AXE = ROOT / "web" / "node_modules" / "axe-core" / "axe.min.js"
BUILT = ROOT / "src" / "reelmill" / "web" / "index.html"
SIZES = {"wide": {"width": 1440, "height": 900}, "narrow": {"width": 390, "height": 844}}
THEMES = ("light", "dark")
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")


expect.set_options(timeout=60_000)  # what is expected comes; on a busy machine it takes its time


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
    """The server's own user, signed in by a key. Any error of the page, or of its policy, fails at the end."""
    faults: list[str] = []
    key = (server.data / "cli.key").read_text().strip()  # an admin's, of this machine's user
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
    """Wait until the page is there, nothing is loading, and all pictures that can be seen have come."""
    page.locator("h1").first.wait_for()
    page.wait_for_function(
        "() => !document.querySelector('main[aria-busy]') && !document.querySelector('[role=status] .rm-hidden') && "
        "[...document.images].filter(one => one.getBoundingClientRect().top < innerHeight).every(one => one.complete)"
    )


def choose(page: Page, button: str, *files: Path) -> None:
    """Press a button that opens the browser's file chooser, and choose."""
    with page.expect_file_chooser() as asked:
        page.get_by_role("button", name=button, exact=True).first.click()
    asked.value.set_files(files)


def drop(page: Page, file: Path) -> None:
    """Drop a file onto the page, as from the desktop."""
    given = page.evaluate_handle(
        """([name, content]) => {
          const bytes = Uint8Array.from(atob(content), one => one.charCodeAt(0))
          const transfer = new DataTransfer()
          transfer.items.add(new File([bytes], name, { type: 'video/mp4' }))
          return transfer
        }""",
        [file.name, base64.b64encode(file.read_bytes()).decode()],
    )
    for event in ("dragenter", "dragover"):
        page.dispatch_event("main", event, {"dataTransfer": given})
    page.get_by_text("Drop to upload").wait_for()
    page.dispatch_event("main", "drop", {"dataTransfer": given})
