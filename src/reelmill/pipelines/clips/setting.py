"""A clip's text set on its film, and what is told of it. The step `clip` and the preview set it by the same code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reelmill.media import Layout, Moving, Readable, Source, draw, layout, readable
from reelmill.media.contrast import Frames
from reelmill.media.paint import Picture
from reelmill.pipelines.clips.params import TextLook
from reelmill.pipelines.clips.texts import style


@dataclass(frozen=True)
class SetText:
    """A text as it stands on a clip."""

    picture: Picture
    report: dict[str, Any]


def set_text(
    text: str, look: TextLook, size: tuple[int, int], seconds: float, frames: Frames, path: Path,
    fonts: Sequence[Path] = (),
) -> SetText:  # fmt: skip
    """Draw a text so that it fits and can be read; report size, lines, contrast, reading speed and fonts.

    size: of the clip's picture, pixels. seconds: for which it is seen. frames: see `readable`. path: of the PNG.
    """
    found = readable(layout(text, style(look, size, fonts), *size), look.legibility, frames)
    return SetText(draw(found.layout, path), report_of(text, found, seconds))


def report_of(text: str, found: Readable, seconds: float) -> dict[str, Any]:
    """Return what is told of a text: pixels, characters a second, ratios."""
    made: Layout = found.layout
    return {
        "size_px": round(made.font_px),
        "size_pct": round(made.size_pct, 2),
        "lines": list(made.lines),
        "box": {"x": made.x, "y": made.y, "width": made.width, "height": made.height},
        "contrast": _rounded(found.contrast),
        "contrast_before": _rounded(found.before) if found.added else None,
        "added": found.added,
        "reading_cps": round(len(" ".join(text.split())) / seconds, 1) if seconds > 0 else None,
        "fallback_fonts": list(made.fallback_fonts),
    }


def seconds_of(source: Source, frames: tuple[int, int]) -> float:
    """Return for how long source frames [first, end) are seen."""
    ticks = source.frame_ticks()
    end = ticks[frames[1]] if frames[1] < len(ticks) else source.video.end_tick
    return float((end - ticks[frames[0]]) * source.video.time_base)


def moving(look: TextLook, frames: tuple[int, int], clip_end: int) -> Moving:
    """Return how a text comes and goes. clip_end: the clip's last source frame, exclusive."""
    return Moving(look.motion, look.motion_s, leaves=frames[1] < clip_end)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
