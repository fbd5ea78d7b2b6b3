"""Fonts of one's own: the good ones are used, the others are left out with the reason."""

from __future__ import annotations

import logging
import shutil
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from odd_fonts import changed
from reelmill.errors import FontRejected, ParamsInvalid
from reelmill.media import TEXT_PRESETS, TextStyle, layout
from reelmill.media.fonts import faces
from reelmill.media.own_fonts import FontShelf, checked_font, read_shelf
from reelmill.media.paint import painted

EMOJI = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A font with other characters than Noto Sans."""
    found = next(face.path for face in faces() if "Ethiopic" in face.path.name)
    return Path(shutil.copyfile(found, tmp_path / "House.ttf"))


@pytest.mark.req("B-04")
def test_a_font_of_a_folder_is_named_by_family_or_file(own: Path) -> None:
    shelf = read_shelf(own.parent)
    assert shelf.of("House") == shelf.of("Noto Sans Ethiopic") == (checked_font(own, own.name),)
    assert shelf.of(None) == ()
    with pytest.raises(ParamsInvalid, match="Noto Sans Ethiopic"):
        shelf.of("Helvetica")
    with pytest.raises(ParamsInvalid, match="none"):
        FontShelf().of("Helvetica")


def test_a_text_is_set_in_it_and_others_help_out(own: Path) -> None:
    style = TextStyle(fonts=(own,), size_pct=10)
    made = layout("ሰላም 東京", style, 640, 360)
    assert {placed.run.face.path for placed in made.runs} >= {own}
    assert made.fallback_fonts == ("NotoSansCJK-VF",)
    plain = layout("ሰላም 東京", replace(style, fonts=()), 640, 360)
    assert plain.fallback_fonts == ("NotoSansEthiopic", "NotoSansCJK-VF")


def test_what_can_not_be_used_is_left_out_with_the_reason(own: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = own.parent
    whole = own.read_bytes()
    (folder / "page.ttf").write_bytes(b"<html>no font</html>")
    (folder / "torn.ttf").write_bytes(whole[: len(whole) // 3])
    (folder / "empty.otf").write_bytes(b"")
    changed(Path(shutil.copyfile(own, folder / "forbidden.ttf")), b"OS/2", 8, struct.pack(">H", 2))
    changed(Path(shutil.copyfile(own, folder / "huge.ttf")), b"head", 18, struct.pack(">H", 16))
    (folder / "notes.txt").write_text("not looked at")
    with caplog.at_level(logging.WARNING, logger="reelmill.media"):
        shelf = read_shelf(folder)
    assert {font.path.name for font in shelf.fonts.values()} == {"House.ttf"}
    told = "\n".join(caplog.messages)
    assert "page.ttf can't be used: it is no TrueType or OpenType font" in told
    assert "forbidden.ttf can't be used: its owner forbids embedding it" in told
    assert "huge.ttf can't be used: its glyph" in told and "larger than 40" in told
    assert "torn.ttf can't be used" in told and "empty.otf can't be used" in told and "notes.txt" not in told


def test_any_broken_font_is_refused_and_nothing_else_breaks(own: Path) -> None:
    whole = bytearray(own.read_bytes())
    rng = np.random.default_rng(7)
    for n in range(6):
        broken = bytearray(whole)
        for place in rng.integers(12, 4000, 200):
            broken[place] = rng.integers(0, 256)
        path = own.with_name(f"broken-{n}.ttf")
        path.write_bytes(broken)
        try:
            checked_font(path, path.name)
        except FontRejected as refused:
            assert path.name in refused.detail


@pytest.mark.req("B-04")
def test_emoji_come_in_their_colours() -> None:
    assert EMOJI.is_file(), "the package fonts-noto-color-emoji is missing: make players"
    shelf = read_shelf(EMOJI.parent)
    fonts = tuple(font.path for font in shelf.of(None))
    assert fonts == (EMOJI,)
    style = replace(TEXT_PRESETS["boxed"], fonts=fonts, size_pct=20)
    made = layout("a 🍕 👩‍👩‍👧 🇯🇵 1️⃣", style, 640, 360)
    seen = np.asarray(painted(made)).astype(int)
    colored = (seen[..., :3].max(axis=2) - seen[..., :3].min(axis=2)) > 60
    assert colored.sum() > 500
    assert sum(placed.run.face.is_color for placed in made.runs) >= 1
    digits = layout("1 2 3 # *", style, 640, 360)
    assert not any(placed.run.face.is_color for placed in digits.runs), "plain digits stay letters"
