"""The tutorial, pasted as it stands, from `pip install .` into an empty environment on: ffmpeg and fonts come along."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from media_sources import make_source
from pasting import blocks, pasted
from running import free_port

ROOT = Path(__file__).parents[2]
CHECKOUT = ("src", "pyproject.toml", "hatch_build.py", "README.md", "LICENSE")  #: what an installation is made of


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A checkout where the tutorial was pasted."""
    folder = tmp_path_factory.mktemp("tutorial")
    for name in CHECKOUT:
        there = ROOT / name
        if there.is_dir():
            shutil.copytree(there, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(there, folder / name)
    make_source(folder / "film.mp4", seconds=35, width=640, height=360)
    port = free_port()
    tutorial = "\n".join(blocks((ROOT / "docs/tutorial.md").read_text()))
    assert "127.0.0.1:8000" in tutorial
    # Where python3 is, beside the system's programs; another port, because somebody may have the usual one.
    env = {
        "PATH": f"{Path(sys.base_prefix) / 'bin'}:{os.environ['PATH']}",
        "REELMILL_PORT": str(port),
        "REELMILL_URL": f"http://127.0.0.1:{port}",
    }
    code, said = pasted(tutorial.replace("127.0.0.1:8000", f"127.0.0.1:{port}"), folder, env, seconds=400)
    assert code == 0, said
    (folder / "said").write_text(said)
    yield folder
    shutil.rmtree(folder / "venv")


@pytest.mark.req("A-06", "A-07", "B-02", "B-04", "B-10", "D-01", "C-07")
@pytest.mark.timeout(500)
def test_the_tutorial_does_what_it_says(checkout: Path) -> None:
    said = (checkout / "said").read_text()

    assert (checkout / "film-clips/contact-sheet.png").is_file(), said
    assert len(list((checkout / "clips").rglob("*.mp4"))) == 4, said
    assert len(list((checkout / "takes").rglob("*.mp4"))) == 12, said
    assert "sign in" in said.lower() and "✓" in said


@pytest.mark.req("B-10")
def test_an_empty_environment_gets_a_working_reelmill(checkout: Path, tmp_path: Path) -> None:
    """Nothing but the environment's own folder on the PATH: no ffmpeg of the system, no checkout."""
    film = make_source(tmp_path / "film.mp4", seconds=3)
    env = {"PATH": str(checkout / "venv/bin"), "HOME": str(tmp_path / "home"), "LANG": "C.UTF-8"}
    for name in ("SSL_CERT_FILE", "TMPDIR"):
        if name in os.environ:
            env[name] = os.environ[name]
    told = subprocess.run(
        [str(checkout / "venv/bin/reelmill"), "clip", str(film), "--every", "2", "--text", "Здравствуй", "--json"],
        env=env, cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    assert len(json.loads(told.stdout)["clips"]) == 2, told.stdout
