"""`reelmill doctor`: is everything here that the platform needs, and does it do what it should?"""

from __future__ import annotations

import shutil
import textwrap
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reelmill.cli.options import Data, Json
from reelmill.cli.output import Code, counted, print_json, shown
from reelmill.errors import ReelmillError, RequestInvalid

if TYPE_CHECKING:
    from reelmill.doctor.findings import Check, Finding
    from reelmill.objects.folder import FolderStore
    from reelmill.settings import Settings

MARKS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "failed": ("✗", "red"), "skipped": ("–", None)}
TITLE_WIDTH = 16


def doctor(
    lines: Annotated[
        list[str] | None,
        typer.Argument(metavar="LINE", help="Look at these lines only, by their names in --json, and what they need."),
    ] = None,
    fix: Annotated[bool, typer.Option("--fix", help="Do what can safely be done by itself, then look again.")] = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Check this installation, and say how to repair it.

    Looks at packages, ffmpeg, fonts, folders, disks, the port, the database, its schema and a job's row, and at
    storage from inside and as a browser sees it. What it stores for that, it removes. A running server is not
    disturbed; without one, signed URLs are tried on a port that is opened for the check.
    --fix makes the data folder, upgrades the database, closes secret files and sets a bucket's CORS rules.
    Exits with 0 when nothing has failed; warnings are no failure.

    Example: `reelmill doctor --fix`, then `reelmill doctor ffmpeg disk`
    """
    from reelmill import logs
    from reelmill.settings import read_settings

    settings = read_settings(data=data)
    logs.configure("warning", settings.log_format)
    findings = examine(settings, lines or ())
    done: list[dict[str, Any]] = []
    if fix and any(finding.mend for finding in findings):
        # Each repair may uncover the next: a database can be upgraded once its folder is there.
        for _ in findings:
            before = len(done)
            done += mended(findings, {(one["name"], one["detail"]) for one in done})
            if len(done) == before:
                break
            findings = examine(settings, lines or ())
    if as_json:
        print_json(told(findings, done))
    else:
        show(settings, findings, done)
    raise typer.Exit(Code.FAILED if any(finding.level == "failed" for finding in findings) else Code.OK)


def examine(settings: Settings, lines: Sequence[str] = ()) -> list[Finding]:
    """Make the checks of these lines, or all; only that of the packages when it fails, for all others import them.

    Raises RequestInvalid for a line that there isn't.
    """
    from reelmill.doctor import packages
    from reelmill.doctor.findings import Examiner, Level

    extras = [
        extra
        for extra, needed in (
            ("postgres", settings.database.startswith("postgresql")),
            ("s3", settings.storage.startswith("s3:")),
            ("celery", settings.broker_url is not None),
            ("gemini", (settings.text_model or "").startswith("gemini/")),
        )
        if needed
    ]
    first = Examiner(packages.checks(extras)).examine()
    if set(lines) == {"packages"} or any(finding.level is Level.FAILED for finding in first):
        return first
    from reelmill.doctor.installation import Installation

    with Installation(settings, lend=lend) as installation:
        return [*first, *Examiner(picked(installation.checks(), set(lines) - {"packages"})).examine()]


def picked(checks: list[Check], lines: set[str]) -> list[Check]:
    """Return the checks of these lines and those that they need, all for none. Raises RequestInvalid."""
    if unknown := lines - {check.name for check in checks}:
        known = ", ".join(check.name for check in checks)
        raise RequestInvalid(f"There is no line {', '.join(sorted(unknown))}; there are {known}.")
    for check in reversed(checks):  # a check needs only such as come before it
        if check.name in lines:
            lines |= set(check.needs)
    return [check for check in checks if check.name in lines or not lines]


@contextmanager
def lend(store: FolderStore) -> Iterator[str]:
    """Serve the folder's signed URLs on a free port of this machine; yield its URL."""
    import uvicorn
    from fastapi import FastAPI

    from reelmill.api import errors
    from reelmill.api.objects import router
    from reelmill.cli.serve import address_of, bind

    api = FastAPI()
    errors.install(api)
    api.include_router(router(store))
    with bind("127.0.0.1", 0) as listener:
        listener.listen()  # who asks before the server is ready waits in the queue
        config = uvicorn.Config(api, http="h11", ws="none", lifespan="off", log_config=None, access_log=False)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],), name="lent server", daemon=True)
        thread.start()
        try:
            yield address_of(listener)
        finally:
            server.should_exit = True
            thread.join(timeout=10)


def mended(findings: Sequence[Finding], before: set[tuple[str, str]]) -> list[dict[str, Any]]:
    """Do each repair that wasn't tried before; return what was done, or why it couldn't be."""
    done = []
    for finding in findings:
        if finding.mend is None or (finding.name, finding.detail) in before:
            continue
        one = {"name": finding.name, "detail": finding.detail}
        try:
            done.append({**one, "done": finding.mend(), "ok": True})
        except ReelmillError as problem:
            done.append({**one, "done": f"couldn't: {problem.detail} {problem.remedy}".strip(), "ok": False})
        except OSError as problem:
            done.append({**one, "done": f"couldn't: {problem}", "ok": False})
    return done


def told(findings: Sequence[Finding], done: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the report as JSON."""
    from reelmill import __version__

    return {
        "version": __version__,
        "ok": not any(finding.level == "failed" for finding in findings),
        "fixed": list(done),
        "findings": [
            {
                "name": finding.name,
                "title": finding.title.strip(),
                "level": str(finding.level),
                "detail": finding.detail,
                "code": finding.problem.code if finding.problem else None,
                "why": finding.problem.why if finding.problem else None,
                "remedy": finding.problem.remedy if finding.problem else None,
                "fix": finding.fix or None,
                "data": {**finding.data, **finding.rows},
                "took_s": finding.took_s,
            }
            for finding in findings
        ],
    }


def show(settings: Settings, findings: Sequence[Finding], done: Sequence[dict[str, Any]]) -> None:
    """Print the report: a line for each check, with the remedy below what isn't right."""
    from reelmill import __version__

    typer.secho(f"Reelmill {__version__}", bold=True, nl=False)
    typer.echo(f" with {shown(settings.data.absolute())}\n")
    for one in done:
        typer.secho("  fixed  " if one["ok"] else "  left   ", fg="green" if one["ok"] else "red", nl=False)
        wrapped(f"{one['name']}: {one['done']}", 9)
    if done:
        typer.echo()
    for finding in findings:
        if finding.level == "skipped" and finding.title.startswith(" "):
            continue  # a part of what is skipped as a whole
        mark, color = MARKS[finding.level]
        typer.secho(f"  {mark} ", fg=color, nl=False)
        typer.secho(f"{finding.title:<{TITLE_WIDTH}} ", dim=finding.level == "skipped", nl=False)
        wrapped(finding.detail, TITLE_WIDTH + 5)
        below = dict(finding.rows)
        if finding.problem is not None:
            below = {"why": finding.problem.why, "remedy": finding.problem.remedy, "code": finding.problem.code}
        if finding.fix:
            below["fix"] = finding.fix
        width = max((len(name) for name in below), default=0) + 2
        for name, text in below.items():
            typer.secho(" " * (TITLE_WIDTH + 5) + f"{name:<{width}}", dim=True, nl=False)
            if name == "fix":
                typer.secho(shown(text), bold=True)  # in one piece, to be copied
            else:
                wrapped(str(text), TITLE_WIDTH + 5 + width)
    typer.echo(f"\n{summary(findings)}")


def summary(findings: Sequence[Finding]) -> str:
    """Return the report in a sentence."""
    failed = [finding for finding in findings if finding.level == "failed"]
    warnings = sum(finding.level == "warning" for finding in findings)
    also = f" and {counted(warnings, 'warning')}" if warnings else ""
    if not failed:
        return f"Nothing has failed{', ' + counted(warnings, 'warning') if warnings else ''}."
    mendable = sum(finding.mend is not None for finding in failed)
    by_itself = f" `reelmill doctor --fix` repairs {mendable} of them." if mendable else ""
    return f"{counted(len(failed), 'check')} failed{also}.{by_itself}"


def wrapped(text: str, indent: int) -> None:
    """Print a text whose first line stands at `indent` already."""
    width = max(40, min(shutil.get_terminal_size((110, 24)).columns, 120) - indent)
    lines = textwrap.wrap(shown(text), width, break_long_words=False, break_on_hyphens=False) or [""]
    typer.echo(("\n" + " " * indent).join(lines))
