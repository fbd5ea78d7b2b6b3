"""The command line: one file for each group; what is heavy is imported by the command that needs it."""

from __future__ import annotations

import signal
import sys
import traceback
from types import FrameType
from typing import Annotated, NoReturn

import typer

from reelmill.cli import (
    admin,
    audit,
    backup,
    clip,
    cluster,
    database,
    demo,
    doctor,
    fonts,
    generate,
    imports,
    jobs,
    keys,
    pipelines,
    serve,
    tenants,
    texts,
    upload,
    worker,
)
from reelmill.cli.output import CODES, Code, code_of, print_error
from reelmill.errors import InternalError, ReelmillError, Refused

app = typer.Typer(
    name="reelmill",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(serve.serve)
app.command()(worker.worker)
app.command()(worker.workers)
app.add_typer(cluster.app, name="cluster")
app.command()(demo.demo)
app.command()(clip.clip)
app.command()(generate.generate)
app.command()(doctor.doctor)
app.command()(upload.upload)
app.command()(jobs.watch)
app.add_typer(jobs.app, name="jobs")
app.add_typer(keys.app, name="keys")
app.add_typer(database.app, name="database")
app.command()(audit.audit)
app.command()(backup.backup)
app.command()(backup.restore)
app.command("import-jobs")(imports.import_jobs)
app.add_typer(admin.app, name="admin")
app.add_typer(admin.videos, name="videos")
app.add_typer(texts.app, name="texts")
app.add_typer(fonts.app, name="fonts")
app.add_typer(tenants.app, name="tenants")
app.command("dead-letters")(admin.dead_letters)
app.command()(pipelines.pipelines)
app.command()(pipelines.version)


def _version(wanted: bool) -> None:
    if wanted:
        pipelines.version()
        raise typer.Exit


@app.callback(help=f"Videos in, checked clips out. `reelmill COMMAND --help` tells more.\n\n{CODES}")
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options before any command."""


def main() -> NoReturn:
    """Run the command line; every error becomes a message with a remedy, and an exit code."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # under nohup it is ignored, and stays so
            signal.signal(number, _end)  # so that a command that is told to stop cleans up
    words = sys.argv[1 : sys.argv.index("--") if "--" in sys.argv else None]
    as_json = "--json" in words
    try:
        app(prog_name="reelmill")
    except ReelmillError as error:
        print_error(error, as_json=as_json)
        sys.exit(code_of(error))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print_error(Refused(f"{where}{error.strerror or error}."), as_json=as_json)
        sys.exit(Code.USAGE)
    except Exception as error:
        traceback.print_exc()
        print_error(InternalError(f"{type(error).__name__}: {error}"), as_json=as_json)
        sys.exit(Code.INTERNAL)
    sys.exit(Code.OK)


def _end(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)
