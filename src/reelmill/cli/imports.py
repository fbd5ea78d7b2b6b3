"""`reelmill import-jobs`: ended jobs of an older system, from JSON into the database."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from reelmill.cli.options import Data, Json
from reelmill.cli.output import Code, counted, print_json, print_table, print_warnings
from reelmill.errors import RequestInvalid


def import_jobs(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A JSON array, an object for each job.")],
    tenant: Annotated[str, typer.Option(help="Whose jobs they become.")] = "default",
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Import ended jobs of an older system, directly into the database; they can be read like any other job.

    Read are job_id, status, created_at and, if there, completed_at, output_s3_keys, job_type, user_id, filename and
    error_message; all of it is kept in the job's parameters. Jobs that haven't ended are refused. Outputs that are in
    this server's storage under the same key can be downloaded. Importing again changes nothing.

    Example: `reelmill import-jobs jobs.json --tenant acme`
    """
    from dataclasses import asdict, replace

    from reelmill import logs, wiring
    from reelmill.api.access import TENANT
    from reelmill.jobs.importing import import_jobs as take
    from reelmill.jobs.model import OPERATOR
    from reelmill.settings import read_settings

    if not TENANT.fullmatch(tenant):
        raise RequestInvalid(f"The tenant {tenant!r} must be 1 to 64 letters, digits, '.', '_' or '-'.")
    try:
        entries = json.loads(file.read_text())
    except ValueError as error:
        raise RequestInvalid(f"{file} isn't JSON: {error}.") from error
    if not isinstance(entries, list):
        raise RequestInvalid(f"{file} must hold an array, with an object for each job.")
    settings = read_settings(data=data)
    logs.configure("warning", settings.log_format)
    wiring.upgrade(settings)
    store = wiring.open_store(settings.database)
    try:
        done = list(
            take(wiring.offered(wiring.keeping_of(store)), wiring.open_objects(settings, ""), entries, tenant=tenant)
        )
        new = [one.new_id for one in done if one.outcome == "imported"]
        by = replace(OPERATOR, tenant=tenant)
        wiring.access_of(store).audit(by, action="jobs.import", target=file.name[:255], data={"jobs": len(new)})
    finally:
        store.close_engine()
    refused = [one for one in done if one.outcome == "refused"]
    if as_json:
        print_json([asdict(one) for one in done])
    else:
        known = sum(one.outcome == "known" for one in done)
        print(f"{counted(len(new), 'job')} imported, {known} known already, {len(refused)} refused.")
        if refused:
            print_table(["JOB", "WHY NOT"], [[one.job_id, one.reason] for one in refused])
        print_warnings([f"{one.job_id}: {key} isn't in storage" for one in done for key in one.missing])
    raise typer.Exit(Code.FAILED if refused else Code.OK)
