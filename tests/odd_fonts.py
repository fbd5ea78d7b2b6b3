"""Font files with other bytes in them."""

from __future__ import annotations

import struct
from pathlib import Path


def changed(font: Path, table: bytes, offset: int, value: bytes) -> Path:
    """Write other bytes into one of a font's tables."""
    content = bytearray(font.read_bytes())
    count = struct.unpack(">H", content[4:6])[0]
    for n in range(count):
        tag, _, at, _ = struct.unpack(">4sIII", content[12 + 16 * n : 28 + 16 * n])
        if tag == table:
            content[at + offset : at + offset + len(value)] = value
    font.write_bytes(content)
    return font
