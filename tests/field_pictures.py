"""H.264 whose frames are coded as two field pictures each (PAFF), as broadcasters do; x264 doesn't make it.

Every macroblock is I_PCM: the samples as they are, so that no encoder is needed (ITU-R H.264, 7.3).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

Plane = np.ndarray[Any, Any]

GROUP = 12  #: frames from one IDR picture to the next
RATE = Fraction(25)
I_PCM = bytes([0b00001101, 0])  #: mb_type ue(25), then zero bits up to the next byte


class Bits:
    """Writes the codes of 7.2 and 9.1."""

    def __init__(self) -> None:
        self.text = ""

    def fixed(self, value: int, width: int) -> Bits:
        self.text += f"{value:0{width}b}"
        return self

    def ue(self, *values: int) -> Bits:
        for value in values:
            binary = f"{value + 1:b}"
            self.text += "0" * (len(binary) - 1) + binary
        return self

    def trailing(self) -> bytes:
        return self._bytes(self.text + "1")

    def padded(self) -> bytes:
        return self._bytes(self.text)

    @staticmethod
    def _bytes(text: str) -> bytes:
        text += "0" * (-len(text) % 8)
        return int(text, 2).to_bytes(len(text) // 8) if text else b""


def nal(head: int, payload: bytes) -> bytes:
    """Return a unit with its start code; emulation prevention as in 7.4.1.1."""
    return b"\x00\x00\x00\x01" + bytes([head]) + re.sub(rb"\x00\x00(?=[\x00-\x03])", b"\x00\x00\x03", payload)


def parameter_sets(width: int, height: int) -> bytes:
    """Main profile, fields allowed; width a multiple of 16, height of 32."""
    sps = Bits().fixed(77, 8).fixed(0, 8).fixed(30, 8)
    sps.ue(0, 0, 0, 4, 2).fixed(0, 1)  # id, frame_num of 4 bits, order count of 8 bits, 2 reference frames, no gaps
    sps.ue(width // 16 - 1, height // 32 - 1).fixed(0, 1).fixed(0, 1)  # fields: not frames only, not adaptive
    sps.fixed(1, 1).fixed(0, 1).fixed(0, 1)  # direct_8x8_inference; no cropping, no VUI
    pps = Bits().ue(0, 0).fixed(0, 2).ue(0, 0, 0).fixed(0, 3).ue(0, 0, 0).fixed(0b100, 3)
    return nal(0x67, sps.trailing()) + nal(0x68, pps.trailing())


def coded_picture(planes: Sequence[Plane], number: int, bottom: int | None) -> bytes:
    """Return frame `number`, or one field of it. planes: its Y, U, V; bottom: 0 upper field, 1 lower, None both."""
    place = number % GROUP
    idr = place == 0 and not bottom
    head = Bits().ue(0, 7, 0).fixed(place, 4)
    head.fixed(0, 1) if bottom is None else head.fixed(1, 1).fixed(bottom, 1)
    if idr:
        head.ue(number // GROUP % 2)
    head.fixed(place * 2 + (bottom or 0), 8).fixed(0, 2 if idr else 1)
    head.ue(0, 1).ue(25)  # same quantiser, no deblocking; the first macroblock's type
    luma, *chroma = planes
    rows, columns = luma.shape[0] // 16, luma.shape[1] // 16
    blocks = []
    for row in range(rows):
        for column in range(columns):
            block = luma[row * 16 : row * 16 + 16, column * 16 : column * 16 + 16].tobytes()
            for plane in chroma:
                block += plane[row * 8 : row * 8 + 8, column * 8 : column * 8 + 8].tobytes()
            blocks.append(block)
    return nal(0x65 if idr else 0x61, head.padded() + I_PCM.join(blocks) + b"\x80")


def write_field_pictures(path: Path, frames: Sequence[Plane], *, together: bool) -> None:
    """Write a transport stream. frames: interleaved fields, YUV 4:2:0 as PyAV lays it out (height × 3/2 rows).

    together: both fields of a frame in one packet (PES) with one time stamp; else a packet and a stamp for each field.
    Every fourth frame, the first too, is coded as a whole.
    """
    height, width = frames[0].shape[0] * 2 // 3, frames[0].shape[1]
    delimiter = nal(0x09, b"\xf0")
    with av.open(str(path), "w", format="mpegts") as container:
        stream = container.add_stream("h264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.time_base = Fraction(1, 90000)
        for number, frame in enumerate(frames):
            planes = frame[:height], *frame[height:].reshape(2, height // 2, width // 2)
            sets = parameter_sets(width, height) if number % GROUP == 0 else b""
            if number % 4 == 0:
                coded = [coded_picture(planes, number, None)]
            else:
                coded = [coded_picture([plane[bottom::2] for plane in planes], number, bottom) for bottom in (0, 1)]
            units = [delimiter + (sets if not half else b"") + picture for half, picture in enumerate(coded)]
            for half, data in enumerate([b"".join(units)] if together else units):
                packet = av.Packet(data)
                packet.stream, packet.time_base = stream, Fraction(1, 90000)
                packet.pts = packet.dts = number * 3600 + half * 1800
                packet.is_keyframe = number % GROUP == 0 and not half
                container.mux(packet)
