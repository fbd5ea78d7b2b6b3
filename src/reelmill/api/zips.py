"""Several files as one ZIP archive, made while it goes out: no file in between, and its length known before.

Members are stored as they are, for videos don't shrink. ZIP64 where sizes or places need it (APPNOTE.TXT 6.3.10).
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from reelmill.jobs.model import Artifact

ZIP64_FROM = 1 << 31  #: bytes; a member of this size, or behind so many bytes, gets 64-bit numbers
MOST_MEMBERS = 65_535  #: without ZIP64


class _Outlet(io.RawIOBase):
    """What zipfile writes to: can't be sought in, and is emptied after each block."""

    def __init__(self) -> None:
        self._blocks: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, block: Any, /) -> int:
        self._blocks.append(bytes(block))
        return len(self._blocks[-1])

    def take(self) -> bytes:
        taken = b"".join(self._blocks)
        self._blocks.clear()
        return taken


def zipped(read: Callable[[str], Iterator[bytes]], artifacts: Sequence[Artifact]) -> Iterator[bytes]:
    """Yield a ZIP archive of these files, a block at a time. read: gives the bytes under a key."""
    outlet = _Outlet()
    with zipfile.ZipFile(outlet, "w", zipfile.ZIP_STORED) as archive:
        for artifact in artifacts:
            member = zipfile.ZipInfo(member_name(artifact.name), artifact.created_at.timetuple()[:6])
            member.external_attr = 0o644 << 16
            with archive.open(member, "w", force_zip64=artifact.size_bytes >= ZIP64_FROM) as file:
                for block in read(artifact.key):
                    file.write(block)
                    yield outlet.take()
            yield outlet.take()
    yield outlet.take()


def member_name(name: str) -> str:
    """Return a name that no unpacking tool takes out of its folder; pipelines may be anybody's."""
    return "/".join(part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")) or "file"


def zipped_length(members: Sequence[tuple[str, int]]) -> int:
    """Return the bytes of the archive that `zipped` makes of these names and sizes."""
    place = central = 0
    for name, size in members:
        named, wide = len(name.encode()), size >= ZIP64_FROM
        fields = (2 if wide else 0) + (1 if place >= ZIP64_FROM else 0)
        central += 46 + named + (4 + 8 * fields if fields else 0)
        place += 30 + named + (20 if wide else 0) + size + (24 if wide else 16)  # header, bytes, descriptor
    wide = len(members) > MOST_MEMBERS or place >= ZIP64_FROM or central >= ZIP64_FROM
    return place + central + (56 + 20 if wide else 0) + 22
