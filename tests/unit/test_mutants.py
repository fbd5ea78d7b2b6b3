"""The mutants still fit the sources; `make mutants` shows that each is noticed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.req("C-07")
def test_every_mutants_patch_applies() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "mutants.py"), "--apply-only"]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
