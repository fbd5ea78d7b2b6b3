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
    tail: Annotated[str | None, typer.Option(help="What becomes of a shorter last clip: keep, merge, drop.")] = None,
    random: Annotated[
        str | None, typer.Option(metavar="MIN-MAX", help="Random lengths in seconds, as 10-30, instead of equal ones.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Repeats random lengths; told in the manifest.")] = None,
    at: Annotated[
        str | None,
        typer.Option(help="Cut where it is found: at scenes, in the silence, or the highlights alone, best first."),
    ] = None,
    cut: Annotated[
        list[str] | None,
        typer.Option(metavar="START-END", help="One clip, in seconds: 12.5-20, or 95- up to the end. May be repeated."),
    ] = None,
    text: Annotated[
        str | None, typer.Option(help="Text on every clip; {index}, {total}, {start}, {name} are filled in.")
    ] = None,
    vary: Annotated[
        bool, typer.Option("--vary", help="Vary the text, each clip its own: {Hello|Welcome} gives alternatives.")
    ] = False,
    texts: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, readable=True, help="A text for each clip: a file, one a line."),
    ] = None,
    text_from: Annotated[float | None, typer.Option(help="When the text comes up, seconds into the clip.")] = None,
    text_until: Annotated[float | None, typer.Option(help="When it goes, seconds into the clip.")] = None,
    position: Annotated[
        str | None, typer.Option(help="Where the text stands: top-left … center … bottom-right; bottom by default.")
    ] = None,
    size: Annotated[float | None, typer.Option(help="Font size in percent of the picture's height.")] = None,
    color: Annotated[str | None, typer.Option(help="Colour of the letters: #RRGGBB.")] = None,
    outline: Annotated[str | None, typer.Option(help="Colour of their outline: #RRGGBB, or none.")] = None,
    box: Annotated[str | None, typer.Option(help="Colour of a box behind the text: #RRGGBB, or none.")] = None,
    codec: Annotated[str | None, typer.Option(help="h264, h265, av1 or vp9; h264 by default.")] = None,
    width: Annotated[int | None, typer.Option(help="Width in pixels; the height follows.")] = None,
    height: Annotated[int | None, typer.Option(help="Height in pixels; the width follows.")] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Encode everything, also what could be copied bit by bit.")
    ] = False,
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

    Example: `reelmill clip film.mp4 --every 10 --text "Part {index} of {total}" --position bottom-right`

    Example: `reelmill clip film.mp4 --cut 12.5-20 --cut 95- --text "Summer 2026" --text-until 3`

    Example: `reelmill clip film.mp4 --at scenes`
    """
    cutting = {"duration_s": every, "tail": tail, "seed": seed, **read_cutting(random, cut, at)}
    look = {
        "text": text, "strategy": "base_vary" if vary else None,
        "position": position, "size_pct": size, "color": color, "from_s": text_from,
        "until_s": text_until, **read_texts(texts),
        "outline_color": outline, "box_color": box,
    }  # fmt: skip
    video = {"codec": codec, "width": width, "height": height, "rendering": "full" if full else None}
    wanted = gather_params(params, cutting=cutting, text=look, video=video)
    targets = folders_for(files, out)
    work = targets[0].parent
    work.mkdir(parents=True, exist_ok=True)
    mode = 0o666 & ~umask()
    code = Code.OK
    with tempfile.TemporaryDirectory(prefix=".reelmill-", dir=work) as data, own_platform(Path(data)) as app:
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


def gather_params(given: str | None, **options: dict[str, Any]) -> dict[str, Any]:
    """Return the pipeline's parameters: those of --params, and over them each part's options that were set.

    "none" as a colour is no colour. Raises ParamsInvalid when --params can't be read.
    """
    params = read_params(given) if given is not None else {}
    for part, values in options.items():
        chosen = {name: value for name, value in values.items() if value is not None}
        chosen |= {
            name: None
            for name, value in chosen.items()
            if name in ("outline_color", "box_color") and str(value).lower() == "none"
        }
        if chosen:
            before = params.get(part) or {}
            if not isinstance(before, dict):
                raise ParamsInvalid(f"{part}: it must be an object.")
            params[part] = {**before, **chosen}
    return params


def read_cutting(random: str | None, cuts: Sequence[str] | None, at: str | None = None) -> dict[str, Any]:
    """Return the parameters that --random, --cut and --at stand for. Raises ParamsInvalid."""
    if sum(map(bool, (random, cuts, at))) > 1:
        raise ParamsInvalid("--random, --cut and --at are ways of cutting: choose one.")
    if at:
        return {"kind": at}
    if random:
        least, most = _span(random, "--random", "10-30")
        return {"kind": "random", "min_s": least, "max_s": most}
    if cuts:
        spans = [_span(cut, "--cut", "12.5-20") for cut in cuts]
        return {"kind": "manual", "cuts": [{"start_s": start, "end_s": end} for start, end in spans]}
    return {}


def _span(given: str, option: str, example: str) -> tuple[float, float | None]:
    start, dash, end = given.partition("-")
    try:
        span = float(start), float(end) if end or option == "--random" else None
    except ValueError as error:
        raise ParamsInvalid(f"{option} is two numbers of seconds, like {example}, not {given!r}.") from error
    if not dash:
        raise ParamsInvalid(f"{option} is two numbers of seconds, like {example}, not {given!r}.")
    return span


def read_texts(path: Path | None) -> dict[str, Any]:
    """Return the parameters for a file with a text on each line; an empty line is a clip without text."""
    if path is None:
        return {}
    try:
        lines = path.read_text().splitlines()
    except (OSError, ValueError) as error:
        raise ParamsInvalid(f"{path} can't be read as text in UTF-8: {error}.") from error
    return {"strategy": "unique_for_all", "texts": [line.replace("\\n", "\n") or None for line in lines]}


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


def own_platform(data: Path) -> App:
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
    return wiring.build(settings.model_copy(update={"broker_url": None}))  # nobody else works in this folder


def umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
