"""Small pictures: one frame of a clip, and a sheet of many."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from PIL import Image, ImageDraw

from reelmill.errors import OutputRejected, ParamsInvalid
from reelmill.media.children import Limits
from reelmill.media.ffmpeg import input_arguments, local, microseconds, run
from reelmill.media.fonts import faces

BACKGROUND, FOREGROUND, QUIET = "#14161A", "#F2F4F8", "#9AA3B2"
TILE_W, GAP, CAPTION_H = 320, 16, 34


def thumbnail(
    path: Path,
    at_s: float,
    width: int,
    out: Path,
    *,
    ffmpeg: Path,
    scratch: Path,
    limits: Limits | None = None,
    stop: threading.Event | None = None,
) -> Path:
    """Write the frame shown at `at_s` seconds of one of our own MP4s as a JPEG `width` pixels wide (16–4096, even).

    Behind the end, the last frame is taken. Returns `out`. Raises as `ffmpeg.run`,
    and OutputRejected if there is no picture.
    """
    at = Fraction(max(0.0, at_s)).limit_denominator(1_000_000)
    # From the key frame before up to the moment, each frame replaces the one before it: the last is the one that is
    # shown then, and behind the end the film's last.
    run(
        [
            *input_arguments(str(path), "mov", seek_s=at, options=["-an", "-threads", "1"]), "-copyts",
            "-vf", rf"trim=end={microseconds(at + 1)},select=lte(t\,{microseconds(at)}),"
            f"scale={width}:-2:out_range=pc,format=yuvj420p",
            "-fps_mode", "passthrough", "-c:v", "mjpeg", "-q:v", "4", "-threads", "1", "-strict", "unofficial",
            "-map_metadata", "-1", "-fflags", "+bitexact", "-flags:v", "+bitexact",
            "-f", "image2", "-update", "1", local(out),
        ],
        ffmpeg=ffmpeg, scratch=scratch, limits=limits, stop=stop,
    )  # fmt: skip
    if not out.is_file():
        raise OutputRejected(f"There is no picture at {at_s:g} s.")
    return out


def contact_sheet(items: Sequence[tuple[Path, str]], out: Path, columns: int = 5, max_tiles: int = 60) -> Path:
    """Write a PNG with pictures and their captions in a grid; of more than max_tiles, an even sample.

    items: (JPEG path, caption) in order. Returns `out`. Raises ParamsInvalid for no items.
    """
    if not items:
        raise ParamsInvalid("A contact sheet needs at least one picture.")
    shown = items
    if len(items) > max_tiles:
        shown = [items[round(n * (len(items) - 1) / (max_tiles - 1))] for n in range(max_tiles)]
    columns = min(columns, len(shown))
    with Image.open(shown[0][0]) as first:
        tile_h = max(TILE_W // 4, min(TILE_W * 2, round(TILE_W * first.height / first.width)))
    rows = -(-len(shown) // columns)
    sheet = Image.new("RGB", (columns * (TILE_W + GAP) + GAP, rows * (tile_h + CAPTION_H + GAP) + GAP), BACKGROUND)
    canvas = ImageDraw.Draw(sheet)
    font = faces()[0].open(17, 500)
    for number, (path, caption) in enumerate(shown):
        x = GAP + number % columns * (TILE_W + GAP)
        y = GAP + number // columns * (tile_h + CAPTION_H + GAP)
        with Image.open(path) as picture:
            picture.thumbnail((TILE_W, tile_h))
            sheet.paste(picture, (x + (TILE_W - picture.width) // 2, y + (tile_h - picture.height) // 2))
        canvas.text((x + 2, y + tile_h + CAPTION_H // 2), caption, font=font, fill=FOREGROUND, anchor="lm")
    if len(items) > len(shown):
        canvas.text(
            (sheet.width - GAP, sheet.height - 4), f"{len(shown)} of {len(items)}", font=font, fill=QUIET, anchor="rs"
        )
    sheet.save(out, "PNG")
    return out
