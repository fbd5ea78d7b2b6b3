"""Clips of a source, exact to the frame, and the check of what was written."""

from __future__ import annotations

import os
import threading
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Literal

from reelmill.errors import ParamsInvalid
from reelmill.media.check import Checked, Expected, check_output
from reelmill.media.children import Limits
from reelmill.media.codecs import Codec, Coding, Preset, coding, device_arguments, pixel_format, upload_filters
from reelmill.media.codecs import video_arguments as codec_arguments
from reelmill.media.ffmpeg import Finished, Progress, input_arguments, local, microseconds, run
from reelmill.media.graphs import (
    Moving,
    Shape,
    channel_layout,
    check_moving,
    check_shape,
    colors,
    output_size,
    overlay_graph,
    picture_graph,
    sound_graph,
    takes_any_size,
)
from reelmill.media.paint import Picture
from reelmill.media.probe import AudioStream, Source

AS_IT_IS = Shape()
AT_REST = Moving()
EXACT_SEEK = frozenset({"mov", "matroska"})  #: these land on the very key frame that is asked for
SEEK_MARGIN_S = Fraction(1)  #: the others are sent this much earlier
REORDERED = 5  #: more frames than the encoders let decoding run ahead of showing
PREROLL_S = Fraction(1, 2)  #: sound that is decoded before the clip: the codec's overlap, and rough seeks


@dataclass(frozen=True)
class ClipSettings:
    """How clips are encoded. All of it belongs to a step's digest: other threads, other bytes."""

    codec: Codec = "h264"
    preset: Preset = "veryfast"  #: x264's names; other encoders' nearest
    crf: int | None = None  #: constant quality, 0 (lossless) – 51, AV1 and VP9 – 63; None: as x264's 23
    threads: int = 2  #: of the encoder and the decoder, 1–64
    gop_s: float = 2.0  #: longest distance of key frames, seconds
    shape: Shape = AS_IT_IS
    encoder: str | None = None  #: a hardware encoder by ffmpeg's name; None: in software
    audio_kbps: int = 160  #: AAC bit rate of one or two channels, 32–512 kbit/s; of more, in proportion
    audio_track: int = 1  #: which of the source's sound tracks, from 1
    audio_channels: Literal["stereo", "source"] = "stereo"  #: "source" keeps more than two


@dataclass(frozen=True)
class ClipPlan:
    """Frames [start_frame, end_frame) of a source, with an optional text picture on top."""

    start_frame: int
    end_frame: int  #: exclusive
    picture: Picture | None = None
    settings: ClipSettings = ClipSettings()
    picture_frames: tuple[int, int] | None = None  #: source frames [first, end) that show the picture; None: all
    moving: Moving = AT_REST  #: how the picture comes and goes


@dataclass(frozen=True)
class Encoded:
    """A finished clip: the check of the file and how ffmpeg was run."""

    path: Path
    checked: Checked
    finished: Finished


def expect(source: Source, plan: ClipPlan) -> Expected:
    """Return what the clip of a plan must be. Raises ParamsInvalid for frames outside the source."""
    start, end = clip_ticks(source, plan)
    width, height = output_size(source, plan.settings.shape)
    return Expected(
        width=width,
        height=height,
        frame_count=plan.end_frame - plan.start_frame,
        duration=(end - start) * source.video.time_base,
        ticks=[tick - start for tick in source.frame_ticks()[plan.start_frame : plan.end_frame]],
        time_base=source.video.time_base,
        has_audio=bool(source.audio_tracks),
    )


def clip_ticks(source: Source, plan: ClipPlan) -> tuple[int, int]:
    """Return the clip's first tick, and the tick at which it ends. Raises ParamsInvalid."""
    ticks = source.frame_ticks()
    if not 0 <= plan.start_frame < plan.end_frame <= len(ticks):
        raise ParamsInvalid(
            f"Frames {plan.start_frame} to {plan.end_frame} don't lie within the source's {len(ticks)} frames."
        )
    end = ticks[plan.end_frame] if plan.end_frame < len(ticks) else source.video.end_tick
    return ticks[plan.start_frame], end


def audio_track(source: Source, settings: ClipSettings) -> AudioStream | None:
    """Return the sound track that the settings name, None if the source has no sound. Raises ParamsInvalid."""
    tracks = source.audio_tracks
    if not tracks:
        return None
    if not 1 <= settings.audio_track <= len(tracks):
        raise ParamsInvalid(f"There is no sound track {settings.audio_track}: the source has {len(tracks)}.")
    return tracks[settings.audio_track - 1]


def clip_arguments(
    location: str,
    source: Source,
    plan: ClipPlan,
    output: Path,
    *,
    picture: bool = True,
    sound: bool = True,
    parameter_set: int = 0,
) -> list[str]:
    """Return ffmpeg's arguments for a clip; pure. They hold numbers, file names and names from fixed lists only.

    The source is opened twice, for picture and for sound, as each has its own place to begin reading. Both are cut by
    exact ticks: `-ss` only decides where reading begins. picture, sound: one of them may be left out.
    parameter_set: see `codecs.Coding`. Raises ParamsInvalid.
    """
    settings, base = plan.settings, source.video.time_base
    check_moving(plan.moving)
    code = check_settings(source, settings, parameter_set)
    start, end = clip_ticks(source, plan)
    track = audio_track(source, settings) if sound else None
    inputs: list[list[str]] = []
    graphs: list[str] = []
    options: list[str] = []
    if picture:
        inputs.append(picture_input(location, source, start, settings.threads))
        label = "plain" if plan.picture or upload_filters(code) else "picture"
        graphs.append(picture_graph(source, settings.shape, start, end, pixel_format(code), label))
        options += _picture_options(source, plan, start, end, code)
    if track is not None:
        begin, length = start * base, (end - start) * base
        heard = track.start_s < float(begin + length) and track.end_s > float(begin)
        layout = channel_layout(track, keep=settings.audio_channels == "source")
        graphs.append(sound_graph(track, len(inputs) if heard else None, begin, length, layout))
        inputs += [_sound_input(location, source, start)] * heard
        options += sound_options(settings, track, layout)
    if picture and plan.picture is not None:
        shown = _picture_ticks(source, plan, start)
        top = overlay_graph(
            plan.picture, source, settings.shape, len(inputs), shown, ten_bits=code.ten_bits, moving=plan.moving,
            length=end - start,
        )  # fmt: skip
        graphs.append(",".join([top, *upload_filters(code)]) + "[picture]")
        inputs.append(["-f", "png_pipe", "-format_whitelist", "png_pipe", "-protocol_whitelist", "file",
                       "-i", local(plan.picture.path)])  # fmt: skip
    elif picture and upload_filters(code):
        graphs.append(f"[plain]{','.join(upload_filters(code))}[picture]")
    return [
        *device_arguments(code),
        *(word for words in inputs for word in words),
        "-copyts", "-filter_complex", ";".join(graphs), *options,
        # A hard stop; the filters have cut before. (-frames:v would also cut the sound's last packet off.)
        "-t", microseconds((end - start) * base + 1),
        "-map_metadata", "-1", "-map_chapters", "-1", "-fflags", "+bitexact",
        "-movflags", "+faststart", "-f", "mp4", local(output),
    ]  # fmt: skip


def check_settings(source: Source, settings: ClipSettings, parameter_set: int = 0) -> Coding:
    """Return how the picture is encoded. Raises ParamsInvalid for settings out of range, or unfit for the source."""
    for name, value, least, most in (
        ("threads", settings.threads, 1, 64),
        ("audio_kbps", settings.audio_kbps, 32, 512),
        ("gop_s", settings.gop_s, 0.01, 60),
    ):
        if not least <= value <= most:
            raise ParamsInvalid(f"{name} must be from {least} to {most}, not {value}.")
    check_shape(settings.shape)
    audio_track(source, settings)
    return coding(
        settings.codec, settings.encoder, settings.preset, settings.crf, settings.threads,
        ten_bits=source.video.hdr and settings.shape.keep_hdr, parameter_set=parameter_set,
    )  # fmt: skip


def picture_input(location: str, source: Source, start: int, threads: int) -> list[str]:
    """Return the options of the input that pictures are read of, from the key frame before a tick on."""
    options = ["-an", "-sn", "-dn", *decoding_options(source, threads)]
    return input_arguments(location, source.demuxer, seek_s=seek(source, start), options=options)


def decoding_options(source: Source, threads: int) -> list[str]:
    """Return the input options with which a source's pictures are decoded."""
    options = ["-threads", str(threads)]
    if takes_any_size(source):
        options += ["-noautorotate", "-reinit_filter", "0"]
    if delay := source.video.decoder_delay:
        # The times of showing that the demuxer makes up only mislead; without them, those of decoding are taken.
        options += [f"-bsf:{source.video_index}", f"setts=pts=NOPTS:dts=DTS-{delay}"]
    return options


def _sound_input(location: str, source: Source, start: int) -> list[str]:
    base = source.video.time_base
    beginning = start * base - PREROLL_S <= source.video.start_tick * base
    # MP4 has an index of its sound: reading begins where it is wanted, not at a key frame of the picture.
    exact = start * base - PREROLL_S if source.demuxer == "mov" else seek(source, start, PREROLL_S)
    begin = None if beginning else exact
    return input_arguments(location, source.demuxer, seek_s=begin, options=["-vn", "-sn", "-dn", "-threads", "1"])


def _picture_options(source: Source, plan: ClipPlan, start: int, end: int, code: Coding) -> list[str]:
    base, gop_s = source.video.time_base, plan.settings.gop_s
    return [
        "-map", "[picture]",
        *codec_arguments(code, max(1, min(600, round(gop_s * float(source.video.frame_rate))))),
        "-fps_mode", "passthrough", "-enc_time_base:v", f"{base.numerator}/{base.denominator}",
        "-video_track_timescale", str(base.denominator), *colors(source, plan.settings.shape),
        # The last frame is shown until the next clip begins, whatever its packet in the source says.
        "-bsf:v", last_shown(source, plan, start, end), "-flags:v", "+bitexact+cgop",
    ]  # fmt: skip


def sound_options(settings: ClipSettings, track: AudioStream, layout: str) -> list[str]:
    """Return the output options of the sound, from the graph's label `sound`."""
    kbps = settings.audio_kbps if layout in ("mono", "stereo") else settings.audio_kbps * track.channels // 2
    return ["-map", "[sound]", "-c:a", "aac", "-b:a", f"{kbps}k", "-flags:a", "+bitexact"]


def _picture_ticks(source: Source, plan: ClipPlan, start: int) -> tuple[int, int] | None:
    """Return the first and last tick, from the clip's beginning, of the frames that show the picture."""
    if plan.picture_frames is None:
        return None
    first, end = plan.picture_frames
    if not plan.start_frame <= first < end <= plan.end_frame:
        raise ParamsInvalid(f"Frames {first} to {end}, which show the text, don't lie within the clip.")
    ticks = source.frame_ticks()
    return ticks[first] - start, ticks[end - 1] - start


def last_shown(source: Source, plan: ClipPlan, start: int, end: int) -> str:
    """Return the packet filter that lets the last frame be shown until the clip's end, and no frame longer.

    With B-frames, the last packet is another frame's: it lets the times of decoding last as long as the clip.
    """
    ticks = source.frame_ticks()[plan.start_frame : plan.end_frame]
    last, total = ticks[-1] - start, end - start
    early = earlier_start([*ticks, end])
    dts = f"if(eq(N\\,0)\\,DTS-{early}\\,DTS)" if early else "DTS"
    shown = f"if(eq(N\\,{len(ticks) - 1})\\,max(DURATION\\,{total}-DTS+STARTDTS)\\,DURATION)"
    shown = f"if(eq(PTS\\,{last})\\,{total - last}\\,min({shown}\\,{total}-PTS))"
    return f"setts=pts=PTS:dts={dts}:duration={shown}"


def earlier_start(edges: Sequence[int]) -> int:
    """Return by how many ticks the first frame must be decoded earlier for an MP4's length to be told right.

    edges: when each frame is shown, and the end. An MP4 tells lengths of decoding: they fall short of the clip's
    where frames are reordered and the last ones are shown longer than others. Evenly spaced frames need nothing.
    """
    tail = edges[-2 - REORDERED :]
    lengths = [after - before for before, after in pairwise(tail)]
    usual = (edges[-1] - edges[0]) / (len(edges) - 1)
    spread = max(lengths) - min(usual, *lengths)
    if spread <= 1 and usual > 8:  # the rounding to a tick
        return 2 if spread else 0
    return tail[-1] - tail[0] if spread else 0


def seek(source: Source, start: int, earlier_s: Fraction = Fraction(0)) -> Fraction | None:
    """Return the file's time, seconds, of the last key frame at or before a tick; None to read from the beginning."""
    base = source.video.time_base
    margin = earlier_s if source.demuxer in EXACT_SEEK else earlier_s + SEEK_MARGIN_S
    keyframes = source.keyframe_ticks()
    at = bisect_right(keyframes, start - margin / base) - 1
    if at <= 0:
        return None
    if source.demuxer in EXACT_SEEK:
        return keyframes[at] * base
    # Sent to before its beginning, as ffmpeg does with B-frames, AVI lands anywhere.
    wanted = keyframes[at] * base - margin
    return wanted if wanted > source.video.start_tick * base + SEEK_MARGIN_S / 4 else None


def encode_clip(
    location: str,
    source: Source,
    plan: ClipPlan,
    output: Path,
    *,
    ffmpeg: Path,
    scratch: Path,
    limits: Limits | None = None,
    stop: threading.Event | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Encoded:
    """Write one clip (AAC sound, MP4 with faststart), check it, and only then move it to `output`.

    location: path or http(s) URL of the source; only the clip's part of it is read. The same source, plan and ffmpeg
    give the same bytes. scratch must be on output's file system.
    Raises ParamsInvalid (frames or settings out of range), Stopped, DeadlineExceeded, ResourceLimit, ChildCrashed,
    EncodeFailed, OutputRejected.
    """
    written = scratch / f"{output.stem}.unchecked.mp4"
    try:
        finished = run(
            clip_arguments(location, source, plan, written),
            ffmpeg=ffmpeg,
            scratch=scratch,
            limits=limits,
            stop=stop,
            on_progress=on_progress,
        )
        checked = check_output(written, expect(source, plan))
        os.replace(written, output)  # noqa: PTH105  (Path.replace says less: this is the atomic one)
    finally:
        written.unlink(missing_ok=True)
    return Encoded(output, checked, finished)
