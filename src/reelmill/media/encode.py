"""Clips of a source, exact to the frame, and the check of what was written."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from reelmill.media.ffmpeg import Finished, Limits, Progress
from reelmill.media.probe import Source
from reelmill.media.text import Picture


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
class Expected:
    """What a written file must be."""

    width: int  #: pixels
    height: int
    frame_count: int
    duration: Fraction  #: seconds, exact
    has_audio: bool


@dataclass(frozen=True)
class Checked:
    """What a written file is; everything was read from the file itself."""

    sha256: str  #: hex
    size_bytes: int
    duration_s: float  #: seconds of the picture
    width: int
    height: int
    frame_count: int
    frame_rate: Fraction  #: frames/s, average
    video_codec: str
    audio_codec: str | None
    bit_rate: int  #: bits/s of the whole file


@dataclass(frozen=True)
class Encoded:
    """A finished clip: the check of the file and how ffmpeg was run."""

    path: Path
    checked: Checked
    finished: Finished


def output_size(source: Source) -> tuple[int, int]:
    """Return (width, height) of a source's clips in pixels: as displayed, square pixels, even."""
    raise NotImplementedError


def expect(source: Source, plan: ClipPlan) -> Expected:
    """Return what the clip of a plan must be. Raises ParamsInvalid for frames outside the source."""
    raise NotImplementedError


def clip_arguments(location: str, source: Source, plan: ClipPlan, output: Path) -> list[str]:
    """Return ffmpeg's arguments for a clip; pure. They hold numbers, file names and names from fixed lists only."""
    raise NotImplementedError


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
    Raises ParamsInvalid (frames outside the source), Stopped, DeadlineExceeded, ResourceLimit, ChildCrashed,
    EncodeFailed, OutputRejected.
    """
    raise NotImplementedError


def check_output(path: Path, expected: Expected) -> Checked:
    """Reopen a file that we wrote and compare it with the plan.

    moov before mdat, sizes, exact number of frames, duration within half a frame, sound ending within 25 ms of the
    picture, first and last group of pictures decode. Raises OutputRejected.
    """
    raise NotImplementedError
