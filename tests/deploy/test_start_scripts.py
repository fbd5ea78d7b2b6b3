"""The start and stop scripts: read by their languages' own parsers, and run as far as a machine without Docker goes."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import tree_sitter
import tree_sitter_powershell

from deploying import DEPLOY, ROOT, SECRETS, compose, run, tool

SHELL = sorted((DEPLOY / "scripts").glob("*.sh"))
POWERSHELL = sorted((DEPLOY / "scripts").glob("*.ps1"))


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A copy of deploy/, and a PATH on which there is everything but docker."""
    shutil.copytree(DEPLOY, tmp_path / "deploy", ignore=shutil.ignore_patterns("*.env", ".env", "*.api.key"))
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sh", "cp", "mv", "rm", "sed", "grep", "od", "tr", "chmod", "dirname", "cat", "sleep"):
        found = shutil.which(name)
        assert found
        (programs / name).symlink_to(found)
    return tmp_path


def script(bare: Path, name: str, *words: str, said: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [bare / "deploy" / "scripts" / name, *words],
        env={"PATH": str(bare / "bin"), "HOME": str(bare)}, input=said, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


@pytest.mark.req("B-08")
@pytest.mark.parametrize("path", SHELL, ids=lambda path: path.name)
def test_shellcheck_finds_nothing(path: Path) -> None:
    done = run(tool("shellcheck"), path)
    assert done.returncode == 0, done.stdout
    assert os.access(path, os.X_OK)


@pytest.mark.req("B-08")
@pytest.mark.parametrize("path", POWERSHELL, ids=lambda path: path.name)
def test_powershell_can_be_parsed(path: Path) -> None:
    source = path.read_bytes()
    assert source.isascii()  # Windows PowerShell 5 takes a file without a mark for its own code page
    tree = tree_sitter.Parser(tree_sitter.Language(tree_sitter_powershell.language())).parse(source)
    wrong = [node.start_point for node in nodes(tree.root_node) if node.is_error or node.is_missing]
    assert not wrong


def nodes(node: tree_sitter.Node) -> Iterator[tree_sitter.Node]:
    yield node
    for child in node.children:
        yield from nodes(child)


@pytest.mark.req("B-08", "E-11")
def test_secrets_are_made_once_and_compose_takes_them(bare: Path) -> None:
    first = script(bare, "start.sh")
    assert first.returncode == 1
    assert "docker isn't installed" in first.stderr
    env_file = bare / "deploy" / ".env"
    assert stat.S_IMODE(env_file.stat().st_mode) == 0o600
    written = env_file.read_text()
    secrets = [re.search(rf"^{name}=([0-9a-f]{{64}})$", written, re.MULTILINE) for name in SECRETS]
    assert all(secrets)
    assert len({one.group(1) for one in secrets if one}) == len(SECRETS)
    assert not any(one.group(1) in first.stdout + first.stderr for one in secrets if one)
    script(bare, "start.sh")
    assert env_file.read_text() == written
    done = compose(env_file, "config", "--quiet")
    assert done.returncode == 0, done.stderr


@pytest.mark.req("E-11")
def test_another_installation_has_its_own_file(bare: Path) -> None:
    staging = bare / "staging.env"
    staging.write_text("COMPOSE_PROJECT_NAME=reelmill-staging\nPOSTGRES_PASSWORD=mine\nVALKEY_PASSWORD=\n")
    script(bare, "start.sh", "--env-file", str(staging))
    assert "POSTGRES_PASSWORD=mine\n" in staging.read_text()
    assert re.search(r"^VALKEY_PASSWORD=[0-9a-f]{64}$", staging.read_text(), re.MULTILINE)
    assert not (bare / "deploy" / ".env").exists()
    refused = script(bare, "start.sh", "--env-file", str(bare / "staging.txt"))
    assert "must end in .env" in refused.stderr


def test_nothing_is_deleted_without_asking(bare: Path) -> None:
    assert "nothing was started" in script(bare, "stop.sh").stderr
    (bare / "deploy" / ".env").write_text("")
    (bare / "deploy" / ".api.key").write_text("rm_key")
    for answer in ("", "y\n", "no\n"):
        refused = script(bare, "stop.sh", "--purge", said=answer)
        assert refused.returncode == 1
        assert "nothing was deleted" in refused.stderr
    # Said yes, it goes on to docker, which isn't there; the key goes last.
    assert "docker isn't installed" in script(bare, "stop.sh", "--purge", said="purge\n").stderr
    assert (bare / "deploy" / ".api.key").exists()


@pytest.mark.parametrize("name", ["start.sh", "stop.sh"])
def test_unknown_options_are_named(bare: Path, name: str) -> None:
    refused = script(bare, name, "--purg")
    assert refused.returncode == 1
    assert "--purg" in refused.stderr
    assert not (bare / "deploy" / ".env").exists()


@pytest.mark.req("B-08", "D-06")
@pytest.mark.parametrize(
    "path", [DEPLOY / "scripts/start.sh", DEPLOY / "scripts/start.ps1"], ids=lambda path: path.name
)
def test_parts_are_started_in_order(path: Path) -> None:
    text = path.read_text()
    steps = [
        "up -d valkey",
        "Valkey says PONG",
        "run --rm -T setup",
        "keys create first",
        "up -d api",
        "up -d --remove-orphans",
    ]
    places = [text.rindex(step) for step in steps]
    assert places == sorted(places)
    assert text.index("is_ready ||" if path.suffix == ".sh" else "/readyz") in range(places[-2], places[-1])


def test_files_with_secrets_are_never_committed(tmp_path: Path) -> None:
    for name, ignored in {".env": True, ".api.key": True, "staging.env": True, "staging.api.key": True,
                          "reelmill.env": True, ".env.example": False, "compose.yaml": False}.items():  # fmt: skip
        done = run("git", "-C", ROOT, "check-ignore", "--no-index", "-q", f"deploy/{name}")
        assert (done.returncode == 0) == ignored, name
