"""Every file that wants to hurt, with the code that its uploader is told.

`python tests/hostile_files.py --table` prints them as a table for the docs; with a folder instead, it writes the files.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import hostile_streams
import hostile_uploads
from hostile_kit import ACCEPTED, FOUR_NAMES, HOSTILE, MARKER, Hostile, Kit

__all__ = ["ACCEPTED", "FOUR_NAMES", "HOSTILE", "MARKER", "Hostile", "Kit"]

MODULES = [hostile_uploads.__name__, hostile_streams.__name__]
HOSTILE.sort(key=lambda one: MODULES.index(one.make.__module__))  # as a reader would go through them


def main() -> None:
    if sys.argv[1:] == ["--table"]:
        print("| file | what it is | what becomes of it |\n|---|---|---|")
        for one in HOSTILE:
            under = f" ({len(one.names)} names)" if len(one.names) > 1 else ""
            print(f"| {one.name} | {one.what}{under} | {f'`{one.code}`' if one.code != ACCEPTED else 'clips'} |")
        return
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        kit = Kit(Path(scratch), Path(scratch) / "canary.ts", "http://127.0.0.1:9")
        for one in HOSTILE:
            (folder / one.name).write_bytes(one.make(kit))


if __name__ == "__main__":
    main()
