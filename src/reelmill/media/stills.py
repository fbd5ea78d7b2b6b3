"""Uploaded pictures: put behind a scene, or onto a film as its watermark.

A stranger's file is decoded by ffmpeg, in a limited child, into a PNG of our own of just the size that is needed.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from reelmill.errors import OutputRejected
from reelmill.media.children import Limits
from reelmill.media.ffmpeg import Finished, input_arguments, local, run
from reelmill.media.paint import Picture
from reelmill.media.probe import Source

Corner = Literal["top_left", "top_right", "bottom_left", "bottom_right"]
SCALING = "flags=lanczos+accurate_rnd+bitexact"


@dataclass(frozen=True)
class Watermark:
    """How a picture lies on a film."""

    corner: Corner = "bottom_right"
    margin_pct: float = 3.0  #: from the edges, % of the film's shorter side, 0–25
    width_pct: float = 15.0  #: of the film's width, 1–100; less where the picture would be higher than the film
    opacity: float = 0.8  #: above 0, to 1


def place(source: Source, mark: Watermark, width: int, height: int) -> tuple[int, int, int, int]:
    """Return x, y, width and height of a watermark on a film of width × height pixels, all even. Pure.

    source: the picture's. Within the margins it is as wide as it shall be, in its own proportions.
    """
    margin = round(min(width, height) * mark.margin_pct / 200) * 2
    across, down = source.video.width, source.video.height
    wide = min(width * mark.width_pct / 100, width - 2 * margin, (height - 2 * margin) * across / down)
    size = max(2, round(wide / 2) * 2), max(2, round(wide * down / across / 2) * 2)
    left, top = "left" in mark.corner, "top" in mark.corner
    x = margin if left else (width - margin - size[0]) & ~1
    y = margin if top else (height - margin - size[1]) & ~1
    return x, y, *size


def watermark(
    picture: Path,
    source: Source,
    mark: Watermark,
    width: int,
    height: int,
    out: Path,
    *,
    ffmpeg: Path,
    scratch: Path,
    limits: Limits | None = None,
    stop: threading.Event | None = None,
) -> tuple[Picture, Finished]:
    """Write a PNG that is laid onto a film of width × height pixels. Raises as `ffmpeg.run`, and OutputRejected."""
    x, y, wide, high = place(source, mark, width, height)
    steps = watermark_steps(mark, wide, high)
    finished = _drawn(picture, source, steps, out, ffmpeg=ffmpeg, scratch=scratch, limits=limits, stop=stop)
    return Picture(out, x, y, wide, high), finished


def watermark_steps(mark: Watermark, width: int, height: int) -> list[str]:
    """Return the filters that make a watermark's picture of this size; pure.

    It is scaled with its colours multiplied by its alpha: else what is hidden would shine through at the edges.
    """
    return [
        "format=gbrap", "premultiply=inplace=1", f"scale=w={width}:h={height}:{SCALING}", "unpremultiply=inplace=1",
        "format=rgba", f"colorchannelmixer=aa={mark.opacity:.4f}",
    ]  # fmt: skip


def fill(
    picture: Path,
    source: Source,
    width: int,
    height: int,
    out: Path,
    *,
    ffmpeg: Path,
    scratch: Path,
    limits: Limits | None = None,
    stop: threading.Event | None = None,
) -> Finished:
    """Write a PNG that fills width × height pixels with a picture, the rest cut off; black shows through what is clear.

    Raises as `ffmpeg.run`, and OutputRejected.
    """
    steps = fill_steps(source, width, height)
    return _drawn(picture, source, steps, out, ffmpeg=ffmpeg, scratch=scratch, limits=limits, stop=stop)


def fill_steps(source: Source, width: int, height: int) -> list[str]:
    """Return the filters that let a picture fill width × height pixels; pure."""
    across, down = source.video.width, source.video.height
    factor = max(width / across, height / down)
    inner = max(width, round(across * factor)), max(height, round(down * factor))
    return [
        "format=gbrap", "premultiply=inplace=1", f"scale=w={inner[0]}:h={inner[1]}:{SCALING}",
        f"crop={width}:{height}:{(inner[0] - width) // 2}:{(inner[1] - height) // 2}:exact=1", "format=rgb24",
    ]  # fmt: skip


def _drawn(
    picture: Path,
    source: Source,
    steps: list[str],
    out: Path,
    *,
    ffmpeg: Path,
    scratch: Path,
    limits: Limits | None,
    stop: threading.Event | None,
) -> Finished:
    finished = run(
        [
            *input_arguments(str(picture), source.demuxer, options=["-threads", "1"]),
            "-vf", ",".join(steps), "-frames:v", "1", "-c:v", "png", "-pred", "none", "-threads", "1",
            "-map_metadata", "-1", "-fflags", "+bitexact", "-flags:v", "+bitexact",
            "-f", "image2", "-update", "1", local(out),
        ],
        ffmpeg=ffmpeg, scratch=scratch, limits=limits, stop=stop,
    )  # fmt: skip
    if not out.is_file():
        raise OutputRejected("The picture gave nothing.")
    return finished
