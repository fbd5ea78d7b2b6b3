"""The README's walk-through, executed as it stands."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import av
import pytest

from running import free_port

ROOT = Path(__file__).resolve().parents[2]
FILM = ROOT / ".cache" / "samples" / "trailer_bbb.mp4"  # 55 s: `make samples` fetches it
BLOCK = re.compile(r"^<!-- walkthrough -->\n```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)

# What a reader does by hand: stop at the first command that fails, and don't leave the server behind.
AS_A_READER = "trap 'kill \"${SERVER:-}\" 2>/dev/null || true; wait' EXIT; set -euo pipefail; . ./walkthrough.sh"


def frames(path: Path) -> int:
    """Return how many frames a player would show; every one of them decodes."""
    with av.open(str(path)) as film:
        return sum(1 for _ in film.decode(video=0))


def as_written(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the walk-through in an empty folder with a new home, in a process group that ends with it."""
    (walkthrough,) = BLOCK.findall((ROOT / "README.md").read_text())
    (folder / "walkthrough.sh").write_text(walkthrough)
    home = folder / "home"
    home.mkdir()
    port = free_port()
    env = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "NO_PROXY": "127.0.0.1",
        "VIDEO": str(FILM),
        "REELMILL_PORT": str(port),
        "REELMILL_URL": f"http://127.0.0.1:{port}",
    }
    with (folder / "output.txt").open("w+") as output:  # a file, because a server that lives on would hold a pipe open
        shell = subprocess.Popen(
            ["bash", "-c", AS_A_READER],
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = shell.wait(timeout=240)
        finally:
            try:
                os.killpg(shell.pid, signal.SIGKILL)
            except ProcessLookupError:
                left = False
            else:
                left = True
            shell.wait()
        output.seek(0)
        said = output.read()
    assert not left, f"the walk-through left a process behind:\n{said}"
    return subprocess.CompletedProcess(shell.args, code, said)


@pytest.mark.req("A-06", "A-07", "B-01", "B-02", "B-04", "B-10", "D-01")
def test_the_walk_through_makes_playable_clips(tmp_path: Path) -> None:
    done = as_written(tmp_path)

    assert done.returncode == 0, done.stdout
    clips = sorted((tmp_path / "clips").iterdir())
    assert [clip.name for clip in clips] == [f"clip-{n}.mp4" for n in range(1, 7)], done.stdout
    assert sum(frames(clip) for clip in clips) == frames(FILM), "all clips together have the frames of the film"
