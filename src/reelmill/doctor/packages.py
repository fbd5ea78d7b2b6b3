"""The Python packages that Reelmill needs: there, whole, and not hidden by a file of the same name."""

from __future__ import annotations

import importlib
import re
import shlex
import sys
from collections.abc import Sequence
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from reelmill.doctor.findings import Check, Finding, failed, ok
from reelmill.errors import ToolMissing

#: Those with machine code, which a half installation or a file of the same name breaks: module → package.
COMPILED = {
    "av": "av",
    "PIL._imaging": "pillow",
    "uharfbuzz": "uharfbuzz",
    "icu4py": "icu4py",
    "pydantic_core": "pydantic-core",
}


def checks(extras: Sequence[str]) -> list[Check]:
    """Return the one check that comes before all others. extras: of ours, that the settings need (`postgres`)."""
    return [Check(name="packages", title="packages", look=lambda: packages(extras), limit_s=60)]


def packages(extras: Sequence[str]) -> Finding:
    """See that each package that Reelmill names is installed, and that those with machine code can be loaded."""
    wanted = required(extras)
    missing = []
    for name in wanted:
        try:
            metadata.version(name)
        except metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        return failed(
            ToolMissing(f"Not installed: {', '.join(missing)}."), fix=f"{_pip()} {' '.join(missing)}", missing=missing
        )
    for module, package in COMPILED.items():
        top = module.partition(".")[0]
        spec = find_spec(top)
        home = Path(str(metadata.distribution(package).locate_file("")))
        origin = Path(spec.origin) if spec and spec.origin else None
        if origin is not None and not origin.is_relative_to(home):
            place = origin.parent if origin.name == "__init__.py" else origin
            away = shlex.quote(str(place))
            hidden = ToolMissing(f"The package {package} is hidden by {place}.")
            return failed(hidden, fix=f"mv {away} {away}.away", module=top)
        try:
            importlib.import_module(module)
        except Exception as problem:  # the package is broken: what its loading raises is anybody's guess
            broken = ToolMissing(f"The package {package} can't be loaded: {type(problem).__name__}: {problem}.")
            return failed(broken, fix=again(package), module=module)
    return ok(f"{len(wanted)} are there; PyAV {metadata.version('av')}", python=sys.version.split()[0])


def required(extras: Sequence[str]) -> list[str]:
    """Return the names of the packages that Reelmill's own metadata asks for."""
    names = []
    for line in metadata.requires("reelmill") or ():
        name, _, marker = line.partition(";")
        extra = re.search(r"extra == ['\"]([^'\"]+)['\"]", marker)
        if extra is None or extra[1] in extras:
            found = re.match(r"[A-Za-z0-9._-]+", name)
            assert found is not None
            names.append(found[0])
    return names


def again(package: str) -> str:
    """Return the command that installs a package once more."""
    return f"{_pip()} --force-reinstall --no-deps {package}"


def _pip() -> str:
    return f"{shlex.quote(sys.executable)} -m pip install"
