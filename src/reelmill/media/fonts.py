"""The fonts that are installed with the package: which characters each has, and how it shapes them.

They are Noto Sans for 22 scripts, symbols, one-colour emoji (package manimgx-fonts), and Noto Sans CJK with a face
for each language of Han characters (manimgx-fonts-cjk). HarfBuzz shapes; Pillow, whose raqm does the same, paints.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import uharfbuzz as hb
from PIL import ImageFont, features

from reelmill.errors import ToolMissing

Language = Literal["ja", "ko", "zh-Hans", "zh-Hant", "zh-HK"]  #: in the order of the faces of Noto Sans CJK

PACKAGES = ("manimgx_fonts", "manimgx_fonts_cjk")
FIRST = "NotoSans["  #: Latin, Greek, Cyrillic: the look of everything that it covers
CJK = "NotoSansCJK"
LAST = (CJK, "NotoSansSymbols", "NotoEmoji")  #: in this order, behind all other scripts
LEFT_OUT = "NotoSans-Italic"
WEIGHTS = 400, 700  #: all faces have these; those of CJK have more, and would not match the others


class Glyph(NamedTuple):
    """One shaped glyph. Lengths in font sizes."""

    char: int  #: index in the shaped text of the first character that it stands for
    advance: float
    up: float  #: how far it reaches above the baseline
    down: float  #: and below


@dataclass(frozen=True)
class Face:
    """One face of a font file."""

    path: Path
    index: int  #: of the face in its file

    @property
    def is_emoji(self) -> bool:
        return self.path.name.startswith("NotoEmoji") or self.is_color

    @cached_property
    def is_color(self) -> bool:
        """Whether its glyphs are pictures in colours of their own (CBDT, sbix), which Pillow can paint."""
        return bool(self._face.has_color_png)

    @property
    def is_cjk(self) -> bool:
        return self.path.name.startswith(CJK)

    @cached_property
    def _face(self) -> hb.Face:
        return hb.Face(hb.Blob.from_file_path(str(self.path)), self.index)

    def covers(self, chars: str) -> bool:
        """Return whether it has a glyph for each of the characters."""
        return all(ord(char) in self._code_points for char in chars)

    @cached_property
    def _code_points(self) -> hb.Set:
        return self._face.unicodes

    def shaped(self, text: str, right_to_left: bool, weight: int) -> list[Glyph]:
        """Return the glyphs of a text of one script and direction, from left to right.

        weight: 400 (regular) – 700 (bold); others count as the nearest. Raises KeyError with the index of a character
        for which there is no glyph.
        """
        buffer = hb.Buffer()
        buffer.add_str(text)
        buffer.direction = "rtl" if right_to_left else "ltr"
        buffer.flags = hb.BufferFlags.BOT | hb.BufferFlags.EOT  # as raqm does
        buffer.guess_segment_properties()
        weight = self.nearest(weight)
        hb.shape(_scaled(self, weight), buffer)
        glyphs = []
        for info, place in zip(buffer.glyph_infos, buffer.glyph_positions, strict=True):
            if not info.codepoint:
                raise KeyError(info.cluster)
            up, down = _extents(self, weight, info.codepoint)
            raised = place.y_offset / UNITS
            glyphs.append(Glyph(info.cluster, place.x_advance / UNITS, up + raised, down - raised))
        return glyphs

    def draws(self) -> bool:
        """Return whether its file is whole: of characters from all over it, some are painted and none fails."""
        font = self.open(32, WEIGHTS[0])
        chars = [chr(point) for point in self._code_points if chr(point).isprintable()]
        boxes = [font.getbbox(char) for char in (*chars[:: max(1, len(chars) // 100)], *chars[-1:])]
        return any(right > left and bottom > top for left, top, right, bottom in boxes)

    def open(self, size_px: float, weight: int) -> ImageFont.FreeTypeFont:
        """Return the font for painting, at a size in pixels and the nearest weight; of colours, at its own size.

        Raises OSError for a damaged one.
        """
        if self.is_color:
            return _strike(self.path)
        font = ImageFont.truetype(str(self.path), size_px, index=self.index, layout_engine=ImageFont.Layout.RAQM)
        if self._is_installed:  # that these have one axis is known: one that lost it is damaged, and this tells
            font.set_variation_by_axes([self.nearest(weight)])
        elif self._axes:
            font.set_variation_by_axes([
                self.nearest(weight) if tag == "wght" else usual for tag, _, usual, _ in self._axes
            ])  # fmt: skip
        return font

    def nearest(self, weight: int) -> int:
        """Return the weight that is drawn: the installed fonts' common ones, or what a font of one's own has."""
        found = next((axis for axis in self._axes if axis[0] == "wght"), None)
        least, most = (found[1], found[3]) if found else (WEIGHTS[0], WEIGHTS[0])
        if self._is_installed:
            least, most = WEIGHTS
        return round(min(max(weight, least), most))

    @property
    def _is_installed(self) -> bool:
        return any(package in self.path.parts for package in PACKAGES)

    @cached_property
    def _axes(self) -> list[tuple[str, float, float, float]]:
        axes = self._face.axis_infos
        return [(str(axis.tag), axis.min_value, axis.default_value, axis.max_value) for axis in axes]


UNITS = 16384  #: HarfBuzz's units in a font size: finer than any of the fonts


STRIKES = (109, 136, 128, 160, 96, 72, 64, 32)  #: pixels: Noto Color Emoji has the first, others have others


@lru_cache(maxsize=8)
def _strike(path: Path) -> ImageFont.FreeTypeFont:
    """Return a font of pictures at the size that it has them in. Raises OSError."""
    for size in STRIKES:
        try:
            return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.RAQM)
        except OSError as error:
            problem = error
    raise problem


@lru_cache(maxsize=256)
def _scaled(face: Face, weight: int) -> hb.Font:
    font = hb.Font(face._face)
    font.scale = UNITS, UNITS
    font.set_variations({"wght": weight})
    return font


@lru_cache(maxsize=20_000)
def _extents(face: Face, weight: int, glyph: int) -> tuple[float, float]:
    """Return how far a glyph reaches above and below the baseline, font sizes."""
    found = _scaled(face, weight).get_glyph_extents(glyph)
    if found is None or not found.height:
        return 0.0, 0.0
    return found.y_bearing / UNITS, -(found.y_bearing + found.height) / UNITS


@lru_cache(maxsize=len(get_args(Language)))
def faces(language: Language = "zh-Hans") -> tuple[Face, ...]:
    """Return the fonts to look through, the preferred ones first; Han characters as `language` writes them.

    Raises ToolMissing if fonts aren't installed, or Pillow can't shape.
    """
    if not features.check("raqm"):
        raise ToolMissing("Pillow was built without raqm, which shapes text: install Pillow's own wheel.")
    found: list[Path] = []
    for package in PACKAGES:
        spec = find_spec(package)
        folders = (spec.submodule_search_locations or []) if spec else []
        files = [path for folder in folders for path in Path(folder).iterdir() if path.suffix in {".ttf", ".ttc"}]
        if not files:
            raise ToolMissing(f"The fonts of the package {package.replace('_', '-')} aren't there: install it again.")
        found += [path for path in files if not path.name.startswith(LEFT_OUT)]
    place = get_args(Language).index(language)
    return tuple(Face(path, place if path.name.startswith(CJK) else 0) for path in sorted(found, key=_rank))


def _rank(path: Path) -> tuple[int, str]:
    if path.name.startswith(FIRST):
        return 0, path.name
    return next((2 + n for n, name in enumerate(LAST) if path.name.startswith(name)), 1), path.name
