"""A real file system of a few MiB, to be filled to the last byte."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

MIB = 1 << 20
SHARED = Path("/dev/shm")


class NoSmallDisk(RuntimeError):
    """None can be made here; the message says what would help."""


class SmallDisk:
    """`root` is on it. A filler file takes what room there is."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._filler = root / "filler"

    def free_bytes(self) -> int:
        disk = os.statvfs(self.root)
        return disk.f_bavail * disk.f_frsize

    def fill(self, *, leave_bytes: int) -> None:
        """Take all room but so much; others may be writing at the same time."""
        with self._filler.open("ab") as file:
            while (wanted := self.free_bytes() - leave_bytes) > 0:
                try:
                    file.write(bytes(min(wanted, MIB)))
                    file.flush()
                except OSError:  # somebody else took the rest
                    break

    def empty(self) -> None:
        self._filler.unlink(missing_ok=True)


@contextlib.contextmanager
def small_disk(place: Path, mib: int = 48) -> Iterator[SmallDisk]:
    """Mount a file system in memory at `place`; without the right to mount, use a container's small /dev/shm.

    Raises NoSmallDisk.
    """
    place.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", str(place)], capture_output=True, text=True
    )
    if mounted.returncode == 0:
        try:
            yield SmallDisk(place)
        finally:
            subprocess.run(["umount", "--lazy", str(place)], check=True)
        return
    if not SHARED.is_dir() or shutil.disk_usage(SHARED).total > 256 * MIB:
        raise NoSmallDisk(
            f"These tests fill a disk: run them as root, or in a container, whose /dev/shm is small ({mounted.stderr})."
        )
    folder = Path(tempfile.mkdtemp(dir=SHARED))
    try:
        yield SmallDisk(folder)
    finally:
        shutil.rmtree(folder)
