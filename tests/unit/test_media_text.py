"""Text pictures: they fit, they are shaped, and what can't be drawn is refused by name."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from reelmill.errors import ParamsInvalid, TextDoesNotFit
from reelmill.media import Layout, Picture, TextStyle, draw, layout
from reelmill.media.fonts import Language
from reelmill.media.lines import Paragraph, clusters, is_right_to_left, language_of, levels, line_ends
from reelmill.media.text import Position, normalised

SIZES = [(1920, 1080), (1080, 1920), (320, 180), (160, 90)]
SCRIPTS = {
    "Latin": "Grüße, naïve façade — “exact”", "Vietnamese": "Nguyễn Thị Hằng", "Greek": "Γειά σου Κόσμε",
    "Cyrillic": "Привет, мир!", "Arabic": "مرحبا بالعالم، نص عربي", "Hebrew": "שָׁלוֹם עולם",
    "Devanagari": "नमस्ते दुनिया। क्षत्रिय", "Bengali": "ওহে বিশ্ব", "Gujarati": "સ્વતંત્ર અને સમાન",
    "Gurmukhi": "ਸਾਰਾ ਮਨੁੱਖੀ ਪਰਿਵਾਰ", "Kannada": "ಮಾನವರೂ ಸ್ವತಂತ್ರ", "Malayalam": "സ്വാതന്ത്ര്യത്തോടെ", "Odia": "ସବୁ ମନୁଷ୍ୟ",
    "Sinhala": "මනුෂ්‍යයෝ නිදහස්ව", "Tamil": "வணக்கம் உலகம்", "Telugu": "స్వతంత్రులును", "Thai": "ที่นี่ สวัสดีชาวโลก",
    "Lao": "ມະນຸດທຸກຄົນ", "Khmer": "សួស្តីពិភពលោក", "Burmese": "မင်္ဂလာပါ", "Georgian": "გამარჯობა", "Armenian": "Բարև աշխարհ",
    "Ethiopic": "ሰላም ልዑል", "Chinese": "你好，世界。“再见”", "traditional": "尊嚴和權利，平等。",
    "Japanese": "カッコいい映画だ。東京",
    "Korean": "모든 인간은 자유로우며", "emoji": "🎬 👩‍🚀 ❤️ 👍🏽 🇩🇪 1️⃣ 👨‍👩‍👧",
    "literal": "%{pts} 'a' \"b\" \\n C:\\d {e:f} [g]; 100 %",
}  # fmt: skip
RED = TextStyle(color="#FF0000", outline_pct=0)


def pixels(picture: Picture) -> np.ndarray[Any, Any]:
    with Image.open(picture.path) as image:
        assert image.mode == "RGBA" and image.size == (picture.width, picture.height)
        return np.asarray(image)


def drawn(text: str, style: TextStyle, folder: Path, width: int = 1280, height: int = 720) -> Picture:
    return draw(layout(text, style, width, height), folder / "text.png")


def check_bounds(made: Layout, folder: Path) -> None:
    """Assert that the rectangle lies in the picture, and all ink in the rectangle also when nothing holds it there."""
    width, height = made.picture_width, made.picture_height
    assert made.x >= 0 and made.y >= 0 and made.x + made.width <= width and made.y + made.height <= height
    assert (made.x | made.y | made.width | made.height) & 1 == 0
    bare = replace(made.style, box_color=None)
    free = replace(made, x=-100, y=-100, width=width + 200, height=height + 200, style=bare)
    picture = draw(free, folder / "free.png")
    if pixels(picture)[:, :, 3].any():
        assert picture.x >= made.x and picture.x + picture.width <= made.x + made.width
        assert picture.y >= made.y and picture.y + picture.height <= made.y + made.height


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


@pytest.mark.req("B-04")
@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_is_drawn_at_every_position_and_size(script: str, tmp_path: Path) -> None:
    for n, position in enumerate(get_args(Position)):
        made = layout(SCRIPTS[script], replace(RED, position=position, size_pct=10), *SIZES[n % len(SIZES)])
        picture = draw(made, tmp_path / "text.png")
        assert (pixels(picture)[:, :, 3] > 128).mean() > 0.05
        assert " ".join(made.lines).replace(" ", "") == normalised(SCRIPTS[script]).replace(" ", "")
    check_bounds(layout(SCRIPTS[script], TextStyle(position="right", size_pct=8, margin_pct=0), 640, 360), tmp_path)


@pytest.mark.parametrize("script", SCRIPTS)
def test_no_letter_is_the_box_of_a_missing_glyph(script: str) -> None:
    text = normalised(SCRIPTS[script])
    paragraph = Paragraph(text, language_of(text), 600)
    for run in paragraph.line(0, len(text))[1]:
        font = run.face.open(40, 600)
        empty = bytes(font.getmask("\U0010ffff"))
        for cluster in clusters(run.text):
            assert cluster == " " or bytes(font.getmask(cluster)) not in (empty, b""), (cluster, run.face)


def width_of(text: str) -> float:
    """Return a line's width in font sizes."""
    paragraph = Paragraph(text, language_of(text), 600)
    runs = paragraph.line(0, len(text))[1]
    return sum(glyph.advance for run in runs for glyph in run.face.shaped(run.text, run.right_to_left, 600))


def test_letters_join_as_their_script_wants_it() -> None:
    assert width_of("سسسس") < 0.8 * 4 * width_of("س"), "Arabic letters join"
    assert width_of("क्ष") < 0.8 * width_of("क\u094d\u200cष"), "Devanagari letters form a conjunct"
    assert width_of("ක්\u200dර") < 0.8 * width_of("ක්ර"), "Sinhala ones do with a joiner"
    assert width_of("ที่") == width_of("ท"), "Thai marks stand above"
    assert width_of("각") == width_of("\u1100\u1161\u11a8"), "Korean letters form a syllable"
    assert width_of("e\u0301") == width_of("é")


@pytest.mark.parametrize("script", SCRIPTS)
def test_what_is_measured_is_what_is_drawn(script: str) -> None:
    text = normalised(SCRIPTS[script])
    for run in Paragraph(text, language_of(text), 600).line(0, len(text))[1]:
        glyphs = run.face.shaped(run.text, run.right_to_left, 600)
        painted = run.face.open(200, 600).getlength(run.text, direction="rtl" if run.right_to_left else "ltr") / 200
        assert painted == pytest.approx(sum(glyph.advance for glyph in glyphs), rel=0.002, abs=0.01)


SCOTLAND = "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f"
FAMILY = "👨\u200d👩\u200d👧\u200d👦"


@pytest.mark.parametrize(
    "sequence", ["👩\u200d🚀", FAMILY, "👍🏽", "🇩🇪", SCOTLAND, "1️⃣", "❤️\u200d🔥", "🏳️\u200d🌈", "👋🏿"]
)
def test_emoji_sequences_are_one_picture(sequence: str) -> None:
    assert width_of(sequence) == pytest.approx(width_of("🎬"))
    lines = layout(sequence * 200, TextStyle(size_pct=20, min_size_pct=1), 320, 180).lines
    assert len(lines) > 1 and all(len(line) % len(sequence) == 0 for line in lines), "never torn"


def test_marks_above_marks_are_not_cut(tmp_path: Path) -> None:
    for text in ("ปั๊มน้ำ", "ٱللَّهِ", "Ễ", "a" + "\u0301" * 12 + "\u0323" * 12, "र्द्ध्र्य", "က္ကြွေ"):
        for position in ("top", "bottom", "left"):
            check_bounds(layout(text, replace(RED, position=position, margin_pct=0, size_pct=20), 640, 360), tmp_path)
    plain, marked = (drawn(text, replace(RED, position="top", size_pct=20), tmp_path) for text in ("ท", "ที่"))
    assert marked.height > 1.25 * plain.height


def test_keycaps_have_an_outline_inside_too(tmp_path: Path) -> None:
    style = TextStyle(color="#FFFFFF", outline_color="#0000FF", outline_pct=10, size_pct=40)
    check_bounds(layout("1\ufe0f\u20e3", style, 640, 360), tmp_path)
    image = pixels(drawn("1\ufe0f\u20e3", style, tmp_path))
    high, wide = image.shape[0] // 3, image.shape[1] // 3
    middle = image[high:-high, wide:-wide].reshape(-1, 4)
    assert 0.2 < (middle == (0, 0, 255, 255)).all(axis=1).mean() < 0.9


def test_the_glyph_that_is_a_sentence_is_spelled_out(tmp_path: Path) -> None:
    made = layout("\ufdfd", TextStyle(), 640, 360)
    assert made.lines == ("بسم الله الرحمن الرحيم",)
    check_bounds(made, tmp_path)


def test_right_to_left_begins_at_the_right(tmp_path: Path) -> None:
    for text, side in (("lxxx", 0), ("למממ", 1), ("مححا", 0)):  # l, lamed and alef are the highest letters
        ink = pixels(drawn(text, replace(RED, size_pct=20), tmp_path))[:, :, 3]
        highest = np.argmax((ink > 128).any(axis=0) * ink.shape[0] - np.argmax(ink > 128, axis=0))
        assert (highest > ink.shape[1] / 2) == bool(side), text


def test_a_wrapped_line_runs_like_its_paragraph(tmp_path: Path) -> None:
    made = layout("אבגדהו אבגדהו Latin אבג", replace(RED, size_pct=20), 640, 360)
    assert made.lines[1].startswith("Latin") and not is_right_to_left(made.lines[1])
    last = [placed for placed in made.runs if placed.y == made.runs[-1].y]
    assert max(last, key=lambda placed: placed.x).run.text.startswith("Latin"), "the first word stands at the right"


def seen(text: str) -> str:
    """Return a line's characters from left to right, as they are seen."""
    runs = Paragraph(text, "zh-Hans", 400).line(0, len(text))[1]
    return "".join(run.text[::-1] if run.right_to_left else run.text for run in runs)


def test_mixed_directions_are_ordered_as_unicode_says() -> None:
    hebrew, arabic = "עברית", "العربية"
    right, also_right = hebrew[::-1], arabic[::-1]
    assert seen(f"{hebrew} ({hebrew}), hello 42!") == f"!hello 42 ,){right}( {right}"
    assert seen(f"English {hebrew}, then {arabic}. End.") == f"English {right}, then {also_right}. End."
    assert seen(f"abc {hebrew} 42 def") == f"abc 42 {right} def"
    assert seen(f"{hebrew} {arabic} - 7") == f"7 - {also_right} {right}"
    assert seen(f"a ({hebrew} b) {hebrew}") == f"a ({right} b) {right}", "both brackets go one way"
    assert seen(f"{arabic} 10:30, 5%") == f"%5 ,10:30 {also_right}"
    assert levels("at 10:30", False) == [0] * 8
    assert levels("ב 10:30", True) == [1, 1, 2, 2, 2, 2, 2]
    assert levels("ا 1/2", True) == [1, 1, 2, 2, 2]
    assert levels("a\u200dב\u05b0", False) == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("你好，世界", "zh-Hans"), ("尊嚴和權利", "zh-Hant"), ("ㄅㄆㄇ", "zh-Hant"), ("我哋喺度", "zh-HK"),
        ("映画を見る", "ja"), ("働駅", "ja"), ("한국어와 漢字", "ko"), ("plain", "zh-Hans"),
    ],
)  # fmt: skip
def test_han_characters_look_as_their_language_writes_them(text: str, language: Language) -> None:
    assert language_of(text) == language


def test_each_language_has_its_own_forms_and_a_weight(tmp_path: Path) -> None:
    faces = [Paragraph(text, language_of(text), 400).faces[0] for text in ("直", "直 かな", "直 한글")]
    assert [face.index for face in faces] == [2, 0, 1]
    assert bytes(faces[0].open(60, 400).getmask("直")) != bytes(faces[1].open(60, 400).getmask("直"))
    ink = [int((pixels(drawn("永國", replace(RED, weight=n), tmp_path))[:, :, 3] > 128).sum()) for n in (400, 700)]
    assert ink[1] > ink[0] * 1.2


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


@pytest.mark.req("B-04")
@pytest.mark.parametrize("script", SCRIPTS)
def test_five_thousand_characters_fit_or_are_told_how_many_do(script: str) -> None:
    text = (normalised(SCRIPTS[script]) + " ") * 400
    text = "".join(clusters(text[:5000])[:-1]).strip()
    made = layout(text, TextStyle(min_size_pct=0.5), 1920, 1080)
    assert "".join(made.lines).replace(" ", "") == text.replace(" ", "")
    with pytest.raises(TextDoesNotFit, match=r"make min_size_pct.* smaller") as refused:
        layout(text, TextStyle(), 320, 180)
    told = re.search("its first ([0-9,]+) would", refused.value.detail)
    assert told is not None
    fitting = int(told[1].replace(",", ""))
    assert fitting > 500 and layout(text[:fitting], TextStyle(), 320, 180)


def test_texts_for_which_there_is_no_room_at_all_are_refused() -> None:
    for style in (
        replace(RED, box_color="#000000", box_padding_pct=200, size_pct=50, min_size_pct=50),
        replace(RED, size_pct=50, min_size_pct=50),
    ):
        with pytest.raises(TextDoesNotFit, match=r"first|beginning"):
            layout("Words\n" * 9, style, 160, 90)


def test_few_lines_are_about_equally_long() -> None:
    made = layout("Every line of a few should be about as long as its neighbours are", TextStyle(size_pct=9), 1280, 720)
    lengths = [width_of(line) for line in made.lines]
    assert len(lengths) > 1 and min(lengths) > 0.75 * max(lengths)


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
    def parts(text: str, locale: str = "en") -> list[str]:
        ends = line_ends(text, locale)
        return [text[start:end] for start, end in zip([0, *ends], ends, strict=False)]

    assert parts("ab cd  ef") == ["ab ", "cd  ", "ef"]
    assert parts("你好，世界。再见") == ["你", "好，", "世", "界。", "再", "见"]
    assert parts("カッコ（中）だ") == ["カッ", "コ", "（中）", "だ"]
    assert parts("สวัสดีชาวโลก") == ["สวัสดี", "ชาว", "โลก"]
    assert parts("សួស្តីពិភពលោក") == ["សួស្តី", "ពិភពលោក"]
    assert parts("名前はまだ無い。", "ja-u-lw-phrase") == ["名前は", "まだ", "無い。"]
    assert parts("100\u00a0% 🎬🎬") == ["100\u00a0% ", "🎬", "🎬"]
    assert clusters("👩\u200d🚀é🇩🇪🇫🇷") == ["👩\u200d🚀", "é", "🇩🇪", "🇫🇷"]
    assert layout("Donaudampf\u00adschiff", replace(RED, size_pct=20), 640, 360).lines == ("Donaudampf-", "schiff")
    assert layout("Dampf\u00adschiff", replace(RED, size_pct=10), 640, 360).lines == ("Dampf\u00adschiff",)


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
        ("a\ud800", r"U\+D800"), ("a\u202eb", r"U\+202E Right-To-Left Override"),
        ("a\u2067b", r"U\+2067"), ("ก\u0308", r"U\+0E01 .* with U\+0308"), ("\u200b", "empty"),
        ("\U0001d538", r"U\+1D538"), ("x" * 5001, "5001"), ("Linear B: \U00010000", r"U\+10000 Linear B Syllable"),
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
    made = [draw(layout(text, TextStyle(min_size_pct=1), 1280, 720), tmp_path / f"{n}.png") for n in (1, 2)]
    assert made[0].path.read_bytes() == made[1].path.read_bytes()


PRINTABLE = st.characters(exclude_categories=("Cc", "Cs", "Co", "Cn"))
WRITABLE = st.sampled_from(sorted(set("".join(SCRIPTS.values()) + " \n.,()!?0123456789abc\u00ad\u200b\u200f")))
TEXTS = st.one_of(
    st.text(WRITABLE, min_size=1, max_size=60),
    st.text(PRINTABLE, min_size=1, max_size=4),
    st.tuples(st.text(WRITABLE, min_size=1, max_size=12), st.integers(1, 400)).map(lambda told: told[0] * told[1]),
)


@pytest.mark.req("B-04")
@settings(deadline=None, max_examples=40)
@example("j" + "\u0301" * 60, (160, 90), "left", False, 50.0, 25.0, 0.0, 40.0)
@example("\ufdfd\u200d\u0b3f", (640, 360), "top", False, 30.0, 25.0, 0.0, 100.0)
@example("\u0600\u0e33\u25cc", (160, 90), "top-right", False, 20.0, 0.0, 0.0, 100.0)
@given(
    text=TEXTS, size=st.sampled_from([(640, 360), (180, 320), (160, 90), (322, 242)]),
    position=st.sampled_from(get_args(Position)), box=st.booleans(), size_pct=st.floats(2.5, 50),
    outline=st.floats(0, 25), margin=st.floats(0, 20), width_pct=st.floats(40, 100),
)  # fmt: skip
def test_any_text_lies_in_its_rectangle_or_is_refused(
    tmp_path_factory: pytest.TempPathFactory, text: str, size: tuple[int, int], position: Position, box: bool,
    size_pct: float, outline: float, margin: float, width_pct: float,
) -> None:  # fmt: skip
    style = TextStyle(
        position=position, size_pct=size_pct, outline_pct=outline, margin_pct=margin, max_width_pct=width_pct,
        box_color="#123456" if box else None,
    )  # fmt: skip
    try:
        made = layout(text, style, *size)
    except ParamsInvalid:  # no font, nothing to see in it, or too much
        return
    folder = tmp_path_factory.getbasetemp()
    check_bounds(made, folder)
    picture = draw(made, folder / "hypothesis.png")
    assert picture.x >= 0 and picture.y >= 0 and picture.width > 0 and picture.height > 0
    assert picture.x + picture.width <= size[0] and picture.y + picture.height <= size[1]
    assert (picture.x | picture.y | picture.width | picture.height) & 1 == 0
