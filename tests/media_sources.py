"""Sources made by ffmpeg, with known frames and known sound."""

from __future__ import annotations

import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

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


class Studio:
    """Makes each source once a session, when a test first asks for it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder

    def __call__(self, name: str) -> Path:
        path = self.folder / name
        if not path.exists():
            stem, suffix = path.stem, path.suffix
            getattr(self, f"_{stem.replace('-', '_')}")(path.with_name(f"{stem}.part{suffix}"))
            path.with_name(f"{stem}.part{suffix}").rename(path)
        return path

    def remuxed(self, path: Path, source: str, *options: str) -> None:
        ffmpeg(*options, "-i", str(self(source)), "-map", "0", "-c", "copy", str(path))

    def _pal(self, path: Path) -> None:
        make_source(path, seconds=5, width=320, height=180)

    def _ntsc(self, path: Path) -> None:
        make_source(path, seconds=5, rate="30000/1001", width=320, height=180)

    def _sixty(self, path: Path) -> None:
        make_source(path, seconds=3, rate="60", sound=False, width=320, height=180)

    def _long(self, path: Path) -> None:
        """Ten minutes: the same five seconds again and again, the index at the beginning."""
        source = str(self("pal.mp4"))
        ffmpeg("-stream_loop", "119", "-i", source, "-c", "copy", "-movflags", "+faststart", str(path))

    def _ntsc_copy(self, path: Path) -> None:
        """The same frames in the container that the suffix names."""
        self.remuxed(path, "ntsc.mp4")

    def _old(self, path: Path) -> None:
        """MPEG-4 part 2 with B-frames and MP2 sound: AVI, MPEG-PS."""
        codec = "mpeg2video" if path.suffix == ".mpg" else "mpeg4"
        ffmpeg("-i", str(self("ntsc.mp4")), "-c:v", codec, "-bf", "2", "-q:v", "2", "-c:a", "mp2", str(path))

    def _vfr(self, path: Path) -> None:
        """Frames at uneven times, one shown for over half a second, one that ends a clip shown long."""
        uneven = "select='not(eq(mod(n,7),3))*not(between(n,40,55))'"
        ffmpeg(
            "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25:duration=5", "-f", "lavfi", "-i", "sine=duration=5",
            "-vf", uneven, "-fps_mode", "vfr", "-c:v", "libx264", "-crf", "12", "-g", "30",
            "-pix_fmt", "yuv420p", str(path),
        )  # fmt: skip

    def _late_sound(self, path: Path) -> None:
        """The tone begins 2.3 s into the picture."""
        source = str(self("ntsc.mp4"))
        ffmpeg("-itsoffset", "2.3", "-i", source, "-i", source, "-map", "1:v", "-map", "0:a", "-c", "copy", str(path))

    def _short_sound(self, path: Path) -> None:
        """The tone ends after 2.5 s of 5."""
        source = str(self("ntsc.mp4"))
        ffmpeg("-i", source, "-t", "2.5", "-i", source, "-map", "0:v", "-map", "1:a", "-c", "copy", str(path))

    def _rotated(self, path: Path) -> None:
        self.remuxed(path, "pal.mp4", "-display_rotation", "90")

    def _edited(self, path: Path) -> None:
        """Begins in the middle of a group of pictures, by an edit list."""
        ffmpeg("-ss", "1.3", "-i", str(self("ntsc.mp4")), "-c", "copy", str(path))

    def _joined_late(self, path: Path) -> None:
        """A transport stream that begins in the middle of a group of pictures."""
        whole = self("ntsc-copy.ts").read_bytes()
        path.write_bytes(whole[188 * 400 :])

    def _odd(self, path: Path, shape: str = "1") -> None:
        """Odd sides."""
        ffmpeg(
            "-f", "lavfi", "-i", "testsrc2=size=400x300:rate=25:duration=2",
            "-vf", f"format=yuv444p,crop=321:181,setsar={shape}", "-c:v", "libx264", "-crf", "12", str(path),
        )  # fmt: skip

    def _wide(self, path: Path) -> None:
        """Odd sides and pixels that are wider than high."""
        self._odd(path, "4/3")

    def _gap(self, path: Path) -> None:
        """20 hours between two frames."""
        ffmpeg(
            "-f", "lavfi", "-i", "testsrc2=size=64x64:rate=25:duration=2", "-f", "lavfi", "-i", "sine=duration=2",
            "-vf", "setpts='if(gte(N,25),PTS+72000/TB,PTS)'", "-fps_mode", "passthrough", "-c:v", "libx264", str(path),
        )  # fmt: skip

    def _huge(self, path: Path) -> None:
        """One picture of 16,000 × 16,000."""
        color = "color=size=16000x16000:rate=1:duration=1"
        ffmpeg("-f", "lavfi", "-i", color, "-c:v", "mjpeg", "-pix_fmt", "yuvj420p", "-frames:v", "1", str(path))

    def _many_streams(self, path: Path) -> None:
        maps = ("-map", "0") * 70
        ffmpeg("-f", "lavfi", "-i", "color=size=16x16:rate=1:duration=1", *maps, "-c:v", "mpeg4", str(path))

    def _fast(self, path: Path) -> None:
        """2,000 frames a second."""
        ffmpeg(
            "-f", "lavfi", "-i", "color=size=16x16:rate=2000:duration=0.1", "-c:v", "libx264",
            "-video_track_timescale", "90000", str(path),
        )  # fmt: skip

    def _sound_only(self, path: Path) -> None:
        ffmpeg("-f", "lavfi", "-i", "sine=duration=1", "-c:a", "aac", str(path))

    def _sound_with_cover(self, path: Path) -> None:
        """Music with a picture of its cover: not a video."""
        cover = path.with_name("cover.png")
        ffmpeg("-f", "lavfi", "-i", "color=size=64x64:duration=1", "-frames:v", "1", str(cover))
        ffmpeg(
            "-i", str(self("sound-only.mp4")), "-i", str(cover), "-map", "0", "-map", "1", "-c", "copy",
            "-disposition:v:0", "attached_pic", str(path),
        )  # fmt: skip


class Served(ThreadingHTTPServer):
    """A folder over HTTP with ranges, as object stores give them out. Counts what it sends."""

    daemon_threads = True

    refuses = 0  #: so many requests are answered 503
    breaks = 0  #: so many replies end in the middle
    whole_bytes = 100_000  #: of a reply that breaks

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sent = 0
        super().__init__(("127.0.0.1", 0), _Ranged)
        self.url = f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Ranged(BaseHTTPRequestHandler):
    server: Served

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        path = self.server.folder / self.path.lstrip("/")
        if self.server.refuses:
            self.server.refuses -= 1
            self.send_error(503)
            return
        if self.path.startswith("/broken") or not path.is_file():
            self.send_error(503 if self.path.startswith("/broken") else 404)
            return
        size = path.stat().st_size
        first, _, last = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
        start, end = int(first), min(int(last or size - 1), size - 1)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{end}/{size}")
        self.send_header("Content-Length", str(end - start + 1))
        self.send_header("Accept-Ranges", "bytes")
        self.end_headers()
        if self.server.breaks and end - start > self.server.whole_bytes:
            self.server.breaks -= 1
            end = start + self.server.whole_bytes
            self.close_connection = True
        try:
            with path.open("rb") as file:
                file.seek(start)
                while start <= end and (block := file.read(min(65536, end - start + 1))):
                    self.wfile.write(block)
                    start += len(block)
                    self.server.sent += len(block)
        except (BrokenPipeError, ConnectionResetError):
            pass  # ffmpeg has what it wanted
