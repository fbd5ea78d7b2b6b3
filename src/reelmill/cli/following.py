"""Options for what follows a job, and waiting for it."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reelmill.cli.output import known_error
from reelmill.cli.progress import Progress
from reelmill.errors import ParamsInvalid, Stopped

if TYPE_CHECKING:
    from reelmill.client import Client
    from reelmill.schemas import FollowerReply, JobStatus

LOOK_S = 0.5  #: between two looks whether a completed job was followed

Then = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PIPELINE|JSON",
        help="What follows on its results: a pipeline's name, or JSON like "
        '\'{"pipeline": "renditions", "params": {…}, "then": […]}\', or @FILE with it. May be repeated.',
    ),
]
Anew = Annotated[bool, typer.Option("--no-reuse", help="Make everything anew, whatever earlier jobs have made.")]


def read_then(given: Sequence[str] | None) -> list[dict[str, Any]]:
    """Return the entries that `--then` tells. Raises ParamsInvalid."""
    return [_read(one) for one in given or ()]


def _read(given: str) -> dict[str, Any]:
    if not given.startswith(("{", "@")):
        return {"pipeline": given}
    try:
        entry = json.loads(Path(given[1:]).read_text() if given.startswith("@") else given)
    except (OSError, ValueError) as error:
        raise ParamsInvalid(f"--then can't be read: {error}.") from error
    if not isinstance(entry, dict):
        raise ParamsInvalid('--then must be a pipeline\'s name, or an object like {"pipeline": "proxy"}.')
    return entry


def see_followers(client: Client, job_id: str, folder: Path | None, *, as_json: bool) -> list[dict[str, Any]]:
    """Wait for all that follows a completed job; return a line for each, in the order of their making.

    folder: takes the results of each, in a folder of its own. Raises what the first of them failed with.
    """
    lines: list[dict[str, Any]] = []
    for entry in _started(client, job_id):
        if entry.status == "not_started" or entry.why:
            raise Stopped(f"{entry.pipeline} wasn't started: {entry.why}")
        for follower in entry.job_ids:
            with Progress(f"{entry.pipeline} {follower[:8]}", as_json=as_json) as progress:
                status: JobStatus = client.wait(follower, progress=progress.show)
            if status.status != "completed":
                error = status.error
                raise known_error(error.code, error.detail) if error else Stopped(f"{follower} is {status.status}.")
            lines.append({"job_id": follower, "pipeline": entry.pipeline, "status": status.status})
            if folder is not None:
                into = folder / f"{entry.pipeline}-{follower[:8]}"
                client.download_results(follower, into)
                lines[-1]["folder"] = str(into)
            lines += see_followers(client, follower, folder, as_json=as_json)
    return lines


def _started(client: Client, job_id: str) -> list[FollowerReply]:
    """Return what follows a completed job, once that was started."""
    while True:
        then = client.job(job_id).then
        if not any(entry.status == "waiting" for entry in then):
            return then
        time.sleep(LOOK_S)
