"""What a film's pictures measure, frame by frame or on key frames alone: one decoding, to small pictures.

ffmpeg decodes, makes each picture 64×36 and judges its fields; what is told of them is worked out here, so that a
chunk of a film measures exactly what the same frames measure in the whole.
"""

from __future__ import annotations

import re
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from operator import mul
from pathlib import Path

from PIL import Image, ImageChops

from reelmill.errors import OutputRejected
from reelmill.media.children import Limits
from reelmill.media.encode import decoding_options, picture_input
from reelmill.media.ffmpeg import Finished, Progress, input_arguments, local, run
from reelmill.media.graphs import Shape, cut_steps, shaped_steps, short_side
from reelmill.media.probe import Source

WIDTH, HEIGHT = 64, 36  #: pixels of a small picture, whatever the film's shape
LUMA = WIDTH * HEIGHT
SMALL = f"scale=w={WIDTH}:h={HEIGHT}:flags=area+accurate_rnd+bitexact:out_range=tv,format=yuv444p"
STRIP = 256  #: columns in the middle on which fields are judged; all lines are needed, not all columns
DARK = 38  #: luma of a black pixel at most: 16 + 0.1 × 219, blackdetect's threshold
BLACK_SHARE = 0.98  #: of a black picture's pixels that are dark at least: blackdetect's
STILL_MEAN, STILL_MOST = 0.25, 10  #: levels by which a still frame's pixels change at most, in the mean and each
THUMBNAIL_SIDE = 180  #: pixels: 320×180
LINES = re.compile(r"^frame:\d+\s+pts:(-?\d+).*\n[^=\n]*=(.*)$", re.MULTILINE)
VALUES = range(256)


@dataclass(frozen=True)
class Small:
    """A frame, made small: what is compared."""

    tick: int  #: pts in the source's ticks
    luma: Image.Image  #: 64×36, 16–235
    chroma: Image.Image  #: 64×72: Cb above Cr


@dataclass(frozen=True)
class Look:
    """What one frame measures by itself and beside the one before it."""

    tick: int
    luma: float  #: mean, 16–235
    black: bool
    still: bool  #: shows what the frame before showed
    moved: float  #: mean change of luma since the frame before, levels
    changed: float  #: the same of luma and both colours, added up


@dataclass(frozen=True)
class Decoded:
    """Small pictures on disk, in order, and what ffmpeg told while it made them."""

    ticks: list[int]
    path: Path
    fields: list[tuple[int, str]]  #: (tick, `progressive`, `tff`, `bff` or `undetermined`), as idet took each frame for
    finished: Finished

    def pictures(self) -> Iterator[Small]:
        """Read the small pictures. Raises OutputRejected if there are fewer than were announced."""
        with self.path.open("rb") as file:
            for tick in self.ticks:
                planes = file.read(3 * LUMA)
                if len(planes) < 3 * LUMA:
                    raise OutputRejected("Not all pictures came out of the decoder.")
                whole = Image.frombytes("L", (WIDTH, 3 * HEIGHT), planes)
                yield Small(tick, whole.crop((0, 0, WIDTH, HEIGHT)), whole.crop((0, HEIGHT, WIDTH, 3 * HEIGHT)))


def decode_frames(
    location: str,
    source: Source,
    first: int,
    end: int,
    *,
    ffmpeg: Path,
    scratch: Path,
    threads: int = 1,
    limits: Limits | None = None,
    stop: threading.Event | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Decoded:
    """Make the frames [first, end) of a source small, and judge their fields. Raises as `ffmpeg.run`."""
    ticks = source.frame_ticks()
    start = ticks[first]
    until = ticks[end] if end < len(ticks) else source.video.end_tick
    steps = cut_steps(source, Shape(deinterlace=False), start, until)
    graph = (
        f"[0:{source.video_index}]{','.join(steps)},split[whole][lines];"
        f"[lines]crop=w=min(iw\\,{STRIP}):h=ih,idet,"
        "metadata=mode=print:key=lavfi.idet.single.current_frame:file=fields.txt,nullsink;"
        f"[whole]{SMALL},scdet,metadata=mode=print:key=lavfi.scd.score:file=frames.txt[small]"
    )
    finished = run(
        [*picture_input(location, source, start, threads), "-copyts", "-filter_complex_threads", "1",
         "-filter_complex", graph, "-map", "[small]", "-fps_mode", "passthrough", "-enc_time_base:v",
         _base(source), "-f", "rawvideo", local(scratch / "small.yuv")],
        ffmpeg=ffmpeg, scratch=scratch, limits=limits, stop=stop, on_progress=on_progress,
    )  # fmt: skip
    seen = _told(scratch / "frames.txt", start)
    return Decoded([tick for tick, _ in seen], scratch / "small.yuv", _told(scratch / "fields.txt", start), finished)


def decode_key_frames(
    location: str,
    source: Source,
    *,
    pictures: bool,
    ffmpeg: Path,
    scratch: Path,
    limits: Limits | None = None,
    stop: threading.Event | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Decoded:
    """Make the key frames of a source small; nothing else is decoded. Raises as `ffmpeg.run`, OutputRejected.

    pictures: write each as a JPEG, too, `key-{tick}.jpg`, the tick counted from the first frame.
    """
    video = source.video
    steps = cut_steps(source, Shape(deinterlace=False), video.start_tick, video.end_tick)
    shape = short_side(source, THUMBNAIL_SIDE, quick=True)
    graph = f"[0:{source.video_index}]{','.join(steps)},"
    outputs = ["-map", "[small]", "-fps_mode", "passthrough", "-enc_time_base:v", _base(source), "-f", "rawvideo",
               local(scratch / "small.yuv")]  # fmt: skip
    small = f"{SMALL},scdet,metadata=mode=print:key=lavfi.scd.score:file=frames.txt[small]"
    if pictures:
        shown = ",".join([*shaped_steps(source, shape, "yuv420p"), "scale=out_range=pc", "format=yuvj420p"])
        graph += f"split[whole][shown];[whole]{small};[shown]{shown}[jpeg]"
        outputs += ["-map", "[jpeg]", *JPEG, "-fps_mode", "passthrough", "-enc_time_base:v", _base(source),
                    "-f", "image2", "-frame_pts", "1", local(scratch / "key-%d.jpg")]  # fmt: skip
    else:
        graph += small
    options = [*decoding_options(source, 1), "-an", "-sn", "-dn", "-skip_frame:v", "nokey"]
    finished = run(
        [*input_arguments(location, source.demuxer, options=options), "-copyts", "-filter_complex_threads", "1",
         "-filter_complex", graph, *outputs],
        ffmpeg=ffmpeg, scratch=scratch, limits=limits, stop=stop, on_progress=on_progress,
    )  # fmt: skip
    found = [tick for tick, _ in _told(scratch / "frames.txt", video.start_tick)]
    if not found:
        raise OutputRejected("Not one key frame could be decoded.")
    return Decoded(found, scratch / "small.yuv", [], finished)


JPEG = ("-c:v", "mjpeg", "-q:v", "4", "-threads", "1", "-strict", "unofficial", "-map_metadata", "-1",
        "-fflags", "+bitexact", "-flags:v", "+bitexact")  # fmt: skip


def exact_still(
    location: str,
    source: Source,
    frame: int,
    out: Path,
    *,
    ffmpeg: Path,
    scratch: Path,
    limits: Limits | None = None,
    stop: threading.Event | None = None,
) -> Finished:
    """Write one frame as a JPEG, 180 pixels on its shorter side. Raises as `ffmpeg.run`, OutputRejected."""
    ticks = source.frame_ticks()
    start = ticks[frame]
    until = ticks[frame + 1] if frame + 1 < len(ticks) else source.video.end_tick
    steps = cut_steps(source, Shape(deinterlace=False), start, until)
    shape = short_side(source, THUMBNAIL_SIDE, quick=True)
    shown = ",".join([*steps, *shaped_steps(source, shape, "yuv420p"), "scale=out_range=pc", "format=yuvj420p"])
    finished = run(
        [*picture_input(location, source, start, 1), "-copyts",
         "-filter_complex", f"[0:{source.video_index}]{shown}[still]", "-map", "[still]", "-frames:v", "1", *JPEG,
         "-fps_mode", "passthrough", "-f", "image2", "-update", "1", local(out)],
        ffmpeg=ffmpeg, scratch=scratch, limits=limits, stop=stop,
    )  # fmt: skip
    if not out.is_file():
        raise OutputRejected(f"Frame {frame} can't be decoded.")
    return finished


def looked(pictures: Sequence[Small]) -> list[Look]:
    """Return what each picture measures; the first has none before it, and has changed by 0."""
    looks = []
    for number, here in enumerate(pictures):
        before = pictures[number - 1] if number else here
        counts = here.luma.histogram()
        apart = ImageChops.difference(here.luma, before.luma).histogram()
        moved = _sum(apart) / LUMA
        still = number > 0 and moved <= STILL_MEAN and not any(apart[STILL_MOST + 1 :])
        colours = _sum(ImageChops.difference(here.chroma, before.chroma).histogram()) / LUMA
        black = sum(counts[: DARK + 1]) >= BLACK_SHARE * LUMA
        looks.append(Look(here.tick, _sum(counts) / LUMA, black, still, moved, moved + colours))
    return looks


def apart(one: Small, other: Small) -> float:
    """Return by how much two pictures differ: the mean change of luma and both colours, added up, in levels."""
    luma = _sum(ImageChops.difference(one.luma, other.luma).histogram())
    return (luma + _sum(ImageChops.difference(one.chroma, other.chroma).histogram())) / LUMA


def frame_numbers(source: Source, ticks: Sequence[int]) -> list[int]:
    """Return the frames that these pts belong to."""
    known = source.frame_ticks()
    return [min(bisect_left(known, tick), len(known) - 1) for tick in ticks]


def _sum(counts: Sequence[int]) -> int:
    return sum(map(mul, counts, VALUES))


def _told(path: Path, start: int) -> list[tuple[int, str]]:
    """Return what ffmpeg's filter `metadata` printed: each frame's pts, in the source's ticks, and the value."""
    return [(int(pts) + start, value) for pts, value in LINES.findall(path.read_text())]


def _base(source: Source) -> str:
    base: Fraction = source.video.time_base
    return f"{base.numerator}/{base.denominator}"
