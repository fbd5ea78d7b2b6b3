"""`reelmill cluster`: the platform as on many machines, all on this one, without containers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reelmill.cli.options import Json
from reelmill.cli.output import Code, print_json, print_table, shown
from reelmill.errors import RequestInvalid

if TYPE_CHECKING:
    from reelmill.cluster import Cluster, Running

app = typer.Typer(
    help="PostgreSQL, Valkey, SeaweedFS, API and workers as processes of this machine, from wheels.",
    no_args_is_help=True,
)

Folder = Annotated[Path, typer.Option(file_okay=False, help="Where the cluster lives: its files, logs and what runs.")]
FOLDER = Path("reelmill-cluster")
FOLLOW_S = 0.3


@app.command()
def up(
    workers: Annotated[int, typer.Option(min=0, max=64, help="Workers, each doing one step at a time.")] = 2,
    port: Annotated[int, typer.Option(min=0, max=65535, help="TCP port of the API; 0 takes a free one.")] = 0,
    folder: Folder = FOLDER,
    as_json: Json = False,
) -> None:
    """Start all that doesn't run, in order, each part when the one before works.

    Again is no error: what runs is left as it is, and the number of workers becomes the one that is asked for.
    Ports and passwords are chosen once. Everything listens on loopback only.

    Example: `reelmill cluster up --workers 3`
    """
    cluster = _open(folder)
    cluster.up(workers, port, _quiet if as_json else _say)
    if as_json:
        place = cluster.place
        told = {"url": place.url, "key_file": str(cluster.folder / "data" / "cli.key")}
        print_json({**told, "processes": [_told(one) for one in cluster.running()]})
        return
    _table(cluster.running())
    print(f"\nAPI:  {cluster.place.url}")
    print(f"Try:  reelmill demo --url {cluster.place.url} --data {shown(cluster.folder / 'data')}")


@app.command()
def status(folder: Folder = FOLDER, as_json: Json = False) -> None:
    """Show what runs. Exits with 0 when everything does, else with 1.

    Example: `reelmill cluster status`
    """
    found = _open(folder).running()
    if as_json:
        print_json([_told(one) for one in found])
    else:
        _table(found)
    raise typer.Exit(Code.OK if found and all(one.state == "running" for one in found) else Code.FAILED)


@app.command()
def logs(
    name: Annotated[str | None, typer.Argument(help="Of which process; of all by default.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on printing what is added.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many lines of each log, from its end.")] = 20,
    folder: Folder = FOLDER,
) -> None:
    """Print the ends of the logs.

    Example: `reelmill cluster logs worker-1 -f`
    """
    cluster = _open(folder)
    known = {one.name: one.log for one in cluster.running()}
    if name is not None and name not in known:
        raise RequestInvalid(f"There is no process {name!r}; there are {', '.join(known)}.")
    chosen = {one: path for one, path in known.items() if name in (None, one)}
    width = max(map(len, chosen), default=0) if name is None else 0
    at = {}
    for one, path in chosen.items():
        words = path.read_bytes() if path.is_file() else b""
        at[one] = len(words)
        kept = words.decode("utf-8", "replace").splitlines()
        _print_lines(one, kept[len(kept) - lines :] if lines else [], width)
    while follow:
        for one, path in chosen.items():
            with path.open("rb") as file:
                file.seek(at[one])
                *fresh, _ = file.read().split(b"\n")  # a line that is being written comes the next time
            at[one] += sum(len(line) + 1 for line in fresh)
            _print_lines(one, (line.decode("utf-8", "replace") for line in fresh), width)
        time.sleep(FOLLOW_S)


@app.command()
def down(
    delete: Annotated[bool, typer.Option("--delete", help="Remove the folder, too: all jobs and files.")] = False,
    folder: Folder = FOLDER,
) -> None:
    """Stop all processes, workers first, and wait until they have ended. Files stay for the next `up`.

    Workers get REELMILL_GRACE_S for their steps; what hasn't ended then is taken up after the next start.

    Example: `reelmill cluster down`
    """
    cluster = _open(folder)
    if not cluster.exists:
        raise RequestInvalid(f"There is no cluster in {cluster.folder}.")
    cluster.down(_say)
    if delete:
        cluster.delete()
        print(f"Removed {shown(cluster.folder)}.")


def _open(folder: Path) -> Cluster:
    from reelmill.cluster import Cluster

    return Cluster(folder)


def _table(found: list[Running]) -> None:
    head = ["NAME", "STATE", "PID", "ADDRESS", "LOG"]
    print_table(head, [[one.name, one.state, one.pid or "", one.address, str(one.log)] for one in found])


def _told(one: Running) -> dict[str, object]:
    return {"name": one.name, "state": one.state, "pid": one.pid, "address": one.address, "log": str(one.log)}


def _print_lines(name: str, lines: list[str] | Iterator[str], width: int) -> None:
    for line in lines:
        print(f"{name:<{width}}  {line}" if width else line, flush=True)


def _say(text: str) -> None:
    typer.echo(text, err=True)


def _quiet(_: str) -> None:
    pass
