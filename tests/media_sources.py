"""Sources made by ffmpeg, with known frames and known sound."""

from __future__ import annotations

import subprocess
from pathlib import Path

import imageio_ffmpeg


def ffmpeg(*words: str) -> None:
    done = subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-nostdin", "-loglevel", "error", "-y", *words],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def make_source(
    path: Path,
    *,
    seconds: float = 6,
    rate: str = "25",
    sound: bool = True,
    width: int = 640,
    height: int = 360,
    more: tuple[str, ...] = (),
) -> Path:
    """Write a moving test picture (every frame differs) with a tone; the suffix of `path` chooses the container.

    rate: frames/s, "30000/1001" is exact. more: further output options.
    """
    picture = ["-f", "lavfi", "-i", f"testsrc2=size={width}x{height}:rate={rate}"]
    tone = ["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000"] if sound else []
    # crf 12: a clean source, so that what is measured is our loss and not its own
    video = ["-c:v", "libx264", "-preset", "veryfast", "-crf", "12", "-pix_fmt", "yuv420p", "-g", "50"]
    ffmpeg(*picture, *tone, "-t", str(seconds), *video, *(["-c:a", "aac"] if sound else []), *more, str(path))
    return path
