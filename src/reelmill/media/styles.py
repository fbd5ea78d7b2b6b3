"""How a text looks: its style, presets, and what each platform covers with its own signs."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from reelmill.errors import ParamsInvalid

Position = Literal[
    "top-left", "top", "top-right", "left", "center", "right", "bottom-left", "bottom", "bottom-right"
]  #: the middle ones of a row and a column leave their word out
Align = Literal["auto", "left", "center", "right"]  #: auto: as the position is
BoxShape = Literal["block", "lines"]  #: one box, or one for each line, as a marker draws
Accent = Literal["none", "bar", "underline", "quote"]  #: a bar at the side, a short rule below, a quotation mark above
SafeName = Literal["auto", "none", "title", "tiktok", "reels", "shorts"]


@dataclass(frozen=True)
class SafeArea:
    """Shares of the picture's width or height at each edge that a text keeps out of, 0–0.45."""

    left: float = 0.0
    top: float = 0.0
    right: float = 0.0
    bottom: float = 0.0


def _of_1080p(left: int, top: int, right: int, bottom: int) -> SafeArea:
    """Return the area that platforms tell in pixels of 1080 × 1920."""
    return SafeArea(left / 1080, top / 1920, right / 1080, bottom / 1920)


#: What is covered differs by app, phone and length of the caption; these are the figures that are told for ads, which
#: are covered most. Sources: docs/how-to/texts.md.
SAFE_AREAS: dict[SafeName, SafeArea] = {
    "none": SafeArea(),
    "title": SafeArea(0.05, 0.05, 0.05, 0.05),  # SMPTE ST 2046-1: 90 % of width and height
    "tiktok": _of_1080p(60, 150, 150, 440),
    "reels": _of_1080p(65, 269, 65, 672),
    "shorts": _of_1080p(48, 288, 192, 672),
}
UPRIGHT = 0.7  #: width/height of pictures that `auto` takes for those of the three apps


def safe_area(name: SafeName, width: int, height: int) -> SafeArea:
    """Return a platform's area; `auto` is what is free in all three apps for upright pictures, else `title`."""
    if name != "auto":
        return SAFE_AREAS[name]
    if width >= UPRIGHT * height:
        return SAFE_AREAS["title"]
    apps = [SAFE_AREAS[app] for app in ("tiktok", "reels", "shorts")]
    return SafeArea(*(max(getattr(app, edge) for app in apps) for edge in ("left", "top", "right", "bottom")))


@dataclass(frozen=True)
class TextStyle:
    """How a text looks. Everything scales with the picture."""

    position: Position = "bottom"
    size_pct: float = 6.0  #: font size in % of the picture's shorter side, 1–50
    min_size_pct: float = 2.5  #: the text is made smaller down to this to fit, ≥ 0.5, ≤ size_pct
    color: str = "#FFFFFF"  #: "#RRGGBB"
    outline_color: str = "#000000"
    outline_pct: float = 8.0  #: width of the outline in % of the font size, 0–25; 0 = none
    box_color: str | None = None  #: "#RRGGBB", None = no box
    box_opacity: float = 0.6  #: 0 (clear) – 1 (solid)
    box_padding_pct: float = 30.0  #: space between text and the box's edge in % of the font size, 0–200
    margin_pct: float = 5.0  #: kept free at each edge, in % of the picture's shorter side, 0–40
    max_width_pct: float = 90.0  #: widest line in % of the picture's width, 10–100; the margins hold anyway
    weight: int = 600  #: 100 (thin) – 900 (black); the fonts have 400–700
    align: Align = "auto"  #: of the lines to each other
    box_shape: BoxShape = "block"
    box_radius_pct: float = 20.0  #: of the box's corners in % of the font size, 0–200; at most half its height
    accent: Accent = "none"
    accent_color: str = "#FF5A36"
    shadow_pct: float = 0.0  #: how soft and far the shadow below is, in % of the font size, 0–50; 0 = none
    shadow_opacity: float = 0.7  #: 0–1
    safe: SafeArea = field(default=SafeArea())  #: kept free besides the margin
    fonts: tuple[Path, ...] = ()  #: own font files, looked through before the installed ones


#: Made to look well on any film; sizes in % of the shorter side. `caption` is what comes without a preset.
PRESETS: dict[str, TextStyle] = {
    "caption": TextStyle(),
    "clean": TextStyle(size_pct=6.6, weight=600, outline_pct=0, shadow_pct=16, shadow_opacity=0.85),
    "bold_outline": TextStyle(size_pct=9, weight=700, outline_pct=13, shadow_pct=10, max_width_pct=84),
    "boxed": TextStyle(
        size_pct=6, weight=600, outline_pct=0, box_color="#0B0E14", box_opacity=0.8, box_padding_pct=48,
        box_radius_pct=34, max_width_pct=84,
    ),
    "lower_third": TextStyle(
        position="bottom-left", size_pct=6.0, weight=600, outline_pct=0, box_color="#10141C", box_opacity=0.88,
        box_padding_pct=52, box_radius_pct=0, max_width_pct=66, accent="bar", accent_color="#FF5A36", align="left",
    ),
    "headline": TextStyle(
        position="top", size_pct=11, weight=700, outline_pct=0, shadow_pct=20, shadow_opacity=0.9, max_width_pct=86,
        accent="underline", accent_color="#FFC83D",
    ),
    "quote": TextStyle(
        position="center", size_pct=6.6, weight=400, outline_pct=0, box_color="#0E1116", box_opacity=0.72,
        box_padding_pct=95, box_radius_pct=36, max_width_pct=78, accent="quote", accent_color="#FFC83D",
    ),
    "highlight": TextStyle(
        size_pct=7.4, weight=700, color="#14161A", outline_pct=0, box_color="#FFE14D", box_opacity=1.0,
        box_padding_pct=26, box_radius_pct=12, box_shape="lines", max_width_pct=84,
    ),
    "minimal": TextStyle(size_pct=4.8, weight=400, outline_pct=0, shadow_pct=12, shadow_opacity=0.8, max_width_pct=70),
    "tag": TextStyle(
        position="top-left", size_pct=4.6, weight=700, outline_pct=0, box_color="#2457F5", box_opacity=1.0,
        box_padding_pct=44, box_radius_pct=200, max_width_pct=70, align="left",
    ),
}  # fmt: skip


def check_style(style: TextStyle) -> None:
    """Raises ParamsInvalid for a style out of range."""
    for name, value, words in (
        ("position", style.position, Position),
        ("align", style.align, Align),
        ("box_shape", style.box_shape, BoxShape),
        ("accent", style.accent, Accent),
    ):
        if value not in get_args(words):
            raise ParamsInvalid(f"The {name} must be one of {', '.join(get_args(words))}.")
    for name, number, least, most in (
        ("size_pct", style.size_pct, 1, 50),
        ("min_size_pct", style.min_size_pct, 0.5, style.size_pct),
        ("outline_pct", style.outline_pct, 0, 25),
        ("box_opacity", style.box_opacity, 0, 1),
        ("box_padding_pct", style.box_padding_pct, 0, 200),
        ("box_radius_pct", style.box_radius_pct, 0, 200),
        ("margin_pct", style.margin_pct, 0, 40),
        ("max_width_pct", style.max_width_pct, 10, 100),
        ("weight", style.weight, 100, 900),
        ("shadow_pct", style.shadow_pct, 0, 50),
        ("shadow_opacity", style.shadow_opacity, 0, 1),
        *((f"safe.{edge}", getattr(style.safe, edge), 0, 0.45) for edge in ("left", "top", "right", "bottom")),
    ):
        if not least <= number <= most:
            raise ParamsInvalid(f"{name} must be from {least:g} to {most:g}, not {number:g}.")
    for name, color in (
        ("color", style.color),
        ("outline_color", style.outline_color),
        ("box_color", style.box_color),
        ("accent_color", style.accent_color),
    ):
        if color is not None and not re.fullmatch("#[0-9A-Fa-f]{6}", color):
            raise ParamsInvalid(f"{name} must look like #RRGGBB, not {color[:20]!r}.")
