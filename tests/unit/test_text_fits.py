"""Every text fits: 64 texts in 31 languages × the presets × four shapes of pictures."""

from __future__ import annotations

from dataclasses import replace

import pytest
import uharfbuzz as hb

from reelmill.errors import TextDoesNotFit
from reelmill.media import SAFE_AREAS, TEXT_PRESETS, TextStyle, layout, safe_area
from reelmill.media.paint import painted
from reelmill.media.text import Layout, normalised
from texts_of_the_world import TEXTS

#: The layout is the same at any size, for all of it scales with the picture; small ones are drawn in no time.
SHAPES = {"16:9": (480, 270), "9:16": (270, 480), "1:1": (270, 270), "4:5": (270, 338)}
EACH = [(name, text) for name, texts in TEXTS.items() for text in texts]


def check_inside(made: Layout, style: TextStyle) -> None:
    """Assert that no pixel that is seen lies outside the safe area."""
    box = painted(made).getbbox()
    assert box is not None, "there is a text"
    width, height, safe = made.picture_width, made.picture_height, style.safe
    assert made.x + box[0] >= int(safe.left * width) and made.x + box[2] <= width - int(safe.right * width)
    assert made.y + box[1] >= int(safe.top * height) and made.y + box[3] <= height - int(safe.bottom * height)


def missing(made: Layout) -> list[str]:
    """Return the runs in which HarfBuzz, asked anew, finds no glyph for a character."""
    found = []
    for run in [placed.run for placed in (*made.runs, *made.marks)]:
        buffer = hb.Buffer()
        buffer.add_str(run.text)
        buffer.guess_segment_properties()
        hb.shape(hb.Font(hb.Face(hb.Blob.from_file_path(str(run.face.path)), run.face.index)), buffer)
        found += [run.text for glyph in buffer.glyph_infos if glyph.codepoint == 0]
    return found


def test_there_are_many_texts() -> None:
    assert len(EACH) >= 60 and len(TEXTS) >= 12 and len(TEXT_PRESETS) >= 8


@pytest.mark.req("B-04")
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("preset", TEXT_PRESETS)
def test_each_text_fits_in_each_preset_and_shape(preset: str, shape: str) -> None:
    size = SHAPES[shape]
    style = replace(TEXT_PRESETS[preset], safe=safe_area("auto", *size))
    for name, text in EACH:
        made = layout(text, style, *size)
        check_inside(made, style)
        assert "".join(made.lines).replace(" ", "") == normalised(text).replace(" ", ""), name
        assert not missing(made), (name, text)


@pytest.mark.req("B-04")
@pytest.mark.parametrize("app", ["tiktok", "reels", "shorts", "title"])
def test_what_an_app_covers_is_kept_free_in_every_corner(app: str) -> None:
    for position in ("top-left", "top-right", "bottom-left", "bottom-right", "center", "top", "bottom"):
        for preset in ("bold_outline", "lower_third", "tag"):
            style = replace(TEXT_PRESETS[preset], safe=SAFE_AREAS[app], position=position, margin_pct=0.0)
            for text in ("Summer", "All human beings are born free and equal in dignity and rights."):
                check_inside(layout(text, style, 540, 960), style)


@pytest.mark.req("B-04")
def test_a_text_that_is_too_long_is_refused_with_what_would_fit() -> None:
    style = replace(TEXT_PRESETS["headline"], min_size_pct=8)
    with pytest.raises(TextDoesNotFit) as refused:
        layout("Every word counts, and so does the next one. " * 20, style, 480, 270)
    longest = refused.value.extra["longest"]
    assert longest.startswith("Every word counts") and len(longest) < 400
    check_inside(layout(longest, style, 480, 270), style)


def test_the_layout_is_the_same_at_any_size() -> None:
    for name, text in EACH[::7]:
        style = TEXT_PRESETS["boxed"]
        small, large = layout(text, style, 480, 270), layout(text, style, 1920, 1080)
        assert small.size_pct == pytest.approx(large.size_pct, rel=0.05), name
        if small.size_pct > 5.8:
            assert small.lines == large.lines, name
