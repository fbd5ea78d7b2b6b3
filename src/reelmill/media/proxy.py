"""A proxy: a whole film small and with few frames, for quick viewing and analysis.

Its frames stand at even times, `n / frame_rate` seconds from the first; each is the source's frame nearest to its
time. Where the source allows it, pictures that no other picture needs aren't decoded: a frame may then be off by up to
one of the proxy's own. Whether that leaves holes is tried on the film's beginning, and counted on the whole.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from math import gcd
from pathlib import Path
from typing import Literal

from reelmill.media.check import Checked, Expected, check_output
from reelmill.media.children import Limits
from reelmill.media.codecs import pixel_format
from reelmill.media.codecs import video_arguments as codec_arguments
from reelmill.media.encode import (
    ClipPlan,
    ClipSettings,
    audio_track,
    check_settings,
    decoding_options,
    encode_clip,
    sound_options,
)
from reelmill.media.ffmpeg import Finished, Progress, input_arguments, local, microseconds, run
from reelmill.media.graphs import (
    channel_layout,
    colors,
    cut_steps,
    output_size,
    shaped_steps,
    sound_graph,
)
from reelmill.media.probe import Source

Decode = Literal["auto", "all"]

#: Of these, decoders know by a picture's header whether others need it.
TELL_REFERENCES = frozenset({"h264", "hevc", "mpeg2video", "mpeg4"})
WORTHWHILE = 2  #: frames of the source for one of the proxy, at least: else hardly a picture could be left out
TRIAL_S = 4  #: seconds at the beginning by which it is judged whether references alone are enough …
LONG_S = 60  #: … of a film that is longer than this; a shorter one is made twice if they aren't


@dataclass(frozen=True)
class ProxySettings:
    """How a proxy is written. All of it belongs to a step's digest."""

    clip: ClipSettings  #: codec, size, sound
    frame_rate: Fraction = Fraction(10)  #: frames/s; a slower source keeps its own frames
    decode: Decode = "auto"


@dataclass(frozen=True)
class Proxy:
    """A finished proxy: the check of the file, and how it was made."""

    path: Path
    checked: Checked
    runs: tuple[Finished, ...]
    decoded: Literal["all", "references"]  #: which of the source's pictures


@dataclass(frozen=True)
class Grid:
    """Even times at which a film's frames are picked: the nearest one each, by integers alone."""

    frame_rate: Fraction
    count: int  #: frames of the proxy
    a: int  #: a frame `ticks` after the first belongs to number (ticks * a + b) // c
    b: int
    c: int

    def number(self, ticks: int) -> int:
        """Return the number of the even time that a frame is the first for. ticks: after the film's first frame."""
        return (ticks * self.a + self.b) // self.c

    def part(self, start: int, end: int) -> Grid:
        """Return the even times of a part of the film: its numbers and ticks begin at 0.

        start, end: ticks after the film's first frame of the part's first frame and of the next part's.
        """
        first = self.number(start)
        return replace(
            self, count=min(self.count, self.number(end)) - first, b=self.b + start * self.a - first * self.c
        )

    def steps(self) -> list[str]:
        """Return the filters that pick the frames; their times are then the even ones, some may be missing."""
        here, before = (f"floor(({pts}*{self.a}+{self.b})/{self.c})" for pts in ("pts", "prev_selected_pts"))
        rate = self.frame_rate
        even = f"round({here.replace('pts', 'PTS')}*{rate.denominator}/({rate.numerator}*TB))"
        return [
            rf"select=isnan(prev_selected_pts)+gt({here}\,{before})",
            f"setpts={even}",
            f"settb={rate.denominator}/{rate.numerator}",
        ]

    def filled(self) -> list[str]:
        """Return the filters that show a frame again where the source has none for a time."""
        rate = f"{self.frame_rate.numerator}/{self.frame_rate.denominator}"
        return [
            f"fps={rate}:start_time=0:eof_action=pass",
            "tpad=stop=-1:stop_mode=clone",
            f"trim=end_frame={self.count}",
        ]


def grid(source: Source, frame_rate: Fraction) -> Grid | None:
    """Return the even times of a proxy; None where the source keeps its own frames: it has no more a second, or lasts
    for less than half of one.
    """
    video = source.video
    length = (video.end_tick - video.start_tick) * video.time_base
    count = round(length * frame_rate)
    if video.frame_rate <= frame_rate or count == 0:
        return None
    # Half a frame of the source earlier: the first frame from there on is the nearest one.
    per_tick, half = video.time_base * frame_rate, frame_rate / (2 * video.frame_rate)
    c = per_tick.denominator * half.denominator // gcd(per_tick.denominator, half.denominator)
    return Grid(frame_rate, count, int(per_tick * c), int(half * c), c)


def picked(source: Source, even: Grid, until: int | None = None) -> int:
    """Return how many of the even times have a frame of their own. until: ticks after the first frame."""
    ticks = source.frame_ticks()
    numbers = {even.number(tick - ticks[0]) for tick in ticks if until is None or tick - ticks[0] < until}
    return len({number for number in numbers if number < even.count})


def encode_proxy(
    location: str,
    source: Source,
    settings: ProxySettings,
    output: Path,
    *,
    ffmpeg: Path,
    scratch: Path,
    limits: Limits | None = None,
    stop: threading.Event | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Proxy:
    """Write a film's proxy (MP4 with faststart), check it, and only then move it to `output`.

    location: path or http(s) URL of the source. The same source, settings and ffmpeg give the same bytes.
    Raises ParamsInvalid, Stopped, DeadlineExceeded, ResourceLimit, ChildCrashed, EncodeFailed, OutputRejected.
    """
    even = grid(source, settings.frame_rate)
    if even is None:
        plan = ClipPlan(0, len(source.frame_ticks()), settings=settings.clip)
        made = encode_clip(location, source, plan, output, ffmpeg=ffmpeg, scratch=scratch, limits=limits, stop=stop,
                           on_progress=on_progress)  # fmt: skip
        return Proxy(made.path, made.checked, (made.finished,), "all")
    maker = _Maker(location, source, settings, even, ffmpeg, scratch, limits, stop, [])
    if maker.references_are_enough():
        proxy = maker.written(output, on_progress, references=True)
        if proxy is not None:
            return proxy
    proxy = maker.written(output, on_progress, references=False)
    assert proxy is not None
    return proxy


def proxy_arguments(
    location: str, source: Source, settings: ProxySettings, even: Grid, output: Path | None, *, references: bool
) -> list[str]:
    """Return ffmpeg's arguments for a proxy; pure. They hold numbers, file names and names from fixed lists only.

    references: leave out pictures that no other needs; the first output then counts those that were picked.
    output: None to count only, on the film's beginning. Raises ParamsInvalid.
    """
    clip, video = settings.clip, source.video
    code = check_settings(source, clip)
    track = audio_track(source, clip)
    options = [*decoding_options(source, clip.threads), "-sn", "-dn"]
    options += ["-skip_frame:v", "noref"] if references else []
    if output is None or track is None:
        options.append("-an")
    end = video.end_tick if output else video.start_tick + round(TRIAL_S / video.time_base)
    steps = cut_steps(source, clip.shape, video.start_tick, end) + even.steps()
    counted = ["-map", "[counted]", "-c:v", "wrapped_avframe", "-fps_mode", "passthrough", "-f", "null", "-"]
    head = [*input_arguments(location, source.demuxer, options=options), "-copyts", "-filter_complex"]
    if output is None:
        return [*head, f"[0:{source.video_index}]{','.join(steps)}[counted]", *counted]
    shaped = ",".join([*even.filled(), *shaped_steps(source, clip.shape, pixel_format(code))])
    fork = ",split[counted][picked];[picked]" if references else ","
    graphs = [f"[0:{source.video_index}]{','.join(steps)}{fork}{shaped}[picture]"]
    rate, length = even.frame_rate, even.count / even.frame_rate
    words = [
        "-map", "[picture]", *codec_arguments(code, max(1, min(600, round(clip.gop_s * float(rate))))),
        "-fps_mode", "passthrough", "-enc_time_base:v", f"{rate.denominator}/{rate.numerator}",
        "-video_track_timescale", str(timescale(rate)), *colors(source, clip.shape), "-flags:v", "+bitexact+cgop",
    ]  # fmt: skip
    if track is not None:
        layout = channel_layout(track, keep=clip.audio_channels == "source")
        graphs.append(sound_graph(track, 0, video.start_tick * video.time_base, length, layout))
        words += sound_options(clip, track, layout)
    return [
        *head, ";".join(graphs), *(counted if references else []), *words, "-t", microseconds(length + 1),
        "-map_metadata", "-1", "-map_chapters", "-1", "-fflags", "+bitexact",
        "-movflags", "+faststart", "-f", "mp4", local(output),
    ]  # fmt: skip


def expect_proxy(source: Source, settings: ProxySettings, even: Grid) -> Expected:
    """Return what a proxy must be."""
    width, height = output_size(source, settings.clip.shape)
    return Expected(
        width=width,
        height=height,
        frame_count=even.count,
        duration=even.count / even.frame_rate,
        ticks=range(even.count),
        time_base=1 / even.frame_rate,
        has_audio=bool(source.audio_tracks),
    )


def timescale(rate: Fraction) -> int:
    """Return ticks a second that hold a frame exactly; a fine one, as some players round to it."""
    return rate.numerator * max(1, 12800 // rate.numerator)


@dataclass
class _Maker:
    """All that the runs of one proxy have in common."""

    location: str
    source: Source
    settings: ProxySettings
    even: Grid
    ffmpeg: Path
    scratch: Path
    limits: Limits | None
    stop: threading.Event | None
    runs: list[Finished]

    def references_are_enough(self) -> bool:
        """Tell whether references alone are worth a try; of a long film, whether its beginning then has no hole."""
        video = self.source.video
        if (
            self.settings.decode == "all"
            or video.codec not in TELL_REFERENCES
            or video.is_vfr
            or video.interlaced
            or video.frame_rate < WORTHWHILE * self.even.frame_rate
        ):
            return False
        if self.source.duration_s < LONG_S:
            return True
        wanted = picked(self.source, self.even, round(TRIAL_S / video.time_base))
        return self._run(None, None, references=True) == wanted

    def written(
        self, output: Path, on_progress: Callable[[Progress], None] | None, *, references: bool
    ) -> Proxy | None:
        """Write and check the proxy; None if references alone left holes."""
        written = self.scratch / f"{output.stem}.unchecked.mp4"
        try:
            found = self._run(written, on_progress, references=references)
            if references and found < picked(self.source, self.even):
                return None
            checked = check_output(written, expect_proxy(self.source, self.settings, self.even))
            os.replace(written, output)  # noqa: PTH105  (Path.replace says less: this is the atomic one)
        finally:
            written.unlink(missing_ok=True)
        return Proxy(output, checked, tuple(self.runs), "references" if references else "all")

    def _run(self, output: Path | None, on_progress: Callable[[Progress], None] | None, *, references: bool) -> int:
        """Run ffmpeg; return the number of frames of its first output."""
        last = Progress(0, 0.0, None)

        def follow(progress: Progress) -> None:
            nonlocal last
            last = progress
            if on_progress is not None:
                on_progress(progress)

        arguments = proxy_arguments(self.location, self.source, self.settings, self.even, output, references=references)
        self.runs.append(
            run(arguments, ffmpeg=self.ffmpeg, scratch=self.scratch, limits=self.limits, stop=self.stop,
                on_progress=follow)
        )  # fmt: skip
        return last.frame
