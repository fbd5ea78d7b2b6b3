"""The web UI in the package, and how much of it a browser fetches first."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
BUILT = ROOT / "src" / "reelmill" / "web"
FIRST_LOAD = 250_000  #: bytes of script, packed, until the library is there


def test_a_wheel_has_the_ui_built(tmp_path: Path) -> None:
    assert BUILT.is_dir(), "the web UI isn't built: run `make web`"
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        names = set(packed.namelist())
    there = {f"reelmill/web/{path.relative_to(BUILT).as_posix()}" for path in BUILT.rglob("*") if path.is_file()}
    assert "reelmill/web/index.html" in there and there <= names
    assert not [name for name in names if "node_modules" in name]


def test_the_first_load_is_small() -> None:
    manifest = json.loads((BUILT / "manifest.json").read_text())
    first, waiting = set[str](), ["index.html", "src/screens/Library.tsx"]
    while waiting:
        chunk = waiting.pop()
        if chunk not in first:
            first.add(chunk)
            waiting += manifest[chunk].get("imports", [])
    sizes = {chunk: len(gzip.compress((BUILT / manifest[chunk]["file"]).read_bytes(), 9)) for chunk in first}
    assert sum(sizes.values()) <= FIRST_LOAD, sizes
