"""What hostile files are made with, and the table in which each says what becomes of it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import imageio_ffmpeg

ACCEPTED = "accepted"  #: it is taken, and its clips come out right
FOUR_NAMES = ("film.mp4", "film.mkv", "film.ts", "film.m3u8")
MARKER = "marker-of-the-canary-5f0c1e"  #: what the canary file holds, and nothing else does


@dataclass
class Kit:
    """What the makers need: a folder, and the two canaries to which hostile files point."""

    folder: Path
    canary: Path  #: a file that nobody may open
    url: str  #: an HTTP address to which nobody may connect
    _made: dict[tuple[str, ...], bytes] = field(default_factory=dict)

    def ffmpeg(self, suffix: str, *words: str) -> bytes:
        """Return what ffmpeg writes with these words into a file of this suffix."""
        key = (suffix, *words)
        if key not in self._made:
            path = self.folder / f"made-{len(self._made)}.{suffix}"
            subprocess.run(
                [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", "-y", *words, str(path)],
                check=True, timeout=120, cwd=self.folder,
            )  # fmt: skip
            self._made[key] = path.read_bytes()
        return self._made[key]

    def film(self, suffix: str = "mp4", *more: str, size: str = "160x90", seconds: float = 1) -> bytes:
        """Return an honest film with sound; more: further output options."""
        return self.ffmpeg(
            suffix, "-f", "lavfi", "-i", f"testsrc2=size={size}:rate=25:duration={seconds}",
            "-f", "lavfi", "-i", f"sine=duration={seconds}", "-pix_fmt", "yuv420p", "-g", "10",
            *(more or ("-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac")),
        )  # fmt: skip

    def path(self, name: str, data: bytes) -> str:
        """Write a file that others are made of."""
        path = self.folder / name
        path.write_bytes(data)
        return str(path)


@dataclass(frozen=True)
class Hostile:
    """One file and what becomes of it."""

    name: str
    what: str  #: for people
    make: Callable[[Kit], bytes]
    code: str  #: the stable error code, or ACCEPTED
    says: str = ""  #: part of the detail
    names: tuple[str, ...] = ("film.mp4",)  #: under which it is uploaded
    announced: dict[str, object] = field(default_factory=dict)  #: that isn't true of the file
    through: str = "put"  #: how the bytes get there: "put", "store" (around the signed URL), "" (never)


HOSTILE: list[Hostile] = []


def hostile(code: str, says: str = "", **more: object) -> Callable[[Callable[[Kit], bytes]], Callable[[Kit], bytes]]:
    def note(make: Callable[[Kit], bytes]) -> Callable[[Kit], bytes]:
        what = (make.__doc__ or "").strip().rstrip(".")
        HOSTILE.append(Hostile(make.__name__.replace("_", "-"), what, make, code, says, **more))  # type: ignore[arg-type]
        return make

    return note
