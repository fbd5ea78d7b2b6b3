"""Look at a font file that a stranger may have made: the only code that opens one before it is known to be good.

Run by `own_fonts.py` as a limited child: argument 1 is the request, JSON {packages, path}; the answer is JSON on
standard output: what the font is, or `reason`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

KINDS = (b"\x00\x01\x00\x00", b"OTTO", b"true")  #: TrueType and OpenType; no collections, no web fonts
NEEDED = ("cmap", "head", "hhea", "hmtx", "maxp", "name", "OS/2")
OUTLINES = ("glyf", "CFF ", "CFF2", "CBDT", "sbix")  #: one of these has the glyphs
RESTRICTED = 0x0002  #: OS/2 fsType: the owner forbids embedding
FAMILY = 1  #: name ID
WIDEST, HIGHEST = 40, 10  #: font sizes that a glyph may reach: a larger one would be a picture beyond all memory
BATCH = 64  #: characters painted at a time
PX = 32
STRIKES = (109, 136, 128, 160, 96, 72, 64, 32)  #: sizes of pictures in colours, as `fonts.py` tries them


def looked_at(path: Path) -> dict[str, Any]:
    """Return what a font is; `reason` if it can't be used."""
    import uharfbuzz as hb
    from PIL import ImageFont

    content = path.read_bytes()
    if content[:4] not in KINDS:
        return {"reason": "it is no TrueType or OpenType font"}
    count = int.from_bytes(content[4:6], "big")
    for entry in (content[start : start + 16] for start in range(12, 12 + 16 * count, 16)):
        if len(entry) < 16 or sum(int.from_bytes(entry[n : n + 4], "big") for n in (8, 12)) > len(content):
            return {"reason": "a part of it is missing"}
    face = hb.Face(hb.Blob(content))
    tables = [str(tag) for tag in face.table_tags]
    missing = [tag for tag in NEEDED if tag not in tables]
    if missing:
        return {"reason": f"it lacks the tables {', '.join(missing)}"}
    if not set(OUTLINES) & set(tables):
        return {"reason": "it has no glyphs that can be drawn"}
    rights = face.reference_table("OS/2").data[8:10]
    if int.from_bytes(rights, "big") & 0x000F == RESTRICTED:
        return {"reason": "its owner forbids embedding it (OS/2 fsType 2)"}
    chars = [chr(point) for point in face.unicodes if chr(point).isprintable()]
    if not chars:
        return {"reason": "it has no characters"}
    if not 16 <= face.upem <= 16384:
        return {"reason": f"its units, {face.upem} to a font size, aren't within 16 to 16384"}
    font = hb.Font(face)
    for glyph in range(face.glyph_count):
        seen = font.get_glyph_extents(glyph)
        across = max(abs(font.get_glyph_h_advance(glyph)), *((abs(seen.x_bearing), abs(seen.width)) if seen else ()), 0)
        along = max(abs(seen.y_bearing), abs(seen.height)) if seen else 0
        if across > WIDEST * face.upem or along > HIGHEST * face.upem:
            return {"reason": f"its glyph {glyph} is larger than {WIDEST} × {HIGHEST} font sizes"}
    if face.has_color_png:
        sizes = (size for size in STRIKES if _opens(path, size))
        painter = ImageFont.truetype(str(path), next(sizes))
    else:
        painter = ImageFont.truetype(str(path), PX)
    # All of them, as texts are painted: what breaks a painter must break this process and no other.
    marks = [
        painter.getmask("".join(chars[at : at + BATCH]), mode="RGBA" if face.has_color_png else "L").getbbox()
        for at in range(0, len(chars), BATCH)
    ]
    if not any(marks):
        return {"reason": "nothing is seen of its characters"}
    if axes := face.axis_infos:
        for ends in ([axis.min_value for axis in axes], [axis.max_value for axis in axes]):
            painter.set_variation_by_axes(ends)
            painter.getmask("".join(chars[:: max(1, len(chars) // BATCH)]), stroke_width=2)
    family = face.get_name(FAMILY, "en") or path.stem
    return {"family": family, "characters": len(chars), "is_color": bool(face.has_color_png)}


def _opens(path: Path, size: int) -> bool:
    from PIL import ImageFont

    try:
        ImageFont.truetype(str(path), size)
    except OSError:
        return False
    return True


def main() -> None:
    asked = json.loads(Path(sys.argv[1]).read_text())
    sys.path.extend(asked["packages"])
    try:
        answer = looked_at(Path(asked["path"]))
    except Exception as problem:  # whatever a broken font breaks
        answer = {"reason": f"it can't be read: {type(problem).__name__}"}
    print(json.dumps(answer))  # noqa: T201


if __name__ == "__main__":
    main()
