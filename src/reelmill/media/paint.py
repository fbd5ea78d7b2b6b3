"""A layout as a picture, by Pillow with raqm: no user string ever gets near a filter graph."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter, ImageFont

from reelmill.media.lines import Run
from reelmill.media.text import BLUR, MARK, OFFSET, SMALL_PX, Layout, Pen, Placed, Rect

MOST_PIXELS = 32_000_000  #: held for a moment for each text
KEYCAP = "\u20e3"
TRACE = 8  #: of 255: how dark a shadow's last traces are
SHADOW_SCALE = 4  #: a blurred shadow needs a sixteenth of the pixels


@dataclass(frozen=True)
class Picture:
    """An RGBA PNG that belongs at (x, y) of the video picture."""

    path: Path
    x: int  #: pixels from the left, even
    y: int  #: pixels from the top, even
    width: int  #: pixels, even
    height: int


def draw(layout: Layout, path: Path) -> Picture:
    """Write the layout as a PNG cropped to what is seen. Equal layouts give equal bytes."""
    image = painted(layout)
    left, top, right, bottom = image.getbbox() or (0, 0, 2, 2)
    # Even edges: a chroma sample of yuv420p covers two pixels each way.
    left, top, right, bottom = left & ~1, top & ~1, right + (right & 1), bottom + (bottom & 1)
    path.write_bytes(_png(image.crop((left, top, right, bottom))))
    return Picture(path, layout.x + left, layout.y + top, right - left, bottom - top)


def painted(layout: Layout) -> Image.Image:
    """Return the layout's rectangle on clear ground: shadow, boxes, accent, outlines, letters."""
    style, size = layout.style, (layout.width, layout.height)
    outline = layout.font_px * style.outline_pct / 100
    letters = letter_mask(layout)
    edges = letter_mask(layout, outline) if outline else None
    boxes = _boxes(layout) if layout.boxes else None
    image: Image.Image | None = None
    if style.shadow_pct and style.shadow_opacity:
        image = _laid(image, "#000000", _shadow(layout, boxes or edges or letters))
    if boxes is not None and style.box_color:
        image = _laid(image, style.box_color, boxes.point([round(n * style.box_opacity) for n in range(256)]))
    for bar in layout.bars:
        image = _laid(image, style.accent_color, _filled(layout, [bar], 0.0))
    if layout.marks:
        image = _laid(image, style.accent_color, _letters(layout, layout.marks, layout.font_px * MARK, 700, 0.0))
    # All outlines first: else one letter's outline would lie on its neighbour in another font.
    if edges is not None:
        image = _laid(image, style.outline_color, edges)
    image = _laid(image, style.color, letters)
    for placed in layout.runs:
        if placed.run.face.is_color:
            _paint_color(image, layout, placed)
    assert image.size == size
    return image


def letter_mask(layout: Layout, stroke: float = 0.0) -> Image.Image:
    """Return where the letters are in the layout's rectangle, 0–255, drawn with an outline of `stroke` pixels."""
    plain = [placed for placed in layout.runs if not placed.run.face.is_color]
    return _letters(layout, plain, layout.font_px, layout.style.weight, stroke)


def _laid(image: Image.Image | None, color: str, mask: Image.Image) -> Image.Image:
    """Return a picture with a colour laid on it where the mask says."""
    if image is None:  # nothing to be mixed with
        return Image.merge("RGBA", [*(mask.point([0] + [value] * 255) for value in _rgb(color)), mask])
    if (spot := mask.getbbox()) is not None:
        layer = Image.new("RGBA", (spot[2] - spot[0], spot[3] - spot[1]), (*_rgb(color), 0))
        layer.putalpha(mask.crop(spot))
        image.alpha_composite(layer, spot[:2])
    return image


def _letters(layout: Layout, runs: Sequence[Placed], font_px: float, weight: int, stroke: float) -> Image.Image:
    most = math.isqrt(MOST_PIXELS // (layout.width * layout.height))
    scale = max(1, min(math.ceil(SMALL_PX / font_px), most))
    pen = Pen(font_px, weight, scale)
    mask = Image.new("L", (layout.width * scale, layout.height * scale))
    brush = ImageDraw.Draw(mask)
    for placed in runs:
        place = (placed.x - layout.x) * scale, (placed.y - layout.y) * scale
        _write(brush, place, placed.run, pen.font(placed.run.face), stroke * scale)
    return mask.reduce(scale) if scale > 1 else mask


def _write(
    brush: ImageDraw.ImageDraw, place: tuple[float, float], run: Run, font: ImageFont.FreeTypeFont, stroke: float
) -> None:
    def write(x: float, y: float, width: float) -> None:
        brush.text((x, y), run.text, fill=255, font=font, anchor="ls", direction=run.direction, stroke_width=width)

    x, y = place
    write(x, y, stroke)
    if stroke and KEYCAP in run.text:
        # FreeType's stroker leaves them hollow: copies all around don't.
        for radius, copies in ((stroke, 24), (stroke / 2, 12)):
            for n in range(copies):
                angle = 2 * math.pi * n / copies
                write(x + radius * math.cos(angle), y + radius * math.sin(angle), 0)


def _paint_color(image: Image.Image, layout: Layout, placed: Placed) -> None:
    """Paint emoji in their own colours. Their pictures have one size, and are brought to the letters'."""
    font = placed.run.face.open(layout.font_px, layout.style.weight)
    factor = layout.font_px / font.size
    left, top, right, bottom = font.getbbox(placed.run.text, anchor="ls")
    glyphs = Image.new("RGBA", (math.ceil(right - left), math.ceil(bottom - top)))
    if not glyphs.width or not glyphs.height:
        return
    brush = ImageDraw.Draw(glyphs)
    brush.text((-left, -top), placed.run.text, font=font, anchor="ls", embedded_color=True)
    size = max(1, round(glyphs.width * factor)), max(1, round(glyphs.height * factor))
    small = glyphs.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
    x, y = round(placed.x - layout.x + left * factor), round(placed.y - layout.y + top * factor)
    spot = max(x, 0), max(y, 0)
    image.alpha_composite(small, spot, (spot[0] - x, spot[1] - y))


def _boxes(layout: Layout) -> Image.Image:
    return _filled(layout, layout.boxes, layout.font_px * layout.style.box_radius_pct / 100)


def _filled(layout: Layout, rects: Sequence[Rect], radius: float) -> Image.Image:
    """Return where rectangles are, with smooth round corners. Whole pixels, never beyond the edges."""
    mask = Image.new("L", (layout.width, layout.height))
    for rect in rects:
        left, top = math.ceil(rect.left - layout.x), math.ceil(rect.top - layout.y)
        right, bottom = int(rect.right - layout.x), int(rect.bottom - layout.y)
        if right <= left or bottom <= top:
            continue
        tile = Image.new("L", (right - left, bottom - top), 255)
        corner = int(min(radius, (right - left) / 2, (bottom - top) / 2))
        if corner:
            round_ = Image.new("L", (8 * corner, 8 * corner))
            ImageDraw.Draw(round_).ellipse((0, 0, 8 * corner - 1, 8 * corner - 1), fill=255)
            circle = round_.reduce(4)
            for x in (0, 1):
                for y in (0, 1):
                    part = circle.crop((x * corner, y * corner, (x + 1) * corner, (y + 1) * corner))
                    tile.paste(part, (x * (tile.width - corner), y * (tile.height - corner)))
        mask.paste(255, (left, top), tile)
    return mask


def _shadow(layout: Layout, of: Image.Image) -> Image.Image:
    """Return the soft shadow of a mask, a little below it."""
    style, size = layout.style, layout.font_px * layout.style.shadow_pct / 100
    scale = SHADOW_SCALE if size * BLUR >= SHADOW_SCALE else 1
    small = of.reduce(scale) if scale > 1 else of
    soft = small.filter(ImageFilter.GaussianBlur(size * BLUR / scale))
    # A blur thins what is thin: letters' shadows are made fuller again. Its last traces are seen by nobody.
    full = 1.0 if layout.boxes else 1.9
    soft = soft.point([min(255, round(max(0, n - TRACE) * full * style.shadow_opacity)) for n in range(256)])
    if scale > 1:
        soft = soft.resize((small.width * scale, small.height * scale), Image.Resampling.BILINEAR)
    moved = Image.new("L", of.size)
    moved.paste(soft, (0, round(size * OFFSET)))
    return moved


def _png(image: Image.Image) -> bytes:
    """Return an RGBA picture as a PNG, not packed: it lives for one run of ffmpeg, and packing took half of drawing."""
    raw, row = image.tobytes(), 4 * image.width
    lines = b"".join(b"\0" + raw[start : start + row] for start in range(0, len(raw), row))
    head = struct.pack(">2I5B", image.width, image.height, 8, 6, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(lines, 0)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


def _rgb(color: str) -> tuple[int, int, int]:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)
