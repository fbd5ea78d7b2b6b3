"""`reelmill database`: the database that the settings name, made ready without a server."""

from __future__ import annotations

import typer

from reelmill.cli.options import Data

app = typer.Typer(help="Make the configured database ready.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Commands on the configured database."""


@app.command()
def create(data: Data = None) -> None:
    """Make what the configured database lacks: a DynamoDB table, or the newest schema of a SQL database.

    Repeatable. A server makes its SQL schema by itself at start; a DynamoDB table is made by this command or Terraform.
    The database is that of `REELMILL_DATABASE_URL`, like `dynamodb://reelmill?region=eu-central-1`.

    Example: `reelmill database create`
    """
    from reelmill import wiring
    from reelmill.settings import read_settings

    settings = read_settings(data=data)
    if not wiring.is_dynamo(settings.database):
        wiring.upgrade(settings)
        print("The schema is up to date.")
        return
    with wiring.open_table(settings.database) as table:
        made = table.create()
        print(f"The table {table.place.table} {'was made' if made else 'is there'}, with its keys and indexes.")
