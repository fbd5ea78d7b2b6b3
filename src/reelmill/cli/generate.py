"""`reelmill generate`: a film out of a script, without a server. Same pipeline, same bytes."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from reelmill.cli.clip import own_platform, read_params, take_out, umask, wait
from reelmill.cli.options import Json
from reelmill.cli.output import counted, known_error, print_json, print_warnings, shown
from reelmill.cli.progress import Progress
from reelmill.errors import ParamsInvalid, Stopped

SUPPORT = ("scene", "narration")  #: kinds that are only for making the film


def generate(
    script: Annotated[
        Path | None,
        typer.Argument(
            metavar="SCRIPT",
            exists=True,
            dir_okay=False,
            readable=True,
            help="A plain text, or a script.json that an earlier run has left.",
        ),
    ] = None,
    topic: Annotated[str | None, typer.Option(help="What a text model shall write about, instead of a SCRIPT.")] = None,
    aspect: Annotated[str | None, typer.Option(help="16:9, 9:16 or 1:1; 16:9 by default.")] = None,
    quality: Annotated[
        list[str] | None, typer.Option(help="360p, 480p, 720p or 1080p; may be repeated. 720p and 1080p by default.")
    ] = None,
    voice: Annotated[str | None, typer.Option(help="A voice that the engine in REELMILL_VOICE knows.")] = None,
    captions: Annotated[str | None, typer.Option(help="both, burnt, webvtt or none; both by default.")] = None,
    transition: Annotated[
        str | None, typer.Option(help="fade, dissolve, wipeleft, slideleft …, or none for cuts.")
    ] = None,
    params: Annotated[
        str | None,
        typer.Option(help="All parameters as JSON, or @FILE with them; the options above win over it."),
    ] = None,
    keep_scenes: Annotated[
        bool, typer.Option("--keep-scenes", help="Keep each scene's files and narration too.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print the scenes, with about their lengths.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(file_okay=False, help="Folder for the film; SCRIPT-film by default.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a film out of a script, without a server.

    Each paragraph becomes a scene that is spoken and captioned; a line that begins with # stands large on the scene
    after it. The folder gets the film in each size, poster.jpg, captions.vtt, manifest.json and script.json, which can
    be edited and given again.

    Example: `reelmill generate script.txt --aspect 9:16 --quality 720p --out film`
    """
    wanted = _wanted(script, params)
    given = {
        "topic": topic, "aspect": aspect, "quality_levels": quality or None, "voice": voice, "captions": captions,
        "transition": transition,
    }  # fmt: skip
    wanted |= {name: value for name, value in given.items() if value is not None}
    target = out or Path(f"{script.stem if script else 'generated'}-film")
    target.parent.mkdir(parents=True, exist_ok=True)
    from reelmill.jobs.lifecycle import Status
    from reelmill.jobs.service import Caller

    caller = Caller()
    with tempfile.TemporaryDirectory(prefix=".reelmill-", dir=target.parent) as data, own_platform(Path(data)) as app:
        if dry_run:
            _print_plan(dict(app.service.plan_generation(caller, "generate", wanted)), as_json=as_json)
            return
        with Progress(target.name, as_json=as_json) as progress:
            job = wait(app, app.service.generate(caller, wanted).id, progress)
        if job.status is not Status.COMPLETED:
            if job.error_code is None:
                raise Stopped(f"The job is {job.status}.")
            raise known_error(job.error_code, job.error_detail)
        artifacts = [made for made in app.store.artifacts(job.id) if keep_scenes or made.kind not in SUPPORT]
        manifest = take_out(app, artifacts, target, 0o666 & ~umask())
    if as_json:
        print_json({"folder": str(target), **manifest})
        return
    print_warnings(job.warnings)
    sizes = ", ".join(film["quality"] for film in manifest["renditions"])
    print(f"{counted(len(manifest['scenes']), 'scene')}, {manifest['duration_s']:.1f} s, {sizes} in {shown(target)}")


def _wanted(script: Path | None, params: str | None) -> dict[str, Any]:
    """Return the parameters that a script and --params are. Raises ParamsInvalid."""
    wanted = read_params(params) if params is not None else {}
    if script is None:
        return wanted
    try:
        text = script.read_text()
        if script.suffix.lower() != ".json":
            return wanted | {"script": text}
        told = json.loads(text)
    except ValueError as error:
        raise ParamsInvalid(f"{script} can't be read: {error}.") from error
    if not isinstance(told, dict):
        raise ParamsInvalid(f"{script} isn't a script.json: it must be an object.")
    return told | wanted


def _print_plan(plan: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(plan)
        return
    for number, scene in enumerate(plan["scenes"], 1):
        words = scene["text"] or scene["narration"] or scene["background"]["kind"]
        print(f"{number:3}. about {scene['estimated_s']:5.1f} s  {words[:70]}")
    if plan["estimated_duration_s"] is not None:
        print(f"About {plan['estimated_duration_s']:.0f} s in {counted(plan['scene_count'], 'scene')}.")
