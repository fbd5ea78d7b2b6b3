"""A ladder: one film in several sizes, whose groups of pictures begin at the same frames.

A long film is cut at such frames into chunks, which any worker encodes by itself: one decoding feeds all sizes of a
chunk. `join.py` puts the chunks of a size together again.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from reelmill.errors import ParamsInvalid
from reelmill.media.check import Checked, Expected, check_output
from reelmill.media.children import Limits
from reelmill.media.codecs import Preset
from reelmill.media.encode import ClipPlan, ClipSettings, clip_ticks, expect, last_shown, picture_input
from reelmill.media.ffmpeg import Finished, Progress, local, microseconds, run
from reelmill.media.graphs import SCALING, colors, cut_steps, output_size, overlay_graph, shaped_steps, short_side
from reelmill.media.paint import Picture
from reelmill.media.parts import fetch_part
from reelmill.media.probe import Source
from reelmill.media.proxy import Grid, grid, timescale

#: Most kbit/s of a size by its shorter side, at up to 30 frames/s; at more, half as much again. Easy films stay below.
MOST_KBPS = {360: 1000, 480: 1800, 720: 4000, 1080: 7500, 1440: 14000, 2160: 28000}
HEIGHTS = tuple(MOST_KBPS)


@dataclass(frozen=True)
class Rung:
    """One size of a ladder."""

    short_side: int  #: pixels, as asked for: 720
    width: int  #: pixels, as displayed
    height: int
    most_kbps: int  #: of the picture, over two seconds

    @property
    def name(self) -> str:
        return f"{self.short_side}p"


@dataclass(frozen=True)
class LadderSettings:
    """How all sizes are encoded, in H.264. All of it belongs to a step's digest."""

    preset: Preset = "veryfast"
    crf: int = 23  #: constant rate factor, 0–51, below each size's most
    threads: int = 2  #: of each encoder and of the decoder, 1–64
    gop_s: Fraction = Fraction(2)  #: seconds between the key frames


@dataclass(frozen=True)
class SideProxy:
    """A proxy that is made of the same decoding as the ladder, in H.264 too."""

    rung: Rung
    frame_rate: Fraction  #: frames/s
    crf: int
    even: Grid | None  #: of the whole film; None: the proxy has the source's own frames


@dataclass(frozen=True)
class Chunk:
    """Frames [start_frame, end_frame) of a source; key frames stand at `key_frames`, the first one among them."""

    index: int
    start_frame: int
    end_frame: int  #: exclusive
    key_frames: tuple[int, ...]  #: numbers in the source


@dataclass(frozen=True)
class EncodedChunk:
    """A chunk in all sizes, each file checked."""

    paths: dict[str, Path]  #: by the rung's name: "720p", "proxy"
    checked: dict[str, Checked]
    finished: Finished


def rungs(source: Source, wanted: Sequence[int]) -> list[Rung]:
    """Return the sizes that are made, the largest first: those asked for that aren't above the source.

    If all are above it, the source's own. wanted: shorter sides in pixels.
    """
    width, height = output_size(source)
    own = min(width, height)
    fitting = sorted({side for side in wanted if side <= own}, reverse=True) or [own]
    fast = Fraction(3, 2) if source.video.frame_rate > 31 else Fraction(1)
    found = []
    for side in fitting:
        size = output_size(source, short_side(source, side))
        found.append(Rung(side, *size, round(most_kbps(side) * fast)))
    return found


def most_kbps(side: int) -> int:
    """Return the most kbit/s of a size: that of the next one in the table."""
    return next((kbps for height, kbps in MOST_KBPS.items() if side <= height), MOST_KBPS[HEIGHTS[-1]])


def key_frames(source: Source, gop_s: Fraction) -> list[int]:
    """Return the frames at which groups begin: the nearest ones to each `gop_s` seconds. Pure."""
    ticks, base = source.frame_ticks(), source.video.time_base
    half = 1 / source.video.frame_rate / 2
    end = (source.video.end_tick - ticks[0]) * base
    found = {0}
    for number in range(1, int(end / gop_s) + 1):
        found.add(bisect_left(ticks, ticks[0] + (number * gop_s - half) / base))
    return sorted(frame for frame in found if frame < len(ticks))


def chunks(source: Source, gop_s: Fraction, chunk_s: Fraction) -> list[Chunk]:
    """Return a film's chunks of about `chunk_s` seconds, cut where groups begin. Pure.

    A rest that is shorter than half a chunk joins the one before.
    """
    keys, ticks, base = key_frames(source, gop_s), source.frame_ticks(), source.video.time_base
    length = float((source.video.end_tick - ticks[0]) * base)
    count = max(1, round(length / float(chunk_s)))
    edges = sorted({keys[min(len(keys) - 1, round(len(keys) * n / count))] for n in range(count)})
    ends = [*edges[1:], len(ticks)]
    return [
        Chunk(n, start, end, tuple(key for key in keys if start <= key < end))
        for n, (start, end) in enumerate(zip(edges, ends, strict=True))
    ]


def side_proxy(source: Source, side: int, frame_rate: Fraction, crf: int) -> SideProxy:
    """Return the proxy of a film beside its ladder. side: pixels of the shorter side, never enlarged."""
    rung = Rung(side, *output_size(source, short_side(source, side)), most_kbps(side))
    return SideProxy(rung, frame_rate, crf, grid(source, frame_rate))


def chunk_arguments(
    location: str, source: Source, chunk: Chunk, ladder: Sequence[Rung], settings: LadderSettings,
    outputs: Mapping[str, Path], proxy: SideProxy | None = None, mark: Picture | None = None,
) -> list[str]:  # fmt: skip
    """Return ffmpeg's arguments for a chunk in all sizes; pure. Pictures only: sound is encoded once for the whole.

    mark: laid onto the largest size, and so onto all that are made of it; not onto the proxy.
    """
    ticks, base, top = source.frame_ticks(), source.video.time_base, ladder[0]
    plan = chunk_plan(source, chunk, top, settings)
    start, end = clip_ticks(source, plan)
    fork = ",split[l][q];[l]" if proxy else ","
    labels = [f"[s{rung.name}]" for rung in ladder]
    shape, split = plan.settings.shape, f"split={len(ladder)}{''.join(labels)}"
    marked = [overlay_graph(mark, source, shape, 1, None, ten_bits=False)] if mark else []
    graphs = [
        f"[0:{source.video_index}]{','.join(cut_steps(source, shape, start, end))}{fork}"
        f"{','.join(shaped_steps(source, shape, 'yuv420p'))}{'[plain]' if mark else ',' + split}",
        *(f"{graph},{split}" for graph in marked),
    ]
    # What is largest was scaled, turned and mapped to SDR once; the others are made of it.
    graphs += [
        f"{label}scale=w={rung.width}:h={rung.height}:{SCALING},setsar=1[p{rung.name}]"
        for label, rung in zip(labels[1:], ladder[1:], strict=True)
    ]
    # Rounded down: the key frame is the first one at or after that time.
    keys = ",".join(_before((ticks[key] - start) * base) for key in chunk.key_frames)
    own = [
        *x264_arguments(settings, settings.crf), "-g", "9999", "-force_key_frames", keys,
        "-enc_time_base:v", f"{base.numerator}/{base.denominator}", "-video_track_timescale", str(base.denominator),
        "-bsf:v", last_shown(source, plan, start, end),
    ]  # fmt: skip
    close = [
        "-pix_fmt", "yuv420p", "-fps_mode", "passthrough", *colors(source, plan.settings.shape),
        "-flags:v", "+bitexact+cgop", "-t", microseconds((end - start) * base + 1), "-map_metadata", "-1",
        "-map_chapters", "-1", "-fflags", "+bitexact", "-movflags", "+faststart", "-f", "mp4",
    ]  # fmt: skip
    words: list[str] = []
    for rung in ladder:
        label = labels[0] if rung is top else f"[p{rung.name}]"
        capped = ["-maxrate", f"{rung.most_kbps}k", "-bufsize", f"{2 * rung.most_kbps}k"]
        words += ["-map", label, *own, *capped, *close, local(outputs[rung.name])]
    if proxy is not None:
        shape = short_side(source, proxy.rung.short_side, quick=True)
        even = chunk_grid(source, chunk, proxy)
        picked = [*even.steps(), *even.filled()] if even else []
        graphs.append(f"[q]{','.join([*picked, *shaped_steps(source, shape, 'yuv420p')])}[proxy]")
        coded = own
        if even is not None:
            rate = even.frame_rate
            coded = [
                *x264_arguments(settings, proxy.crf), "-g", str(max(1, round(settings.gop_s * rate))),
                "-enc_time_base:v", f"{rate.denominator}/{rate.numerator}",
                "-video_track_timescale", str(timescale(rate)),
            ]  # fmt: skip
        words += ["-map", "[proxy]", *coded, *close, local(outputs["proxy"])]
    picture = picture_input(location, source, start, settings.threads)
    if mark is not None:
        picture += ["-f", "png_pipe", "-format_whitelist", "png_pipe", "-protocol_whitelist", "file",
                    "-i", local(mark.path)]  # fmt: skip
    return [*picture, "-copyts", "-filter_complex", ";".join(graphs), *words]


def x264_arguments(settings: LadderSettings, crf: int) -> list[str]:
    """Return the encoder's options: parameter sets come out the same for all chunks; `codecs.py` on the lookahead."""
    return [
        "-c:v", "libx264", "-preset", settings.preset, "-crf", str(crf), "-threads", str(settings.threads),
        "-x264-params", "sync-lookahead=0:scenecut=0:stitchable=1",
    ]  # fmt: skip


def chunk_grid(source: Source, chunk: Chunk, proxy: SideProxy) -> Grid | None:
    """Return the even times of the proxy that a chunk has."""
    if proxy.even is None:
        return None
    ticks = source.frame_ticks()
    begin = ticks[chunk.start_frame] - ticks[0]
    if chunk.end_frame < len(ticks):
        return proxy.even.part(begin, ticks[chunk.end_frame] - ticks[0])
    return replace(proxy.even.part(begin, begin), count=proxy.even.count - proxy.even.number(begin))


def chunk_plan(source: Source, chunk: Chunk, rung: Rung, settings: LadderSettings) -> ClipPlan:
    """Return a chunk in one size as a clip of the source."""
    shape = short_side(source, rung.short_side)
    if output_size(source, shape) != (rung.width, rung.height):
        raise ParamsInvalid(f"The source isn't what {rung.short_side} was planned for.")
    clip = ClipSettings(preset=settings.preset, crf=settings.crf, threads=settings.threads, shape=shape)
    return ClipPlan(chunk.start_frame, chunk.end_frame, settings=clip)


def encode_chunk(
    location: str,
    source: Source,
    chunk: Chunk,
    ladder: Sequence[Rung],
    settings: LadderSettings,
    proxy: SideProxy | None = None,
    *,
    mark: Picture | None = None,
    ffmpeg: Path,
    scratch: Path,
    limits: Limits | None = None,
    stop: threading.Event | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> EncodedChunk:
    """Encode a chunk in all sizes by one run that decodes it once, and check each file.

    location: path or http(s) URL of the source; only the chunk's part of it is read. mark: a picture that lies on all
    sizes, for frames of the largest. Files are written to scratch.
    Raises ParamsInvalid, Stopped, DeadlineExceeded, ResourceLimit, ChildCrashed, EncodeFailed, OutputRejected,
    StorageUnavailable, ObjectMissing.
    """
    names = [rung.name for rung in ladder] + ["proxy"] * (proxy is not None)
    outputs = {name: scratch / f"chunk-{chunk.index:04d}-{name}.mp4" for name in names}
    expected = {rung.name: expected_chunk(source, chunk, rung, settings) for rung in ladder}
    if proxy is not None:
        expected["proxy"] = expected_proxy(source, chunk, proxy, settings)
    part = fetch_part(
        location, source, *clip_ticks(source, chunk_plan(source, chunk, ladder[0], settings)), scratch, stop
    )
    try:
        finished = run(
            chunk_arguments(str(part or location), source, chunk, ladder, settings, outputs, proxy, mark),
            ffmpeg=ffmpeg, scratch=scratch, limits=limits, stop=stop, on_progress=on_progress,
        )  # fmt: skip
    finally:
        if part is not None:
            part.unlink(missing_ok=True)
    checked = {name: check_output(path, expected[name]) for name, path in outputs.items()}
    return EncodedChunk(outputs, checked, finished)


def expected_chunk(source: Source, chunk: Chunk, rung: Rung, settings: LadderSettings) -> Expected:
    """Return what the file of a chunk in one size must be."""
    return replace(expect(source, chunk_plan(source, chunk, rung, settings)), has_audio=False)


def expected_proxy(source: Source, chunk: Chunk, proxy: SideProxy, settings: LadderSettings) -> Expected:
    """Return what the file of a chunk's proxy must be."""
    even = chunk_grid(source, chunk, proxy)
    own = expected_chunk(source, chunk, proxy.rung, settings)
    if even is None:
        return own
    rate = even.frame_rate
    return replace(own, frame_count=even.count, duration=even.count / rate, ticks=range(even.count), time_base=1 / rate)


def _before(seconds: Fraction) -> str:
    return f"{int(seconds * 1_000_000) / 1_000_000:.6f}"
