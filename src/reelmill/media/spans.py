"""Where in a file each moment lies, so that a step fetches its own bytes and no others.

Also loaded by the probing child, alone: the standard library is all that it needs.
"""

from __future__ import annotations

import base64
import math
import struct
import zlib
from itertools import accumulate
from typing import Any

UNIT_S = 0.5  #: seconds of one entry
MOST_UNITS = 200_000  #: a file whose times are spread wider isn't worth it


class Spans:
    """First and last byte of the packets of each half second, pictures and sound together."""

    def __init__(self) -> None:
        self.known: dict[int, tuple[int, int]] = {}
        self.packets = 0
        self.lost = False

    def note(self, at_s: float, position: int | None, size: int) -> None:
        """Put down one packet: its time on the file's clock, and where its bytes are."""
        self.packets += 1
        if position is None or position < 0 or len(self.known) > MOST_UNITS:
            self.lost = True
            return
        unit = math.floor(at_s / UNIT_S)
        first, end = self.known.get(unit, (position, position + size))
        self.known[unit] = min(first, position), max(end, position + size)

    def packed(self) -> dict[str, Any] | None:
        """Return all of it as compact JSON, None if a packet's place isn't known."""
        if self.lost or not self.known or max(self.known) - min(self.known) > MOST_UNITS:
            return None
        start, count = min(self.known), max(self.known) - min(self.known) + 1
        firsts, ends = [0] * count, [0] * count
        low = max(first for first, _ in self.known.values())
        for n in reversed(range(count)):  # all that is shown from here on begins here
            low = firsts[n] = min(low, self.known.get(start + n, (low, 0))[0])
        high = 0
        for n in range(count):  # all that is shown up to here ends here
            high = ends[n] = max(high, self.known.get(start + n, (0, high))[1])
        steps = [b - a for a, b in zip([0, *firsts[:-1]], firsts, strict=True)]
        steps += [end - first for first, end in zip(firsts, ends, strict=True)]
        flat = zlib.compress(struct.pack(f"<{2 * count}q", *steps), 9)
        return {"start": start, "count": count, "zlib": base64.b64encode(flat).decode()}


def unpacked(packed: dict[str, Any]) -> tuple[list[int], list[int]]:
    """Return for each half second from packed["start"] where all from there on begins, and all up to there ends."""
    count = packed["count"]
    flat = zlib.decompressobj().decompress(base64.b64decode(packed["zlib"]), 16 * count)
    steps = struct.unpack(f"<{2 * count}q", flat)
    firsts = list(accumulate(steps[:count]))
    return firsts, [first + length for first, length in zip(firsts, steps[count:], strict=True)]


def around(packed: dict[str, Any]) -> tuple[int, int]:
    """Return the first byte of all media, and the end of the last."""
    firsts, ends = unpacked(packed)
    return firsts[0], ends[-1]


def between(packed: dict[str, Any], begin_s: float, end_s: float) -> tuple[int, int]:
    """Return the [first, end) bytes of all that is shown or heard in [begin_s, end_s] on the file's clock."""
    firsts, ends = unpacked(packed)

    def unit(at_s: float) -> int:
        return min(max(math.floor(at_s / UNIT_S) - int(packed["start"]), 0), len(firsts) - 1)

    return firsts[unit(begin_s)], ends[unit(end_s)]
