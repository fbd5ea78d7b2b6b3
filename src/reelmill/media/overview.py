"""A whole source at a glance, for who edits it: a filmstrip of its pictures, and the peaks of its sound.

Only what is shown is read: the key frames nearest to the wanted times, each by itself, and the sound without a picture.
"""

from __future__ import annotations

import re
import threading
from bisect import bisect_left
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from PIL import Image

from reelmill.errors import OutputRejected
from reelmill.media.children import Limits
from reelmill.media.encode import ClipSettings, audio_track, decoding_options, seek
from reelmill.media.ffmpeg import input_arguments, local, run
from reelmill.media.graphs import Shape, channel_layout, cut_steps, output_size, sample_rate, shaped_steps, sound_graph
from reelmill.media.parts import fetch_parts
from reelmill.media.probe import Source

AT_ONCE = 6  #: tiles that one process makes: each has a decoder of its own
FEW_FRAMES = 1500  #: a film with fewer key frames than tiles is decoded whole, if it has no more frames than this
JPEG_QUALITY = 78
PEAK = re.compile(r"^lavfi\.astats\.Overall\.Peak_level=(\S+)", re.MULTILINE)
SILENT_DB = -60.0  #: dBFS that are drawn as nothing


def filmstrip(
    location: str,
    source: Source,
    count: int,
    width: int,
    out: Path,
    *,
    ffmpeg: Path,
    scratch: Path,
    limits: Limits | None = None,
    stop: threading.Event | None = None,
) -> tuple[int, int]:
    """Write a JPEG with `count` pictures side by side, each from the middle of an equal part of the film.

    width: of a tile, even, 16–640 pixels; never enlarged. Returns a tile's width and height.
    Raises as `ffmpeg.run`, ObjectMissing, StorageUnavailable, and OutputRejected without a picture.
    """
    ticks, keys = source.frame_ticks(), source.keyframe_ticks() or source.frame_ticks()[:1]
    video, shape = source.video, Shape(width=width, quick=True, deinterlace=False)
    length = video.end_tick - video.start_tick
    middles = [video.start_tick + length * (2 * n + 1) // (2 * count) for n in range(count)]
    if len(keys) < count and len(ticks) <= FEW_FRAMES:
        wanted, arguments = [_nearest(ticks, tick) for tick in middles], _whole
        groups = [sorted(set(wanted))]
    else:
        wanted, arguments = [_nearest(keys, tick) for tick in middles], _apart
        once = sorted(set(wanted))
        groups = [once[n : n + AT_ONCE] for n in range(0, len(once), AT_ONCE)]
    part = fetch_parts(location, source, [(tick, tick + 1) for tick in sorted(set(wanted))], scratch, stop)
    made: dict[int, Path] = {}
    try:
        for group in groups:
            paths = {tick: scratch / f"tile-{tick - video.start_tick}.ppm" for tick in group}
            words = arguments(str(part or location), source, shape, paths, scratch)
            run(words, ffmpeg=ffmpeg, scratch=scratch, limits=limits, stop=stop)
            if arguments is _whole:  # numbered in the order of their times
                for number, path in enumerate(paths.values(), 1):
                    if (numbered := scratch / f"frame-{number:04d}.ppm").is_file():
                        numbered.rename(path)
            made |= {tick: path for tick, path in paths.items() if path.is_file()}
        return _beside_each_other([_nearest_made(made, tick) for tick in wanted], output_size(source, shape), out)
    finally:
        for path in [*made.values(), *([part] if part else [])]:
            path.unlink(missing_ok=True)


def _nearest(ticks: Sequence[int], wanted: int) -> int:
    at = bisect_left(ticks, wanted)
    return min(ticks[max(0, at - 1) : at + 1], key=lambda tick: abs(tick - wanted))


def _nearest_made(made: dict[int, Path], wanted: int) -> Path:
    """A damaged key frame gives no picture; its neighbour stands for it. Raises OutputRejected without any."""
    if not made:
        raise OutputRejected("Not one picture could be decoded.")
    return made[min(made, key=lambda tick: abs(tick - wanted))]


OUTPUT = ("-frames:v", "1", "-c:v", "ppm", "-fps_mode", "passthrough", "-f", "image2", "-update", "1")


def _apart(location: str, source: Source, shape: Shape, paths: dict[int, Path], scratch: Path) -> list[str]:  # noqa: ARG001
    """Return the arguments that make each picture from its own key frame, decoding nothing else."""
    inputs: list[str] = []
    graphs: list[str] = []
    outputs: list[str] = []
    for number, (tick, path) in enumerate(paths.items()):
        options = [*decoding_options(source, 1), "-an", "-sn", "-dn", "-skip_frame:v", "nokey"]
        inputs += input_arguments(location, source.demuxer, seek_s=seek(source, tick), options=options)
        steps = [*cut_steps(source, shape, tick, source.video.end_tick), *shaped_steps(source, shape, "rgb24")]
        graphs.append(f"[{number}:{source.video_index}]{','.join(steps)}[tile{number}]")
        outputs += ["-map", f"[tile{number}]", *OUTPUT, local(path)]
    return [*inputs, "-copyts", "-filter_complex", ";".join(graphs), *outputs]


def _whole(location: str, source: Source, shape: Shape, paths: dict[int, Path], scratch: Path) -> list[str]:
    """Return the arguments that decode a short film once and keep these frames."""
    start = source.video.start_tick
    chosen = "+".join(rf"eq(pts\,{tick - start})" for tick in paths)
    steps = [*cut_steps(source, shape, start, source.video.end_tick), f"select={chosen}"]
    steps += shaped_steps(source, shape, "rgb24")
    options = [*decoding_options(source, 1), "-an", "-sn", "-dn"]
    return [
        *input_arguments(location, source.demuxer, options=options), "-copyts",
        "-filter_complex", f"[0:{source.video_index}]{','.join(steps)}[tiles]", "-map", "[tiles]",
        "-c:v", "ppm", "-fps_mode", "passthrough", "-f", "image2", local(scratch / "frame-%04d.ppm"),
    ]  # fmt: skip


def _beside_each_other(paths: Sequence[Path], size: tuple[int, int], out: Path) -> tuple[int, int]:
    width, height = size
    strip = Image.new("RGB", (width * len(paths), height))
    for number, path in enumerate(paths):
        with Image.open(path) as picture:
            strip.paste(picture, (number * width, 0))
    strip.save(out, "JPEG", quality=JPEG_QUALITY)
    return size


def waveform(
    location: str,
    source: Source,
    buckets: int,
    *,
    ffmpeg: Path,
    scratch: Path,
    limits: Limits | None = None,
    stop: threading.Event | None = None,
) -> list[float]:
    """Return the loudest sample of each equal part of the film: 0 (below −60 dBFS) to 1 (full scale), linear in dB.

    The first sound track alone is decoded. [] of a source without sound. Fewer than `buckets` of a very short one.
    Raises as `ffmpeg.run`.
    """
    if not source.audio_tracks:
        return []
    track, video = audio_track(source, ClipSettings()), source.video
    assert track is not None, "it has sound"
    length: Fraction = (video.end_tick - video.start_tick) * video.time_base
    samples = max(1, -(-round(length * sample_rate(track)) // buckets))
    told = scratch / "peaks.txt"
    graph = sound_graph(track, 0, video.start_tick * video.time_base, length, channel_layout(track, keep=False))
    graph += (
        f";[sound]asetnsamples=n={samples}:p=0,astats=metadata=1:reset=1:measure_perchannel=none:"
        "measure_overall=Peak_level,ametadata=mode=print:key=lavfi.astats.Overall.Peak_level:file=peaks.txt[told]"
    )
    options = ["-vn", "-sn", "-dn", "-threads", "1"]
    try:
        run(
            [*input_arguments(location, source.demuxer, options=options), "-copyts",
             "-filter_complex", graph, "-map", "[told]", "-f", "null", "-"],
            ffmpeg=ffmpeg, scratch=scratch, limits=limits, stop=stop,
        )  # fmt: skip
        return [_height(said) for said in PEAK.findall(told.read_text())][:buckets]
    finally:
        told.unlink(missing_ok=True)


def _height(decibel: str) -> float:
    """Return how high a peak is drawn, of "-12.3" or "-inf"."""
    return round(min(1.0, max(0.0, 1 - float(decibel) / SILENT_DB)), 3)
