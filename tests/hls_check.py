"""HLS as RFC 8216 has it: playlists parsed strictly, and each byte range held against its file."""

from __future__ import annotations

import io
import posixpath
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import m3u8

ATTRIBUTE = re.compile(r'([A-Z0-9-]+)=("[^"\r\n]*"|[^",\s]+)(?:,|$)')
Find = Callable[[str], Path]  #: the file of an object key


@dataclass(frozen=True)
class Part:
    """One segment as the playlist tells it, and what decodes out of it."""

    start: Fraction  #: seconds by the playlist
    duration: Fraction
    frames: list[Fraction]  #: seconds at which each frame or packet of sound is shown
    begins_with_key: bool
    bits: int


@dataclass(frozen=True)
class Stream:
    """One media playlist and its segments."""

    key: str
    parts: list[Part]
    codec: str
    size: tuple[int, int] | None

    @property
    def peak(self) -> float:
        return max(float(part.bits / part.duration) for part in self.parts)


def attributes(line: str) -> dict[str, str]:
    """Return an attribute list, of which nothing is left over (RFC 8216, 4.2)."""
    text = line.partition(":")[2]
    found = ATTRIBUTE.findall(text)
    assert ",".join(f"{name}={value}" for name, value in found) == text, line
    assert len({name for name, _ in found}) == len(found), line
    return {name: value.strip('"') for name, value in found}


def checked_lines(text: str) -> list[str]:
    """Return a playlist's lines: UTF-8 without a mark, the header first, each tag once where only one may be."""
    assert text.startswith("#EXTM3U\n") and text.endswith("\n") and "\r" not in text
    m3u8.loads(text)
    m3u8.parser.parse(text, strict=True)
    lines = text.splitlines()[1:]
    for once in ("#EXT-X-VERSION", "#EXT-X-TARGETDURATION", "#EXT-X-ENDLIST", "#EXT-X-PLAYLIST-TYPE"):
        assert sum(line.split(":")[0] == once for line in lines) <= 1, once
    return lines


def media(find: Find, key: str) -> Stream:
    """Check a media playlist and read each of its segments as a player does: the beginning, then the range."""
    lines = checked_lines(find(key).read_text())
    target = next(int(line.partition(":")[2]) for line in lines if line.startswith("#EXT-X-TARGETDURATION"))
    (begin,) = [attributes(line) for line in lines if line.startswith("#EXT-X-MAP")]
    assert "#EXT-X-ENDLIST" in lines and "#EXT-X-INDEPENDENT-SEGMENTS" in lines
    content = find(posixpath.join(posixpath.dirname(key), begin["URI"])).read_bytes()
    size, _, first = begin["BYTERANGE"].partition("@")
    head = content[int(first) : int(first) + int(size)]
    at, end, parts, codec, shape = Fraction(0), int(first) + int(size), [], "", None
    for number, line in enumerate(lines):
        if not line.startswith("#EXTINF:"):
            continue
        duration = Fraction(line.removeprefix("#EXTINF:").rstrip(","))
        assert round(float(duration)) <= target
        reach, uri = lines[number + 1], lines[number + 2]
        assert uri == begin["URI"] and reach.startswith("#EXT-X-BYTERANGE:")
        size, _, first = reach.removeprefix("#EXT-X-BYTERANGE:").partition("@")
        assert int(first) == end, "a byte belongs to no segment, or to two"
        end = int(first) + int(size)
        assert end <= len(content)
        with av.open(io.BytesIO(head + content[int(first) : end]), format="mov") as container:
            stream = container.streams[0]
            scale = 1 / Fraction(stream.time_base or 1)
            codec = codec or str(stream.codec_context.name)
            keyed = next(container.demux(stream)).is_keyframe
            if stream.type == "video":
                shape = stream.codec_context.width, stream.codec_context.height
            sum(1 for _ in container.decode(stream))  # any damage raises
        times = sorted(time / scale for time in times_of(content[int(first) : end]))
        parts.append(Part(at, duration, times, keyed, int(size) * 8))
        at += duration
    return Stream(key, parts, codec, shape)


def boxes(data: bytes, *path: bytes) -> Iterator[bytes]:
    """Yield the contents of the boxes at a path (ISO/IEC 14496-12, 4.2)."""
    at = 0
    while at + 8 <= len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        assert size >= 8, "a box of another form isn't expected here"
        if kind == path[0]:
            inner = data[at + 8 : at + size]
            yield from boxes(inner, *path[1:]) if path[1:] else iter([inner])
        at += size


def times_of(segment: bytes) -> list[int]:
    """Return when each sample is shown, in ticks, as players of Media Source Extensions read it: tfdt, tfhd, trun."""
    times = []
    for traf in boxes(segment, b"moof", b"traf"):
        (tfhd,), (tfdt,) = boxes(traf, b"tfhd"), boxes(traf, b"tfdt")
        flags = int.from_bytes(tfhd[1:4])
        at = 8 + 8 * bool(flags & 1) + 4 * bool(flags & 2)
        usual = int.from_bytes(tfhd[at : at + 4]) if flags & 8 else 0
        decoded = int.from_bytes(tfdt[4 : 12 if tfdt[0] else 8])
        for trun in boxes(traf, b"trun"):
            flags, count = int.from_bytes(trun[1:4]), int.from_bytes(trun[4:8])
            at = 8 + 4 * bool(flags & 1) + 4 * bool(flags & 4)
            for _ in range(count):
                lasts = usual
                if flags & 0x100:
                    lasts, at = int.from_bytes(trun[at : at + 4]), at + 4
                at += 4 * bool(flags & 0x200) + 4 * bool(flags & 0x400)
                later = 0
                if flags & 0x800:
                    later, at = int.from_bytes(trun[at : at + 4], signed=trun[0] > 0), at + 4
                times.append(decoded + later)
                decoded += lasts
    return times


@dataclass(frozen=True)
class Master:
    """A master playlist with all that it names."""

    variants: list[tuple[dict[str, str], Stream]]
    sound: tuple[dict[str, str], Stream] | None


def master(find: Find, key: str) -> Master:
    """Check a master playlist, and every playlist that it names."""
    lines = checked_lines(find(key).read_text())
    folder = posixpath.dirname(key)

    def at(uri: str) -> str:
        return posixpath.normpath(posixpath.join(folder, uri))

    groups = [attributes(line) for line in lines if line.startswith("#EXT-X-MEDIA:")]
    for group in groups:
        assert {"TYPE", "GROUP-ID", "NAME", "URI"} <= group.keys()
    sound = (groups[0], media(find, at(groups[0]["URI"]))) if groups else None
    variants = []
    for number, line in enumerate(lines):
        if not line.startswith("#EXT-X-STREAM-INF:"):
            continue
        told = attributes(line)
        assert {"BANDWIDTH", "AVERAGE-BANDWIDTH", "CODECS", "RESOLUTION", "FRAME-RATE"} <= told.keys()
        assert told.get("AUDIO") == (groups[0]["GROUP-ID"] if groups else None)
        stream = media(find, at(lines[number + 1]))
        peak = stream.peak + (sound[1].peak if sound else 0)
        assert peak <= int(told["BANDWIDTH"]) < peak * 1.02 + 100
        assert int(told["AVERAGE-BANDWIDTH"]) <= int(told["BANDWIDTH"])
        assert stream.size is not None and told["RESOLUTION"] == f"{stream.size[0]}x{stream.size[1]}"
        variants.append((told, stream))
    assert variants
    begins = {tuple(part.start for part in stream.parts) for _, stream in variants}
    assert len(begins) == 1, "segments don't begin at the same times in all sizes"
    for _, stream in variants:
        for part in stream.parts:
            assert part.begins_with_key and abs(part.frames[0] - part.start) < Fraction(1, 1000)
    return Master(variants, sound)
