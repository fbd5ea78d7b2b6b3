"""What the documents say is so: the reference is the code's, links lead somewhere, commands and settings exist."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from reelmill.cli import app
from reelmill.errors import catalogue
from reelmill.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
WRITTEN = [page for page in PAGES if page.parent.name != "reference" and page.name != "CHANGELOG.md"]
LINK = re.compile(r"\]\((?!https?://)([^)#\s]*)(#[^)\s]*)?\)")
COMMAND = re.compile(r"(?:^|[\s`(|&;])reelmill((?: +[^\s`|&;)]+)+)", re.MULTILINE)
CODE = re.compile(r"^ *```(?:bash|console)\n(.*?)^ *```|(?<!`)`([^`\n]+)`", re.MULTILINE | re.DOTALL)
VARIABLE = re.compile(r"REELMILL_[A-Z0-9_]+")


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def test_reference_is_what_the_code_says() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/reference.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    for target, fragment in LINK.findall(page.read_text()):
        there = (page.parent / target).resolve() if target else page
        assert there.exists(), f"{target} doesn't exist"
        if fragment:
            assert fragment[1:] in set(anchors(there.read_text())), f"{target}{fragment} has no such heading"


def test_the_page_for_uppy_is_the_tested_one() -> None:
    text = (ROOT / "docs/how-to/use-uppy.md").read_text()
    first, *_ = re.findall(r"^   ```js\n(.*?)^   ```", text, re.MULTILINE | re.DOTALL)
    assert re.sub(r"^   ", "", first, flags=re.MULTILINE) == (ROOT / "tests/uppy/reelmill.js").read_text()


def anchors(text: str) -> Iterator[str]:
    """Yield the anchors that a renderer makes of a page's headings."""
    for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE):
        yield re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", WRITTEN, ids=named)
def test_commands_exist(page: Path) -> None:
    for words in commands(page.read_text()):
        assert_command(words)


def test_commands_in_remedies_exist() -> None:
    for error in catalogue():
        for words in commands(error.remedy):
            assert_command(words)


def commands(text: str) -> Iterator[list[str]]:
    """Yield the words after each `reelmill` that stands where a command stands: in code."""
    for block, span in CODE.findall(text):
        for line in (block or span).splitlines():
            for words in COMMAND.findall(line.split("  #")[0]):
                yield words.split()


def assert_command(words: list[str]) -> None:
    """Fail unless the words name a command, and its options are options of it."""
    command: Any = get_command(app)
    options = set()
    for word in words:
        if word.startswith("-"):
            options.add(word.partition("=")[0])
        elif word in getattr(command, "commands", {}):
            command = command.commands[word]
        elif getattr(command, "commands", {}) and word.islower():
            raise AssertionError(f"`reelmill {' '.join(words)}`: there is no command {word!r}")
    known = {name for param in command.params for name in (*param.opts, *param.secondary_opts)} | {"--help"}
    assert options <= known, f"`reelmill {' '.join(words)}`: no option {', '.join(sorted(options - known))}"


def test_settings_named_in_documents_exist() -> None:
    known = {f"REELMILL_{name.upper()}" for name in Settings.model_fields}
    known |= set(VARIABLE.findall((ROOT / "docs" / "reference" / "cli.md").read_text()))

    for page in PAGES:
        unknown = set(VARIABLE.findall(page.read_text())) - known
        assert not unknown, f"{named(page)} names {', '.join(sorted(unknown))}"
