"""Text as a picture, by Pillow with raqm: no user string ever gets near a filter graph."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Position = Literal[
    "top-left", "top", "top-right", "left", "center", "right", "bottom-left", "bottom", "bottom-right"
]  #: the middle ones of a row and a column leave their word out


@dataclass(frozen=True)
class TextStyle:
    """How a text looks. Everything scales with the picture."""

    position: Position = "bottom"
    size_pct: float = 6.0  #: font size in % of the picture's height (of its width × 9/16 if that is smaller), 1–50
    min_size_pct: float = 2.5  #: the text is made smaller down to this to fit, ≥ 0.5, ≤ size_pct
    color: str = "#FFFFFF"  #: "#RRGGBB"
    outline_color: str = "#000000"
    outline_pct: float = 8.0  #: width of the outline in % of the font size, 0–25; 0 = none
    box_color: str | None = None  #: "#RRGGBB", None = no box
    box_opacity: float = 0.6  #: 0 (clear) – 1 (solid)
    box_padding_pct: float = 30.0  #: space between text and the box's edge in % of the font size, 0–200
    margin_pct: float = 5.0  #: kept free at each edge, in % of the picture's width and height, 0–40
    max_width_pct: float = 90.0  #: widest line in % of the picture's width, 10–100; the margins hold anyway
    weight: int = 600  #: 100 (thin) – 900 (black)


@dataclass(frozen=True)
class Layout:
    """A text broken into lines at a size that fits."""

    lines: tuple[str, ...]
    font_px: float  #: font size, pixels
    x: int  #: the rectangle of the text with outline and box, pixels in the picture; even
    y: int
    width: int  #: even
    height: int
    style: TextStyle


@dataclass(frozen=True)
class Picture:
    """An RGBA PNG that belongs at (x, y) of the video picture."""

    path: Path
    x: int  #: pixels from the left, even
    y: int  #: pixels from the top, even
    width: int  #: pixels, even
    height: int


def layout(text: str, style: TextStyle, width: int, height: int) -> Layout:
    """Break a text into lines for a picture of width × height pixels.

    text: 1–5,000 characters after newlines are normalised. Wraps at spaces, between CJK characters, and inside a word
    only if it can't fit otherwise; makes the font smaller down to style.min_size_pct.
    Raises TextDoesNotFit, and ParamsInvalid for a style out of range, control characters, an empty or too long text,
    and characters for which no font is installed (it names them).
    """
    raise NotImplementedError


def draw(layout: Layout, path: Path) -> Picture:
    """Write the layout as a PNG cropped to what is seen. Equal layouts give equal bytes."""
    raise NotImplementedError
