"""Take away one guard at a time, and see the tests fail: `make mutants`. A suite that doesn't notice proves nothing.

Each patch in tests/mutants/ removes one guard from a copy of the sources. The tests named for it below must pass on an
unchanged copy, and fail on the changed one. A patch that no longer applies fails too: then the guard has moved, and the
patch must follow it (change the source, `git diff -U2 > tests/mutants/NAME.patch`, take the change back).
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PATCHES = ROOT / "tests" / "mutants"
COPIED = (
    "src",
    "tests",
    "docs",
    "scripts",
    "pyproject.toml",
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "samples.lock",
)

# Which tests must notice. One database is enough: that all keep the same contract is the contract suite's business.
STORE = "tests/contract/test_job_store.py"
NOTICED_BY = {
    "attempt_fence": (STORE, "sqlite and (stale_worker or fenced_from_its_own)"),
    "lease_check": (STORE, "sqlite and (live_lease or heartbeat_keeps)"),
    "status_guard": (STORE, "sqlite and completed_job_cannot_be_changed"),
    "idempotency": ("tests/api/test_idempotency.py", "makes_no_second_video or makes_one_job"),
    "attempt_in_the_key": ("tests/contract/test_attempts_apart.py", "sqlite"),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--apply-only", action="store_true", help="only see whether every patch applies")
    chosen = parser.parse_args()
    found = {path.stem for path in PATCHES.glob("*.patch")}
    if found != set(NOTICED_BY):
        print(f"tests/mutants and NOTICED_BY differ: {sorted(found ^ set(NOTICED_BY))}")
        return 1
    with tempfile.TemporaryDirectory(prefix="reelmill-mutants-") as folder:
        faults = [fault for name in NOTICED_BY if (fault := tried(name, Path(folder), apply_only=chosen.apply_only))]
    for fault in faults:
        print(fault)
    if not faults:
        print(f"all {len(NOTICED_BY)} patches apply" + ("" if chosen.apply_only else ", and each is noticed"))
    return 1 if faults else 0


def tried(name: str, folder: Path, *, apply_only: bool) -> str | None:
    """Return what is wrong with a mutant, None when all is as it should be."""
    tree = folder / name
    copy(tree)
    if not apply_only:
        code, told = test(name, tree)
        if code != 0:
            return f"{name}: the tests don't pass without it:\n{told}"
    patch = ["git", "apply", "--whitespace=nowarn", str(PATCHES / f"{name}.patch")]
    # Outside of a repository git takes paths as they are.
    applied = subprocess.run(patch, cwd=tree, capture_output=True, text=True, env=outside(folder))
    if applied.returncode != 0:
        return f"{name}: the patch doesn't apply: {applied.stderr.strip()}"
    if apply_only:
        return None
    code, told = test(name, tree)
    if code != 1:  # pytest: 1 says that tests ran and failed; any other code, that they didn't
        return f"{name}: the guard is gone and no test has failed (pytest ended with {code}):\n{told}"
    print(f"{name}: noticed: {told.strip().splitlines()[-1]}", flush=True)
    return None


def copy(tree: Path) -> None:
    unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info", "*.pyc")
    tree.mkdir()
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tree / name, ignore=unwanted)
        else:
            shutil.copy(ROOT / name, tree / name)


def test(name: str, tree: Path) -> tuple[int, str]:
    """Run the mutant's tests on the sources of the tree; return pytest's code and words."""
    file, words = NOTICED_BY[name]
    command = [sys.executable, "-m", "pytest", file, "-k", words, "-q", "-p", "no:cacheprovider", "-p", "no:randomly"]
    env = {**os.environ, "PYTHONPATH": str(tree / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    where = [sys.executable, "-c", "import reelmill; print(reelmill.__file__)"]
    used = subprocess.run(where, cwd=tree, env=env, capture_output=True, text=True, check=True).stdout.strip()
    assert Path(used).is_relative_to(tree), f"the tests would run on {used}"
    ran = subprocess.run(command, cwd=tree, env=env, capture_output=True, text=True, timeout=300)
    return ran.returncode, ran.stdout[-2000:] + ran.stderr[-2000:]


def outside(folder: Path) -> dict[str, str]:
    return {**os.environ, "GIT_CEILING_DIRECTORIES": str(folder), "GIT_DIR": os.devnull}


if __name__ == "__main__":
    sys.exit(main())
