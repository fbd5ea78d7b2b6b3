"""Real sample films; `make samples` brings them. A missing one is a failure that says what to do."""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = Path(os.environ.get("REELMILL_SAMPLES") or Path(__file__).parents[1] / ".cache" / "samples")


def sample(name: str) -> Path:
    path = FOLDER / name
    task = "weights" if name.startswith("whisper/") or name.endswith(".gguf") else "samples"
    assert path.is_file(), f"{path} is missing: run `make {task}`"
    return path
