"""One process has a data folder."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import IO

from reelmill.errors import DataFolderLocked


class DataLock:
    """An exclusive lock on the data folder, held as long as the process lives."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[str] | None = None

    def take(self) -> None:
        """Raises DataFolderLocked when another process has it."""
        file = self._path.open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.close()
            raise DataFolderLocked(f"Another Reelmill server uses {self._path.parent}.") from error
        self._file = file

    def give(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
