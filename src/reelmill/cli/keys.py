"""`reelmill keys`: API keys, directly in the database, so that the first one can be made without a server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reelmill.cli.options import Data, Json
from reelmill.cli.output import print_json, print_table

if TYPE_CHECKING:
    from pathlib import Path

    from reelmill.jobs.model import ApiKey
    from reelmill.jobs.ports import AccessStore

app = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True)

DEFAULT_SCOPES = ["upload", "jobs:read", "jobs:write"]


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
    """List the keys, revoked ones too.

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
            f"revoked {stamp(key.revoked_at)}" if key.revoked_at else "valid",
        ]
        for key in keys
    ]
    print_table(head, rows)


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id, from `reelmill keys list`.")],
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Revoke a key: it stops working at once.

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
    keys = wiring.open_access(settings)
    try:
        yield keys
    finally:
        keys.engine.dispose()


def told(key: ApiKey) -> dict[str, Any]:
    fields = "id name prefix scopes subject tenant created_at revoked_at"
    values = {name: getattr(key, name) for name in fields.split()}
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in values.items()}


def stamp(moment: datetime) -> str:
    return moment.astimezone().strftime("%Y-%m-%d %H:%M")
