"""The one way to run ffmpeg: an argument list, limits, a deadline, its own process group."""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import certifi
import imageio_ffmpeg

from reelmill.errors import ChildCrashed, EncodeFailed, ToolMissing
from reelmill.media.children import Limits, supervise
from reelmill.media.probe_child import DEMUXERS, STILLS

OLDEST = (8, 1, 3)  #: older ones have known holes in playlist handling
MAX_PIXELS = 8192 * 8192  #: of any picture that is decoded
#: What is not the cause of a failure though it is said last.
CHATTER = re.compile("(conversion failed|exiting|error while filtering|task finished|terminating)", re.IGNORECASE)
SPEAKER = re.compile(r"^(\[[^\]]*\]\s*)+")  #: "[libx264 @ 0x55…] "
POLITE = 255  #: ffmpeg's status after SIGTERM or SIGINT, and of EPERM, about which it says a line


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
    cpu_s: float  #: processor seconds, all threads together
    wall_s: float
    stderr_tail: str  #: at most 16 KiB


def find_ffmpeg(override: str | None = None) -> Path:
    """Return the ffmpeg to use: the override, else the one of the imageio-ffmpeg package.

    Raises ToolMissing if there is none, it can't be run or it is older than 8.1.3.
    """
    try:
        path = Path(override or imageio_ffmpeg.get_ffmpeg_exe()).absolute()
    except RuntimeError as problem:
        raise ToolMissing("The package imageio-ffmpeg has no ffmpeg for this machine.") from problem
    told = version(path)
    found = re.match(r"n?(\d+)\.(\d+)(?:\.(\d+))?", told)
    if found is None or tuple(int(part or 0) for part in found.groups()) < OLDEST:
        raise ToolMissing(f"{path} is version {told}; {'.'.join(map(str, OLDEST))} or later is needed.")
    return path


def version(ffmpeg: Path) -> str:
    """Return the version as ffmpeg prints it ("n9.0.2-17-g2a571b6068-20260930"); belongs to a step's digest.

    Raises ToolMissing.
    """
    said = bytearray()
    limits = Limits(deadline_s=30, cpu_s=20)
    supervise([str(ffmpeg), "-version"], scratch=Path("/"), limits=limits, stop=None, on_output=said.extend)
    found = re.match(rb"ffmpeg version (\S+)", said)
    if found is None:
        raise ToolMissing(f"{ffmpeg} is not ffmpeg.")
    return found[1].decode()


def input_arguments(
    location: str, demuxer: str, *, seek_s: Fraction | None = None, options: Sequence[str] = ()
) -> list[str]:
    """Return the options that go with one input, `-i location` included.

    location: path or http(s) URL; demuxer: the one that probing found, forced. seek_s: seconds on the file's own
    clock, at or before the first frame wanted. options: further input options (`-vn`).
    With the demuxer forced and alone on the list of formats, no file can act as a playlist; the list of protocols
    keeps a file from reaching the network and a URL from reaching files.
    """
    if demuxer not in DEMUXERS and demuxer not in STILLS:
        raise ValueError(f"{demuxer} is not among the demuxers for untrusted files")
    arguments = ["-f", demuxer, "-format_whitelist", demuxer, "-max_pixels", str(MAX_PIXELS), *options]
    if is_url(location):
        arguments += ["-protocol_whitelist", "http,https,tcp,tls", "-rw_timeout", "30000000", "-reconnect", "1"]
        if location[:6].lower() == "https:":
            arguments += ["-ca_file", certifi.where(), "-tls_verify", "1"]
    else:
        arguments += ["-protocol_whitelist", "file"]
        location = local(Path(location))
    if seek_s is not None:
        # Without -noaccurate_seek ffmpeg drops frames by rounded seconds; the filters drop them by exact ticks.
        arguments += ["-noaccurate_seek", "-seek_timestamp", "1", "-ss", microseconds(seek_s)]
    return [*arguments, "-i", location]


def container_options(location: str, demuxer: str) -> dict[str, str]:
    """Return the options with which PyAV opens an untrusted file: the same fences as `input_arguments`."""
    if not is_url(location):
        return {"format_whitelist": demuxer, "protocol_whitelist": "file"}
    options = {"format_whitelist": demuxer, "protocol_whitelist": "http,https,tcp,tls", "reconnect": "1"}
    return options | {"ca_file": certifi.where(), "tls_verify": "1", "rw_timeout": "30000000"}


def is_url(location: str) -> bool:
    """Return whether a location is an http(s) URL; anything else is a path."""
    return re.match(r"https?://", location, re.IGNORECASE) is not None


def local(path: Path) -> str:
    """Return a path as ffmpeg takes it for nothing else."""
    return f"file:{path.absolute()}"


def microseconds(seconds: Fraction) -> str:
    """Return seconds as ffmpeg reads them, rounded up to its microsecond: never before the exact time."""
    ticks = -(-seconds.numerator * 1_000_000 // seconds.denominator)
    sign, ticks = ("-", -ticks) if ticks < 0 else ("", ticks)
    return f"{sign}{ticks // 1_000_000}.{ticks % 1_000_000:06d}"


def run(
    arguments: Sequence[str],
    *,
    ffmpeg: Path,
    scratch: Path,
    limits: Limits | None = None,
    stop: threading.Event | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Finished:
    """Run ffmpeg with `arguments` in `scratch`, a folder that the caller empties.

    Within 5 s of `stop` or the deadline the process and its group are gone. on_progress is called twice a second.
    Raises Stopped, DeadlineExceeded, ResourceLimit, ChildCrashed (killed by a signal that wasn't ours) and
    EncodeFailed, with `extra` stderr and command.
    """
    argv = (
        str(ffmpeg), "-nostdin", "-hide_banner", "-nostats", "-loglevel", "error",
        "-progress", "pipe:1", "-stats_period", "0.5", "-y", *arguments,
    )  # fmt: skip
    reader = _ProgressReader(on_progress)
    ended = supervise(argv, scratch=scratch, limits=limits or Limits(), stop=stop, on_output=reader.take)
    told = {"stderr": ended.stderr_tail, "command": list(argv)}
    if ended.status < 0:
        raise ChildCrashed(f"ffmpeg was ended by {signal.Signals(-ended.status).name}.", **told)
    if ended.status == POLITE and not ended.stderr_tail.strip():
        raise ChildCrashed("ffmpeg was asked to end by a signal from outside.", **told)
    if ended.status:
        raise EncodeFailed(cause(ended.stderr_tail) or f"ffmpeg ended with status {ended.status}.", **told)
    return Finished(argv, ended.cpu_s, ended.wall_s, ended.stderr_tail)


def cause(stderr: str) -> str:
    """Return the last line of ffmpeg's words that says what was wrong, as one plain sentence; "" if none does."""
    for line in reversed(stderr.splitlines()):
        plain = SPEAKER.sub("", line.strip())
        if plain and not CHATTER.match(plain):
            return f"ffmpeg said: {plain[:300].rstrip('.')}."
    return ""


class _ProgressReader:
    """Reads `-progress`: lines `key=value`, each report closed by `progress=continue` or `progress=end`."""

    def __init__(self, on_progress: Callable[[Progress], None] | None) -> None:
        self._on_progress = on_progress
        self._rest = b""
        self._told: dict[str, str] = {}

    def take(self, piece: bytes) -> None:
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            key, _, value = line.decode("ascii", "replace").partition("=")
            self._told[key.strip()] = value.strip()
            if key == "progress" and self._on_progress is not None:
                self._on_progress(self._report())

    def _report(self) -> Progress:
        told = self._told
        return Progress(
            frame=int(_number(told.get("frame")) or 0),
            out_s=max(0.0, (_number(told.get("out_time_us")) or 0.0) / 1e6),
            speed=_number(told.get("speed", "").rstrip("x")),
        )


def _number(text: str | None) -> float | None:
    try:
        return float(text or "")
    except ValueError:
        return None  # "N/A" until there is something to tell
