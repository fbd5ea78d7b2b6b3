"""`reelmill texts`: variations of a text, by this installation's model or its local rules; no server is needed."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from reelmill.cli.options import Json
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
