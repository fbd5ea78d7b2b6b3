"""Whether letters can be read over a film: the contrast of their fill to the pixels around them.

The ratio is WCAG 2's: (L1 + 0.05) / (L2 + 0.05), of relative luminances in sRGB. "Around" is a ring of a few pixels
outside the letters, with the film, the shadow and the box in it. What counts is the worst of the frames, and in each
the ratio that nine tenths of the ring have at least.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Literal

from PIL import Image, ImageChops, ImageFilter

from reelmill.errors import TextDoesNotFit
from reelmill.media.children import Limits
from reelmill.media.encode import decoding_options, seek
from reelmill.media.ffmpeg import input_arguments, local, run
from reelmill.media.graphs import QUICK_SCALING, Shape, cut_steps, output_size, shaped_steps
from reelmill.media.paint import letter_mask, painted
from reelmill.media.probe import Source
from reelmill.media.styles import TextStyle
from reelmill.media.text import Layout, layout

Legibility = Literal["auto", "plate", "outline", "off"]
Frames = Callable[[], Sequence[Image.Image]]

LEAST = 4.5  #: WCAG 2.2, 1.4.3, level AA
SAMPLES = 3  #: frames that are looked at
SAMPLE_SIDE = 540  #: pixels of their shorter side, at most
MEASURED_PX = 24  #: letters are looked at in this size at least
RING = 0.06  #: width of the ring, font sizes
SEALING_PCT = 6.0  #: an outline of this width is all that the ring sees
WORST_SHARE = 0.1  #: of the ring, that may have less contrast
DARK, LIGHT = "#0B0E14", "#FFFFFF"
BOLD = 600  #: letters of this weight stand an outline; thinner ones get a plate


@dataclass(frozen=True)
class Readable:
    """A layout that can be read, and how it came to that."""

    layout: Layout
    contrast: float | None  #: 1–21; None: no frame could be looked at
    before: float | None  #: without what was added
    added: Literal["plate", "outline"] | None


def readable(made: Layout, how: Legibility, frames: Frames) -> Readable:
    """Return a layout whose letters have a contrast of LEAST, with a plate or an outline where it needs one.

    frames: gives pictures of the film, of any size; called only if the style alone doesn't tell.
    """
    found = contrast(made, frames)
    if found is None or found >= LEAST or how == "off":
        return Readable(made, found, found, None)
    style, added = _mended(made.style, how)
    text = "\n".join(made.lines)
    try:
        mended = layout(text, style, made.picture_width, made.picture_height)
    except TextDoesNotFit:  # a plate takes room; an outline hardly any
        style, added = _outlined(made.style), "outline"
        mended = layout(text, style, made.picture_width, made.picture_height)
    return Readable(mended, contrast(mended, frames), found, added)


def contrast(made: Layout, frames: Frames) -> float | None:
    """Return the contrast of the letters to what is around them, 1–21; None if there is no frame."""
    style = made.style
    fill = luminance(_rgb(style.color))
    if style.outline_pct >= SEALING_PCT:
        return ratio(fill, luminance(_rgb(style.outline_color)))
    if style.box_color and style.box_padding_pct >= 100 * RING:
        least = _least_on_box(style)
        if least >= LEAST or style.box_opacity == 1:
            return least
    seen = [_measured(made, frame, fill) for frame in frames()]
    return min(seen, default=None)


def ratio(one: float, other: float) -> float:
    """Return the contrast of two luminances, 1–21."""
    low, high = sorted((one, other))
    return (high + 0.05) / (low + 0.05)


@lru_cache(maxsize=16384)
def luminance(color: tuple[int, int, int]) -> float:
    """Return the relative luminance of an sRGB colour, 0–1."""
    linear = [(part / 255 / 12.92) if part <= 10 else ((part / 255 + 0.055) / 1.055) ** 2.4 for part in color]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _least_on_box(style: TextStyle) -> float:
    """Return the contrast on a box over the worst film: black or white shining through."""
    fill, box = luminance(_rgb(style.color)), _rgb(style.box_color or DARK)
    ends = []
    for film in (0, 255):
        mixed = [round(part * style.box_opacity + film * (1 - style.box_opacity)) for part in box]
        ends.append(luminance((mixed[0], mixed[1], mixed[2])))
    if min(ends) <= fill <= max(ends):
        return 1.0
    return min(ratio(fill, end) for end in ends)


def _measured(made: Layout, frame: Image.Image, fill: float) -> float:
    """Return the contrast over one frame, which shows the whole picture at any size."""
    scale = frame.width / made.picture_width
    size_scale = min(1.0, max(scale, MEASURED_PX / made.font_px))
    size = max(1, round(made.width * size_scale)), max(1, round(made.height * size_scale))
    place = [scale * edge for edge in (made.x, made.y, made.x + made.width, made.y + made.height)]
    place[2], place[3] = min(place[2], frame.width), min(place[3], frame.height)
    film = frame.convert("RGB").resize(size, Image.Resampling.BILINEAR, box=(place[0], place[1], place[2], place[3]))
    below = Image.alpha_composite(film.convert("RGBA"), painted(made).resize(size, Image.Resampling.BOX))
    letters = letter_mask(made).resize(size, Image.Resampling.BOX)
    reach = max(1, min(6, round(RING * made.font_px * size_scale)))
    around = letters.filter(ImageFilter.MaxFilter(2 * reach + 1)).point([255 * (n > 127) for n in range(256)])
    ring = ImageChops.darker(around, letters.point([255 * (n < 24) for n in range(256)]))
    seen = Image.new("RGBA", size)
    seen.paste(below.convert("RGB").point([n & 0xFC | 2 for n in range(256)] * 3), mask=ring.point(
        [255 * (n > 127) for n in range(256)]))  # fmt: skip
    colors: list[tuple[int, tuple[int, int, int, int]]] = seen.getcolors(size[0] * size[1]) or []  # type: ignore[assignment]
    ratios = sorted((ratio(fill, luminance(color[:3])), count) for count, color in colors if color[3])
    left = WORST_SHARE * sum(count for _, count in ratios)
    for found, count in ratios:
        left -= count
        if left < 0:
            return found
    return 21.0  # nothing around: no letters


def _mended(style: TextStyle, how: Legibility) -> tuple[TextStyle, Literal["plate", "outline"]]:
    """Return a style whose letters can be read over any film."""
    if style.box_color is None and (how == "outline" or (how == "auto" and style.weight >= BOLD)):
        return _outlined(style), "outline"
    ground = _ground(style)
    if style.box_color is not None:
        for opacity in (0.6, 0.7, 0.8, 0.9, 1.0):
            for color in (style.box_color, ground):
                tried = replace(style, box_color=color, box_opacity=max(opacity, style.box_opacity))
                if _least_on_box(tried) >= LEAST:
                    return tried, "plate"
    plate = replace(
        style,
        box_color=ground,
        box_opacity=0.72,
        box_padding_pct=36.0,
        box_radius_pct=28.0,
        outline_pct=0.0,
        shadow_pct=0.0,
    )
    return plate, "plate"


def _outlined(style: TextStyle) -> TextStyle:
    return replace(style, outline_color=_ground(style), outline_pct=max(style.outline_pct, 8.0))


def _ground(style: TextStyle) -> str:
    """Return dark or light, whichever the letters stand out from."""
    fill = luminance(_rgb(style.color))
    return max((DARK, LIGHT), key=lambda color: ratio(fill, luminance(_rgb(color))))


def _rgb(color: str) -> tuple[int, int, int]:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


# ── frames of a film ──────────────────────────────────────────────────────────────────────────


def sample_ticks(source: Source, first: int, end: int) -> list[int]:
    """Return the ticks of a few frames of [first, end): key frames if there are any, which decode at once. Pure."""
    ticks = source.frame_ticks()
    keys = source.keyframe_ticks()
    last = ticks[end] if end < len(ticks) else source.video.end_tick
    inside = list(keys[bisect_left(keys, ticks[first]) : bisect_left(keys, last)])
    if not inside:
        return [ticks[(first + end) // 2]]
    return sorted({inside[round(n * (len(inside) - 1) / (SAMPLES - 1))] for n in range(SAMPLES)})


def sample_frames(
    location: str,
    source: Source,
    shape: Shape,
    ticks: Sequence[int],
    *,
    ffmpeg: Path,
    scratch: Path,
    limits: Limits | None = None,
    stop: threading.Event | None = None,
) -> list[Image.Image]:
    """Return the frames at these ticks as clips of a shape show them, in SDR and small. Raises as `ffmpeg.run`."""
    shape = replace(shape, keep_hdr=False, deinterlace=False, quick=True)
    width, height = output_size(source, shape)
    factor = min(Fraction(1), Fraction(SAMPLE_SIDE, min(width, height)))
    small = max(2, round(width * factor / 2) * 2), max(2, round(height * factor / 2) * 2)
    keys = set(source.keyframe_ticks())
    inputs: list[str] = []
    graphs: list[str] = []
    outputs: list[str] = []
    paths = [scratch / f"sample-{n}.ppm" for n in range(len(ticks))]
    for n, (tick, path) in enumerate(zip(ticks, paths, strict=True)):
        options = ["-an", "-sn", "-dn", *decoding_options(source, 1), *["-skip_frame:v", "nokey"] * (tick in keys)]
        inputs += input_arguments(location, source.demuxer, seek_s=seek(source, tick), options=options)
        steps = [
            *cut_steps(source, shape, tick, tick + 1), *shaped_steps(source, shape, "yuv420p"),
            f"scale=w={small[0]}:h={small[1]}:{QUICK_SCALING}", "format=rgb24",
        ]  # fmt: skip
        graphs.append(f"[{n}:{source.video_index}]{','.join(steps)}[frame{n}]")
        outputs += ["-map", f"[frame{n}]", "-frames:v", "1", "-c:v", "ppm", "-f", "image2", "-update", "1", local(path)]
    try:
        run([*inputs, "-copyts", "-filter_complex", ";".join(graphs), *outputs],
            ffmpeg=ffmpeg, scratch=scratch, limits=limits, stop=stop)  # fmt: skip
        found = []
        for path in paths:
            if path.is_file():
                with Image.open(path) as frame:
                    found.append(frame.convert("RGB"))
        return found
    finally:
        for path in paths:
            path.unlink(missing_ok=True)
