"""Files that can be made again, kept on the disk within a bound: what wasn't asked for longest goes first."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path

FULL = 0.8  #: of the bound, after it was reached


class Kept:
    """A folder of small files by name; safe to share between threads and processes."""

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self._folder = folder
        self._most = most_bytes
        self._guard = threading.Lock()
        self._bytes: int | None = None  #: as far as this process knows

    def read(self, name: str) -> bytes | None:
        """Return a file's content; None: it must be made."""
        path = self._path(name)
        with suppress(OSError):
            content = path.read_bytes()
            os.utime(path)  # what is asked for stays
            return content
        return None

    def write(self, name: str, content: bytes) -> None:
        """Keep a file, if the disk has room: without, it is made again next time."""
        path = self._path(name)
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.part")
            try:
                part.write_bytes(content)
                part.replace(path)
            except BaseException:
                part.unlink(missing_ok=True)
                raise
            with self._guard:
                if self._bytes is not None:
                    self._bytes += len(content)
                if self._bytes is None or self._bytes > self._most:
                    self._bytes = self._trimmed()

    def _path(self, name: str) -> Path:
        return self._folder / name[:2] / name

    def _trimmed(self) -> int:
        """Remove what wasn't asked for longest, if there is too much; return how many bytes are left."""
        found = []
        for path in self._folder.glob("*/*"):
            with suppress(OSError):  # another process trims, too
                told = path.stat()
                found.append((told.st_mtime_ns, told.st_size, path))
        total = sum(size for _, size, _ in found)
        if total <= self._most:
            return total
        for _, size, path in sorted(found):
            if total <= self._most * FULL:
                break
            with suppress(OSError):
                path.unlink()
            total -= size
        return total
