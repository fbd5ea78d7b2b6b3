"""Options that several commands share, and the way from them to a client."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

if TYPE_CHECKING:
    from reelmill.client import Client

LOCAL_KEY_FILE = "cli.key"
DEFAULT_URL = "http://127.0.0.1:8000"

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]
Url = Annotated[str, typer.Option("--url", envvar="REELMILL_URL", help="The server's address.")]
Key = Annotated[
    str | None,
    typer.Option(
        "--api-key",
        envvar="REELMILL_API_KEY",
        help="An API key. Without one, a server on this machine is asked with the key in its data folder.",
    ),
]
Data = Annotated[
    Path | None,
    typer.Option("--data", help="The server's data folder (REELMILL_DATA; `reelmill-data` by default)."),
]


def connect(url: str, api_key: str | None, data: Path | None = None) -> Client:
    """Return a client for the server; on this machine it may use the data folder's own key."""
    from reelmill.client import Client

    return Client(url, api_key or (local_key(data) if is_loopback(urlsplit(url).hostname or "") else None))


def local_key(data: Path | None) -> str | None:
    """Return the key that `serve` left for this machine's user; None when there is none that we may read."""
    from reelmill.settings import read_settings

    try:
        return (read_settings(data=data).data / LOCAL_KEY_FILE).read_text().strip() or None
    except OSError:
        return None


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address is this machine's own."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
