"""`reelmill keys`: API keys, directly in the database, so that the first one can be made without a server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reelmill.cli.options import Data, Json
from reelmill.cli.output import print_json, print_table
from reelmill.errors import RequestInvalid

if TYPE_CHECKING:
    from pathlib import Path

    from reelmill.jobs.model import ApiKey
    from reelmill.jobs.ports import AccessStore, Rules

app = typer.Typer(help="Make, list, rotate and revoke API keys.", no_args_is_help=True)

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
LONGEST_OVERLAP_S = 604_800
DEFAULT_SCOPES = ["upload", "jobs:read", "jobs:write"]
KeyId = Annotated[str, typer.Argument(metavar="ID", help="The key's id, from `reelmill keys list`.")]


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="To tell the key from others; also the user that it acts for.")],
    scope: Annotated[
        list[str] | None,
        typer.Option(help="upload, jobs:read, jobs:write or admin; give it once for each. All but admin by default."),
    ] = None,
    tenant: Annotated[str, typer.Option(help="Whose videos and jobs it sees.")] = "default",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the key and nothing else.")] = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Make a key. It is shown once, now.

    Example: `reelmill keys create "web shop" --scope upload --scope jobs:read`
    """
    from reelmill.api.access import make_key

    with access(data) as store:
        secret, key = make_key(store, name, scope or DEFAULT_SCOPES, tenant=tenant)
    if as_json:
        print_json({**told(key), "key": secret})
    elif quiet:
        print(secret)
    else:
        print(secret)
        typer.secho(f"This is {key.name!r}, with {', '.join(key.scopes)}. It can't be shown again.", err=True)


@app.command("list")
def list_(data: Data = None, as_json: Json = False) -> None:
    """List the keys of all tenants, those that have stopped too.

    Example: `reelmill keys list`
    """
    with access(data) as store:
        keys = store.keys()
    if as_json:
        print_json([told(key) for key in keys])
        return
    head = ["ID", "NAME", "BEGINS", "SCOPES", "TENANT", "CREATED", "STATE"]
    rows = [
        [
            key.id,
            key.name,
            f"{key.prefix}…",
            ",".join(key.scopes),
            key.tenant,
            stamp(key.created_at),
            state(key),
        ]
        for key in keys
    ]
    print_table(head, rows)


@app.command()
def rotate(
    key_id: KeyId,
    overlap: Annotated[
        str, typer.Option(help="How long the old secret goes on: 90s, 15m, 1h, up to 7d; 0 stops it at once.")
    ] = "0",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the new key and nothing else.")] = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Give a key a successor with the same name, scopes, subject and tenant. The secret is shown once, now.

    Example: `reelmill keys rotate 4f9c2c0e-8f0f-4f0e-9d8c-5d2f5e1a7b11 --overlap 1h`
    """
    from reelmill.api.access import rotate as give_successor

    overlap_s = read_overlap(overlap)
    with access(data) as store:
        secret, key, old = give_successor(store, key_id, overlap_s)
    if as_json:
        print_json({**told(key), "key": secret, "replaces": told(old)})
    elif quiet:
        print(secret)
    else:
        print(secret)
        end = f"works until {stamp(old.revoked_at)}" if old.active and old.revoked_at else "has stopped"
        typer.secho(f"This is {key.name!r} from now on; the old key {end}. It can't be shown again.", err=True)


@app.command()
def revoke(
    key_id: KeyId,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Revoke a key, also one that was rotated: it stops working at once.

    Example: `reelmill keys revoke 4f9c2c0e-8f0f-4f0e-9d8c-5d2f5e1a7b11`
    """
    with access(data) as store:
        key = store.revoke_key(key_id)
    if as_json:
        print_json(told(key))
    else:
        print(f"{key.name!r} is revoked.")


@contextmanager
def access(data: Path | None) -> Iterator[AccessStore]:
    """Open the keys of the configured database; nothing is started."""
    from reelmill import logs, wiring
    from reelmill.settings import read_settings

    settings = read_settings(data=data)
    logs.configure("warning", settings.log_format)
    with wiring.open_access(settings) as keys:
        yield keys


@contextmanager
def rules(data: Path | None) -> Iterator[Rules]:
    """Open the switches and limits of the configured database. Raises NotOffered."""
    from reelmill import wiring

    with access(data) as keys:
        yield wiring.offered(wiring.rules_of(keys))


def told(key: ApiKey) -> dict[str, Any]:
    fields = "id name prefix scopes subject tenant active created_at revoked_at"
    values = {name: getattr(key, name) for name in fields.split()}
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in values.items()}


def state(key: ApiKey) -> str:
    if key.revoked_at is None:
        return "valid"
    return f"{'until' if key.active else 'revoked'} {stamp(key.revoked_at)}"


def read_overlap(text: str) -> int:
    """Return seconds. Raises RequestInvalid."""
    number, unit = (text[:-1], text[-1]) if text[-1:] in UNITS else (text, "s")
    if not re.fullmatch(r"[0-9]{1,6}", number) or int(number) * UNITS[unit] > LONGEST_OVERLAP_S:
        raise RequestInvalid(f"--overlap {text!r} must be a whole number of s, m, h or d, like 1h, and 7d at most.")
    return int(number) * UNITS[unit]


def stamp(moment: datetime) -> str:
    return moment.astimezone().strftime("%Y-%m-%d %H:%M")
