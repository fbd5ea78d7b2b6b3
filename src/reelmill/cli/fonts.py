"""`reelmill fonts`: the fonts that texts may name on a server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reelmill.cli.jobs import stamp
from reelmill.cli.options import DEFAULT_URL, Data, Json, Key, Url, connect
from reelmill.cli.output import print_json, print_table, shown, size_text
from reelmill.errors import NotFound

app = typer.Typer(help="See to a server's fonts.", no_args_is_help=True)


@app.command()
def add(
    file: Annotated[Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, help="A .ttf or .otf file.")],
    name: Annotated[str | None, typer.Option(help="What texts call it by; the font's own name by default.")] = None,
    url: Url = DEFAULT_URL,
    api_key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Upload a font, so that texts may name it. It is looked at first; one that forbids embedding is refused.

    Example: `reelmill fonts add AcmeSans-Bold.otf --name "Acme Bold"`
    """
    with connect(url, api_key, data) as client:
        made = client.add_font(file, name)
    if as_json:
        print_json(made.model_dump(mode="json"))
    else:
        print(f'{shown(made.name)} is there: texts name it as "font": "{shown(made.name)}".')


@app.command("list")
def list_(url: Url = DEFAULT_URL, api_key: Key = None, data: Data = None, as_json: Json = False) -> None:
    """List the fonts that texts may name: uploaded ones, and those of the server's folder.

    Example: `reelmill fonts list`
    """
    with connect(url, api_key, data) as client:
        fonts = client.fonts()
    if as_json:
        print_json([font.model_dump(mode="json") for font in fonts])
        return
    rows = [
        [font.name, font.family, size_text(font.size_bytes) if font.size_bytes else "",
         stamp(font.created_at) if font.created_at else "in the server's folder"]
        for font in fonts
    ]  # fmt: skip
    print_table(["NAME", "FAMILY", "SIZE", "UPLOADED"], rows)


@app.command()
def remove(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name, or the id, of an uploaded font.")],
    url: Url = DEFAULT_URL,
    api_key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Remove an uploaded font. It is refused as long as jobs that haven't ended need it.

    Example: `reelmill fonts remove "Acme Bold"`
    """
    with connect(url, api_key, data) as client:
        font_id = next((font.id for font in client.fonts() if font.id and name in (font.id, font.name)), None)
        if font_id is None:
            raise NotFound(f"There is no uploaded font {name!r}.")
        gone = client.remove_font(font_id)
    if as_json:
        print_json(gone.model_dump(mode="json"))
    else:
        print(f"{shown(gone.name)} is removed.")
