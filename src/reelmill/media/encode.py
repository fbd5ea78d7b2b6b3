"""Clips of a source, exact to the frame, and the check of what was written."""

from __future__ import annotations

import os
import threading
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from reelmill.errors import ParamsInvalid
from reelmill.media.check import Checked, Expected, check_output
from reelmill.media.children import Limits
from reelmill.media.ffmpeg import Finished, Progress, input_arguments, local, microseconds, run
from reelmill.media.probe import Source
from reelmill.media.text import Picture

PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")
EXACT_SEEK = frozenset({"mov", "matroska"})  #: these land on the very key frame that is asked for
SEEK_MARGIN_S = Fraction(1)  #: the others are sent this much earlier
PREROLL_S = Fraction(1, 2)  #: sound that is decoded before the clip: the codec's overlap, and rough seeks
SCALING = "flags=bicubic+accurate_rnd+bitexact"


@dataclass(frozen=True)
class ClipSettings:
    """How clips are encoded. All of it belongs to a step's digest: other threads, other bytes."""

    preset: str = "veryfast"  #: x264's presets, "ultrafast" … "veryslow"
    crf: int = 23  #: constant quality, 0 (lossless) – 51
    threads: int = 2  #: of the encoder and the decoder, 1–64
    audio_kbps: int = 160  #: AAC bit rate, 32–512 kbit/s
    gop_s: float = 2.0  #: longest distance of key frames, seconds


@dataclass(frozen=True)
class ClipPlan:
    """Frames [start_frame, end_frame) of a source, with an optional text picture on top."""

    start_frame: int
    end_frame: int  #: exclusive
    picture: Picture | None = None
    settings: ClipSettings = ClipSettings()


@dataclass(frozen=True)
class Encoded:
    """A finished clip: the check of the file and how ffmpeg was run."""

    path: Path
    checked: Checked
    finished: Finished


def output_size(source: Source) -> tuple[int, int]:
    """Return (width, height) of a source's clips in pixels: as displayed, square pixels, even."""
    video = source.video
    width, height = _square(source)
    if (width, height) == (video.width, video.height):
        return max(2, width & ~1), max(2, height & ~1)
    return max(2, round(width / 2) * 2), max(2, height & ~1)


def _square(source: Source) -> tuple[int, int]:
    """Return the displayed size with square pixels."""
    return round(source.video.width * source.video.sample_aspect), source.video.height


def expect(source: Source, plan: ClipPlan) -> Expected:
    """Return what the clip of a plan must be. Raises ParamsInvalid for frames outside the source."""
    start, end = _ticks(source, plan)
    width, height = output_size(source)
    return Expected(
        width=width,
        height=height,
        frame_count=plan.end_frame - plan.start_frame,
        duration=(end - start) * source.video.time_base,
        ticks=[tick - start for tick in source.frame_ticks()[plan.start_frame : plan.end_frame]],
        time_base=source.video.time_base,
        has_audio=source.audio is not None,
    )


def _ticks(source: Source, plan: ClipPlan) -> tuple[int, int]:
    """Return the clip's first tick, and the tick at which it ends."""
    ticks = source.frame_ticks()
    if not 0 <= plan.start_frame < plan.end_frame <= len(ticks):
        raise ParamsInvalid(
            f"Frames {plan.start_frame} to {plan.end_frame} don't lie within the source's {len(ticks)} frames."
        )
    end = ticks[plan.end_frame] if plan.end_frame < len(ticks) else source.video.end_tick
    return ticks[plan.start_frame], end


def clip_arguments(location: str, source: Source, plan: ClipPlan, output: Path) -> list[str]:
    """Return ffmpeg's arguments for a clip; pure. They hold numbers, file names and names from fixed lists only.

    The source is opened twice, for picture and for sound, as each has its own place to begin reading. Both are cut by
    exact ticks: `-ss` only decides where reading begins. Raises ParamsInvalid.
    """
    _check(plan)
    settings, video = plan.settings, source.video
    start, end = _ticks(source, plan)
    threads = ["-threads", str(settings.threads)]
    inputs = input_arguments(
        location, source.demuxer, seek_s=_picture_seek(source, start), options=["-an", "-sn", "-dn", *threads]
    )
    graph = [_picture_graph(source, plan, start, end)]
    maps = ["-map", "[picture]"]
    count = 1
    if source.audio is not None:
        begin, length = start * video.time_base, (end - start) * video.time_base
        heard = source.audio.start_s < float(begin + length) and source.audio.end_s > float(begin)
        if heard:
            seek = None if begin - PREROLL_S <= _origin(source) else _picture_seek(source, start, PREROLL_S)
            inputs += input_arguments(
                location, source.demuxer, seek_s=seek, options=["-vn", "-sn", "-dn", "-threads", "1"]
            )
            count = 2
        graph.append(_sound_graph(source, begin, length, heard))
        maps += ["-map", "[sound]"]
    if plan.picture is not None:
        inputs += ["-f", "png_pipe", "-format_whitelist", "png_pipe", "-protocol_whitelist", "file"]
        inputs += ["-i", local(plan.picture.path)]
        graph.append(_overlay_graph(plan.picture, source, count))
    base = video.time_base
    return [
        *inputs,
        "-copyts", "-filter_complex", ";".join(graph), *maps,
        "-c:v", "libx264", "-preset", settings.preset, "-crf", str(settings.crf), *threads,
        # A lookahead thread of its own races with the frame threads: other bytes in 5 % of runs on a busy machine.
        "-x264-params", "sync-lookahead=0",
        "-pix_fmt", "yuv420p", "-g", str(max(1, min(600, round(settings.gop_s * float(video.frame_rate))))),
        "-fps_mode", "passthrough", "-enc_time_base:v", f"{base.numerator}/{base.denominator}",
        "-video_track_timescale", str(base.denominator), *_colors(source),
        # The last frame is shown until the next clip begins, whatever its packet in the source says.
        "-bsf:v", _last_shown(source, plan, start, end),
        "-c:a", "aac", "-b:a", f"{settings.audio_kbps}k",
        # A hard stop; the filters have cut before. (-frames:v would also cut the sound's last packet off.)
        "-t", microseconds((end - start) * base + 1),
        "-map_metadata", "-1", "-map_chapters", "-1",
        "-fflags", "+bitexact", "-flags:v", "+bitexact+cgop", "-flags:a", "+bitexact",
        "-movflags", "+faststart", "-f", "mp4", local(output),
    ]  # fmt: skip


def _check(plan: ClipPlan) -> None:
    settings = plan.settings
    if settings.preset not in PRESETS:
        raise ParamsInvalid(f"The preset must be one of {', '.join(PRESETS)}.")
    for name, value, least, most in (
        ("crf", settings.crf, 0, 51),
        ("threads", settings.threads, 1, 64),
        ("audio_kbps", settings.audio_kbps, 32, 512),
        ("gop_s", settings.gop_s, 0.01, 60),
    ):
        if not least <= value <= most:
            raise ParamsInvalid(f"{name} must be from {least} to {most}, not {value}.")


def _origin(source: Source) -> Fraction:
    return source.video.start_tick * source.video.time_base


def _last_shown(source: Source, plan: ClipPlan, start: int, end: int) -> str:
    """Return the packet filter that lets the last frame be shown until the clip's end."""
    last = source.frame_ticks()[plan.end_frame - 1]
    return f"setts=pts=PTS:dts=DTS:duration=if(eq(PTS\\,{last - start})\\,{end - last}\\,DURATION)"


def _picture_seek(source: Source, start: int, earlier_s: Fraction = Fraction(0)) -> Fraction | None:
    """Return the file's time, seconds, of the last key frame at or before a tick; None to read from the beginning."""
    base = source.video.time_base
    margin = earlier_s if source.demuxer in EXACT_SEEK else earlier_s + SEEK_MARGIN_S
    keyframes = source.keyframe_ticks()
    at = bisect_right(keyframes, start - margin / base) - 1
    if at <= 0:
        return None
    return keyframes[at] * base - (margin if source.demuxer not in EXACT_SEEK else 0)


def _picture_graph(source: Source, plan: ClipPlan, start: int, end: int) -> str:
    """Return the filters of the picture: cut by ticks, begin at 0, square pixels, even size, 8 bits."""
    video = source.video
    width, height = output_size(source)
    steps = [f"trim=start_pts={start}:end_pts={end}", f"setpts=PTS-({start})"]
    # Two frames with one time stamp would be an error in MP4; the index counts them as one.
    steps.append(r"select=isnan(prev_selected_pts)+gt(pts\,prev_selected_pts)")
    color = _matrix(source)
    if _square(source) != (video.width, video.height):
        steps.append(f"scale=w={width}:h={height}:{SCALING}")
    elif (width, height) != (video.width, video.height):
        steps.append(f"crop={width}:{height}:0:0:exact=1")
    if _is_rgb(video.pixel_format):
        steps.append(f"scale=out_color_matrix={color}:out_range=tv:{SCALING}")
    steps += ["format=yuv420p", "setsar=1"]
    return f"[0:{source.video_index}]{','.join(steps)}[{'plain' if plan.picture else 'picture'}]"


def _overlay_graph(picture: Picture, source: Source, number: int) -> str:
    """Return the filters that put the picture of input `number` on top; it is converted once."""
    base = source.video.time_base
    prepared = f"scale=out_color_matrix={_matrix(source)}:out_range={_range(source)}:{SCALING}"
    return (
        f"[{number}:0]{prepared},format=yuva420p,settb={base.numerator}/{base.denominator}[text];"
        f"[plain][text]overlay=x={picture.x}:y={picture.y}:format=yuv420:eof_action=repeat[picture]"
    )


def _sound_graph(source: Source, begin: Fraction, length: Fraction, heard: bool) -> str:
    """Return the filters of the sound: exactly as long as the picture, silence where the source has none."""
    assert source.audio is not None
    rate = source.audio.sample_rate if source.audio.sample_rate in (44100, 48000) else 48000
    layout = "mono" if source.audio.channels == 1 else "stereo"
    samples = max(1, round(length * rate))
    if not heard:
        return f"anullsrc=r={rate}:cl={layout},atrim=end_sample={samples}[sound]"
    from_s, to_s = (microseconds(time) for time in (begin, begin + length))
    return (
        f"[1:{source.audio.index}]atrim=start={from_s}:end={to_s},asetpts=PTS-({from_s})/TB,"
        f"aresample={rate}:async=1:first_pts=0,aformat=sample_fmts=fltp:channel_layouts={layout},"
        f"apad=whole_len={samples},atrim=end_sample={samples}[sound]"
    )


def _is_rgb(pixel_format: str) -> bool:
    return pixel_format.startswith(("rgb", "bgr", "gbr", "argb", "abgr", "0rgb", "0bgr", "pal8"))


def _matrix(source: Source) -> str:
    """Return the matrix of the clip's colours, as players assume it where the source doesn't tell."""
    told = {"bt709": "bt709", "bt470bg": "bt601", "smpte170m": "bt601", "bt2020nc": "bt2020", "smpte240m": "smpte240m"}
    return told.get(source.video.color_space, "bt709" if source.video.height >= 720 else "bt601")


def _range(source: Source) -> str:
    return "pc" if source.video.color_range == "pc" and not _is_rgb(source.video.pixel_format) else "tv"


def _colors(source: Source) -> list[str]:
    """Return the colour tags, as the source has them: players read them, not the pixels."""
    video = source.video
    if _is_rgb(video.pixel_format):
        names = {"bt709": "bt709", "bt601": "smpte170m"}
        return ["-colorspace", names.get(_matrix(source), "bt709"), "-color_range", "tv"]
    tags = (("-colorspace", video.color_space), ("-color_primaries", video.color_primaries),
            ("-color_trc", video.color_transfer), ("-color_range", _range(source)))  # fmt: skip
    return [word for option, value in tags if value for word in (option, value)]


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
    """Write one clip (H.264, AAC, MP4 with faststart), check it, and only then move it to `output`.

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
