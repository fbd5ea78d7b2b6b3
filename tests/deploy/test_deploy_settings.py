"""No deploy file sets what nobody reads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from deploying import DEPLOY
from reelmill.settings import Settings

FILES = sorted(path for path in DEPLOY.rglob("*") if path.is_file())
VARIABLE = re.compile(r"\bREELMILL_[A-Z0-9_]*[A-Z0-9]\b")


@pytest.mark.req("B-08", "E-11")
@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(DEPLOY)))
def test_every_setting_in_a_deploy_file_exists(path: Path) -> None:
    named = set(VARIABLE.findall(path.read_text()))
    known = {f"REELMILL_{name.upper()}" for name in Settings.model_fields}
    assert named <= known, f"unknown: {sorted(named - known)}"


def test_the_files_name_settings_at_all() -> None:
    named = {name for path in FILES for name in VARIABLE.findall(path.read_text())}
    assert {"REELMILL_DATABASE_URL", "REELMILL_BROKER_URL", "REELMILL_STORAGE_URL", "REELMILL_HOST"} <= named
