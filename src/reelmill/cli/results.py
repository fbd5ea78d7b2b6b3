"""The folder that a user finds results in: kept free of what an earlier run left there."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

MANIFEST = "manifest.json"


def clear_earlier(folder: Path, keep: set[str]) -> None:
    """Remove the clips that an earlier run's manifest names and the new run (`keep`) doesn't replace.

    Files that no manifest of ours names are never touched.
    """
    try:
        earlier = json.loads((folder / MANIFEST).read_text())["clips"]
        names = {Path(str(clip["name"])).name for clip in earlier}
    except (OSError, ValueError, KeyError, TypeError):
        return
    for name in names:
        for stale in (name, Path(name).with_suffix(".jpg").name):
            if stale not in keep:
                (folder / stale).unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
