"""Fonts of one's own: looked at once by a limited child, then named in jobs."""

from __future__ import annotations

import hashlib
import json
import logging
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import PIL

from reelmill.errors import FontRejected, ParamsInvalid, ReelmillError
from reelmill.media.children import Limits, supervise

log = logging.getLogger("reelmill.media")

CHILD = Path(__file__).with_name("font_child.py")
MOST_BYTES = 64 << 20
SUFFIXES = (".ttf", ".otf")


@dataclass(frozen=True)
class OwnFont:
    """A font that was found good."""

    path: Path
    family: str
    sha256: str
    is_color: bool  #: emoji in colours of their own


@dataclass(frozen=True)
class FontShelf:
    """Fonts by their family's name and by their file's, without its ending."""

    fonts: Mapping[str, OwnFont] = field(default_factory=dict)

    def of(self, name: str | None) -> tuple[OwnFont, ...]:
        """Return the fonts that a text looks through first: the one that is named, and emoji in colours.

        Raises ParamsInvalid for a name that no font has.
        """
        chosen: tuple[OwnFont, ...] = ()
        if name is not None:
            if name not in self.fonts:
                known = ", ".join(sorted({font.family for font in self.fonts.values()})) or "none"
                raise ParamsInvalid(f"There is no font {name!r} here; of one's own there are: {known}.")
            chosen = (self.fonts[name],)
        emoji = dict.fromkeys(font for font in self.fonts.values() if font.is_color)
        return (*chosen, *(font for font in emoji if font not in chosen))


def read_shelf(folder: Path | None) -> FontShelf:
    """Return the good fonts of a folder; the others are told in the log, with the reason."""
    if folder is None:
        return FontShelf()
    found: dict[str, OwnFont] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix.lower() not in SUFFIXES:
            continue
        try:
            font = checked_font(path, path.name)
        except FontRejected as problem:
            log.warning("a font is left out: %s", problem.detail)
            continue
        for name in (path.stem, font.family):
            found.setdefault(name, font)
    return FontShelf(found)


def checked_font(path: Path, name: str, *, most_bytes: int = MOST_BYTES) -> OwnFont:
    """Return a font that can be drawn and may be embedded. name: by which it is told. Raises FontRejected."""
    size = path.stat().st_size
    if size > most_bytes:
        raise FontRejected(f"The font {name} has {size:,} bytes; {most_bytes:,} are the most.")
    said = bytearray()
    with tempfile.TemporaryDirectory(prefix="reelmill-font-") as scratch:
        request = Path(scratch) / "font.json"
        request.write_text(json.dumps({"packages": [str(Path(PIL.__file__).parents[1])], "path": str(path.absolute())}))
        limits = Limits(deadline_s=30, cpu_s=20, file_size_bytes=1 << 20, memory_bytes=1 << 30)
        argv = (sys.executable, "-I", "-S", str(CHILD), str(request))
        try:
            ended = supervise(argv, scratch=Path(scratch), limits=limits, stop=None, on_output=said.extend)
            answer = json.loads(said) if not ended.status else {"reason": "looking at it ended in a crash"}
        except ReelmillError as problem:
            answer = {"reason": problem.what}
        except ValueError:
            answer = {"reason": "looking at it said nothing"}
    if "reason" in answer:
        raise FontRejected(f"The font {name} can't be used: {answer['reason']}.")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return OwnFont(path.absolute(), str(answer["family"]), digest, bool(answer["is_color"]))
