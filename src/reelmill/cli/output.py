"""What commands print: results on standard output, progress and errors on standard error; and the exit codes."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from enum import IntEnum
from typing import Any

import typer

from reelmill.errors import (
    DatabaseUnavailable,
    InternalError,
    KeyInvalid,
    KeyMissing,
    MediaProblem,
    OriginRefused,
    ReelmillError,
    ScopeMissing,
    ServerUnreachable,
    StorageProblem,
    StorageUnavailable,
    TextModelBusy,
    TextModelDenied,
    TextModelTimedOut,
    TextModelUnreachable,
    TextProblem,
    ToolMissing,
    UploadProblem,
    WorkProblem,
    catalogue,
)


class Code(IntEnum):
    """The exit codes; the same for every command."""

    OK = 0
    FAILED = 1  #: the job failed or was cancelled, the video can't be used
    USAGE = 2  #: the command, a setting or the parameters have to be changed
    UNREACHABLE = 3  #: the server, its database or its storage doesn't answer
    DENIED = 4  #: no API key, a bad one, or one without the scope
    INTERNAL = 5  #: a defect, or a tool is missing
    INTERRUPTED = 130  #: Ctrl-C


CODES = (
    "Exit codes: 0 ok; 1 the job failed or was cancelled; 2 wrong usage, setting or parameters; "
    "3 server unreachable; 4 not allowed; 5 internal error; 130 interrupted."
)


def code_of(error: ReelmillError) -> Code:
    """Return the exit code that an error leads to."""
    match error:
        case ServerUnreachable() | DatabaseUnavailable() | StorageUnavailable():
            return Code.UNREACHABLE
        case TextModelUnreachable() | TextModelTimedOut() | TextModelBusy():
            return Code.UNREACHABLE
        case KeyMissing() | KeyInvalid() | ScopeMissing() | OriginRefused() | TextModelDenied():
            return Code.DENIED
        case InternalError() | ToolMissing():
            return Code.INTERNAL
        case UploadProblem() | MediaProblem() | StorageProblem() | WorkProblem() | TextProblem():
            return Code.FAILED
        case _:
            return Code.USAGE


def known_error(code: str, detail: str | None) -> ReelmillError:
    """Return a stored error, a failed job's for example, as the catalogue knows it."""
    kinds = {kind.code: kind for kind in catalogue()}
    return kinds.get(code, InternalError)(detail or "")


def told(error: ReelmillError) -> dict[str, Any]:
    """Return an error as JSON."""
    fields = {"code": error.code, "what": error.what, "detail": error.detail, "why": error.why, "remedy": error.remedy}
    extra = {name: error.extra[name] for name in ("errors", "correlation_id") if name in error.extra}
    return {"error": {**fields, **extra}}


def print_error(error: ReelmillError, *, as_json: bool, about: str = "") -> None:
    """Say on standard error what happened, why, and what to do. about: which of several things it happened to."""
    if as_json:
        print(json.dumps({**({"about": about} if about else {}), **told(error)}, ensure_ascii=False), file=sys.stderr)
        return
    typer.secho("error: ", fg="red", bold=True, err=True, nl=False)
    typer.echo(f"{shown(about)}: {error.what}" if about else error.what, err=True)
    lines = [error.detail] if error.detail != error.what else []
    faults = error.extra.get("errors") or []
    if len(faults) > 1:
        lines = [f"{fault['field']}: {fault['message']}" for fault in faults]
    for line in lines:
        typer.echo(f"  {shown(line)}", err=True)
    rest = {
        "why": error.why,
        "remedy": error.remedy,
        "code": error.code,
        "request": error.extra.get("correlation_id", ""),
    }
    for name, text in rest.items():
        if text:
            typer.secho(f"  {name + ':':<9}", dim=True, err=True, nl=False)
            typer.echo(shown(text), err=True)


def print_warnings(warnings: Sequence[str]) -> None:
    for warning in warnings:
        typer.secho(f"warning: {shown(warning)}", fg="yellow", err=True)


def shown(text: object) -> str:
    """Return a text that can't steer the terminal: names and messages may be anybody's."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def print_json(value: Any, *, compact: bool = False) -> None:
    """Print one JSON value on standard output; compact: on one line."""
    print(json.dumps(value, ensure_ascii=False, indent=None if compact else 2, default=str), flush=True)


def print_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print aligned columns; numbers to the right."""
    cells = [[shown(value) for value in row] for row in rows]
    widths = [max(len(row[n]) for row in [list(head), *cells]) for n in range(len(head))]
    right = [bool(rows) and all(isinstance(row[n], int | float) for row in rows) for n in range(len(head))]
    for line, row in enumerate([list(head), *cells]):
        pairs = zip(row, widths, right, strict=True)
        text = "  ".join(cell.rjust(width) if flush else cell.ljust(width) for cell, width, flush in pairs).rstrip()
        typer.secho(text, bold=line == 0)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, `1 clip` or `2 clips`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def size_text(size_bytes: int) -> str:
    """Return a size as people read it."""
    size = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
