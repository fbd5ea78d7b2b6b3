"""The deploy files as the real tools read them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
SECRETS = {
    name: f"{number}" * 64
    for number, name in enumerate(
        (
            "POSTGRES_PASSWORD", "VALKEY_PASSWORD", "STORAGE_ACCESS_KEY", "STORAGE_SECRET_KEY", "STORAGE_SEAL_KEY",
            "GRAFANA_PASSWORD",
        )
    )
}  # fmt: skip


def tool(name: str) -> str:
    """Return the path of a program of the development packages."""
    path = Path(sys.executable).with_name(name)
    assert path.is_file(), f"{name} isn't installed: make setup"
    return str(path)


def run(*words: str | Path, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, **more
    )


def compose(env_file: Path, *words: str, given: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run Docker Compose on our file; nothing of our own environment gets into it."""
    # It looks for plug-ins in HOME, and needs no engine to read a file.
    env = {"PATH": os.environ["PATH"], "HOME": str(env_file.parent), **(given or {})}
    return run(
        tool("docker-compose"), "--env-file", env_file, "-f", DEPLOY / "compose.yaml",
        "--profile", "monitoring", *words, env=env,
    )  # fmt: skip


def services(folder: Path, **values: str) -> dict[str, Any]:
    """Return compose's services, resolved with these values in `.env`."""
    env_file = folder / "test.env"
    env_file.write_text("".join(f"{name}={value}\n" for name, value in {**SECRETS, **values}.items()))
    done = compose(env_file, "config", "--format", "json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)["services"]
    return found
