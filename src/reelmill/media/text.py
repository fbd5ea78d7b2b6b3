"""A text set for a picture: its lines, its size, and where each letter, box and bar stands."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple

from PIL import ImageFont

from reelmill.errors import ParamsInvalid, TextDoesNotFit
from reelmill.media.fonts import Face, Language, faces
from reelmill.media.lines import Paragraph, Run, is_invisible, language_of, named
from reelmill.media.styles import Position, TextStyle, check_style

__all__ = ["MAX_CHARS", "Layout", "Placed", "Position", "Rect", "TextStyle", "layout", "normalised"]

MAX_CHARS = 5000
UP, DOWN = 0.98, 0.27  #: least height above and below the baseline, font sizes: capitals stand in the middle
SMALL_PX = 64  #: type of this size needs no fraction of a pixel
UNIT_PX = 200  #: at which lengths are measured that grow with the size
SMOOTH_PX = 1  #: around ink, for smoothed edges
BASMALA = "\ufdfd", "بسم الله الرحمن الرحيم"  #: a sentence as one glyph, too rich for FreeType; and in letters
BESIDE = {"left": 0.0, "right": 1.0}  #: share of the free space before it, by the position's words; else 0.5
ABOVE = {"top": 0.0, "bottom": 1.0}
ALIGNED = {"left": 0.0, "center": 0.5, "right": 1.0}
# Font sizes:
BAR, BAR_GAP = 0.14, 0.42  #: width of the bar at the side, and its distance from letters without a box
RULE, RULE_GAP, RULE_LENGTH = 0.1, 0.1, 1.6  #: of the rule below
MARK, MARK_GAP = 2.6, 0.3  #: size of the quotation mark above, and its distance
LINE_PADDING = 0.3  #: of the boxes of lines, above and below: share of that at their sides
OFFSET, BLUR, REACH = 0.35, 0.5, 2.4  #: of the shadow: how far down, standard deviation; and how many of these are seen


class Rect(NamedTuple):
    """Edges in pixels of the video picture; within them it is filled."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True)
class Placed:
    """A run of letters and the place of its baseline's left end, pixels in the picture."""

    run: Run
    x: float
    y: float


@dataclass(frozen=True)
class Layout:
    """A text broken into lines at a size that fits."""

    lines: tuple[str, ...]  #: in the order in which they are read
    font_px: float  #: font size, pixels
    x: int  #: the rectangle of the text with outline, box and shadow, pixels in the picture; even
    y: int
    width: int  #: even
    height: int
    style: TextStyle
    picture_width: int  #: pixels of the video picture
    picture_height: int
    runs: tuple[Placed, ...] = field(repr=False)
    boxes: tuple[Rect, ...] = ()
    bars: tuple[Rect, ...] = ()  #: in the accent's colour
    marks: tuple[Placed, ...] = ()  #: in the accent's colour, MARK times as large as the letters

    @property
    def size_pct(self) -> float:
        """The font size that it came to, in % of the picture's shorter side."""
        return 100 * self.font_px / min(self.picture_width, self.picture_height)

    @property
    def fallback_fonts(self) -> tuple[str, ...]:
        """The names of the fonts that helped the first one out, in the order in which they are read."""
        own = [path for path in self.style.fonts if not Face(path, 0).is_color]
        first = own[0] if own else faces()[0].path
        used = dict.fromkeys(placed.run.face.path for placed in self.runs if placed.run.text.strip())
        return tuple(path.name.partition("[")[0].partition(".")[0] for path in used if path != first)


def layout(text: str, style: TextStyle, width: int, height: int) -> Layout:
    """Break a text into lines for a picture of width × height pixels.

    text: 1–5,000 characters after newlines are normalised. Wraps where the script allows it, and inside a word only if
    it can't fit otherwise; makes the font smaller down to style.min_size_pct. A few lines are made about equally long.
    Raises TextDoesNotFit (`extra` has `longest`, the beginning that would fit), and ParamsInvalid for a style out of
    range, control characters, an empty or too long text, and characters for which no font is installed (it names them).
    """
    check_style(style)
    plain = normalised(text)
    side = min(width, height)
    least = max(1, math.ceil(side * style.min_size_pct / 100))
    most = max(least, round(side * style.size_pct / 100))
    setting = _Setting(plain, style, width, height)
    found = setting.largest(least, most)
    if found is not None:
        return found
    fitting = setting.fitting_characters(least)
    raise TextDoesNotFit(
        f"The text of {len(plain):,} characters doesn't fit into {width}×{height} pixels, even at "
        f"{style.min_size_pct:g} % ({least} pixels high); "
        + (f"its first {fitting:,} would. " if fitting else "not even its beginning would. ")
        + "Shorten it, or make min_size_pct, margin_pct or box_padding_pct smaller.",
        longest=plain[:fitting].rstrip(),
    )


def normalised(text: str) -> str:
    """Return the text with plain newlines, in composed form (NFC). Raises ParamsInvalid for what can't be drawn."""
    plain = re.sub("\r\n|[\r\v\f\x85\u2028\u2029]", "\n", text).replace("\t", " ")
    plain = unicodedata.normalize("NFC", plain.replace(*BASMALA))
    plain = "\n".join(line.rstrip() for line in plain.split("\n")).strip("\n")
    if all(char.isspace() or is_invisible(char) for char in plain):
        raise ParamsInvalid("The text is empty.")
    if len(plain) > MAX_CHARS:
        raise ParamsInvalid(f"The text has {len(plain)} characters; {MAX_CHARS} are the most.")
    refused = sorted({char for char in plain if char != "\n" and unicodedata.category(char) in {"Cc", "Cs", "Co"}})
    if refused:
        raise ParamsInvalid(f"The text has control characters: {named(refused)}.")
    turning = sorted(set(re.findall("[\u202a-\u202e\u2066-\u206f]", plain)))
    if turning:
        raise ParamsInvalid(
            f"The text has codes for its direction: {named(turning)}. Leave them out: letters tell their direction."
        )
    return plain


class Pen:
    """Letters of one size, as Pillow measures and paints them.

    Pillow sets glyphs on whole pixels, which makes gaps in small type: that is painted larger and made smaller.
    """

    def __init__(self, size: float, weight: int, scale: int | None = None) -> None:
        self.size = size
        self.weight = weight
        self.scale = scale or math.ceil(SMALL_PX / size)
        self._fonts: dict[Face, ImageFont.FreeTypeFont] = {}

    def font(self, face: Face) -> ImageFont.FreeTypeFont:
        if face not in self._fonts:
            self._fonts[face] = face.open(self.size * self.scale, self.weight)
        return self._fonts[face]

    def line(self, text: str, runs: Sequence[Run]) -> _Line:
        """Return a line set in these letters, with the edges of its ink."""
        placed = []
        pen = 0.0
        inks = []
        for run in runs:
            placed.append((run, pen / self.scale))
            font, direction = self.font(run.face), run.direction
            # A colour font is drawn at its own size.
            grown = self.size * self.scale / font.size if run.face.is_color else 1.0
            left, top, right, bottom = (
                grown * edge for edge in font.getbbox(run.text, direction=direction, anchor="ls")
            )
            if right > left and bottom > top:
                inks.append((pen + left, top, pen + right, bottom))
            pen += grown * font.getlength(run.text, direction=direction)
        lefts, tops, rights, bottoms = zip(*inks, strict=True) if inks else ((0,), (0,), (0,), (0,))
        edges = min(lefts), min(tops), max(rights), max(bottoms)
        return _Line(text, placed, pen / self.scale, *(edge / self.scale for edge in edges))


@dataclass(frozen=True)
class _Line:
    """A line at its size, pixels: from the left of its first letter, and down from its baseline."""

    text: str
    runs: list[tuple[Run, float]]  #: each with its place
    width: float
    left: float  #: the edges of its ink
    top: float
    right: float
    bottom: float


class _Setting:
    """A text measured for one picture: finds its size, breaks it and places it. Lengths are in pixels."""

    def __init__(self, text: str, style: TextStyle, width: int, height: int) -> None:
        self.text = text
        self.style = style
        self.picture = width, height
        language = language_of(text)
        known = {part: measured(part, language, style.weight, style.fonts) for part in dict.fromkeys(text.split("\n"))}
        self.paragraphs = [known[part] for part in text.split("\n")]
        # The same for all texts without very high or deep marks: they stand alike from clip to clip. Font sizes.
        self.up = max(UP, *(paragraph.up for paragraph in known.values()))
        self.down = max(DOWN, *(paragraph.down for paragraph in known.values()))
        self.column = next((share for word, share in BESIDE.items() if word in style.position), 0.5)
        self.row = next((share for word, share in ABOVE.items() if word in style.position), 0.5)
        self.aligned = ALIGNED.get(style.align, self.column)
        margin, safe = min(width, height) * style.margin_pct / 100, style.safe
        #: what is kept free at each edge
        self.free = Rect(*(max(margin, share * side) for share, side in zip(
            (safe.left, safe.top, safe.right, safe.bottom), (width, height) * 2, strict=True)))  # fmt: skip
        self.widest = min(width * style.max_width_pct / 100, width - self.free.left - self.free.right)
        self.highest = height - self.free.top - self.free.bottom

    def edge(self, size: float) -> float:
        """Return how far outline, shadow and smoothing reach around the letters."""
        return size * self.style.outline_pct / 100 + max(self.shadow(size), SMOOTH_PX)

    def shadow(self, size: float) -> float:
        """Return how far the shadow reaches."""
        reach = size * self.style.shadow_pct / 100 * (OFFSET + REACH * BLUR)
        return reach + SMOOTH_PX if reach else 0.0

    def padding(self, size: float) -> tuple[float, float]:
        """Return the space between letters and box: at the sides, above and below."""
        space = size * self.style.box_padding_pct / 100 if self.style.box_color else 0.0
        return space, space * (LINE_PADDING if self.style.box_shape == "lines" else 1)

    def accent(self, size: float) -> tuple[float, float, float]:
        """Return the room for the accent at the side, above and below."""
        match self.style.accent:
            case "bar":
                return size * (BAR if self.style.box_color else BAR + BAR_GAP), 0.0, 0.0
            case "underline":
                return 0.0, 0.0, size * (RULE + RULE_GAP)
            case "quote":
                mark = self.quotation(size)
                return 0.0, mark.bottom - mark.top + size * MARK_GAP, 0.0
            case _:
                return 0.0, 0.0, 0.0

    def quotation(self, size: float) -> _Line:
        """Return the mark above a quotation, at a size of the letters."""
        text, runs = self.mark
        scale = size * MARK / UNIT_PX
        edges = self.mark_ink.width, self.mark_ink.left, self.mark_ink.top, self.mark_ink.right, self.mark_ink.bottom
        return _Line(text, [(run, 0.0) for run in runs], *(edge * scale for edge in edges))

    @cached_property
    def mark(self) -> tuple[str, list[Run]]:
        return measured("“", "zh-Hans", 700, self.style.fonts).line(0, 1)

    @cached_property
    def mark_ink(self) -> _Line:
        return Pen(UNIT_PX, 700).line(*self.mark)

    def border(self, size: float) -> tuple[float, float]:
        """Return the space around the letters: both sides together, above and below together."""
        side, above, below = self.accent(size)
        across, under = self.padding(size)
        around = self.shadow(size) if self.style.box_color else self.edge(size)
        return 2 * (across + around) + side, 2 * (under + around) + above + below

    def room(self, size: int) -> tuple[float, int]:
        """Return the width of the widest line in font sizes, and how many lines there may be."""
        across, under = self.border(size)
        return (self.widest - across) / size, int((self.highest - under) / (size * (self.up + self.down)) + 1e-6)

    def fits(self, size: int, torn: bool) -> bool:
        room, most = self.room(size)
        count = 0
        for paragraph in self.paragraphs:
            lines = paragraph.broken(room, torn)
            count += len(lines or ())
            if lines is None or count > most:
                return False
        return True

    def largest(self, least: int, most: int) -> Layout | None:
        """Return the layout with the largest font in [least, most] that fits, whole words first; None if none does."""
        for torn in (False, True):
            if not self.fits(least, torn):
                continue
            size, too_large = least, most + 1
            while too_large - size > 1:
                middle = (size + too_large) // 2
                size, too_large = (middle, too_large) if self.fits(middle, torn) else (size, middle)
            # A line may be wider than its parts: its letters lean out, or have other forms at its ends.
            while size >= least:
                if (placed := self.placed(size, torn)) is not None:
                    return placed
                size = max(least, min(size - 1, int(size * 0.97))) if size > least else 0
        return None

    def fitting_characters(self, size: int) -> int:
        """Return how many characters of the text would fit at a size; 0 if not even one line does."""
        room, most = self.room(size)
        fitting = 0
        for paragraph in self.paragraphs:
            lines = (paragraph.broken(room, True) or [])[: max(most, 0)]
            if not lines:
                break
            fitting += lines[-1][1]
            most -= len(lines)
            if lines[-1][1] < len(paragraph.text):
                break
            fitting += 1
        return min(fitting, len(self.text))

    def placed(self, size: int, torn: bool) -> Layout | None:
        """Return the layout at a font size; None if it leaves the room that there is."""
        room, _ = self.room(size)
        pen = Pen(size, self.style.weight)
        lines = [
            pen.line(*paragraph.line(start, end))
            for paragraph in self.paragraphs
            for start, end in paragraph.balanced(room, torn) or ()
        ]
        wide, pitch = max(line.width for line in lines), size * (self.up + self.down)
        places = [((wide - line.width) * self.aligned, size * self.up + n * pitch) for n, line in enumerate(lines)]
        boxes, bars, marks = self.decoration(size, lines, places, wide)
        # The rectangle from the text's upper left.
        edge, shadow = self.edge(size), self.shadow(size)
        inks = [Rect(x + line.left - edge, y + line.top - edge, x + line.right + edge, y + line.bottom + edge)
                for line, (x, y) in zip(lines, places, strict=True)]  # fmt: skip
        lit = [Rect(box.left - shadow, box.top - shadow, box.right + shadow, box.bottom + shadow) for box in boxes]
        lefts, tops, rights, bottoms = zip(*inks, *lit, *bars, *(ink for _, ink in marks), strict=True)
        left, top, right, bottom = min(0.0, *lefts), min(0.0, *tops), max(wide, *rights), max(bottoms)
        bottom = max(bottom, len(lines) * pitch)
        if right - left > self.widest + 0.01 or bottom - top > self.highest + 0.01:
            return None
        width, height = self.picture
        across = _within(width, self.free.left, self.free.right, right - left, self.column)
        under = _within(height, self.free.top, self.free.bottom, bottom - top, self.row)
        x, y = int(across) & ~1, int(under) & ~1
        by_x, by_y = across - left, under - top
        runs = [
            Placed(run, by_x + start + place, by_y + baseline)
            for line, (start, baseline) in zip(lines, places, strict=True)
            for run, place in line.runs
        ]
        return Layout(
            lines=tuple(line.text for line in lines),
            font_px=float(size),
            x=x,
            y=y,
            width=min(_even(across + right - left - x), width - x),
            height=min(_even(under + bottom - top - y), height - y),
            style=self.style,
            picture_width=width,
            picture_height=height,
            runs=tuple(runs),
            boxes=tuple(_moved(box, by_x, by_y) for box in boxes),
            bars=tuple(_moved(bar, by_x, by_y) for bar in bars),
            marks=tuple(replace(mark, x=mark.x + by_x, y=mark.y + by_y) for mark, _ in marks),
        )

    def decoration(
        self, size: int, lines: Sequence[_Line], places: Sequence[tuple[float, float]], wide: float
    ) -> tuple[list[Rect], list[Rect], list[tuple[Placed, Rect]]]:
        """Return boxes, bars, and quotation marks with their ink, from the text's upper left."""
        across, under = self.padding(size)
        side, above, below = self.accent(size)
        right = self.aligned == 1
        pitch = size * (self.up + self.down)
        high = len(lines) * pitch
        boxes: list[Rect] = []
        if self.style.box_color and self.style.box_shape == "lines":
            for n, (line, (x, _)) in enumerate(zip(lines, places, strict=True)):
                if line.width:
                    boxes.append(Rect(x - across, n * pitch - under, x + line.width + across, (n + 1) * pitch + under))
        elif self.style.box_color:
            boxes = [
                Rect(-across - side * (not right), -under - above, wide + across + side * right, high + under + below)
            ]
        bars: list[Rect] = []
        marks: list[tuple[Placed, Rect]] = []
        if self.style.accent == "bar":
            box = boxes[0] if len(boxes) == 1 else Rect(-side, size * 0.18, wide + side, high - size * 0.1)
            bar = size * BAR
            bars = [Rect(box.right - bar, box.top, box.right, box.bottom) if right
                    else Rect(box.left, box.top, box.left + bar, box.bottom)]  # fmt: skip
        elif self.style.accent == "underline":
            length = min(size * RULE_LENGTH, wide)
            x = (wide - length) * self.aligned
            bars = [Rect(x, high + size * RULE_GAP, x + length, high + size * (RULE_GAP + RULE))]
        elif self.style.accent == "quote":
            mark = self.quotation(size)
            x = (wide - (mark.right - mark.left)) * self.aligned - mark.left
            y = -size * MARK_GAP - mark.bottom
            ink = Rect(x + mark.left, y + mark.top, x + mark.right, y + mark.bottom)
            marks = [(Placed(run, x + place, y), ink) for run, place in mark.runs]
        return boxes, bars, marks


@lru_cache(maxsize=64)
def measured(text: str, language: Language, weight: int, fonts: tuple[Path, ...] = ()) -> Paragraph:
    """Return a paragraph in the fonts of a style; the same text stands on many clips, and is measured once."""
    return Paragraph(text, language, weight, tuple(Face(path, 0) for path in fonts))


def _within(side: float, before: float, behind: float, length: float, share: float) -> float:
    """Return where something begins: in the middle of the picture as far as what is free allows it, or at an edge."""
    free = max(0.0, side - before - behind - length)
    wanted = before + free * share if share != 0.5 else min(max((side - length) / 2, before), before + free)
    return min(max(wanted, 0.0), max(side - length, 0.0))


def _moved(rect: Rect, x: float, y: float) -> Rect:
    return Rect(rect.left + x, rect.top + y, rect.right + x, rect.bottom + y)


def _even(length: float) -> int:
    return 2 * math.ceil(length / 2)
