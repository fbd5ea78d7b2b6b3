"""Which font can draw which character: Pillow draws an empty box where a glyph is missing, and doesn't tell.

The fonts are those of the package manimgx-fonts; manimgx-fonts-cjk adds Chinese, Japanese and Korean if installed.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO

from PIL import ImageFont, features

from reelmill.errors import ToolMissing

PACKAGES = ("manimgx_fonts", "manimgx_fonts_cjk")
FIRST = "NotoSans["  #: Latin, Greek, Cyrillic: the look of everything that it covers
LAST = ("NotoSansSymbols", "NotoEmoji")  #: in this order, behind all scripts
LEFT_OUT = ("NotoSans-Italic",)


@dataclass(frozen=True)
class Face:
    """One font file and the characters that it has."""

    path: Path
    index: int  #: of the face in its file
    covers: frozenset[int] = field(repr=False)  #: code points

    @property
    def is_emoji(self) -> bool:
        return "Emoji" in self.path.name

    def open(self, size_px: float, weight: int) -> ImageFont.FreeTypeFont:
        """Return the font at a size in pixels and the nearest weight that it has (400 regular, 700 bold)."""
        font = ImageFont.truetype(str(self.path), size_px, index=self.index, layout_engine=ImageFont.Layout.RAQM)
        try:
            axes = font.get_variation_axes()
        except OSError:
            return font  # has one weight only
        wanted: list[float] = []
        for axis in axes:
            least, usual, most = axis["minimum"] or 0, axis["default"] or 0, axis["maximum"] or 0
            wanted.append(min(max(weight, least), most) if axis["name"] == b"Weight" else usual)
        font.set_variation_by_axes(wanted)
        return font


@lru_cache(maxsize=1)
def faces() -> tuple[Face, ...]:
    """Return all fonts, the preferred ones first. Raises ToolMissing if there is none, or no raqm.

    Kept for the process: the packages' files don't change, and reading 23 tables takes a tenth of a second.
    """
    if not features.check("raqm"):
        raise ToolMissing("Pillow was built without raqm, which shapes text: install Pillow's own wheel.")
    found = []
    for package in PACKAGES:
        spec = find_spec(package)
        folders = (spec.submodule_search_locations or []) if spec else []
        for folder in folders:
            files = (path for path in Path(folder).rglob("*") if path.suffix in {".ttf", ".otf", ".ttc"})
            found += [path for path in files if not path.name.startswith(LEFT_OUT)]
    if not any(path.name.startswith(FIRST) for path in found):
        raise ToolMissing("The fonts of the package manimgx-fonts aren't there.")
    return tuple(Face(path, 0, _coverage(path)) for path in sorted(found, key=_rank))


def _rank(path: Path) -> tuple[int, str]:
    if path.name.startswith(FIRST):
        return 0, path.name
    for place, name in enumerate(LAST):
        if path.name.startswith(name):
            return 3 + place, path.name
    return (2 if "CJK" in path.name else 1), path.name


def _coverage(path: Path) -> frozenset[int]:
    """Return the code points that a font's character map has: OpenType 1.9, `cmap`, formats 4 and 12."""
    with path.open("rb") as file:
        if file.read(4) == b"ttcf":
            file.seek(12)
            file.seek(struct.unpack(">I", file.read(4))[0] + 4)
        tables = struct.unpack(">H", file.read(2))[0]
        file.seek(6, 1)
        for _ in range(tables):
            tag, _, offset, length = struct.unpack(">4sIII", file.read(16))
            if tag == b"cmap":
                return _read_cmap(file, offset, length)
    return frozenset()


def _read_cmap(file: BinaryIO, offset: int, length: int) -> frozenset[int]:
    file.seek(offset)
    table = file.read(length)
    (count,) = struct.unpack_from(">H", table, 2)
    covered: set[int] = set()
    for n in range(count):
        platform, encoding, start = struct.unpack_from(">HHI", table, 4 + 8 * n)
        if (platform, encoding) not in {(0, 3), (0, 4), (0, 6), (3, 1), (3, 10)}:
            continue
        (kind,) = struct.unpack_from(">H", table, start)
        if kind == 4:
            covered |= _format_4(table, start)
        elif kind == 12:
            (groups,) = struct.unpack_from(">I", table, start + 12)
            for group in range(groups):
                first, last, _ = struct.unpack_from(">III", table, start + 16 + 12 * group)
                covered.update(range(first, last + 1))
    return frozenset(covered)


def _format_4(table: bytes, start: int) -> set[int]:
    (doubled,) = struct.unpack_from(">H", table, start + 6)
    count = doubled // 2
    ends = struct.unpack_from(f">{count}H", table, start + 14)
    starts = struct.unpack_from(f">{count}H", table, start + 16 + doubled)
    deltas = struct.unpack_from(f">{count}H", table, start + 16 + 2 * doubled)
    places = start + 16 + 3 * doubled
    offsets = struct.unpack_from(f">{count}H", table, places)
    covered = set()
    for n, (first, last, delta, offset) in enumerate(zip(starts, ends, deltas, offsets, strict=True)):
        for code in range(first, min(last, 0xFFFE) + 1):
            if offset:
                (glyph,) = struct.unpack_from(">H", table, places + 2 * n + offset + 2 * (code - first))
            else:
                glyph = (code + delta) & 0xFFFF
            if glyph:
                covered.add(code)
    return covered
