"""`reelmill backup` and `reelmill restore`: the embedded instance as a copy, and back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reelmill.cli.options import Data, Json
from reelmill.cli.output import counted, print_json, print_warnings, size_text

if TYPE_CHECKING:
    from reelmill.backup import Manifest


def backup(
    target: Annotated[Path, typer.Argument(help="A new folder, or a new file whose name ends in .tar.")],
    no_objects: Annotated[
        bool, typer.Option("--no-objects", help="Only the database, the secrets, and files that no bucket has yet.")
    ] = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Copy the instance on this machine, also while it runs: jobs, keys, settings of tenants, and every file.

    For SQLite and a folder, which is what `serve` uses by itself. On the same disk, files are linked and take no room.

    Example: `reelmill backup /mnt/backup/2026-11-21`
    """
    from reelmill.backup import backup as take
    from reelmill.settings import read_settings

    manifest = take(read_settings(data=data), target, with_objects=not no_objects)
    _tell(manifest, f"{target} is a backup", as_json)


def restore(
    source: Annotated[Path, typer.Argument(exists=True, help="What `reelmill backup` made.")],
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Make an empty data folder of a backup. Each file is compared with its checksum.

    `reelmill serve` goes on from there: unfinished jobs are taken up where they stood.

    Example: `reelmill restore /mnt/backup/2026-11-21 --data /srv/reelmill`
    """
    from reelmill.backup import restore as bring_back
    from reelmill.settings import read_settings

    settings = read_settings(data=data)
    manifest = bring_back(settings, source)
    _tell(manifest, f"{settings.data} is restored", as_json)


def _tell(manifest: Manifest, what: str, as_json: bool) -> None:
    from dataclasses import asdict

    if as_json:
        print_json(asdict(manifest))
        return
    if manifest.objects is None:
        waiting = f"{size_text(manifest.bytes)} that wait to be stored" if manifest.bytes else "without files"
        print(f"{what}: the database as of {manifest.made_at}, {waiting}.")
    else:
        files = f"{counted(manifest.objects, 'file')} ({size_text(manifest.bytes)})"
        print(f"{what}: the database as of {manifest.made_at}, {files}.")
    print_warnings([f"{key} was missing in storage already" for key in manifest.missing])
    print_warnings([f"{key} isn't what was recorded of it" for key in manifest.damaged])
