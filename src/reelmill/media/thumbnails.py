"""Small pictures: one frame of a clip, and a sheet of many."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from reelmill.media.ffmpeg import Limits


def thumbnail(
    path: Path,
    at_s: float,
    width: int,
    out: Path,
    *,
    ffmpeg: Path,
    scratch: Path,
    limits: Limits | None = None,
    stop: threading.Event | None = None,
) -> Path:
    """Write the frame shown at `at_s` seconds of one of our own MP4s as a JPEG `width` pixels wide (16–4096, even).

    Behind the end, the last frame is taken. Returns `out`. Raises as `ffmpeg.run`.
    """
    raise NotImplementedError


def contact_sheet(items: Sequence[tuple[Path, str]], out: Path, columns: int = 5, max_tiles: int = 60) -> Path:
    """Write a PNG with pictures and their captions in a grid; of more than max_tiles, an even sample.

    items: (JPEG path, caption) in order. Returns `out`. Raises ParamsInvalid for no items.
    """
    raise NotImplementedError
