"""`reelmill tenants`: what tenants may use, directly in the database."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated

import typer

from reelmill.cli.keys import rules
from reelmill.cli.options import Data, Json
from reelmill.cli.output import print_json, print_table, size_text
from reelmill.errors import RequestInvalid

app = typer.Typer(help="See and set what tenants may use.", no_args_is_help=True)

UNITS = {"": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30,
         "tib": 1 << 40}  # fmt: skip
DEFAULT = "default"


@app.command("list")
def list_(data: Data = None, as_json: Json = False) -> None:
    """List the tenants that have limits of their own; for all others the settings hold.

    Example: `reelmill tenants list`
    """
    with rules(data) as store:
        found = store.all_limits()
    if as_json:
        print_json([{"tenant": one.tenant, "bytes": one.quota_bytes, "jobs": one.quota_jobs} for one in found])
        return
    rows = [[one.tenant, _told(one.quota_bytes, size_text), _told(one.quota_jobs, str)] for one in found]
    print_table(["TENANT", "BYTES", "JOBS IN FLIGHT"], rows)


@app.command("set")
def set_(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The tenant, as its keys name it.")],
    size: Annotated[
        str | None,
        typer.Option("--bytes", help="Most bytes in storage, like 500GB or 2TiB; 0: no limit; default: the setting's."),
    ] = None,
    jobs: Annotated[
        str | None, typer.Option("--jobs", help="Most jobs in flight; 0: no limit; default: the setting's.")
    ] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Limit what one tenant stores and runs. What isn't named stays as it is; it holds from the next request on.

    Example: `reelmill tenants set acme --bytes 500GB --jobs 20`
    """
    from reelmill.api.access import TENANT
    from reelmill.jobs.model import TenantLimits

    if not TENANT.fullmatch(name):
        raise RequestInvalid(f"The tenant {name!r} must be 1 to 64 letters, digits, '.', '_' or '-'.")
    with rules(data) as store:
        before = store.limits(name)
        limits = store.set_limits(
            TenantLimits(
                name,
                quota_bytes=before.quota_bytes if size is None else read_size(size),
                quota_jobs=before.quota_jobs if jobs is None else read_count(jobs),
            )
        )
    if as_json:
        print_json({"tenant": name, "bytes": limits.quota_bytes, "jobs": limits.quota_jobs})
    else:
        print(f"{name}: {_told(limits.quota_bytes, size_text)} in storage, {_told(limits.quota_jobs, str)} in flight.")


def read_size(text: str) -> int | None:
    """Return bytes, None for the setting's. Raises RequestInvalid."""
    found = re.fullmatch(r"([0-9]{1,15})\s*([a-zA-Z]{0,3})", text)
    if text == DEFAULT:
        return None
    if found is None or found[2].lower() not in UNITS or int(found[1]) * UNITS[found[2].lower()] >= 1 << 63:
        raise RequestInvalid(f"--bytes {text!r} must be a whole number with an unit or none, like 500GB or 2TiB.")
    return int(found[1]) * UNITS[found[2].lower()]


def read_count(text: str) -> int | None:
    """Return a number of jobs, None for the setting's. Raises RequestInvalid."""
    if text == DEFAULT:
        return None
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise RequestInvalid(f"--jobs {text!r} must be a whole number, or default.")
    return int(text)


def _told(limit: int | None, words: Callable[[int], str]) -> str:
    if limit is None:
        return DEFAULT
    return words(limit) if limit else "no limit"
