"""The README's walk-through, executed as it stands."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import av
import pytest

from pasting import blocks, pasted
from running import free_port

ROOT = Path(__file__).resolve().parents[2]
FILM = ROOT / ".cache" / "samples" / "trailer_bbb.mp4"  # 55 s: `make samples` fetches it


def frames(path: Path) -> int:
    """Return how many frames a player would show; every one of them decodes."""
    with av.open(str(path)) as film:
        return sum(1 for _ in film.decode(video=0))


@pytest.mark.req("A-06", "A-07", "B-01", "B-02", "B-04", "B-10", "D-01")
def test_the_walk_through_makes_playable_clips(tmp_path: Path) -> None:
    (walkthrough,) = blocks((ROOT / "README.md").read_text().partition("<!-- walkthrough -->")[2])
    port = free_port()
    code, said = pasted(walkthrough, tmp_path, {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "VIDEO": str(FILM),
        "REELMILL_PORT": str(port),
        "REELMILL_URL": f"http://127.0.0.1:{port}",
    })  # fmt: skip

    assert code == 0, said
    clips = sorted((tmp_path / "clips").iterdir())
    assert [clip.name for clip in clips] == [f"clip-{n}.mp4" for n in range(1, 7)], said
    assert sum(frames(clip) for clip in clips) == frames(FILM), "all clips together have the frames of the film"
