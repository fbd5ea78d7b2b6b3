"""`pip install .` into an empty environment is all that it takes: ffmpeg and fonts come along."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from media_sources import make_source

ROOT = Path(__file__).parents[2]


@pytest.mark.req("B-10")
def test_an_empty_environment_gets_a_working_reelmill(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True, timeout=120)
    pip = [str(tmp_path / "venv/bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    installed = subprocess.run([*pip, str(ROOT)], capture_output=True, text=True, timeout=280)
    assert installed.returncode == 0, installed.stderr
    film = make_source(tmp_path / "film.mp4", seconds=3)
    # Nothing but the environment's own folder on the PATH: no ffmpeg of the system, no checkout.
    env = {"PATH": str(tmp_path / "venv/bin"), "HOME": str(tmp_path / "home"), "LANG": "C.UTF-8"}
    for name in ("SSL_CERT_FILE", "TMPDIR"):
        if name in os.environ:
            env[name] = os.environ[name]
    told = subprocess.run(
        [str(tmp_path / "venv/bin/reelmill"), "clip", str(film), "--every", "2", "--text", "Здравствуй", "--json"],
        env=env, cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    assert len(json.loads(told.stdout)["clips"]) == 2, told.stdout
