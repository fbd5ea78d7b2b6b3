"""`reelmill texts`: variations of a text, by this installation's model or its local rules; and how one looks."""

from __future__ import annotations

import re
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reelmill.cli.options import DEFAULT_URL, Data, Json, Key, Url, connect
from reelmill.cli.output import counted, print_json, print_warnings, shown
from reelmill.errors import RequestInvalid

if TYPE_CHECKING:
    from reelmill.jobs.texts import Variations

app = typer.Typer(name="texts", no_args_is_help=True, help="Texts that stand on clips.")

DURATION = re.compile(r"(?:(?P<hours>\d+)h)?(?:(?P<minutes>\d+)m)?(?:(?P<seconds>\d+(?:\.\d+)?)s?)?")


@app.callback()
def texts() -> None:
    """Texts that stand on clips."""


@app.command()
def vary(
    text: Annotated[str, typer.Argument(help="The text; {Hello|Welcome} gives alternatives.")],
    n: Annotated[int, typer.Option("-n", "--count", min=1, max=500, help="How many.")] = 12,
    seconds: Annotated[
        str | None, typer.Option("--for", metavar="TIME", help="How long each is seen: 30s, 1m30s or 12.5.")
    ] = None,
    language: Annotated[str | None, typer.Option(help="Its language, as en; told from the text by default.")] = None,
    max_chars: Annotated[int, typer.Option(min=1, max=1000, help="Most characters of a text.")] = 200,
    required: Annotated[list[str] | None, typer.Option("--with", help="A word that each must have.")] = None,
    forbidden: Annotated[list[str] | None, typer.Option("--without", help="A word that none may have.")] = None,
    notes: Annotated[str | None, typer.Option(help="Background for the model.")] = None,
    made_by: Annotated[
        str, typer.Option("--by", help="auto; model, and an error where it fails; or local rules alone.")
    ] = "auto",
    variant: Annotated[int, typer.Option(min=0, help="Another number gives other texts of the model.")] = 0,
    as_json: Json = False,
) -> None:
    """Vary a text, and tell what it took: it checks key, model and rules by themselves.

    The texts go to standard output, one a line (\\n for a line break); cost and time to standard error.

    Example: `reelmill texts vary "Summer by the lake" -n 12 --for 30s`
    """
    from pydantic import ValidationError

    from reelmill import logs, wiring
    from reelmill.schemas import VariationsRequest
    from reelmill.settings import read_settings
    from reelmill.texts.request import wanted_of

    settings = read_settings()
    logs.configure("error", settings.log_format)
    try:
        request = VariationsRequest.model_validate(
            {
                "text": text, "n": n, "seconds": seconds_of(seconds), "language": language, "max_chars": max_chars,
                "required_words": required or [], "forbidden_words": forbidden or [], "notes": notes,
                "made_by": made_by, "variant": variant,
            }
        )  # fmt: skip
    except ValidationError as error:
        first = error.errors()[0]
        raise RequestInvalid(f"{'.'.join(map(str, first['loc']))}: {first['msg']}.") from error
    maker = wiring.open_texts(settings)
    try:
        made = maker.vary("default", wanted_of(request, has_model=maker.model_name is not None))
    finally:
        maker.close()
    if as_json:
        print_json(asdict(made))
        return
    for one in made.texts:
        print(shown(one.text.replace("\n", "\\n")))
    print_warnings(made.warnings)
    typer.secho(cost_of(made), dim=True, err=True)


@app.command()
def preview(
    of: Annotated[str, typer.Argument(metavar="FILE|VIDEO_ID", help="A video here, or the id of one on a server.")],
    text: Annotated[str, typer.Argument(help="The text; {index}, {total}, {start}, {name} are filled in.")],
    out: Annotated[Path, typer.Option("-o", "--out", dir_okay=False, help="The PNG to write.")],
    style: Annotated[
        str | None, typer.Option(help="A preset, as lower_third; or a text's parameters as JSON, or @FILE with them.")
    ] = None,
    aspect: Annotated[str | None, typer.Option(help="Cuts the picture: 9:16, 1:1, 4:5 or 16:9.")] = None,
    clip: Annotated[
        str | None, typer.Option(metavar="START-END", help="The clip, in seconds of the video; all of it by default.")
    ] = None,
    at: Annotated[
        float | None,
        typer.Option(min=0, help="The moment, seconds into the clip; when the text has come by default."),
    ] = None,
    url: Url = DEFAULT_URL,
    api_key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """See a text on a clip: the exact frame as a PNG, without a job. A FILE needs no server.

    Example: `reelmill texts preview film.mp4 "Summer by the lake" --style lower_third --aspect 9:16 -o frame.png`
    """
    from reelmill.cli.clip import read_cutting

    wanted: dict[str, Any] = {"style": style_of(style), "at_s": at}
    if aspect is not None:
        wanted["video"] = {"aspect": aspect}
    if clip is not None:
        wanted |= read_cutting(None, [clip])["cuts"][0]
    if Path(of).is_file():
        png, report = _preview_here(Path(of), text, wanted)
    else:
        with connect(url, api_key, data) as client:
            png, report = client.preview_text(of, text, **wanted)
    out.write_bytes(png)
    if as_json:
        print_json({"file": str(out), **report})
    else:
        print(f"{shown(str(out))}: {told_of(report)}")


def style_of(given: str | None) -> dict[str, Any]:
    """Return a text's parameters: a preset's name, JSON, or @FILE. Raises ParamsInvalid."""
    from reelmill.cli.clip import read_params

    if given is None:
        return {}
    return read_params(given) if given.lstrip().startswith(("{", "@")) else {"preset": given}


def told_of(report: dict[str, Any]) -> str:
    """Return what is told of a text, in a sentence."""
    if not report.get("lines"):
        return "no text is seen at this moment."
    told = f"{counted(len(report['lines']), 'line')} at {report['size_pct']:g} %"
    if report["contrast"] is not None:
        told += f", contrast {report['contrast']:g}:1"
    if report["added"]:
        told += (
            f" by {'a plate' if report['added'] == 'plate' else 'an outline'} (before {report['contrast_before']:g}:1)"
        )
    return f"{told}, {report['reading_cps']:g} characters a second."


def _preview_here(file: Path, text: str, wanted: dict[str, Any]) -> tuple[bytes, dict[str, Any]]:
    from reelmill import wiring
    from reelmill.media import probe
    from reelmill.pipelines.clips.preview import TextPreviews, preview_of
    from reelmill.schemas import TextPreviewRequest
    from reelmill.settings import read_settings

    settings = read_settings()
    asked = TextPreviewRequest.model_validate({"video_id": "file", "text": text, **wanted})
    of = preview_of(asked.model_dump(exclude={"video_id"}), lambda *_: None)
    with tempfile.TemporaryDirectory(prefix="reelmill-") as folder:
        source = probe(str(file.absolute()), scratch=Path(folder))
        previews = TextPreviews(wiring.toolbox(settings), Path(folder))
        made = previews.make(str(file.absolute()), source, "file", file.name, of, "default")
    return made.png, made.report


def seconds_of(given: str | None) -> float | None:
    """Return a time in seconds. Raises RequestInvalid."""
    if given is None:
        return None
    found = DURATION.fullmatch(given.strip())
    if not given.strip() or found is None:
        raise RequestInvalid(f"--for is a time like 30s, 1m30s or 12.5, not {given!r}.")
    hours, minutes, rest = (float(found[name] or 0) for name in ("hours", "minutes", "seconds"))
    return 3600 * hours + 60 * minutes + rest


def cost_of(made: Variations) -> str:
    """Return what texts cost, in a sentence."""
    sources = sorted({one.source for one in made.texts})
    told = f"{counted(len(made.texts), 'text')} by {', '.join(sources)} in {made.took_s:.1f} s"
    if made.model is None:
        return f"{told}; nothing was asked, it cost nothing."
    tokens = f"{made.tokens_in} tokens read and {made.tokens_out} written"
    price = "" if made.cost is None else f", cost {made.cost:.6f}".rstrip("0").rstrip(".")
    return f"{told}; {counted(made.requests, 'request')}, {tokens}{price}."
