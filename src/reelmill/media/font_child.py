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
    if not face.has_color_png:
        font = ImageFont.truetype(str(path), 32)
        boxes = [font.getbbox(char) for char in chars[:: max(1, len(chars) // 50)]]
        if not any(right > left and bottom > top for left, top, right, bottom in boxes):
            return {"reason": "nothing is seen of its characters"}
    family = face.get_name(FAMILY, "en") or path.stem
    return {"family": family, "characters": len(chars), "is_color": bool(face.has_color_png)}


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
