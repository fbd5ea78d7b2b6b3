"""The fonts that texts may name: those of a folder, and those that tenants uploaded, fetched when a text needs one."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile

from reelmill.errors import FontMissing, ObjectMissing
from reelmill.jobs.keys import font_key
from reelmill.jobs.ports import ObjectStore
from reelmill.media.own_fonts import FontShelf

KIND = "font"  #: of what a tenant keeps
MOST_BYTES = 20 << 20  #: of an upload
KEPT_BYTES = 1 << 30  #: in the cache of a machine
UNUSED_S = 3600.0  #: a cached font that was asked for more recently stays: something may still draw with it


class Fonts:
    """The fonts of one process; safe to share between threads. Its cache may be shared by processes."""

    def __init__(
        self, shelf: FontShelf | None = None, *, objects: ObjectStore | None = None, cache: Path | None = None
    ) -> None:
        """shelf: of the folder. objects, cache: where uploads lie, and are fetched to; without, there are none."""
        self.shelf = shelf or FontShelf()
        self._objects = objects
        self._cache = cache
        self._checked: set[Path] = set()  #: files whose bytes this process has compared with their name
        self._guard = threading.Lock()

    def of(self, name: str | None, file: str | None, tenant: str) -> list[Path]:
        """Return the files that a text looks through first: the font that is named, and emoji in colours.

        file: of an upload, `{id}.{sha256}`, which `name` stood for when the job was made.
        Raises ParamsInvalid for a name that no font has; FontMissing, StorageProblem.
        """
        if file is None:
            return [font.path for font in self.shelf.of(name)]
        return [self._fetched(tenant, file), *(font.path for font in self.shelf.of(None))]

    def digests(self, name: str | None, file: str | None) -> list[str]:
        """Return the SHA-256 of the same files, without fetching them. Raises ParamsInvalid."""
        if file is None:
            return [font.sha256 for font in self.shelf.of(name)]
        return [sha256_in(file), *(font.sha256 for font in self.shelf.of(None))]

    def _fetched(self, tenant: str, file: str) -> Path:
        if self._objects is None or self._cache is None:
            raise FontMissing("Uploaded fonts are there on a server only.")
        wanted = sha256_in(file)
        path = self._cache / f"{wanted}.ttf"
        with self._guard:  # one at a time: whoever waits finds it
            if path in self._checked and path.is_file():
                os.utime(path)
                return path
            if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != wanted:
                try:
                    content = b"".join(self._objects.open(font_key(tenant, file)))
                except ObjectMissing as missing:
                    raise FontMissing from missing
                if hashlib.sha256(content).hexdigest() != wanted:
                    raise FontMissing("The font's file in storage isn't what was uploaded: upload it again.")
                self._write(path, content)
            self._checked.add(path)
            os.utime(path)
        return path

    def _write(self, path: Path, content: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as part:
            part.write(content)
        Path(part.name).replace(path)
        self._trim(path.parent)

    def _trim(self, folder: Path) -> None:
        """Remove what wasn't asked for longest, and what killed processes left, when there is too much."""
        found = []
        for path in folder.iterdir():
            with suppress(OSError):  # another process trims, too
                told = path.stat()
                found.append((told.st_mtime, told.st_size, path))
        left = sum(size for _, size, _ in found)
        for used_at, size, path in sorted(found):
            if left <= KEPT_BYTES or time.time() - used_at < UNUSED_S:
                return
            with suppress(OSError):
                path.unlink()
            left -= size


def sha256_in(file: str) -> str:
    """Return the SHA-256 that the name of an upload's file holds."""
    return file.rpartition(".")[2]
