"""How loud a film is, all along (EBU R 128), and where it is silent: by the sound alone."""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from reelmill.media.children import Limits
from reelmill.media.ffmpeg import Finished, Progress, input_arguments, run
from reelmill.media.graphs import channel_layout, sound_graph
from reelmill.media.probe import AudioStream, Source

QUIET_LUFS = -70.0  #: EBU R 128's gate: below, nothing is measured
BLOCK_S = 0.1  #: ebur128 tells a value so often
MOMENT_S = 0.4  #: each stands for so much sound before it
FRAME = re.compile(r"^frame:\d+\s+pts:\S+\s+pts_time:(\S+)")


@dataclass(frozen=True)
class Levels:
    """What a sound measures."""

    integrated_lufs: float | None  #: None: nothing to hear
    range_lu: float | None
    true_peak_dbtp: float | None  #: None: nothing to hear, or not asked for
    curve: list[float]  #: LUFS of each stretch, at least −70
    silence: list[tuple[float, float]]  #: (start, end) in seconds from the film's first frame


def measure_sound(
    location: str,
    source: Source,
    track: AudioStream,
    stretch_s: float,
    *,
    silence: tuple[float, float] | None,
    ffmpeg: Path,
    scratch: Path,
    limits: Limits | None = None,
    stop: threading.Event | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> tuple[Levels, Finished]:
    """Measure a sound track as it belongs to the picture: what is heard before or after the picture is left out.

    stretch_s: seconds of one value of the curve. silence: (level in dB, shortest in seconds) of what is told as
    silence; None for an overview, without silence and true peak. Raises as `ffmpeg.run`.
    """
    video = source.video
    begin, length = video.start_tick * video.time_base, (video.end_tick - video.start_tick) * video.time_base
    steps = ["ebur128=metadata=1" + (":peak=true" if silence else "")]
    if silence:
        steps.append(f"silencedetect=n={silence[0]:.1f}dB:d={silence[1]:.3f}")
    steps.append("ametadata=mode=print:file=levels.txt")
    graph = sound_graph(track, 0, begin, length, channel_layout(track, keep=True))
    arguments = [
        *input_arguments(location, source.demuxer, options=["-vn", "-sn", "-dn", "-threads", "1"]), "-copyts",
        "-filter_complex_threads", "1", "-filter_complex", f"{graph};[sound]{','.join(steps)}[told]",
        "-map", "[told]", "-f", "null", "-",
    ]  # fmt: skip
    finished = run(arguments, ffmpeg=ffmpeg, scratch=scratch, limits=limits, stop=stop, on_progress=on_progress)
    return _read(scratch / "levels.txt", source.duration_s, stretch_s), finished


def _read(path: Path, duration_s: float, stretch_s: float) -> Levels:
    powers = [[0.0, 0] for _ in range(math.ceil(duration_s / stretch_s))]
    last: dict[str, float] = {}
    quiet: list[tuple[float, float]] = []
    began: float | None = None
    at_s = 0.0
    with path.open() as lines:
        for line in lines:
            if found := FRAME.match(line):
                at_s = float(found[1])
                continue
            name, _, value = line.strip().partition("=")
            name = name.removeprefix("lavfi.").removeprefix("r128.")
            if name == "M":
                # The middle of the sound that the value stands for.
                middle = max(0.0, at_s + BLOCK_S - MOMENT_S / 2)
                stretch = powers[min(len(powers) - 1, int(middle / stretch_s))]
                stretch[0] += 10 ** (float(value) / 10)
                stretch[1] += 1
            elif name.startswith("silence_start"):
                began = max(0.0, float(value))
            elif name.startswith("silence_end") and began is not None:
                quiet.append((began, min(duration_s, float(value))))
                began = None
            elif name in ("I", "LRA", "true_peak"):
                last[name] = float(value)
    if began is not None:
        quiet.append((began, duration_s))
    heard = last.get("I", QUIET_LUFS) > QUIET_LUFS
    peak = last.get("true_peak", 0.0)
    return Levels(
        integrated_lufs=round(last["I"], 2) if heard else None,
        range_lu=round(last["LRA"], 2) if heard else None,
        true_peak_dbtp=round(20 * math.log10(peak), 1) if heard and peak > 0 else None,
        curve=_curve(powers),
        silence=[(round(start, 3), round(end, 3)) for start, end in quiet],
    )


def _curve(powers: Sequence[Sequence[float]]) -> list[float]:
    """Return the mean loudness of each stretch; one too short for a value of its own has the one before."""
    curve: list[float] = []
    for power, count in powers:
        if count:
            curve.append(round(max(QUIET_LUFS, 10 * math.log10(max(power / count, 1e-12))), 1))
        else:
            curve.append(curve[-1] if curve else QUIET_LUFS)
    return curve
