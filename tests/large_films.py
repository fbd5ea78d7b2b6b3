"""Real films of any size: a small MP4 followed by a `free` box, which players pass over (ISO/IEC 14496-12, 8.1.2)."""

from __future__ import annotations

import random
import struct
import subprocess
from pathlib import Path

from reelmill.media import find_ffmpeg


def make_large_film(path: Path, size: int, *, seed: int | None = None) -> Path:
    """Make a film of exactly `size` bytes. seed: what its box is filled with; a hole in the file by default."""
    command = [
        find_ffmpeg(None), "-nostdin", "-loglevel", "error", "-y",
        "-f", "lavfi", "-i", "testsrc2=size=160x120:rate=25:duration=2",
        "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-movflags", "+faststart", path,
    ]  # fmt: skip
    subprocess.run([str(word) for word in command], check=True, timeout=60)
    rest = size - path.stat().st_size
    assert rest >= 16, "the film alone is larger"
    with path.open("r+b") as file:
        file.seek(0, 2)
        file.write(struct.pack(">I4sQ", 1, b"free", rest))
        if seed is None:
            file.truncate(size)
        else:
            file.write(random.Random(seed).randbytes(rest - 16))
    return path


def make_noisy_film(path: Path, seconds: float = 10) -> Path:
    """Make a film of about 2 MB a second, which no encoder would make small."""
    command = [
        find_ffmpeg(None), "-nostdin", "-loglevel", "error", "-y",
        "-f", "lavfi", "-i", f"testsrc2=size=640x360:rate=25:duration={seconds},noise=alls=60:allf=t",
        "-c:v", "libx264", "-preset", "ultrafast", "-crf", "18", "-g", "25", "-pix_fmt", "yuv420p", path,
    ]  # fmt: skip
    subprocess.run([str(word) for word in command], check=True, timeout=120)
    return path
