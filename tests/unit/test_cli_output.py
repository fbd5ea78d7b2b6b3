"""What every command has in common: help with an example, exit codes, errors with a remedy, a quick start."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from typer.main import get_command

from reelmill.cli import app
from reelmill.cli.output import Code, code_of, known_error, print_error, shown, size_text
from reelmill.errors import ParamsInvalid, ReelmillError, catalogue

HEAVY = {"sqlalchemy", "alembic", "fastapi", "uvicorn", "httpx2", "av", "PIL", "structlog", "reelmill.wiring"}


def leaves(command: Any, path: str = "reelmill") -> Iterator[tuple[str, Any]]:
    children = getattr(command, "commands", {})
    if not children:
        yield path, command
    for name, child in children.items():
        yield from leaves(child, f"{path} {name}")


COMMANDS = list(leaves(get_command(app)))


@pytest.mark.parametrize(("path", "command"), COMMANDS, ids=[path for path, _ in COMMANDS])
def test_every_command_explains_itself_with_an_example_of_it(path: str, command: Any) -> None:
    assert command.help
    assert f"Example: `{path}" in command.help
    for param in command.params:
        assert getattr(param, "help", None), f"{path} {param.name} has no help"


def test_help_doesnt_load_what_only_some_commands_need() -> None:
    code = "import reelmill.cli, sys; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert HEAVY & set(loaded) == set()


def test_exit_codes_are_in_the_help() -> None:
    text = subprocess.run(
        [sys.executable, "-m", "reelmill.cli", "--help"], capture_output=True, text=True, check=True
    ).stdout

    assert "Exit codes: 0 ok; 1 the job failed" in text


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [
        ("worker_crashed", Code.FAILED),
        ("not_a_video", Code.FAILED),
        ("encode_failed", Code.FAILED),
        ("params_invalid", Code.USAGE),
        ("text_does_not_fit", Code.USAGE),
        ("setting_invalid", Code.USAGE),
        ("data_folder_locked", Code.USAGE),
        ("key_needed", Code.USAGE),
        ("not_found", Code.USAGE),
        ("server_unreachable", Code.UNREACHABLE),
        ("database_unavailable", Code.UNREACHABLE),
        ("key_missing", Code.DENIED),
        ("key_invalid", Code.DENIED),
        ("scope_missing", Code.DENIED),
        ("internal_error", Code.INTERNAL),
        ("tool_missing", Code.INTERNAL),
    ],
)
def test_exit_codes(code: str, exit_code: Code) -> None:
    assert code_of(known_error(code, "x")) == exit_code


@pytest.mark.parametrize("kind", list(catalogue()), ids=lambda kind: kind.code)
def test_every_error_is_printed_with_what_why_and_remedy(
    kind: type[ReelmillError], capsys: pytest.CaptureFixture[str]
) -> None:
    error = kind("The detail names the culprit.")

    print_error(error, as_json=False)
    printed = capsys.readouterr()
    assert printed.out == ""
    for text in (error.what, error.detail, error.why, error.remedy, error.code):
        assert text in printed.err

    print_error(error, as_json=True, about="film.mp4")
    told = json.loads(capsys.readouterr().err)
    assert told["about"] == "film.mp4"
    assert told["error"] | {"code": kind.code, "detail": error.detail, "remedy": kind.remedy} == told["error"]


def test_each_fault_of_the_parameters_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    faults = [{"field": "text.text", "message": "too long"}, {"field": "video.crf", "message": "too high"}]

    print_error(ParamsInvalid("text.text: too long (and 1 more).", errors=faults), as_json=False)

    printed = capsys.readouterr().err
    assert "text.text: too long" in printed
    assert "video.crf: too high" in printed


def test_names_cant_steer_the_terminal() -> None:
    assert shown("film\x1b[2J\n.mp4") == "film\\x1b[2J\\n.mp4"
    assert shown("Sommer – été 夏") == "Sommer – été 夏"


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2_340_000_000_000, "2340.0 GB")]
)
def test_sizes(size: int, text: str) -> None:
    assert size_text(size) == text
