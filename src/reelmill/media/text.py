"""Text as a picture, by Pillow with raqm: no user string ever gets near a filter graph."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from PIL import Image, ImageDraw, ImageFont

from reelmill.errors import ParamsInvalid, TextDoesNotFit
from reelmill.media.fonts import Face, faces
from reelmill.media.lines import Run, clusters, is_right_to_left, missing, visual_runs, words

Position = Literal[
    "top-left", "top", "top-right", "left", "center", "right", "bottom-left", "bottom", "bottom-right"
]  #: the middle ones of a row and a column leave their word out

MAX_CHARS = 5000
LINE_HEIGHT = 1.25  #: least distance of baselines, in font sizes
FONT_LEADING = 0.9  #: of what a font asks for: Noto's own is loose


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
class Layout:
    """A text broken into lines at a size that fits."""

    lines: tuple[str, ...]
    font_px: float  #: font size, pixels
    x: int  #: the rectangle of the text with outline and box, pixels in the picture; even
    y: int
    width: int  #: even
    height: int
    style: TextStyle
    picture_width: int  #: pixels of the video picture
    picture_height: int


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
    _check_style(style)
    paragraphs = normalised(text).split("\n")
    side = min(width, height)
    least = max(1, math.ceil(side * style.min_size_pct / 100))
    most = max(least, round(side * style.size_pct / 100))
    for may_tear in (False, True):
        fitting = _largest(style, width, height, paragraphs, may_tear, least, most)
        if fitting is not None:
            return fitting
    raise TextDoesNotFit(
        f"The text of {len(text)} characters doesn't fit into {width}×{height} pixels, even at "
        f"{style.min_size_pct:g} % ({least} pixels high)."
    )


def draw(layout: Layout, path: Path) -> Picture:
    """Write the layout as a PNG cropped to what is seen. Equal layouts give equal bytes."""
    setting = _Setting(layout.style, round(layout.font_px), layout.picture_width, layout.picture_height)
    image = setting.painted(layout)
    left, top, right, bottom = image.getbbox() or (0, 0, 2, 2)
    # Even edges: a chroma sample of yuv420p covers two pixels each way.
    left, top, right, bottom = left & ~1, top & ~1, right + (right & 1), bottom + (bottom & 1)
    image.crop((left, top, right, bottom)).save(path, format="PNG", compress_level=6)
    return Picture(path, left, top, right - left, bottom - top)


def normalised(text: str) -> str:
    """Return the text with plain newlines, in composed form (NFC). Raises ParamsInvalid for what can't be drawn."""
    plain = re.sub("\r\n|[\r\x85\u2028\u2029]", "\n", text).replace("\t", " ")
    plain = unicodedata.normalize("NFC", plain)
    plain = "\n".join(line.rstrip() for line in plain.split("\n")).strip("\n")
    if not plain.strip():
        raise ParamsInvalid("The text is empty.")
    if len(plain) > MAX_CHARS:
        raise ParamsInvalid(f"The text has {len(plain)} characters; {MAX_CHARS} are the most.")
    refused = sorted({char for char in plain if char != "\n" and unicodedata.category(char) in {"Cc", "Cs", "Co"}})
    if refused:
        raise ParamsInvalid(f"The text has control characters: {_named(refused)}.")
    unknown = missing(plain, faces())
    if unknown:
        raise ParamsInvalid(
            f"No installed font can draw {_named(unknown)}. For Chinese, Japanese and Korean install manimgx-fonts-cjk."
        )
    return plain


def _named(chars: Sequence[str]) -> str:
    told = [f"U+{ord(char):04X} {unicodedata.name(char, '').title()}".strip() for char in chars[:8]]
    return ", ".join(told) + (f" and {len(chars) - 8} more" if len(chars) > 8 else "")


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


def _largest(
    style: TextStyle, width: int, height: int, paragraphs: Sequence[str], may_tear: bool, least: int, most: int
) -> Layout | None:
    """Return the layout with the largest font in [least, most] pixels that fits, by bisection; None if none does."""

    def tried(size: int) -> Layout | None:
        setting = _Setting(style, size, width, height)
        lines = setting.set(paragraphs, may_tear)
        return None if lines is None else setting.placed(lines)

    best = tried(most)
    if best is not None or least == most:
        return best
    best = tried(least)
    while best is not None and most - least > 1:
        middle = (least + most) // 2
        fitting = tried(middle)
        least, most, best = (middle, most, fitting) if fitting is not None else (least, middle, best)
    return best


class _Setting:
    """Type of one size in one picture: measures, breaks and paints."""

    def __init__(self, style: TextStyle, size: int, width: int, height: int) -> None:
        self.style = style
        self.size = size
        self.picture = width, height
        self.outline = size * style.outline_pct / 100
        self.border = size * style.box_padding_pct / 100 if style.box_color else self.outline
        self.margin = min(width, height) * style.margin_pct / 100
        self.room = min(width * style.max_width_pct / 100, width - 2 * self.margin) - 2 * self.border
        self._fonts: dict[Face, ImageFont.FreeTypeFont] = {}
        self._widths: dict[str, float] = {}

    def font(self, face: Face) -> ImageFont.FreeTypeFont:
        if face not in self._fonts:
            self._fonts[face] = face.open(self.size, self.style.weight)
        return self._fonts[face]

    def runs(self, line: str, base: bool | None = None) -> list[Run]:
        return visual_runs(line, faces(), is_right_to_left(line) if base is None else base)

    def run_width(self, run: Run) -> float:
        return self.font(run.face).getlength(run.text, direction="rtl" if run.right_to_left else "ltr")

    def width(self, line: str) -> float:
        """Return a line's width in pixels."""
        if line not in self._widths:
            self._widths[line] = sum(self.run_width(run) for run in self.runs(line))
        return self._widths[line]

    def line_height(self, lines: Sequence[str]) -> tuple[float, float]:
        """Return the distance of baselines and the first baseline below the top, pixels."""
        used = {run.face for line in lines for run in self.runs(line)} or {faces()[0]}
        metrics = [self.font(face).getmetrics() for face in used]
        up, down = max(up for up, _ in metrics), max(down for _, down in metrics)
        asked = FONT_LEADING * (up + down)
        high = max(LINE_HEIGHT * self.size, asked)
        return high, (high - asked) / 2 + FONT_LEADING * up

    def set(self, paragraphs: Sequence[str], may_tear: bool) -> list[str] | None:
        """Return the lines, None if they don't fit at this size. may_tear: a word may be broken inside."""
        if self.room < 1:
            return None
        lines: list[str] = []
        for paragraph in paragraphs:
            broken = self._break(paragraph, may_tear)
            if broken is None:
                return None
            lines += broken
        high, _ = self.line_height(lines)
        total = high * len(lines) + 2 * self.border
        return lines if total <= self.picture[1] - 2 * self.margin else None

    def _break(self, paragraph: str, may_tear: bool) -> list[str] | None:
        lines: list[str] = []
        line, used = "", 0.0
        pieces = words(paragraph)
        while pieces:
            piece = pieces.pop(0)
            if used + self.width(piece.rstrip(" \u3000")) <= self.room:
                line, used = line + piece, used + self.width(piece)
            elif line.strip():
                lines.append(line.rstrip(" \u3000"))
                line, used = "", 0.0
                pieces.insert(0, piece)
            elif may_tear:
                begin = self._begin(line + piece)
                if not begin:
                    return None  # not even one letter
                lines.append(begin)
                pieces.insert(0, (line + piece)[len(begin) :])
                line, used = "", 0.0
            else:
                return None
        lines.append(line.rstrip(" \u3000"))
        # Shaping over a whole line can make it a little wider than its words.
        return lines if all(self.width(line) <= self.room + self.size * 0.1 for line in lines) else None

    def _begin(self, word: str) -> str:
        """Return the longest beginning of a word that fits, "" if there is none."""
        parts = list(clusters(word))
        few, many = 0, len(parts)
        while many - few > 1:
            middle = (few + many) // 2
            few, many = (middle, many) if self.width("".join(parts[:middle])) <= self.room else (few, middle)
        return "".join(parts[:few])

    def placed(self, lines: Sequence[str]) -> Layout:
        """Return the layout of lines that fit."""
        width, height = self.picture
        high, _ = self.line_height(lines)
        wide = max(self.width(line) for line in lines) + 2 * self.border
        tall = high * len(lines) + 2 * self.border
        column = "left" if "left" in self.style.position else "right" if "right" in self.style.position else "center"
        row = "top" if "top" in self.style.position else "bottom" if "bottom" in self.style.position else "center"
        x = {"left": self.margin, "center": (width - wide) / 2, "right": width - self.margin - wide}[column]
        y = {"top": self.margin, "center": (height - tall) / 2, "bottom": height - self.margin - tall}[row]
        left, top = max(0, int(x)) & ~1, max(0, int(y)) & ~1
        return Layout(
            lines=tuple(lines),
            font_px=float(self.size),
            x=left,
            y=top,
            width=min(_even(wide), width - left),
            height=min(_even(tall), height - top),
            style=self.style,
            picture_width=width,
            picture_height=height,
        )

    def painted(self, layout: Layout) -> Image.Image:
        """Return the layout on a clear picture of full size."""
        image = Image.new("RGBA", self.picture, (0, 0, 0, 0))
        pen = ImageDraw.Draw(image)
        style = self.style
        if style.box_color:
            fill = _rgba(style.box_color, style.box_opacity)
            edges = (layout.x, layout.y, layout.x + layout.width - 1, layout.y + layout.height - 1)
            pen.rounded_rectangle(edges, radius=min(self.size * 0.2, self.border), fill=fill)
        pieces = list(self._pieces(layout))
        if self.outline and style.outline_color:
            # All outlines first: else one letter's outline would lie on its neighbour in another font.
            letters = Image.new("RGBA", self.picture, _rgba(style.outline_color, 0))
            stroke = ImageDraw.Draw(letters)
            for x, y, run in pieces:
                self._write(stroke, x, y, run, style.outline_color, self.outline)
            image.alpha_composite(letters)
        letters = Image.new("RGBA", self.picture, _rgba(style.color, 0))
        fill_in = ImageDraw.Draw(letters)
        for x, y, run in pieces:
            self._write(fill_in, x, y, run, style.color, 0)
        image.alpha_composite(letters)
        return image

    def _pieces(self, layout: Layout) -> Iterator[tuple[float, float, Run]]:
        """Yield each run with the place of its baseline's left end."""
        high, first = self.line_height(layout.lines)
        inner = layout.width - 2 * self.border
        for n, line in enumerate(layout.lines):
            spare = inner - self.width(line)
            x = layout.x + self.border
            if "right" in layout.style.position:
                x += spare
            elif "left" not in layout.style.position:
                x += spare / 2
            for run in self.runs(line):
                yield x, layout.y + self.border + first + n * high, run
                x += self.run_width(run)

    def _write(self, pen: ImageDraw.ImageDraw, x: float, y: float, run: Run, color: str, stroke: float) -> None:
        direction: Literal["rtl", "ltr"] = "rtl" if run.right_to_left else "ltr"
        pen.text(
            (x, y), run.text, fill=_rgba(color), font=self.font(run.face), anchor="ls", direction=direction,
            stroke_width=stroke, stroke_fill=_rgba(color),
        )  # fmt: skip


def _even(length: float) -> int:
    return 2 * math.ceil(length / 2)


def _rgba(color: str, opacity: float = 1.0) -> tuple[int, int, int, int]:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16), round(255 * opacity)
