"""`reelmill clip`: the pipeline `clips` on local files, without a server. Same pipeline, same bytes."""

from __future__ import annotations

import json
import os
import queue
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reelmill.cli.options import Json
from reelmill.cli.output import (
    Code,
    code_of,
    counted,
    known_error,
    print_error,
    print_json,
    print_warnings,
    shown,
    told,
)
from reelmill.cli.progress import Progress
from reelmill.cli.results import MANIFEST, clear_earlier, sha256_of
from reelmill.errors import ParamsInvalid, ReelmillError, Stopped

if TYPE_CHECKING:
    from reelmill.jobs.model import Artifact, Job
    from reelmill.settings import Settings
    from reelmill.wiring import App


def clip(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE", exists=True, dir_okay=False, readable=True, help="The videos to cut."),
    ],
    every: Annotated[float | None, typer.Option(help="Length of a clip in seconds; 30 by default.")] = None,
    text: Annotated[str | None, typer.Option(help="Text on every clip; none by default.")] = None,
    position: Annotated[
        str | None, typer.Option(help="Where the text stands: top-left … center … bottom-right; bottom by default.")
    ] = None,
    size: Annotated[float | None, typer.Option(help="Font size in percent of the picture's height.")] = None,
    color: Annotated[str | None, typer.Option(help="Colour of the letters: #RRGGBB.")] = None,
    outline: Annotated[str | None, typer.Option(help="Colour of their outline: #RRGGBB, or none.")] = None,
    box: Annotated[str | None, typer.Option(help="Colour of a box behind the text: #RRGGBB, or none.")] = None,
    params: Annotated[
        str | None,
        typer.Option(help="All parameters as JSON, or @FILE with them; the options above win over it."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(file_okay=False, help="Folder for the clips; of several FILEs, each gets a folder in it."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Cut videos into clips, without a server.

    A text can stand on each. The cuts are exact to the frame. `NAME-clips` gets the clips, a thumbnail of each,
    manifest.json and contact-sheet.png. With --json, the manifest of each FILE (or its error) is one line.

    Example: `reelmill clip film.mp4 --every 10 --text "Summer 2026" --position bottom-right --box "#000000"`
    """
    wanted = gather_params(params, every, text, position, size, color, outline, box)
    targets = folders_for(files, out)
    work = targets[0].parent
    work.mkdir(parents=True, exist_ok=True)
    mode = 0o666 & ~_umask()
    code = Code.OK
    with tempfile.TemporaryDirectory(prefix=".reelmill-", dir=work) as data, _platform(Path(data)) as app:
        for file, target in zip(files, targets, strict=True):
            try:
                manifest = clip_one(app, file, target, wanted, mode, as_json=as_json)
            except ReelmillError as error:
                print_error(error, as_json=as_json, about=str(file))
                if as_json:
                    print_json({"file": str(file), **told(error)}, compact=True)
                code = max(code, code_of(error))
                continue
            if as_json:
                print_json({"file": str(file), "folder": str(target), **manifest}, compact=True)
            else:
                print(f"{counted(len(manifest['clips']), 'clip')} of {shown(file)} in {shown(target)}")
    raise typer.Exit(code)


def clip_one(app: App, file: Path, target: Path, params: dict[str, Any], mode: int, *, as_json: bool) -> dict[str, Any]:
    """Run the pipeline on one file and put the results into `target`; return the manifest.

    mode: permissions of the results. Raises what the job failed with.
    """
    from reelmill.client import content_type_of
    from reelmill.jobs.lifecycle import Status
    from reelmill.jobs.service import Caller

    with Progress(file.name, as_json=as_json) as progress:
        progress.show(0, "Reading the file")
        caller, content_type, sha256 = Caller(), content_type_of(file), sha256_of(file)
        begun = app.service.initiate(
            caller,
            filename=file.name,
            size_bytes=file.stat().st_size,
            content_type=content_type,
            sha256=sha256,
            pipeline="clips",
            params=params,
        )
        assert begun.job is not None, "a pipeline was named"
        # Storing may move a file. What is moved here is a link: the user's file stays where and what it is.
        link = app.settings.data / "source"
        link.unlink(missing_ok=True)
        link.symlink_to(file.resolve())
        app.objects.put_file(begun.video.key, link, content_type=content_type, sha256=sha256)
        app.service.complete(caller, begun.video.id)
        job = wait(app, begun.job.id, progress)
    app.objects.delete(begun.video.key)
    if job.status is not Status.COMPLETED:
        raise known_error(job.error_code, job.error_detail) if job.error_code else Stopped(f"The job is {job.status}.")
    if not as_json:
        print_warnings(job.warnings)
    return take_out(app, app.store.artifacts(job.id), target, mode)


def wait(app: App, job_id: str, progress: Progress) -> Job:
    """Show a job's progress until it has ended; return it."""
    from reelmill.jobs.lifecycle import ENDED

    news: queue.SimpleQueue[Job] = queue.SimpleQueue()
    with app.feed.follow(job_id, 0, lambda _, job: news.put(job)):
        while True:
            job = news.get()
            progress.show(job.progress_pct, job.message)
            if job.status in ENDED:
                return job


def take_out(app: App, artifacts: Sequence[Artifact], target: Path, mode: int) -> dict[str, Any]:
    """Move the artifacts out of the store into a folder; return the manifest."""
    target.mkdir(parents=True, exist_ok=True)
    clear_earlier(target, {artifact.name for artifact in artifacts})
    # The manifest last: where it stands, everything that it names stands too.
    for artifact in sorted(artifacts, key=lambda artifact: artifact.name == MANIFEST):
        path = target / artifact.name
        located = app.objects.locate(artifact.key)
        assert isinstance(located, Path), "the store of this command is a folder"
        shutil.move(located, path)
        path.chmod(mode)
    manifest: dict[str, Any] = json.loads((target / MANIFEST).read_text())
    return manifest


# ── parts ─────────────────────────────────────────────────────────────────────────────────────


def gather_params(
    given: str | None,
    every: float | None,
    text: str | None,
    position: str | None,
    size: float | None,
    color: str | None,
    outline: str | None,
    box: str | None,
) -> dict[str, Any]:
    """Return the pipeline's parameters from the options. Raises ParamsInvalid when --params can't be read."""
    params = read_params(given) if given is not None else {}
    cutting = {"duration_s": every}
    style: dict[str, Any] = {"text": text, "position": position, "size_pct": size, "color": color}
    for part, values in (("cutting", cutting), ("text", style)):
        chosen = {name: value for name, value in values.items() if value is not None}
        if part == "text":
            colors = {"outline_color": outline, "box_color": box}
            chosen |= {name: None if c.lower() == "none" else c for name, c in colors.items() if c is not None}
        if chosen:
            before = params.get(part) or {}
            if not isinstance(before, dict):
                raise ParamsInvalid(f"{part}: it must be an object.")
            params[part] = {**before, **chosen}
    return params


def read_params(given: str) -> dict[str, Any]:
    """Return `JSON` or the JSON in `@FILE`. Raises ParamsInvalid."""
    try:
        params = json.loads(Path(given[1:]).read_text() if given.startswith("@") else given)
    except (OSError, ValueError) as error:
        raise ParamsInvalid(f"--params can't be read: {error}.") from error
    if not isinstance(params, dict):
        raise ParamsInvalid('--params must be an object, like {"cutting": {"duration_s": 10}}.')
    return params


def folders_for(files: Sequence[Path], out: Path | None) -> list[Path]:
    """Return a folder for each file's results; files of the same name get different ones."""
    if out is not None and len(files) == 1:
        return [out]
    folders: list[Path] = []
    for file in files:
        wanted = (out or Path()) / (file.stem if out else f"{file.stem}-clips")
        folder, n = wanted, 1
        while folder in folders:
            n += 1
            folder = wanted.with_name(f"{wanted.name}-{n}")
        folders.append(folder)
    return folders


def _platform(data: Path) -> App:
    """Return a platform of our own in a folder that is removed afterwards."""
    from reelmill import logs, wiring
    from reelmill.settings import read_settings

    data = data.resolve()
    settings: Settings = read_settings(
        data=data,
        database_url=f"sqlite:///{data / 'reelmill.db'}",
        storage_url=f"file://{data / 'objects'}",
        grace_s=0.0,  # Ctrl-C ends it now
    )
    logs.configure(settings.log_level if "log_level" in settings.model_fields_set else "error", settings.log_format)
    return wiring.build(settings)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
