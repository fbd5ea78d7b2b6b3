"""The child that joins a clip: pictures copied from the source, pictures encoded anew, and the sound, in one MP4.

Run by `smart.py` under limits as `python -I -S splice_child.py FILE`, FILE holding JSON, with the standard library and
PyAV alone: it reads packets of an untrusted file. It decodes nothing; what it writes is checked afterwards.

Both kinds of pictures keep their own parameter sets (ITU-T H.264, 7.3.2.1): the sample description (avcC, ISO/IEC
14496-15, 5.3.3.1) holds those of the source and those of the encoder, told apart by their ids.
"""

from __future__ import annotations

import contextlib
import io
import json
import struct
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

LENGTH = 4  #: bytes of the length before each NAL unit
IDR, SPS, PPS = 5, 7, 8  #: NAL unit types
DELAYS = (2, 4, 16)  #: frames by which decoding may run ahead of showing; 16 is the most that H.264 has
HIGH = (100, 110, 122, 244)  #: profiles whose avcC tells the format of the samples, too
NO_EXTRAS = b"\xfd\xf8\xf8\x00"  #: 4:2:0, 8 bits, no SPS extensions


class Unfit(Exception):
    """Why the parts can't be joined."""


class UnfitSound(Exception):
    """The sound can't be copied; encoded, it can be joined."""


class TooShallow(Exception):
    """Decoding runs further ahead of showing than was assumed."""


# ── parameter sets ────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Configuration:
    """An AVCDecoderConfigurationRecord."""

    profile: int
    compatible: int
    level: int
    sps: tuple[bytes, ...]
    pps: tuple[bytes, ...]

    @property
    def ids(self) -> set[int]:
        """The ids of all parameter sets."""
        return {id_of(unit) for unit in (*self.sps, *self.pps)}

    def joined(self, other: Configuration) -> Configuration:
        """Return the record for a stream with pictures of both. Raises Unfit if their ids meet."""
        if self.ids & other.ids:
            raise Unfit("The source's parameter sets have the ids of the new ones.")
        return Configuration(
            max(self.profile, other.profile), self.compatible & other.compatible, max(self.level, other.level),
            self.sps + other.sps, self.pps + other.pps,
        )  # fmt: skip

    def packed(self) -> bytes:
        head = bytes([1, self.profile, self.compatible, self.level, 0xFC | LENGTH - 1, 0xE0 | len(self.sps)])
        units = b"".join(struct.pack(">H", len(unit)) + unit for unit in self.sps) + bytes([len(self.pps)])
        units += b"".join(struct.pack(">H", len(unit)) + unit for unit in self.pps)
        return head + units + (NO_EXTRAS if self.profile in HIGH else b"")


def configuration(extradata: bytes | None) -> Configuration:
    """Return what an avcC says. Raises Unfit if it isn't one with lengths of 4 bytes."""
    data = extradata or b""
    try:
        if data[0] != 1 or (data[4] & 3) + 1 != LENGTH:
            raise Unfit("The source's pictures aren't stored with lengths of four bytes.")
        place = 6
        units: list[list[bytes]] = []
        for count in (data[5] & 31, None):
            if count is None:
                count, place = data[place], place + 1
            found = []
            for _ in range(count):
                (size,) = struct.unpack_from(">H", data, place)
                found.append(data[place + 2 : place + 2 + size])
                place += 2 + size
            units.append(found)
        known = Configuration(data[1], data[2], data[3], tuple(units[0]), tuple(units[1]))
        if not known.sps or not known.pps:
            raise Unfit("The source's parameter sets aren't in its header.")
        known.ids  # noqa: B018  (raises for units that are cut off)
    except (IndexError, struct.error) as problem:
        raise Unfit("The source's parameter sets are damaged.") from problem
    return known


def id_of(unit: bytes) -> int:
    """Return the id of a sequence or picture parameter set."""
    head = unit[4:12] if unit[0] & 31 == SPS else unit[1:9]
    bits = f"{int.from_bytes(head.ljust(8, bytes(1))):064b}"
    zeros = bits.find("1")
    if not 0 <= zeros <= 8:
        raise IndexError
    return int(bits[zeros : 2 * zeros + 1], 2) - 1  # ue(v), 9.1


def unit_types(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield each NAL unit of a packet with its type. Raises Unfit for lengths that lie."""
    place = 0
    while place < len(data):
        (size,) = struct.unpack_from(">I", data.ljust(place + LENGTH, b"\0"), place)
        if size == 0 or place + LENGTH + size > len(data):
            raise Unfit("A picture's NAL units are damaged.")
        yield data[place + LENGTH] & 31, data[place + LENGTH : place + LENGTH + size]
        place += LENGTH + size


# ── the parts ─────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Part:
    """Pictures with times in [start, end), in ticks of the source."""

    start: int
    end: int
    frames: int
    path: str | None  #: of the encoded part; None: copied from the source


class Splice:
    """One clip in the making."""

    def __init__(self, asked: dict[str, Any]) -> None:
        self.asked = asked
        self.base = Fraction(asked["time_base"])
        self.parts = [Part(**part) for part in asked["parts"]]
        self.ticks: list[int] = asked["ticks"]  #: when each picture is shown, from 0, ascending
        self.end: int = asked["end"]  #: when the last one ends

    def write(self) -> None:
        """Write the clip. Raises Unfit."""
        with self.source() as container:
            stream = container.streams[self.asked["source"]["stream"]]
            extradata = self.extradata(stream)
            for delay in DELAYS:
                try:
                    self.join(container, stream, extradata, delay)
                    return
                except TooShallow:
                    continue
        raise Unfit("The source's pictures are decoded in an order that no decoder has memory for.")

    def extradata(self, stream: Any) -> bytes:
        """Return the parameter sets of source and new parts together."""
        import av

        mine: Configuration | None = None
        for path in dict.fromkeys(part.path for part in self.parts if part.path):
            with av.open(path, format="mov") as container:
                found = configuration(container.streams.video[0].codec_context.extradata)
            if mine not in (None, found):
                raise Unfit("The new parts have different parameter sets.")
            mine = found
        if all(part.path for part in self.parts):
            raise Unfit("There is nothing to copy.")
        theirs = configuration(stream.codec_context.extradata)
        return (theirs if mine is None else theirs.joined(mine)).packed()

    def join(self, container: Any, stream: Any, extradata: bytes, delay: int) -> None:
        import av

        options: Any = {
            "movflags": "+faststart", "fflags": "+bitexact", "video_track_timescale": str(self.base.denominator),
        }  # fmt: skip
        with contextlib.ExitStack() as opened:
            out = opened.enter_context(av.open(self.asked["output"], "w", format="mp4", options=options))
            pattern = opened.enter_context(self.template(stream, extradata))
            picture = out.add_stream_from_template(pattern.streams.video[0], opaque=True)
            queues = [self.pictures(container, stream, picture, delay)]
            if self.asked["sound"] is not None:
                queues.append(self.sound(out, opened))
            for packet in merged(queues):
                out.mux(packet)

    def sound(self, out: Any, opened: contextlib.ExitStack) -> Iterator[Any]:
        """Return the packets of the sound: of the encoded file, else of the source, which is opened once more."""
        import av

        told = self.asked["sound"]
        path = told["path"]
        container = opened.enter_context(self.source() if path is None else av.open(path, format="mov"))
        stream = container.streams[told["stream"]]
        track = out.add_stream_from_template(stream, opaque=True)
        if path is None:
            return copied_sound(container, stream, track, told)
        return encoded_sound(container, stream, track)

    def source(self) -> Any:
        """Open the source, with the demuxer forced."""
        import av

        told = self.asked["source"]
        return av.open(
            told["name"], format=told["demuxer"], container_options=told["options"], metadata_errors="replace"
        )

    @staticmethod
    def template(stream: Any, extradata: bytes) -> Any:
        """Return an opened MP4 without pictures whose video stream has these parameter sets."""
        import av

        header = io.BytesIO()
        # Fragmented, as only then a track without pictures gets its description.
        with av.open(header, "w", format="mp4", options={"movflags": "+empty_moov+frag_keyframe"}) as out:
            out.add_stream_from_template(stream, opaque=True)
            out.start_encoding()
        return av.open(io.BytesIO(with_avcc(header.getvalue(), extradata)), format="mov")

    def pictures(self, container: Any, stream: Any, out: Any, delay: int) -> Iterator[Any]:
        """Yield all pictures in the order of decoding, with their times in the clip."""
        origin = self.parts[0].start
        after = dict(zip(self.ticks, [*self.ticks[1:], self.end], strict=True))
        step = after[self.ticks[0]] - self.ticks[0]
        count = 0
        for part in self.parts:
            packets = self.copied(container, stream, part) if part.path is None else encoded(part, self.base)
            for packet in packets:
                at = packet.pts - origin
                if at not in after:
                    raise Unfit("A part has a picture at a time that isn't in the plan.")
                earlier = count - delay
                packet.dts = self.ticks[earlier] if earlier >= 0 else self.ticks[0] + earlier * step
                if not count:
                    packet.dts -= self.asked["earlier_start"]
                if packet.dts > at:
                    raise TooShallow
                packet.pts, packet.duration = at, after[at] - at
                packet.time_base, packet.stream = self.base, out
                count += 1
                yield packet

    def copied(self, container: Any, stream: Any, part: Part) -> Iterator[Any]:
        """Yield a part's packets from the source. Raises Unfit unless they can be decoded by themselves."""
        container.seek(part.start, stream=stream, backward=True)
        seen = 0
        for packet in container.demux(stream):
            if not packet.size or packet.pts is None:
                continue
            if packet.is_keyframe and packet.pts >= part.end:
                break
            if not seen and not (packet.is_keyframe and packet.pts >= part.start):
                continue
            self.check_units(bytes(packet), first=not seen)
            if not part.start <= packet.pts < part.end or packet.is_discard:
                raise Unfit("The source's groups of pictures aren't closed.")
            seen += 1
            yield packet
        if seen != part.frames:
            raise Unfit(f"A part of the source has {seen} pictures of its own, not {part.frames}: its groups of "
                        "pictures aren't closed.")  # fmt: skip

    def check_units(self, data: bytes, *, first: bool) -> None:
        """Raises Unfit for damage, for new parameter sets in our name, and for a first picture that needs others."""
        types = []
        for kind, unit in unit_types(data):
            types.append(kind)
            if kind in (SPS, PPS) and id_of(unit) == self.asked["parameter_set"]:
                raise Unfit("The source's pictures bring parameter sets with the ids of the new ones.")
        if first and IDR not in types:
            raise Unfit("The source's groups of pictures aren't closed: a part would begin with a picture "
                        "that isn't an IDR.")  # fmt: skip


def encoded_sound(container: Any, stream: Any, out: Any) -> Iterator[Any]:
    for packet in container.demux(stream):
        if packet.size:
            packet.stream = out
            yield packet


def copied_sound(container: Any, stream: Any, out: Any, sound: dict[str, Any]) -> Iterator[Any]:
    """Yield the source's packets that sound in the clip, and one more before, which the first one overlaps.

    The edit list leaves that one out; the last packet ends within half a packet of the clip's end.
    Raises UnfitSound for what isn't plain AAC without a hole.
    """
    if stream.codec_context.name != "aac" or stream.codec_context.profile != "LC":
        raise UnfitSound
    base = stream.time_base
    begin, end = (round(Fraction(sound[side]) / base) for side in ("begin", "end"))
    container.seek(max(0, begin - 8192), stream=stream, backward=True)
    expected: int | None = None
    at = begin
    for packet in container.demux(stream):
        if not packet.size or packet.pts is None or packet.pts + 2 * packet.duration <= begin:
            continue
        if packet.pts + packet.duration // 2 >= end:
            break
        if packet.pts != (expected if expected is not None else packet.pts) or not packet.duration:
            raise UnfitSound
        if expected is None and packet.pts > begin:
            raise UnfitSound
        at = expected = packet.pts + packet.duration
        packet.pts = packet.dts = packet.pts - begin
        packet.stream = out
        yield packet
    if expected is None or at + 2048 < end:
        raise UnfitSound


def encoded(part: Part, base: Fraction) -> Iterator[Any]:
    """Yield an encoded part's packets with times on the source's clock."""
    import av

    seen = 0
    with av.open(part.path or "", format="mov") as container:
        for packet in container.demux(container.streams.video[0]):
            if packet.size and packet.pts is not None:
                at = packet.pts * packet.time_base / base
                if at.denominator != 1:
                    raise Unfit("A new part's times aren't those of the source.")
                packet.pts = part.start + int(at)
                seen += 1
                yield packet
    if seen != part.frames:
        raise Unfit(f"A new part has {seen} pictures, not {part.frames}.")


def merged(queues: Sequence[Iterable[Any]]) -> Iterator[Any]:
    """Yield packets of several streams in the order of decoding."""
    waiting = [iter(queue) for queue in queues]
    heads = [next(queue, None) for queue in waiting]
    while any(head is not None for head in heads):
        at = {n: head.dts * head.time_base for n, head in enumerate(heads) if head is not None}
        first = min(at, key=lambda n: at[n])
        yield heads[first]
        heads[first] = next(waiting[first], None)


def with_avcc(header: bytes, extradata: bytes) -> bytes:
    """Return an MP4 header with another avcC; the boxes around it grow with it."""
    place = header.index(b"avcC") - 4
    (old,) = struct.unpack_from(">I", header, place)
    box = struct.pack(">I", 8 + len(extradata)) + b"avcC" + extradata
    grown = bytearray(header[:place] + box + header[place + old :])
    at = 0
    for name in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"avc1"):
        at = header.index(name, at + 8) - 4
        (size,) = struct.unpack_from(">I", header, at)
        struct.pack_into(">I", grown, at, size + len(box) - old)
    return bytes(grown)


def main() -> None:
    with open(sys.argv[1], "rb") as file:  # noqa: PTH123  (one import less to start)
        asked = json.load(file)
    sys.path.append(asked["packages"])
    import av
    import av.logging

    av.logging.set_level(None)
    try:
        Splice(asked).write()
        said: dict[str, Any] = {"done": True}
    except Unfit as unfit:
        said = {"done": False, "reason": str(unfit)}
    except UnfitSound:
        said = {"done": False, "sound": True, "reason": "The sound can't be copied."}
    except (av.FFmpegError, ValueError, IndexError) as problem:
        said = {"done": False, "reason": f"Joining failed: {problem}."}
    sys.stdout.write(json.dumps(said))


if __name__ == "__main__":
    main()
