"""What dead workers of this machine have left in the scratch folder."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path


def clear_dead_scratch(scratch: Path) -> None:
    """Remove the scratch folders of workers of this machine whose processes are gone."""
    for folder in scratch.glob(f"{socket.gethostname()}-*-*"):
        pid = folder.name.removeprefix(f"{socket.gethostname()}-").partition("-")[0]
        if pid.isdigit() and not _lives(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
