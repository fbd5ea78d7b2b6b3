"""What unit tests share."""

from __future__ import annotations

import pytest

import processes


@pytest.fixture(autouse=True)
def _strangers() -> None:
    processes.note_strangers()
