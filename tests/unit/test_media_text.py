"""Text pictures: they fit, they are shaped, and what can't be drawn is refused by name."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from reelmill.errors import ParamsInvalid, TextDoesNotFit
from reelmill.media import Picture, TextStyle, draw, layout
from reelmill.media.fonts import faces
from reelmill.media.lines import clusters, is_right_to_left, levels, visual_runs, words
from reelmill.media.text import Position

SIZES = [(1920, 1080), (1080, 1920), (640, 360), (322, 242)]
SCRIPTS = {
    "Latin": "Grüße, naïve façade — “exact”", "Greek": "Γειά σου Κόσμε", "Cyrillic": "Привет, мир!",
    "Arabic": "مرحبا بالعالم، نص عربي", "Hebrew": "שלום עולם", "Devanagari": "नमस्ते दुनिया। क्षत्रिय",
    "Thai": "สวัสดีชาวโลก", "Bengali": "ওহে বিশ্ব", "Tamil": "வணக்கம் உலகம்", "Georgian": "გამარჯობა",
    "emoji": "🎬 👩‍🚀 ❤️ 👍🏽 🇩🇪",
}  # fmt: skip
RED = TextStyle(color="#FF0000", outline_pct=0)


def pixels(picture: Picture) -> np.ndarray[Any, Any]:
    with Image.open(picture.path) as image:
        assert image.mode == "RGBA" and image.size == (picture.width, picture.height)
        return np.asarray(image)


def drawn(text: str, style: TextStyle, folder: Path, width: int = 1280, height: int = 720) -> Picture:
    return draw(layout(text, style, width, height), folder / "text.png")


@pytest.mark.req("B-04")
@pytest.mark.parametrize("position", get_args(Position))
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_each_position_lies_within_its_margins(position: Position, width: int, height: int, tmp_path: Path) -> None:
    style = replace(RED, position=position, margin_pct=10, box_color="#000000")
    picture = drawn("One line", style, tmp_path, width, height)
    margin = min(width, height) * 0.1
    assert picture.x % 2 == picture.y % 2 == picture.width % 2 == picture.height % 2 == 0
    assert picture.x >= margin - 2 and picture.x + picture.width <= width - margin + 3
    assert picture.y >= margin - 2 and picture.y + picture.height <= height - margin + 3
    middle_x, middle_y = picture.x + picture.width / 2, picture.y + picture.height / 2
    column = "left" if "left" in position else "right" if "right" in position else "middle"
    row = "top" if "top" in position else "bottom" if "bottom" in position else "middle"
    assert {"left": picture.x < margin + 3, "middle": abs(middle_x - width / 2) < 3,
            "right": picture.x + picture.width > width - margin - 3}[column]  # fmt: skip
    assert {"top": picture.y < margin + 3, "middle": abs(middle_y - height / 2) < 3,
            "bottom": picture.y + picture.height > height - margin - 3}[row]  # fmt: skip


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_is_drawn_with_glyphs_of_its_own(script: str, tmp_path: Path) -> None:
    text = SCRIPTS[script]
    for run in visual_runs(text, faces(), is_right_to_left(text)):
        for char in run.text:
            assert ord(char) in run.face.covers or unicodedata.category(char) in ("Cf", "Mn"), (char, run)
    assert (pixels(drawn(text, RED, tmp_path))[:, :, 3] > 200).mean() > 0.05


def test_shaping_is_done_by_harfbuzz(tmp_path: Path) -> None:
    joined, apart = (layout(text, RED, 1280, 720).width for text in ("سسسس", "س\u200cس\u200cس\u200cس"))
    assert joined < apart, "Arabic letters join"
    conjunct, spelled = (layout(text, RED, 1280, 720).width for text in ("क्ष", "क\u094d\u200cष"))
    assert conjunct < spelled, "Devanagari letters join"


def seen(text: str) -> str:
    """Return a line's characters from left to right, as they are seen."""
    runs = visual_runs(text, faces(), is_right_to_left(text))
    return "".join(run.text[::-1] if run.right_to_left else run.text for run in runs)


def test_mixed_directions_are_ordered_as_unicode_says() -> None:
    hebrew, arabic = "עברית", "العربية"
    right, also_right = hebrew[::-1], arabic[::-1]
    assert seen(f"{hebrew} ({hebrew}), hello 42!") == f"!hello 42 ,){right}( {right}"
    assert seen(f"English {hebrew}, then {arabic}. End.") == f"English {right}, then {also_right}. End."
    assert seen(f"abc {hebrew} 42 def") == f"abc 42 {right} def"
    assert seen(f"{hebrew} {arabic} - 7") == f"7 - {also_right} {right}"
    assert levels("at 10:30", False) == [0] * 8
    assert levels("ב 10:30", True) == [1, 1, 2, 2, 2, 2, 2]


@pytest.mark.req("B-04")
def test_long_texts_are_wrapped_then_made_smaller_then_refused() -> None:
    style = TextStyle(size_pct=8, min_size_pct=3)
    short = layout("A few words", style, 1280, 720)
    assert short.lines == ("A few words",) and short.font_px == round(720 * 0.08)
    wrapped = layout("Some more words " * 8, style, 1280, 720)
    assert len(wrapped.lines) > 1 and wrapped.font_px == short.font_px
    assert " ".join(wrapped.lines) == ("Some more words " * 8).strip()
    smaller = layout("A great deal of words " * 40, style, 1280, 720)
    assert 720 * 0.03 <= smaller.font_px < short.font_px
    with pytest.raises(TextDoesNotFit, match="1280×720"):
        layout("Far too many words " * 200, style, 1280, 720)


def test_words_are_torn_only_when_they_must_be() -> None:
    style = TextStyle(size_pct=10, min_size_pct=5)
    assert layout("Donaudampfschifffahrtsgesellschaft", style, 640, 360).lines == (
        "Donaudampfschifffahrtsgesellschaft",
    )
    torn = layout("x" * 150, style, 640, 360)
    assert len(torn.lines) > 1 and "".join(torn.lines) == "x" * 150
    marks = layout("e\u0308\u0301" * 100, style, 640, 360)
    assert all(unicodedata.category(line[0])[0] == "L" for line in marks.lines)


def test_lines_break_where_the_script_allows_it() -> None:
    assert words("ab cd  ef") == ["ab ", "cd  ", "ef"]
    assert words("你好，世界。再见") == ["你", "好，", "世", "界。", "再", "见"]
    assert words("カッコ（中）だ") == ["カッ", "コ", "（中）", "だ"]
    assert list(clusters("👩\u200d🚀é🇩🇪🇫🇷")) == ["👩\u200d🚀", "é", "🇩🇪", "🇫🇷"]


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r", "\u2028", "\x85"])
def test_all_newlines_are_newlines(newline: str) -> None:
    assert layout(f"one{newline}two{newline}{newline}four\t4", TextStyle(), 1280, 720).lines == (
        "one",
        "two",
        "",
        "four 4",
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"), (" \n\t", "empty"), ("a\x00b", r"U\+0000"), ("a\x1b[0m", r"U\+001B"), ("a\ue000", r"U\+E000"),
        ("a\ud800", r"U\+D800"), ("x" * 5001, "5001"), ("Linear B: \U00010000", r"U\+10000 Linear B Syllable"),
    ],
)  # fmt: skip
def test_what_can_not_be_drawn_is_refused_by_name(text: str, said: str) -> None:
    with pytest.raises(ParamsInvalid, match=said):
        layout(text, TextStyle(), 1280, 720)


@pytest.mark.parametrize(
    "change",
    [
        {"position": "middle"}, {"color": "red"}, {"color": "#FFF"}, {"box_color": "#00000G"}, {"size_pct": 0.5},
        {"size_pct": 60.0}, {"min_size_pct": 7.0}, {"outline_pct": 30.0}, {"box_opacity": 1.5}, {"margin_pct": 41.0},
        {"max_width_pct": 5.0}, {"weight": 1000}, {"size_pct": float("nan")},
    ],
)  # fmt: skip
def test_styles_out_of_range_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ParamsInvalid):
        layout("a", replace(TextStyle(), **change), 1280, 720)


def test_box_outline_and_colours_are_as_asked(tmp_path: Path) -> None:
    bare = pixels(drawn("III", RED, tmp_path))
    assert (bare[bare[:, :, 3] > 0][:, :3] == (255, 0, 0)).all(), "no dark fringe"
    lined = pixels(drawn("III", replace(RED, outline_pct=10, outline_color="#0000FF"), tmp_path))
    assert {(255, 0, 0), (0, 0, 255)} <= {tuple(pixel) for pixel in lined[lined[:, :, 3] == 255][:, :3].tolist()}
    boxed = pixels(drawn("III", replace(RED, box_color="#00FF00", box_opacity=0.5), tmp_path))
    middle_of_top = boxed[1, boxed.shape[1] // 2]
    assert tuple(middle_of_top[:3]) == (0, 255, 0) and middle_of_top[3] == 128


def test_weight_changes_the_letters(tmp_path: Path) -> None:
    ink = [int((pixels(drawn("Weight", replace(RED, weight=n), tmp_path))[:, :, 3] > 128).sum()) for n in (400, 700)]
    assert ink[1] > ink[0] * 1.2


def test_the_same_text_gives_the_same_bytes(tmp_path: Path) -> None:
    text = "\n".join(SCRIPTS.values())
    made = [draw(layout(text, TextStyle(box_color="#000000"), 1280, 720), tmp_path / f"{n}.png") for n in (1, 2)]
    assert made[0].path.read_bytes() == made[1].path.read_bytes()


WRITABLE = st.text(st.sampled_from(sorted(set("".join(SCRIPTS.values()) + " \n.,()!?0123456789abc"))), min_size=1)


@settings(deadline=None, max_examples=60)
@given(
    text=WRITABLE, size=st.sampled_from(SIZES), position=st.sampled_from(get_args(Position)), box=st.booleans(),
    size_pct=st.floats(2.5, 50), outline=st.floats(0, 25), margin=st.floats(0, 20), width_pct=st.floats(40, 100),
)  # fmt: skip
def test_a_picture_never_leaves_the_video(
    tmp_path_factory: pytest.TempPathFactory, text: str, size: tuple[int, int], position: Position, box: bool,
    size_pct: float, outline: float, margin: float, width_pct: float,
) -> None:  # fmt: skip
    style = TextStyle(
        position=position, size_pct=size_pct, outline_pct=outline, margin_pct=margin, max_width_pct=width_pct,
        box_color="#123456" if box else None,
    )  # fmt: skip
    try:
        made = layout(text, style, *size)
    except ParamsInvalid:  # nothing to see in it, or too much
        return
    path = tmp_path_factory.getbasetemp() / "hypothesis.png"
    picture = draw(made, path)
    assert picture.x >= 0 and picture.y >= 0 and picture.width > 0 and picture.height > 0
    assert picture.x + picture.width <= size[0] and picture.y + picture.height <= size[1]
    assert (picture.x | picture.y | picture.width | picture.height) & 1 == 0
