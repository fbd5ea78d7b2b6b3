"""The spool: a folder store on this machine that keeps finished files while the object store is away.

root/id        names the folder; rows of artifacts name it by that
root/secret    signs its URLs: every API that sees the folder shares it
root/served    touched by an API that hands these files out
root/…         as in `folder.py`
"""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from reelmill.objects.files import storage
from reelmill.objects.folder import FolderStore, load_secret

ROUTE = "spool"
SERVED_S = 300.0  #: an API that was silent for so long hands nothing out any more


class SpoolFolder(FolderStore):
    """`Spool` over a folder that workers and API may share. See the port for what each method promises."""

    def __init__(self, root: Path, *, base_url: Callable[[], str] | str, serves: bool) -> None:
        """serves: whether this process hands the files out. Raises StorageDenied, StorageUnavailable."""
        super().__init__(root, secret=load_secret(root / "secret"), base_url=base_url, bucket=ROUTE, route=ROUTE)
        self._serves = serves
        self.id = self._named()
        self.announce()

    def _named(self) -> str:
        """Return the folder's id; of several processes that name it at once, one wins."""
        path, mine = self._root / "id", str(uuid.uuid4())
        with storage(f"the spool {self._root}", writing=True):
            fresh = self.incoming_path()
            if not path.exists():
                fresh.write_text(mine)
                with contextlib.suppress(FileExistsError):
                    os.link(fresh, path)
                fresh.unlink()
            return path.read_text()

    def announce(self) -> None:
        if self._serves:
            with contextlib.suppress(OSError):  # a full disk; it was announced a while ago
                (self._root / "served").touch()

    def is_readable(self) -> bool:
        if self._serves:
            return True
        try:
            return time.time() - (self._root / "served").stat().st_mtime < SERVED_S
        except OSError:
            return False
