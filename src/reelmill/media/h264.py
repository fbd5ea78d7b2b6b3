"""What packets of H.264 don't tell by themselves; only enough of ITU-T H.264 is read for it.

Broadcasts code frames as two field pictures, a packet each (PAFF): the second is no frame by itself. Streams with
intra refresh call pictures key frames that can't be decoded without those before. The standard library alone, as
`probe_child.py` uses it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

HIGH = frozenset({44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244})  #: profiles that tell their colours
HEAD_BYTES = 512  #: of a unit that are looked at
INTRA = frozenset({2, 4})  #: types of slices, modulo 5: I, SI
SLICES, SEQUENCE = frozenset({1, 5}), frozenset({7})  #: types of units


class Bits:
    """Reads the codes of 7.2 and 9.1. Raises ValueError behind the end."""

    def __init__(self, unit: bytes) -> None:
        plain = unit.replace(b"\x00\x00\x03", b"\x00\x00")
        self.text = f"{int.from_bytes(plain):0{8 * len(plain)}b}" if plain else ""
        self.at = 0

    def u(self, width: int) -> int:
        self.at += width
        if self.at > len(self.text):
            raise ValueError
        return int(self.text[self.at - width : self.at] or "0", 2)

    def ue(self) -> int:
        zeros = self.text.index("1", self.at) - self.at
        self.at += zeros
        return self.u(zeros + 1) - 1


class Reader:
    """Goes along with the packets of one video stream, in the file's order."""

    def __init__(self, codec: str, extradata: bytes | None) -> None:
        head = extradata or b""
        self.is_h264 = codec == "h264"
        self.has_fields = False  #: there was a field picture
        self.number_bits = 0  #: of frame_num; 0: the stream has no fields
        self.has_planes = False  #: slices say which colour plane they are of
        self.waiting: tuple[int, int] | None = None  #: frame_num and parity of the field whose second is to come
        self.length_size = (head[4] & 3) + 1 if head[:1] == b"\x01" and len(head) > 8 else 0  #: 0: start codes
        if self.is_h264:
            try:
                self._read_sequence(head[8:] if self.length_size else next(self._units(head, SEQUENCE)))
            except (ValueError, StopIteration):
                self.number_bits = 0  # the decoder will say what is wrong

    def is_second_field(self, packet: Any) -> bool:
        """Return whether a packet is nothing but the second field of the frame that the packet before began."""
        if not self.number_bits:
            return False
        pictures: list[tuple[int, int]] = []  # of this packet; several slices may make one
        for unit in self._units(bytes(packet), SLICES):
            try:
                field = self._field(unit)
            except ValueError:
                field = None
            if field is None:
                self.waiting = None
                return False
            if pictures[-1:] != [field]:
                pictures.append(field)
        self.has_fields = self.has_fields or bool(pictures)
        before = self.waiting
        for number, parity in pictures:
            self.waiting = None if self.waiting == (number, 1 - parity) else (number, parity)
        return len(pictures) == 1 and before is not None and self.waiting is None

    def is_entry(self, packet: Any) -> bool:
        """Return whether a key frame is one: decoding can begin there, as all of it is coded by itself."""
        if not self.is_h264:
            return True
        first = None
        try:
            for unit in self._units(bytes(packet), SLICES):
                field = self._field(unit) if self.number_bits else None
                if self._slice_type(unit) not in INTRA:
                    return field != first  # a second field may build upon the first
                first = first or field
        except ValueError:
            pass  # the decoder will say what is wrong
        return True

    @staticmethod
    def _slice_type(unit: bytes) -> int:
        bits = Bits(unit[1:32])
        bits.ue()  # first macroblock
        return bits.ue() % 5

    def _units(self, data: bytes, kinds: frozenset[int]) -> Iterator[bytes]:
        """Yield the beginnings of the units of some types."""
        at = 0
        while self.length_size and at + self.length_size < len(data):
            size = int.from_bytes(data[at : at + self.length_size])
            at += self.length_size
            if data[at] & 31 in kinds:
                yield data[at : at + min(size, HEAD_BYTES)]
            at += size
        while not self.length_size and (at := data.find(b"\x00\x00\x01", at) + 3) > 2:
            if at < len(data) and data[at] & 31 in kinds:
                yield data[at : at + HEAD_BYTES]

    def _field(self, unit: bytes) -> tuple[int, int] | None:
        """Return frame_num and parity of a slice's field, None if it is of a frame (7.3.3)."""
        bits = Bits(unit[1:32])
        for _ in range(3):
            bits.ue()  # first macroblock, type, picture parameter set
        bits.u(2 if self.has_planes else 0)
        number = bits.u(self.number_bits)
        return (number, bits.u(1)) if bits.u(1) else None

    def _read_sequence(self, unit: bytes) -> None:
        """Read what slices need from the sequence parameter set (7.3.2.1.1)."""
        bits = Bits(unit[1:])
        profile = bits.u(8)
        bits.u(16)
        bits.ue()
        if profile in HIGH:
            chroma = bits.ue()
            self.has_planes = chroma == 3 and bool(bits.u(1))
            for _ in range(2):
                bits.ue()  # bit depths
            bits.u(1)
            if bits.u(1):
                for number in range(12 if chroma == 3 else 8):
                    _skip_scaling(bits, 16 if number < 6 else 64)
        number_bits = bits.ue() + 4
        match bits.ue():  # kind of order count
            case 0:
                bits.ue()
            case 1:
                bits.u(1)
                for _ in range(2):
                    bits.ue()
                for _ in range(bits.ue()):
                    bits.ue()
        bits.ue()
        bits.u(1)
        for _ in range(2):
            bits.ue()  # size
        frames_only = bits.u(1)
        self.number_bits = 0 if frames_only else number_bits


def _skip_scaling(bits: Bits, size: int) -> None:
    """Pass over one scaling list (7.3.2.1.1.1)."""
    last = following = 8
    for _ in range(size if bits.u(1) else 0):
        if following:
            code = bits.ue()  # signed: 1, 2, 3 … are 1, −1, 2 …
            following = (last + (code + 1) // 2 * (1 if code % 2 else -1)) % 256
        last = following or last
