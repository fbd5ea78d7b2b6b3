"""`reelmill upload`: send films to a server, whatever happens on the way; and take the results if wanted."""

from __future__ import annotations

import glob
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reelmill.cli.clip import folders_for, read_params
from reelmill.cli.following import Anew, Then, read_then, see_followers
from reelmill.cli.options import DEFAULT_URL, Data, Json, Key, Url, connect
from reelmill.cli.output import (
    Code,
    code_of,
    known_error,
    print_error,
    print_json,
    print_warnings,
    shown,
    size_text,
    told,
)
from reelmill.cli.progress import Progress
from reelmill.errors import ReelmillError, Refused, Stopped

if TYPE_CHECKING:
    from reelmill.client import Client, UploadProgress
    from reelmill.schemas import JobStatus

# What is taken out of a folder; a file that is named itself may be called anything.
SUFFIXES = frozenset(
    {
        ".3g2", ".3gp", ".asf", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mj2", ".mkv", ".mov", ".mp4",
        ".mpeg", ".mpg", ".mts", ".ogg", ".ogv", ".qt", ".ts", ".vob", ".webm", ".wmv",
    }
)  # fmt: skip
SPEED_S = 10.0  #: the speed shown is that of the last so many seconds


def upload(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH", help="Films, folders with films in them, or patterns like 'films/**/*.mp4'."),
    ],
    pipeline: Annotated[str | None, typer.Option(help="What to run on each: clips, …; nothing by default.")] = None,
    params: Annotated[str | None, typer.Option(help="The pipeline's parameters as JSON, or @FILE with them.")] = None,
    label: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="To find the videos by later. May be repeated.")
    ] = None,
    then: Then = None,
    no_reuse: Anew = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the jobs have ended, and what follows.")] = False,
    download: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", file_okay=False, help="Fetch the results too; of several films, each gets a folder in it."
        ),
    ] = None,
    parallel: Annotated[int, typer.Option(min=1, max=32, help="Parts of a large file that are sent at a time.")] = 4,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Begin anew, also where an earlier upload could be gone on with.")
    ] = False,
    url: Url = DEFAULT_URL,
    api_key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Upload films to a server, and run a pipeline on each.

    Large files go in parallel parts, each with its checksum. Broken connections and restarts of the server are put up
    with. After Ctrl-C, a kill or a power cut the same command goes on with what has arrived. One film that fails
    doesn't stop the others; the exit code is 0 only if all went well. With --json, each film (or its error) is a line.

    Example: `reelmill upload films/ --pipeline clips --params '{"cutting": {"duration_s": 10}}' --wait`

    Example: `reelmill upload 'films/**/*.mov' --label batch=monday --pipeline clips --download clips`

    Example: `reelmill upload film.mp4 --pipeline clips --then proxy --wait`
    """
    labels = read_labels(label or [])
    asked: dict[str, Any] = {"labels": labels, "pipeline": pipeline, "params": read_params(params) if params else None}
    asked |= {"then": read_then(then), "reuse": not no_reuse}
    if then and pipeline is None:
        raise Refused("--then needs a --pipeline: without one there is no job that it could follow.")
    if (wait or download) and pipeline is None:
        raise Refused("--wait and --download need a --pipeline: without one there is no job.")
    code = Code.OK
    films, skipped, wrong = find_films(paths)
    if skipped and not as_json:
        kinds = ", ".join(f"{count} × {suffix or 'no suffix'}" for suffix, count in sorted(skipped.items()))
        typer.echo(f"Skipped, by name no videos: {shown(kinds)}.", err=True)
    for given, error in wrong:
        code = max(code, _failed(given, error, as_json=as_json))
    sent: list[tuple[Path, dict[str, Any]]] = []
    with connect(url, api_key, data) as client:
        for film in films:
            try:
                sent.append((film, send(client, film, asked, parallel=parallel, fresh=fresh, as_json=as_json)))
            except (ReelmillError, OSError) as error:
                code = max(code, _failed(str(film), error, as_json=as_json))
            else:
                if not (wait or download):
                    _say(*sent[-1], as_json=as_json)
        if wait or download:
            folders = folders_for([film for film, _ in sent], download) if download else [None] * len(sent)
            for (film, line), folder in zip(sent, folders, strict=True):
                try:
                    see_through(client, film, line, folder, as_json=as_json)
                except (ReelmillError, OSError) as error:
                    code = max(code, _failed(str(film), error, as_json=as_json, **line))
                else:
                    _say(film, line, as_json=as_json)
    raise typer.Exit(code)


def send(
    client: Client, film: Path, asked: dict[str, Any], *, parallel: int, fresh: bool, as_json: bool
) -> dict[str, Any]:
    """Upload one film; return what is to be said of it. Raises what `Client.upload` raises."""
    with Progress(film.name, as_json=as_json) as progress:
        speed = Speed()

        def show(now: UploadProgress) -> None:
            progress.show(100 * now.sent_bytes / now.total_bytes, now.phase, speed.text(now))

        try:
            done = client.upload(film, **asked, parallel=parallel, progress=show, resume=not fresh)
        except (KeyboardInterrupt, SystemExit):
            if speed.moved:
                typer.echo(f"\n{shown(film)} hasn't arrived yet; the same command goes on with it.", err=True)
            raise
    return {
        "video_id": done.video_id,
        "job_id": done.job_id,
        "status": done.status,
        "size": done.size,
        "resumed_bytes": done.resumed_bytes,
    }


def see_through(client: Client, film: Path, line: dict[str, Any], folder: Path | None, *, as_json: bool) -> None:
    """Wait for a film's job, and fetch its results; add to `line` what came of it. Raises what the job failed with."""
    job_id = line["job_id"]
    try:
        with Progress(film.name, as_json=as_json) as progress:
            status: JobStatus = client.wait(job_id, progress=progress.show)
    except (KeyboardInterrupt, SystemExit):
        typer.echo(f"\nThe server goes on with it: `reelmill watch {job_id}`.", err=True)
        raise
    line["status"] = status.status
    if not as_json:
        print_warnings(status.warnings)
    if status.status != "completed":
        error = status.error
        raise known_error(error.code, error.detail) if error else Stopped(f"The job is {status.status}.")
    if folder is not None:
        with Progress(film.name, as_json=as_json) as progress:
            client.download_results(job_id, folder, got=lambda got, of: progress.show(100 * got / of, "downloading"))
        line["folder"] = str(folder)
    if followers := see_followers(client, job_id, folder, as_json=as_json):
        line["followers"] = followers


class Speed:
    """How fast an upload has been lately."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()
        self._phase = ""
        self.moved = False

    def text(self, now: UploadProgress) -> str:
        """Return the speed and the time left; nothing until there is something to say."""
        if now.phase != self._phase:
            self._seen.clear()
            self._phase = now.phase
        moment = time.monotonic()
        self._seen.append((moment, now.sent_bytes))
        while self._seen[0][0] < moment - SPEED_S:
            self._seen.popleft()
        self.moved |= now.phase == "sending"
        began, before = self._seen[0]
        if moment - began < 1 or now.sent_bytes <= before:
            return ""
        rate = (now.sent_bytes - before) / (moment - began)
        minutes, seconds = divmod(round((now.total_bytes - now.sent_bytes) / rate), 60)
        return f"{size_text(round(rate))}/s, {minutes}:{seconds:02} left"


# ── parts ─────────────────────────────────────────────────────────────────────────────────────


def find_films(paths: Iterable[str]) -> tuple[list[Path], Counter[str], list[tuple[str, ReelmillError]]]:
    """Return the films to send, each once; how many files were skipped, by suffix; and the paths that lead nowhere."""
    films: dict[Path, None] = {}
    skipped: Counter[str] = Counter()
    wrong: list[tuple[str, ReelmillError]] = []
    for given in paths:
        found = [Path(given)] if Path(given).exists() else [Path(path) for path in sorted(_matches(given))]
        if not found:
            wrong.append((given, Refused("There is no such file or folder, and as a pattern it matches none.")))
        for path in found:
            if not path.is_dir():
                films[path] = None
                continue
            inside = [file for file in sorted(path.rglob("*")) if file.is_file() and not _hidden(file, path)]
            good = [file for file in inside if file.suffix.lower() in SUFFIXES]
            skipped.update(file.suffix.lower() for file in inside if file.suffix.lower() not in SUFFIXES)
            if not good:
                wrong.append((given, Refused("There is no film in this folder; a file that is named itself is sent.")))
            films.update(dict.fromkeys(good))
    return list(films), skipped, wrong


def read_labels(given: Sequence[str]) -> dict[str, str]:
    """Raises Refused."""
    labels = dict(label.partition("=")[::2] for label in given)
    for label in given:
        if "=" not in label:
            raise Refused(f"--label is a name and a value, like batch=monday, not {label!r}.")
    return labels


def _matches(pattern: str) -> Iterator[str]:
    # Path.glob takes no absolute patterns.
    return glob.iglob(pattern, recursive=True) if glob.has_magic(pattern) else iter(())  # noqa: PTH207


def _hidden(file: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(folder).parts)


def _say(film: Path, line: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json({"file": str(film), **line}, compact=True)
        return
    before = f", {size_text(line['resumed_bytes'])} had arrived before" if line["resumed_bytes"] else ""
    job = f", job {line['job_id']} is {line['status']}" if line["job_id"] else ""
    into = f"; results in {shown(line['folder'])}" if "folder" in line else ""
    print(f"{shown(film)}: video {line['video_id']}{job}{into} ({size_text(line['size'])}{before})")
    for one in line.get("followers", ()):
        results = f"; results in {shown(one['folder'])}" if "folder" in one else ""
        print(f"  then {one['pipeline']}: job {one['job_id']} is {one['status']}{results}")


def _failed(given: str, error: Exception, *, as_json: bool, **line: Any) -> Code:
    """Tell of one film's error; return the exit code that it leads to."""
    if not isinstance(error, ReelmillError):
        error = Refused(f"{getattr(error, 'strerror', None) or error}.")
    print_error(error, as_json=as_json, about=given)
    if as_json:
        print_json({"file": given, **line, **told(error)}, compact=True)
    return code_of(error)
