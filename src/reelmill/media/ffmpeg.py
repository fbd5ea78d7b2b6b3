"""The one way to run ffmpeg: an argument list, limits, a deadline, its own process group."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Limits:
    """What one child process may use."""

    deadline_s: float = 3600.0  #: wall seconds
    cpu_s: int = 4 * 3600  #: processor seconds, all threads together
    file_size_bytes: int = 64 << 30  #: of any file that it writes
    memory_bytes: int | None = None  #: address space; None for ffmpeg, whose threads reserve far more than they use


@dataclass(frozen=True)
class Progress:
    """How far ffmpeg is with its output."""

    frame: int  #: frames written
    out_s: float  #: seconds written
    speed: float | None  #: times real time


@dataclass(frozen=True)
class Finished:
    """A run that ended well."""

    argv: tuple[str, ...]
    cpu_s: float
    wall_s: float
    stderr_tail: str  #: at most 16 KiB


def find_ffmpeg(override: str | None = None) -> Path:
    """Return the ffmpeg to use: the override, else the one of the imageio-ffmpeg package. Raises ToolMissing (< 8.1.3)."""
    raise NotImplementedError


def version(ffmpeg: Path) -> str:
    """Return the version as ffmpeg prints it ("n9.0.2-17-g2a571b6068-20260930"); belongs to a step's digest."""
    raise NotImplementedError


def input_arguments(location: str, demuxer: str, *, seek_s: str | None = None) -> list[str]:
    """Return the options that go with one input, `-i location` included."""
    raise NotImplementedError


def run(
    arguments: Sequence[str],
    *,
    ffmpeg: Path,
    scratch: Path,
    limits: Limits | None = None,
    stop: threading.Event | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Finished:
    """Run ffmpeg with `arguments` in `scratch`.

    Raises Stopped, DeadlineExceeded, ResourceLimit, ChildCrashed, EncodeFailed.
    """
    raise NotImplementedError
