"""Check the rules of the house that no linter knows; prints what breaks one and exits with 1.

- No tracked file names the host of a package registry: where packages come from is the machine's business.
- No stand-ins in tests or in the product (mocks, fake services) and no skipped test.
- Every setting and every error code is in docs/reference.
- A source file beyond 600 lines has a decision record that names it.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MOST_LINES = 600

# Written in parts, so that this file doesn't break its own rule.
REGISTRIES = [
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pypi", "python", "org"),
        ("pythonhosted", "org"),
        ("npmjs", "org"),
        ("npmjs", "com"),
        ("yarnpkg", "com"),
        ("deb", "debian", "org"),
        ("security", "debian", "org"),
        ("archive", "ubuntu", "com"),
        ("crates", "io"),
        ("rubygems", "org"),
        ("proxy", "golang", "org"),
        ("conda", "anaconda", "org"),
    )
]
STAND_INS = {"moto", "mock", "pytest_mock", "responses", "fakeredis", "mongomock"}
SKIPS = {"skip", "skipif", "skipIf", "skipUnless", "importorskip", "SkipTest", "skipTest"}


def main() -> int:
    """Print each finding; return the exit code."""
    files = tracked()
    findings = [*registry_hosts(files), *stand_ins(files), *undocumented(), *long_files(files)]
    for finding in findings:
        print(finding)
    return 1 if findings else 0


def tracked() -> list[Path]:
    """Return every file that is committed or about to be: what git doesn't ignore."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode()
    return [path for name in sorted(set(listed.split("\0"))) if name and (path := ROOT / name).is_file()]


def registry_hosts(files: list[Path]) -> Iterator[str]:
    """Yield each line that names a package registry's host."""
    hosts = re.compile("|".join(rf"(?<![\w-]){re.escape(host)}" for host in REGISTRIES), re.IGNORECASE)
    for path in files:
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if hosts.search(line):
                yield f"{place(path, number)}: names a package registry's host"


def stand_ins(files: list[Path]) -> Iterator[str]:
    """Yield each use of a mock, of a fake service, or of a skip in tests and sources."""
    for path in files:
        if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in ("src", "tests"):
            for node in ast.walk(ast.parse(path.read_bytes(), str(path))):
                for name in imported(node):
                    if name.split(".")[0] in STAND_INS or name.startswith("unittest.mock"):
                        yield f"{place(path, node)}: imports {name}; use the real thing"
                match node:
                    case ast.Name(id=name) | ast.Attribute(attr=name) if name.endswith("Mock"):
                        yield f"{place(path, node)}: uses {name}; use the real thing"
                    case ast.Attribute(value=owner, attr=name) if name in SKIPS and ast.unparse(owner) in (
                        "pytest",
                        "pytest.mark",
                        "unittest",
                        "self",
                    ):
                        yield f"{place(path, node)}: {ast.unparse(node)}: a test runs or fails, it isn't skipped"


def imported(node: ast.AST) -> list[str]:
    """Return the full names that an import statement brings in."""
    match node:
        case ast.Import(names=names):
            return [alias.name for alias in names]
        case ast.ImportFrom(module=str(module), level=0, names=names):
            return [f"{module}.{alias.name}" for alias in names]
    return []


def undocumented() -> Iterator[str]:
    """Yield each setting and error code that the reference doesn't have."""
    from reelmill.errors import catalogue
    from reelmill.settings import Settings

    settings, errors = (ROOT / "docs" / "reference" / name for name in ("settings.md", "errors.md"))
    for page, names in (
        (settings, [f"REELMILL_{name.upper()}" for name in Settings.model_fields]),
        (errors, [error.code for error in catalogue()]),
    ):
        text = page.read_text() if page.is_file() else ""
        for name in names:
            if f"`{name}`" not in text:
                yield f"{place(page)}: {name} is missing; run `make docs`"


def long_files(files: list[Path]) -> Iterator[str]:
    """Yield each source file that is too long and that no decision record names."""
    records = "\n".join(path.read_text() for path in (ROOT / "docs" / "decisions").glob("*.md"))
    for path in files:
        if path.suffix == ".py" and path.is_relative_to(ROOT / "src"):
            lines = len(path.read_text().splitlines())
            if lines > MOST_LINES and str(path.relative_to(ROOT)) not in records:
                yield f"{place(path)}: {lines} lines; beyond {MOST_LINES} a record in docs/decisions says why"


def place(path: Path, where: ast.AST | int | None = None) -> str:
    """Return `file:line`, as an editor opens it."""
    line = getattr(where, "lineno", where)
    return f"{path.relative_to(ROOT)}:{line}" if line else str(path.relative_to(ROOT))


if __name__ == "__main__":
    sys.exit(main())
