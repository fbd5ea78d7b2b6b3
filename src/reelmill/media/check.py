"""A written file is read again and held against its plan, before anybody is told of it."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from reelmill.errors import OutputRejected

SOUND_S = Fraction(25, 1000)  #: seconds by which sound may end off the picture: an AAC frame is 21–23 ms
DECODERS = {"libdav1d": "av1"}  #: whose names aren't their codecs'
DECODED = 6  #: pictures of a group
TICK_S = Fraction(1, 1_000_000)  #: seconds by which a frame's time may be off the plan


@dataclass(frozen=True)
class Expected:
    """What a written file must be."""

    width: int  #: pixels
    height: int
    frame_count: int
    duration: Fraction  #: seconds, exact
    ticks: Sequence[int]  #: when each frame is shown, ticks of time_base from the first frame's 0
    time_base: Fraction  #: seconds of one tick
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
    audio_end_s: float | None  #: seconds at which the sound ends


def check_output(path: Path, expected: Expected) -> Checked:
    """Reopen an MP4 that we wrote and compare it with the plan.

    moov before mdat, size of the picture, exact number of frames, every frame at its time, duration within
    half a frame, sound ending within 25 ms of the picture, the first and the last group of pictures decode.
    Raises OutputRejected.
    """
    try:
        if not is_faststart(path):
            raise OutputRejected("Its index is not at the beginning.")
        with av.open(f"file:{path.absolute()}", format="mov") as container:
            return _compare(container, path, expected)
    except (av.FFmpegError, OSError) as problem:
        raise OutputRejected(f"It can't be read again: {problem}.") from problem


def _compare(container: Any, path: Path, expected: Expected) -> Checked:
    if len(container.streams.video) != 1 or len(container.streams.audio) != int(expected.has_audio):
        count = len(container.streams.video), len(container.streams.audio)
        raise OutputRejected(f"It has {count[0]} picture and {count[1]} sound streams.")
    video = container.streams.video[0]
    audio = container.streams.audio[0] if expected.has_audio else None
    base = video.time_base
    # The edit list's, exact: with B-frames a packet's own duration is that of decoding, not of showing.
    end = (video.duration or 0) * base
    shown: list[int] = []
    keys: list[int] = []
    sound_end = Fraction(0)
    for packet in container.demux():
        if not packet.size or packet.pts is None or packet.is_discard:
            continue
        if packet.stream is audio:
            sound_end = max(sound_end, (packet.pts + (packet.duration or 0)) * packet.time_base)
            continue
        shown.append(packet.pts)
        if packet.is_keyframe:
            keys.append(packet.pts)
    size = video.codec_context.width, video.codec_context.height
    if size != (expected.width, expected.height):
        raise OutputRejected(f"Its picture is {size[0]}×{size[1]}, not {expected.width}×{expected.height}.")
    if len(shown) != expected.frame_count:
        raise OutputRejected(f"It has {len(shown)} frames, not {expected.frame_count}.")
    if abs(end - expected.duration) > expected.duration / expected.frame_count / 2:
        raise OutputRejected(f"It is {float(end):.3f} s long, not {float(expected.duration):.3f}.")
    for number, (pts, tick) in enumerate(zip(sorted(shown), expected.ticks, strict=True)):
        if abs(pts * base - tick * expected.time_base) > TICK_S:
            raise OutputRejected(f"Frame {number} is shown at {float(pts * base):.6f} s, not "
                                 f"{float(tick * expected.time_base):.6f}.")  # fmt: skip
    if audio is not None and abs(sound_end - end) > SOUND_S:
        raise OutputRejected(f"Its sound ends at {float(sound_end):.3f} s, its picture at {float(end):.3f} s.")
    _decode_ends(container, video, keys)
    bytes_ = path.stat().st_size
    return Checked(
        sha256=_sha256(path),
        size_bytes=bytes_,
        duration_s=float(end),
        width=size[0],
        height=size[1],
        frame_count=len(shown),
        frame_rate=video.average_rate or Fraction(expected.frame_count) / expected.duration,
        video_codec=DECODERS.get(video.codec_context.name, video.codec_context.name),
        audio_codec=None if audio is None else audio.codec_context.name,
        bit_rate=round(bytes_ * 8 / end),
        audio_end_s=None if audio is None else float(sound_end),
    )


def _decode_ends(container: Any, video: Any, keys: list[int]) -> None:
    """Decode the first pictures of the first and of the last group; any error raises."""
    video.codec_context.thread_count = 1  # a few pictures: starting threads would cost more
    for key in {min(keys), max(keys)}:
        container.seek(key, stream=video, backward=True)
        if not sum(1 for _ in itertools.islice(container.decode(video), DECODED)):
            raise OutputRejected("A group of its pictures doesn't decode.")


def is_faststart(path: Path) -> bool:
    """Return whether an MP4's index (moov) comes before its media (mdat): ISO/IEC 14496-12, 4.2."""
    with path.open("rb") as file:
        while len(head := file.read(8)) == 8:
            size, kind = int.from_bytes(head[:4]), head[4:]
            if kind in (b"moov", b"mdat"):
                return kind == b"moov"
            if size == 1:
                size = int.from_bytes(file.read(8)) - 8
            if size < 8:
                return False
            file.seek(size - 8, 1)
    return False


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
