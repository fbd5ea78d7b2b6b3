"""HLS playlists as they are handed out: what they name, by URLs that the player may use (RFC 8216).

Stored playlists name their files by the artifacts' names, relative to themselves. Pure: text in, text out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from posixpath import dirname, join, normpath

from reelmill.errors import NotFound
from reelmill.jobs.results import level

MEDIA_TYPE = "application/vnd.apple.mpegurl"
LARGEST = 8 << 20  #: bytes of a playlist: ten hours in segments of one second

_URI = re.compile(r'(?<=[:,]URI=")([^"]*)(?=")')
_RESOLUTION = re.compile(r"[:,]RESOLUTION=(\d{1,6})x(\d{1,6})")
_VARIANT = "#EXT-X-STREAM-INF:"
_I_FRAMES = "#EXT-X-I-FRAME-STREAM-INF:"


def rewritten(text: str, name: str, url_of: Callable[[str], str]) -> str:
    """Return a playlist with each URI replaced. name: its own; url_of: given the name of the artifact that is meant.

    Raises NotFound for a URI that can't be an artifact of the same job.
    """

    def replaced(uri: str) -> str:
        return url_of(_resolved(name, uri))

    lines = []
    for line in text.splitlines():
        if line.startswith("#EXT"):
            line = _URI.sub(lambda found: replaced(found[1]), line)
        elif line and not line.startswith("#"):
            line = replaced(line.strip())
        lines.append(line)
    return "\n".join(lines) + "\n"


def _resolved(name: str, uri: str) -> str:
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:|/", uri) or "?" in uri:
        raise NotFound(f"The playlist {name} names {uri[:100]!r}, which isn't a file of its job.")
    return normpath(join(dirname(name), uri))


def levels(master: str) -> list[str]:
    """Return the qualities that a master playlist offers, in its order."""
    return list(dict.fromkeys(quality for quality, _ in _variants(master.splitlines()) if quality))


def only(master: str, quality: str) -> str:
    """Return a master playlist with the variants of one quality alone. Raises NotFound."""
    lines = master.splitlines()
    variants = list(_variants(lines))
    if quality not in [one for one, _ in variants]:
        raise NotFound(f"There is no stream in {quality}; there is: {', '.join(levels(master)) or 'none by size'}.")
    dropped = {number for one, numbers in variants if one != quality for number in numbers}
    return "\n".join(line for number, line in enumerate(lines) if number not in dropped) + "\n"


def _variants(lines: list[str]) -> Iterator[tuple[str | None, list[int]]]:
    """Yield each variant's quality, and the numbers of its lines."""
    for number, line in enumerate(lines):
        if not line.startswith((_VARIANT, _I_FRAMES)):
            continue
        size = _RESOLUTION.search(line)
        numbers = [number]
        if line.startswith(_VARIANT):
            follows = (n for n in range(number + 1, len(lines)) if lines[n].strip() and not lines[n].startswith("#"))
            numbers += [next(follows, number)]
        yield (level(int(size[1]), int(size[2])) if size else None), numbers
