"""HTTP Live Streaming (RFC 8216) of fragmented MP4s: where each file's segments lie, and the playlists.

Each size is one file, and its segments are byte ranges of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any, BinaryIO

import av

from reelmill.errors import OutputRejected

VERSION = 7  #: byte ranges need 4, fragmented MP4 6, and an initialisation with only a part of its file 7
BOX = 8  #: bytes of a box's length and name


@dataclass(frozen=True)
class Segment:
    """A part of a file that can be played by itself, once the file's beginning was read."""

    first: int  #: byte
    size: int  #: bytes
    duration: Fraction  #: seconds


@dataclass(frozen=True)
class Track:
    """A fragmented MP4 with one stream, as HLS reads it."""

    init_size: int  #: bytes at the beginning that describe the stream
    segments: tuple[Segment, ...]
    codec: str  #: as RFC 6381 says it: "avc1.640028"

    @property
    def peak(self) -> int:
        """Return the largest segment bit rate, bits/s (BANDWIDTH)."""
        return max(ceil(segment.size * 8 / segment.duration) for segment in self.segments)

    @property
    def average(self) -> int:
        """Return bits/s over all segments (AVERAGE-BANDWIDTH)."""
        total = sum(segment.duration for segment in self.segments)
        return ceil(sum(segment.size for segment in self.segments) * 8 / total)


@dataclass(frozen=True)
class Variant:
    """A size in the master playlist."""

    uri: str
    track: Track
    width: int  #: pixels
    height: int
    frame_rate: Fraction  #: frames/s


@dataclass(frozen=True)
class Audio:
    """The sound in the master playlist."""

    uri: str
    track: Track
    channels: int
    language: str | None  #: ISO 639-2, "eng"


def track_of(
    path: Path, edges_s: Sequence[Fraction], end_s: Fraction, starts_s: Sequence[Fraction] | None = None
) -> Track:
    """Read a fragmented MP4 and return its segments.

    edges_s: seconds at which segments should begin, ascending, the first 0; each begins with the first fragment that
    does so at that time or later. end_s: seconds at which the last one ends. starts_s: when each fragment's first
    picture is shown; None: as the file tells times of decoding, which are the same for sound. Raises OutputRejected.
    """
    try:
        with av.open(f"file:{path.absolute()}", format="mov") as container:
            stream = container.streams[0]
            codec, timescale = codec_of(stream), 1 / Fraction(stream.time_base or 1)
        with path.open("rb") as file:
            init_size, fragments, size = _fragments(file, path.stat().st_size)
    except (av.FFmpegError, OSError, IndexError) as problem:
        raise OutputRejected(f"The fragments can't be read again: {problem}.") from problem
    begins = [(at / timescale, first) for at, first in fragments]
    if starts_s is not None:
        if len(starts_s) != len(begins):
            raise OutputRejected(f"There are {len(begins)} fragments, not {len(starts_s)}.")
        begins = [(at, first) for at, (_, first) in zip(starts_s, begins, strict=True)]
    starts: list[tuple[Fraction, int]] = []
    wanted = list(edges_s)
    for at, first in begins:
        if not starts or (wanted and at >= wanted[0]):
            starts.append((at, first))
        while wanted and at >= wanted[0]:
            wanted.pop(0)
    ends = [*starts[1:], (end_s, size)]
    segments = tuple(
        Segment(first, after - first, until - at) for (at, first), (until, after) in zip(starts, ends, strict=True)
    )
    if not segments or any(segment.duration <= 0 for segment in segments):
        raise OutputRejected("There are no fragments, or one lasts no time.")
    return Track(init_size, segments, codec)


def codec_of(stream: Any) -> str:
    """Return a stream's codec as RFC 6381 says it. Raises OutputRejected for others than H.264 and AAC."""
    context = stream.codec_context
    extradata = bytes(context.extradata or b"")
    if context.name == "h264" and len(extradata) > 3 and extradata[0] == 1:
        return f"avc1.{extradata[1:4].hex()}"
    if context.name == "aac" and extradata:
        return f"mp4a.40.{extradata[0] >> 3}"
    raise OutputRejected(f"{context.name} isn't packed for HLS.")


def _fragments(file: BinaryIO, size: int) -> tuple[int, list[tuple[int, int]], int]:
    """Return the bytes before the first fragment, each fragment's (decode time, first byte), and the end of all."""
    found: list[tuple[int, int]] = []
    at = end = 0
    while at + BOX <= size:
        length, kind, head = _box(file, at)
        if length < BOX:
            raise OutputRejected("A box of the file has no length.")
        if kind == b"moof":
            found.append((_decode_time(file, at + head, at + length), at))
        if kind in (b"moof", b"mdat"):
            end = at + length
        at += length
    if not found:
        raise OutputRejected("The file isn't fragmented.")
    return found[0][1], found, end


def _decode_time(file: BinaryIO, at: int, end: int) -> int:
    """Return the time of decoding of a fragment's first picture (tfdt: ISO/IEC 14496-12, 8.8.12)."""
    while at + BOX <= end:
        length, kind, head = _box(file, at)
        if kind == b"traf":
            end, length = at + length, head
        elif kind == b"tfdt":
            version = _read(file, at + head, 1)[0]
            return int.from_bytes(_read(file, at + head + 4, 8 if version else 4))
        at += max(length, BOX)
    raise OutputRejected("A fragment doesn't tell its time.")


def _box(file: BinaryIO, at: int) -> tuple[int, bytes, int]:
    """Return length, name and length of the head of the box at a byte."""
    head = _read(file, at, BOX)
    length = int.from_bytes(head[:4])
    if length == 1:
        return int.from_bytes(_read(file, at + BOX, BOX)), head[4:], 2 * BOX
    return length, head[4:], BOX


def _read(file: BinaryIO, at: int, size: int) -> bytes:
    file.seek(at)
    return file.read(size)


# ── playlists: pure ───────────────────────────────────────────────────────────────────────────


def media_playlist(uri: str, track: Track) -> str:
    """Return the playlist of one file."""
    longest = max(segment.duration for segment in track.segments)
    lines = [
        "#EXTM3U",
        f"#EXT-X-VERSION:{VERSION}",
        # Each EXTINF, rounded, is at most this (RFC 8216, 4.3.3.1).
        f"#EXT-X-TARGETDURATION:{max(1, int(longest + Fraction(1, 2)))}",
        "#EXT-X-MEDIA-SEQUENCE:0",
        "#EXT-X-PLAYLIST-TYPE:VOD",
        "#EXT-X-INDEPENDENT-SEGMENTS",
        f'#EXT-X-MAP:URI="{uri}",BYTERANGE="{track.init_size}@0"',
    ]
    for segment in track.segments:
        lines += [
            f"#EXTINF:{float(segment.duration):.6f},",
            f"#EXT-X-BYTERANGE:{segment.size}@{segment.first}",
            uri,
        ]
    return "\n".join([*lines, "#EXT-X-ENDLIST", ""])


def master_playlist(variants: Sequence[Variant], audio: Audio | None) -> str:
    """Return the playlist that names all sizes. The first one is what players begin with: give it with care."""
    lines = ["#EXTM3U", f"#EXT-X-VERSION:{VERSION}", "#EXT-X-INDEPENDENT-SEGMENTS"]
    group = ""
    if audio is not None:
        group = ',AUDIO="sound"'
        language = f',LANGUAGE="{audio.language}"' if audio.language else ""
        lines.append(
            f'#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="sound",NAME="Sound"{language},DEFAULT=YES,AUTOSELECT=YES,'
            f'CHANNELS="{audio.channels}",URI="{audio.uri}"'
        )
    for variant in variants:
        tracks = [variant.track] + ([audio.track] if audio else [])
        codecs = ",".join(track.codec for track in tracks)
        lines += [
            f"#EXT-X-STREAM-INF:BANDWIDTH={sum(track.peak for track in tracks)},"
            f"AVERAGE-BANDWIDTH={sum(track.average for track in tracks)},"
            f'CODECS="{codecs}",RESOLUTION={variant.width}x{variant.height},'
            f"FRAME-RATE={float(variant.frame_rate):.3f}{group}",
            variant.uri,
        ]
    return "\n".join([*lines, ""])
