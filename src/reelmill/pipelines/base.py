"""What every pipeline is built from. The contract itself is `jobs.ports.Pipeline`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reelmill import __version__
from reelmill.jobs.ports import Narrator, TextMaker
from reelmill.pipelines.fonts import Fonts


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolbox:
    """The tools that wiring gives to a pipeline's constructor."""

    ffmpeg: Path
    threads: int = 1  #: encoder threads of one step, ≥ 1; different threads give different bytes
    step_deadline_s: float = 6 * 3600.0
    memory_bytes: int = 0  #: that a media process may hold; 0 = no limit
    texts: TextMaker  #: varies texts
    fonts: Fonts = field(default_factory=Fonts)  #: fonts of one's own
    voices: Narrator  #: speaks narrations


def digest(*, kind: str, version: str, params: Any, inputs: Sequence[str], tenant: str) -> str:
    """Return the SHA-256 of all that decides a step's bytes: equal digest, equal output.

    params: JSON, threads included. inputs: digests or keys with checksums of what the step reads. Our own release is
    part of it: what another one made may differ, even where no version of a pipeline tells.
    """
    made_by = {"kind": kind, "version": version, "release": __version__}
    told = {**made_by, "params": params, "inputs": list(inputs), "tenant": tenant}
    return hashlib.sha256(json.dumps(told, sort_keys=True, ensure_ascii=True).encode()).hexdigest()
