"""Pictures of a film from its key frames alone: a storyboard (sprites with WebVTT) and stills.

Nothing but key frames is decoded, an eighth of the work or less.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

from PIL import Image

from reelmill.errors import OutputRejected
from reelmill.media.children import Limits
from reelmill.media.encode import decoding_options, seek
from reelmill.media.ffmpeg import Finished, input_arguments, local, run
from reelmill.media.graphs import Shape, cut_steps, output_size, shaped_steps, short_side
from reelmill.media.probe import Source

COLUMNS, ROWS = 10, 10  #: tiles of a sprite, at most
TILE_SIDE = 90  #: pixels of a tile's shorter side
TILES = 120  #: about so many for a film of any length between …
SHORTEST, LONGEST = Fraction(1), Fraction(10)  #: … these seconds for a tile
JPEG_QUALITY = 80


@dataclass(frozen=True)
class Tile:
    """A picture of the storyboard."""

    start_s: float  #: seconds from the film's first frame
    end_s: float
    sheet: int  #: number of the sprite, from 0
    x: int  #: pixels of its upper left corner within the sprite
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class Storyboard:
    """Sprites, and where each tile stands."""

    sheets: tuple[Path, ...]
    tiles: tuple[Tile, ...]
    finished: Finished


def tile_s(source: Source, every_s: Fraction | None = None) -> Fraction:
    """Return the seconds for which a tile stands, if key frames are near enough to each other."""
    if every_s is not None:
        return every_s
    length = (source.video.end_tick - source.video.start_tick) * source.video.time_base
    return min(LONGEST, max(SHORTEST, Fraction(round(length / TILES))))


def storyboard(
    location: str,
    source: Source,
    every_s: Fraction,
    folder: Path,
    *,
    ffmpeg: Path,
    scratch: Path,
    limits: Limits | None = None,
    stop: threading.Event | None = None,
) -> Storyboard:
    """Write sprites `storyboard-1.jpg`, … into a folder: the first key frame of each `every_s` seconds that has one.

    Raises as `ffmpeg.run`, and OutputRejected if nothing was decoded.
    """
    video = source.video
    shape = short_side(source, TILE_SIDE, quick=True)
    # The number of a key frame's time stands in its file's name: what couldn't be decoded is missed by nobody.
    per_tick = video.time_base / every_s
    number = f"floor(({{0}}*{per_tick.numerator})/{per_tick.denominator})"
    here, before = number.format("pts"), number.format("prev_selected_pts")
    steps = [
        *cut_steps(source, Shape(deinterlace=False), video.start_tick, video.end_tick),
        rf"select=isnan(prev_selected_pts)+gt({here}\,{before})",
        f"setpts=round({number.format('PTS')}*{every_s.numerator}/({every_s.denominator}*TB))",
        f"settb={every_s.numerator}/{every_s.denominator}",
        *shaped_steps(source, shape, "rgb24"),
    ]
    options = [*decoding_options(source, 1), "-an", "-sn", "-dn", "-skip_frame:v", "nokey"]
    finished = run(
        [
            *input_arguments(location, source.demuxer, options=options), "-copyts",
            "-filter_complex", f"[0:{source.video_index}]{','.join(steps)}[tiles]", "-map", "[tiles]",
            "-c:v", "ppm", "-fps_mode", "passthrough",
            "-enc_time_base:v", f"{every_s.numerator}/{every_s.denominator}",
            "-f", "image2", "-frame_pts", "1", local(scratch / "tile-%06d.ppm"),
        ],
        ffmpeg=ffmpeg, scratch=scratch, limits=limits, stop=stop,
    )  # fmt: skip
    found = sorted((int(path.stem.rpartition("-")[2]), path) for path in scratch.glob("tile-*.ppm"))
    if not found:
        raise OutputRejected("Not one key frame could be decoded.")
    tiles = _placed([at for at, _ in found], every_s, source.duration_s, output_size(source, shape))
    sheets = tuple(_sheets([path for _, path in found], tiles, folder))
    for _, path in found:
        path.unlink()
    return Storyboard(sheets, tiles, finished)


def _placed(numbers: Sequence[int], every_s: Fraction, duration_s: float, size: tuple[int, int]) -> tuple[Tile, ...]:
    """Return the tiles; each stands until the next one, the first from the beginning."""
    width, height = size
    starts = [0.0, *(float(number * every_s) for number in numbers[1:]), duration_s]
    tiles = []
    for n, (start, end) in enumerate(pairwise(starts)):
        sheet, place = divmod(n, COLUMNS * ROWS)
        row, column = divmod(place, COLUMNS)
        tiles.append(Tile(start, max(end, start + 0.001), sheet, column * width, row * height, width, height))
    return tuple(tiles)


def _sheets(paths: Sequence[Path], tiles: Sequence[Tile], folder: Path) -> list[Path]:
    written = []
    for number in range(tiles[-1].sheet + 1):
        mine = [(path, tile) for path, tile in zip(paths, tiles, strict=True) if tile.sheet == number]
        size = max(tile.x + tile.width for _, tile in mine), max(tile.y + tile.height for _, tile in mine)
        sheet = Image.new("RGB", size)
        for path, tile in mine:
            with Image.open(path) as picture:
                sheet.paste(picture, (tile.x, tile.y))
        out = folder / f"storyboard-{number + 1}.jpg"
        sheet.save(out, "JPEG", quality=JPEG_QUALITY)
        written.append(out)
    return written


def webvtt(tiles: Sequence[Tile], uris: Sequence[str]) -> str:
    """Return the WebVTT file that tells players which part of which sprite belongs to which time. uris: by sheet."""
    cues = ["WEBVTT"]
    for tile in tiles:
        place = f"{uris[tile.sheet]}#xywh={tile.x},{tile.y},{tile.width},{tile.height}"
        cues.append(f"{_clock(tile.start_s)} --> {_clock(tile.end_s)}\n{place}")
    return "\n\n".join(cues) + "\n"


def _clock(seconds: float) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}.{rest % 1000:03d}"


def still(
    location: str,
    source: Source,
    at_s: float,
    side: int,
    out: Path,
    *,
    ffmpeg: Path,
    scratch: Path,
    limits: Limits | None = None,
    stop: threading.Event | None = None,
) -> tuple[Finished, float]:
    """Write the key frame nearest to `at_s` seconds from the film's first frame as a JPEG; return also its time.

    side: pixels of the shorter side, never enlarged. Raises as `ffmpeg.run`, and OutputRejected without a picture.
    """
    video = source.video
    keys = source.keyframe_ticks() or source.frame_ticks()[:1]
    wanted = video.start_tick + at_s / float(video.time_base)
    at = bisect_left(keys, wanted)
    tick = min(keys[max(0, at - 1) : at + 1], key=lambda key: abs(key - wanted))
    steps = cut_steps(source, Shape(deinterlace=False), tick, video.end_tick)
    steps += [*shaped_steps(source, short_side(source, side, quick=True), "yuv420p"), "scale=out_range=pc"]
    options = [*decoding_options(source, 1), "-an", "-sn", "-dn"]
    begin = seek(source, tick)
    finished = run(
        [
            *input_arguments(location, source.demuxer, seek_s=begin, options=options), "-copyts",
            "-filter_complex", f"[0:{source.video_index}]{','.join(steps)},format=yuvj420p[still]", "-map", "[still]",
            "-frames:v", "1", "-c:v", "mjpeg", "-q:v", "3", "-threads", "1", "-strict", "unofficial",
            "-fps_mode", "passthrough", "-map_metadata", "-1", "-fflags", "+bitexact", "-flags:v", "+bitexact",
            "-f", "image2", "-update", "1", local(out),
        ],
        ffmpeg=ffmpeg, scratch=scratch, limits=limits, stop=stop,
    )  # fmt: skip
    if not out.is_file():
        raise OutputRejected(f"There is no picture at {at_s:g} s.")
    return finished, float((tick - video.start_tick) * video.time_base)
