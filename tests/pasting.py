"""What documents tell a reader to paste into a terminal, pasted."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

BLOCK = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)

# What a reader does by hand: stop at the first command that fails, and don't leave the server behind.
AS_A_READER = "trap 'kill \"${SERVER:-}\" 2>/dev/null || true; wait' EXIT; set -euo pipefail; . ./pasted.sh"


def blocks(page: str) -> list[str]:
    """Return the blocks of a page that are for a shell."""
    return BLOCK.findall(page)


def pasted(text: str, folder: Path, env: Mapping[str, str], *, seconds: float = 240) -> tuple[int, str]:
    """Paste it in a folder, with a new home, in a process group that ends with it; return the exit code and all that
    was said. env: PATH, and what else isn't as in every terminal. It fails if a process is left behind.
    """
    (folder / "pasted.sh").write_text(text)
    home = folder / "home"
    home.mkdir()
    whole = {"HOME": str(home), "LANG": "C.UTF-8", "NO_PROXY": "127.0.0.1", **env}
    for name in ("SSL_CERT_FILE", "TMPDIR"):
        if name in os.environ:
            whole[name] = os.environ[name]
    with (folder / "output.txt").open("w+") as output:  # a file, because a server that lives on would hold a pipe open
        shell = subprocess.Popen(
            ["bash", "-c", AS_A_READER], cwd=folder, env=whole,
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            code = shell.wait(timeout=seconds)
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
    assert not left, f"what was pasted left a process behind:\n{said}"
    return code, said
