"""A film's whole sound, encoded once for all sizes, and brought to a loudness if that is wanted."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av

from reelmill.errors import EncodeFailed, OutputRejected
from reelmill.media.check import SOUND_S
from reelmill.media.children import Limits
from reelmill.media.encode import ClipSettings, audio_track, sound_options
from reelmill.media.ffmpeg import Finished, Progress, input_arguments, local, run
from reelmill.media.graphs import channel_layout, sample_rate, sound_graph
from reelmill.media.probe import Source

TRUE_PEAK_DB = -1.5  #: dBTP that a normalised sound stays below; AAC adds to it
RANGE_LU = 11.0  #: loudness range; a wider one is kept as it is
QUIET_LUFS = -70.0  #: the gate of EBU R 128: below, there is nothing to measure


@dataclass(frozen=True)
class Loudness:
    """What a sound measures by EBU R 128, as ffmpeg's loudnorm tells it."""

    integrated_lufs: float
    true_peak_db: float
    range_lu: float
    threshold_lufs: float
    offset_lu: float


@dataclass(frozen=True)
class Sound:
    """A finished sound: an MP4 with AAC alone, as long as the picture."""

    path: Path
    runs: tuple[Finished, ...]
    measured: Loudness | None  #: before; None if it wasn't asked for or there was nothing to hear
    channels: int
    sample_rate: int  #: Hz


def encode_sound(
    location: str,
    source: Source,
    settings: ClipSettings,
    loudness_lufs: float | None,
    output: Path,
    *,
    ffmpeg: Path,
    scratch: Path,
    limits: Limits | None = None,
    stop: threading.Event | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Sound:
    """Write the sound of a whole film, exactly as long as its picture, and check its length.

    loudness_lufs: what it is brought to by two passes (EBU R 128, ffmpeg's loudnorm): −70 to −5; None leaves it.
    Raises ParamsInvalid, Stopped, DeadlineExceeded, ResourceLimit, ChildCrashed, EncodeFailed, OutputRejected.
    """
    track = audio_track(source, settings)
    assert track is not None, "the source has sound"
    video, rate = source.video, sample_rate(track)
    layout = channel_layout(track, keep=settings.audio_channels == "source")
    begin, length = video.start_tick * video.time_base, (video.end_tick - video.start_tick) * video.time_base
    graph = sound_graph(track, 0, begin, length, layout)
    options = ["-vn", "-sn", "-dn", "-threads", "1"]
    head = [*input_arguments(location, source.demuxer, options=options), "-copyts", "-filter_complex"]
    words = sound_options(settings, track, layout)
    runs: list[Finished] = []
    measured = None
    if loudness_lufs is not None:
        arguments = ["-loglevel", "info", *head, f"{graph};[sound]{loudnorm(loudness_lufs)}:print_format=json[told]",
                     "-map", "[told]", "-f", "null", "-"]  # fmt: skip
        runs.append(run(arguments, ffmpeg=ffmpeg, scratch=scratch, limits=limits, stop=stop))
        measured = measured_loudness(runs[0].stderr_tail)
        if measured.integrated_lufs <= QUIET_LUFS:
            measured = None
    if measured is not None and loudness_lufs is not None:
        samples = max(1, round(length * rate))
        graph += (
            f";[sound]{loudnorm(loudness_lufs, measured)},aresample={rate},"
            f"aformat=sample_fmts=fltp:channel_layouts={layout},apad=whole_len={samples},"
            f"atrim=end_sample={samples}[loud]"
        )
        words[1] = "[loud]"
    arguments = [*head, graph, *words, "-map_metadata", "-1", "-map_chapters", "-1", "-fflags", "+bitexact",
                 "-movflags", "+faststart", "-f", "mp4", local(output)]  # fmt: skip
    runs.append(run(arguments, ffmpeg=ffmpeg, scratch=scratch, limits=limits, stop=stop, on_progress=on_progress))
    channels = checked_length(output, length)
    return Sound(output, tuple(runs), measured, channels, rate)


def loudnorm(wanted_lufs: float, measured: Loudness | None = None) -> str:
    """Return the filter; with what was measured, it changes all by one factor where that is enough."""
    said = f"loudnorm=I={wanted_lufs:.2f}:TP={TRUE_PEAK_DB}:LRA={RANGE_LU}"
    if measured is None:
        return said
    return (
        f"{said}:measured_I={measured.integrated_lufs:.2f}:measured_TP={measured.true_peak_db:.2f}"
        f":measured_LRA={measured.range_lu:.2f}:measured_thresh={measured.threshold_lufs:.2f}"
        f":offset={measured.offset_lu:.2f}:linear=true"
    )


def measured_loudness(stderr: str) -> Loudness:
    """Return what the first pass printed. Raises EncodeFailed."""
    try:
        told = json.loads(stderr[stderr.rindex("{") : stderr.rindex("}") + 1])
        names = "input_i", "input_tp", "input_lra", "input_thresh", "target_offset"
        return Loudness(*(max(-99.0, float(told[name])) for name in names))
    except (ValueError, KeyError) as problem:
        raise EncodeFailed("ffmpeg didn't tell the loudness that it measured.", stderr=stderr) from problem


def checked_length(path: Path, length: Fraction) -> int:
    """Return the channels of a sound that is as long as it should be. Raises OutputRejected."""
    try:
        with av.open(f"file:{path.absolute()}", format="mov") as container:
            stream = container.streams.audio[0]
            end = (stream.duration or 0) * (stream.time_base or Fraction(0))
            channels = stream.codec_context.channels
    except (av.FFmpegError, OSError, IndexError) as problem:
        raise OutputRejected(f"The sound can't be read again: {problem}.") from problem
    if abs(end - length) > SOUND_S:
        raise OutputRejected(f"The sound is {float(end):.3f} s long, not {float(length):.3f}.")
    return channels
