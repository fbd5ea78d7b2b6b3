"""Text as a picture, by Pillow with raqm: no user string ever gets near a filter graph."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from PIL import Image, ImageDraw, ImageFont

from reelmill.errors import ParamsInvalid, TextDoesNotFit
from reelmill.media.fonts import Face
from reelmill.media.lines import Paragraph, Run, is_invisible, language_of, named

Position = Literal[
    "top-left", "top", "top-right", "left", "center", "right", "bottom-left", "bottom", "bottom-right"
]  #: the middle ones of a row and a column leave their word out

MAX_CHARS = 5000
UP, DOWN = 0.98, 0.27  #: least height above and below the baseline, font sizes: capitals stand in the middle
SMALL_PX = 96  #: type of this size needs no fraction of a pixel
MOST_PIXELS = 32_000_000  #: held for a moment for each text
KEYCAP = "\u20e3"
BASMALA = "\ufdfd", "بسم الله الرحمن الرحيم"  #: a sentence as one glyph, too rich for FreeType; and in letters
BESIDE = {"left": 0.0, "right": 1.0}  #: share of the free space before it, by the position's words; else 0.5
ABOVE = {"top": 0.0, "bottom": 1.0}


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
    x: int  #: the rectangle of the text with outline and box, pixels in the picture; even
    y: int
    width: int  #: even
    height: int
    style: TextStyle
    picture_width: int  #: pixels of the video picture
    picture_height: int
    runs: tuple[Placed, ...] = field(repr=False)


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

    text: 1–5,000 characters after newlines are normalised. Wraps where the script allows it, and inside a word only if
    it can't fit otherwise; makes the font smaller down to style.min_size_pct. A few lines are made about equally long.
    Raises TextDoesNotFit, and ParamsInvalid for a style out of range, control characters, an empty or too long text,
    and characters for which no font is installed (it names them).
    """
    _check_style(style)
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
        + "Shorten it, or make min_size_pct, margin_pct or box_padding_pct smaller."
    )


def draw(layout: Layout, path: Path) -> Picture:
    """Write the layout as a PNG cropped to what is seen. Equal layouts give equal bytes."""
    image = _painted(layout)
    left, top, right, bottom = image.getbbox() or (0, 0, 2, 2)
    # Even edges: a chroma sample of yuv420p covers two pixels each way.
    left, top, right, bottom = left & ~1, top & ~1, right + (right & 1), bottom + (bottom & 1)
    image.crop((left, top, right, bottom)).save(path, format="PNG", compress_level=6)
    return Picture(path, layout.x + left, layout.y + top, right - left, bottom - top)


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


def _check_style(style: TextStyle) -> None:
    if style.position not in get_args(Position):
        raise ParamsInvalid(f"The position must be one of {', '.join(get_args(Position))}.")
    for name, value, least, most in (
        ("size_pct", style.size_pct, 1, 50),
        ("min_size_pct", style.min_size_pct, 0.5, style.size_pct),
        ("outline_pct", style.outline_pct, 0, 25),
        ("box_opacity", style.box_opacity, 0, 1),
        ("box_padding_pct", style.box_padding_pct, 0, 200),
        ("margin_pct", style.margin_pct, 0, 40),
        ("max_width_pct", style.max_width_pct, 10, 100),
        ("weight", style.weight, 100, 900),
    ):
        if not least <= value <= most:
            raise ParamsInvalid(f"{name} must be from {least:g} to {most:g}, not {value:g}.")
    for name, color in (("color", style.color), ("outline_color", style.outline_color), ("box_color", style.box_color)):
        if color is not None and not re.fullmatch("#[0-9A-Fa-f]{6}", color):
            raise ParamsInvalid(f"{name} must look like #RRGGBB, not {color[:20]!r}.")


class _Pen:
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
            left, top, right, bottom = self.font(run.face).getbbox(run.text, direction=_direction(run), anchor="ls")
            if right > left and bottom > top:
                inks.append((pen + left, top, pen + right, bottom))
            pen += self.font(run.face).getlength(run.text, direction=_direction(run))
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
        known = {part: Paragraph(part, language, style.weight) for part in dict.fromkeys(text.split("\n"))}
        self.paragraphs = [known[part] for part in text.split("\n")]
        # The same for all texts without very high or deep marks: they stand alike from clip to clip. Font sizes.
        self.up = max(UP, *(paragraph.up for paragraph in known.values()))
        self.down = max(DOWN, *(paragraph.down for paragraph in known.values()))
        self.margin = min(width, height) * style.margin_pct / 100
        self.widest = min(width * style.max_width_pct / 100, width - 2 * self.margin)
        self.highest = height - 2 * self.margin

    def border(self, size: int) -> float:
        """Return the space around the letters."""
        return size * (self.style.box_padding_pct if self.style.box_color else self.style.outline_pct) / 100

    def room(self, size: int) -> tuple[float, int]:
        """Return the width of the widest line in font sizes, and how many lines there may be."""
        free = self.highest - 2 * self.border(size)
        return (self.widest - 2 * self.border(size)) / size, int(free / (size * (self.up + self.down)) + 1e-6)

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
        pen = _Pen(size, self.style.weight)
        lines = [
            pen.line(*paragraph.line(start, end))
            for paragraph in self.paragraphs
            for start, end in paragraph.balanced(room, torn) or ()
        ]
        column = next((share for word, share in BESIDE.items() if word in self.style.position), 0.5)
        row = next((share for word, share in ABOVE.items() if word in self.style.position), 0.5)
        wide, pitch = max(line.width for line in lines), size * (self.up + self.down)
        places = [((wide - line.width) * column, size * self.up + n * pitch) for n, line in enumerate(lines)]
        # The rectangle from the text's upper left, with box and outline; a pixel more for smoothed edges.
        border, edge = self.border(size), size * self.style.outline_pct / 100 + 1
        inked = list(zip(lines, places, strict=True))
        left = min([-border, *(x + line.left - edge for line, (x, _) in inked)])
        top = min([-border, *(y + line.top - edge for line, (_, y) in inked)])
        right = max([wide + border, *(x + line.right + edge for line, (x, _) in inked)])
        bottom = max([len(lines) * pitch + border, *(y + line.bottom + edge for line, (_, y) in inked)])
        width, height = self.picture
        if right - left > min(width, self.widest + 2) or bottom - top > min(height, self.highest + 2):
            return None
        across = min(max(self.margin + (width - 2 * self.margin - (right - left)) * column, 0), width - (right - left))
        under = min(max(self.margin + (self.highest - (bottom - top)) * row, 0), height - (bottom - top))
        x, y = int(across) & ~1, int(under) & ~1
        runs = [
            Placed(run, across - left + start + place, under - top + baseline)
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
        )


def _painted(layout: Layout) -> Image.Image:
    """Return the layout's rectangle on clear ground."""
    style, size = layout.style, (layout.width, layout.height)
    image = Image.new("RGBA", size, (0, 0, 0, 0))
    if style.box_color:
        radius = min(layout.font_px * 0.2, layout.font_px * style.box_padding_pct / 100)
        edges = (0, 0, layout.width - 1, layout.height - 1)
        ImageDraw.Draw(image).rounded_rectangle(edges, radius, fill=_rgba(style.box_color, style.box_opacity))
    # All outlines first: else one letter's outline would lie on its neighbour in another font.
    outline = layout.font_px * style.outline_pct / 100
    for color, stroke in ((style.outline_color, outline), (style.color, 0.0))[not outline :]:
        letters = Image.new("RGBA", size, _rgba(color))
        letters.putalpha(_letters(layout, stroke))
        image.alpha_composite(letters)
    return image


def _letters(layout: Layout, stroke: float) -> Image.Image:
    """Return where the letters are, 0–255, drawn with an outline of `stroke` pixels."""
    most = math.isqrt(MOST_PIXELS // (layout.width * layout.height))
    scale = max(1, min(math.ceil(SMALL_PX / layout.font_px), most))
    pen = _Pen(layout.font_px, layout.style.weight, scale)
    mask = Image.new("L", (layout.width * scale, layout.height * scale))
    brush = ImageDraw.Draw(mask)
    for placed in layout.runs:
        place = (placed.x - layout.x) * scale, (placed.y - layout.y) * scale
        _write(brush, place, placed.run, pen.font(placed.run.face), stroke * scale)
    return mask.reduce(scale) if scale > 1 else mask


def _write(
    brush: ImageDraw.ImageDraw, place: tuple[float, float], run: Run, font: ImageFont.FreeTypeFont, stroke: float
) -> None:
    def write(x: float, y: float, width: float) -> None:
        brush.text((x, y), run.text, fill=255, font=font, anchor="ls", direction=_direction(run), stroke_width=width)

    x, y = place
    write(x, y, stroke)
    if stroke and KEYCAP in run.text:
        # FreeType's stroker leaves them hollow: copies all around don't.
        for radius, copies in ((stroke, 24), (stroke / 2, 12)):
            for n in range(copies):
                angle = 2 * math.pi * n / copies
                write(x + radius * math.cos(angle), y + radius * math.sin(angle), 0)


def _direction(run: Run) -> Literal["rtl", "ltr"]:
    return "rtl" if run.right_to_left else "ltr"


def _even(length: float) -> int:
    return 2 * math.ceil(length / 2)


def _rgba(color: str, opacity: float = 1.0) -> tuple[int, int, int, int]:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16), round(255 * opacity)
