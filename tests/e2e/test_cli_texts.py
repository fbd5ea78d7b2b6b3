"""Texts by the command line: varied on a file's clips, and previewed."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from media_sources import make_source
from running import REELMILL

CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("REELMILL_")}


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_source(tmp_path_factory.mktemp("film") / "Lake.mp4", seconds=4, width=320, height=180)


def run(folder: Path, *words: object, code: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
    """Run `reelmill …` in a folder."""
    done = subprocess.run(
        [REELMILL, *map(str, words)], cwd=folder, env={**CLEAN, **env}, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == code, done.stderr
    return done


@pytest.mark.req("B-04", "B-05")
def test_clip_varies_its_text_without_key_and_network(tmp_path: Path, film: Path) -> None:
    words = ("clip", film, "--every", 1, "--text", "{Summer|August} by the lake", "--vary", "--json")
    told = json.loads(run(tmp_path, *words, REELMILL_TEXT_MODEL="local").stdout)
    texts = [clip["text"] for clip in told["clips"]]
    assert len(texts) == len(set(texts)) == 4
    assert {clip["text_source"] for clip in told["clips"]} == {"local"} and told["texts"]["requests"] == 0
    assert all(clip["text_report"]["contrast"] >= 4.5 for clip in told["clips"])


@pytest.mark.req("B-04")
def test_a_preview_of_a_file_needs_no_server(tmp_path: Path, film: Path) -> None:
    words = ("texts", "preview", film, "Part {index}", "--aspect", "9:16", "--clip", "1-3", "-o", "frame.png")
    plain = run(tmp_path, *words, "--style", "boxed")
    assert plain.stdout.startswith("frame.png: 1 line at ") and "contrast" in plain.stdout
    with Image.open(tmp_path / "frame.png") as picture:
        assert picture.size == (102, 180)
    told = json.loads(run(tmp_path, *words, "--style", '{"preset": "clean", "size_pct": 9}', "--json").stdout)
    assert told["lines"] == ["Part 1"] and told["file"] == "frame.png"
    refused = run(tmp_path, *words, "--style", "nope", code=2)
    assert "there is no preset 'nope'" in refused.stderr
