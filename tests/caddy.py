"""A real reverse proxy with TLS in front of a server: Caddy, with a certificate of its own making."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

CADDY = Path(sys.executable).with_name("caddy")

CADDYFILE = """
{{
	admin off
	local_certs
	skip_install_trust
	auto_https disable_redirects
	persist_config off
	storage file_system {store}
	servers {{
		protocols h1 h2
	}}
}}
https://localhost:{port} {{
	bind fd/{fd}
	tls internal
	{how} /reelmill/* {{
		reverse_proxy {upstream}
	}}
	respond 404
}}
"""


@dataclass(frozen=True)
class Door:
    """A port that is listened on already, and the address by which clients come to it."""

    listener: socket.socket
    url: str


@contextmanager
def door() -> Iterator[Door]:
    """Take a port for the proxy before anything knows where it will be."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield Door(listener, f"https://localhost:{listener.getsockname()[1]}/reelmill")


@contextmanager
def proxy(folder: Path, there: Door, upstream: str, *, strips: bool) -> Iterator[ssl.SSLContext]:
    """Pass `/reelmill/…` on to the upstream, with the prefix or without it; yield what trusts the certificate."""
    assert CADDY.is_file(), f"{CADDY} is missing: run `make setup`"
    fd = there.listener.fileno()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    text = CADDYFILE.format(
        store=folder / "store",
        port=there.listener.getsockname()[1],
        fd=fd,
        how="handle_path" if strips else "handle",
        upstream=upstream,
    )
    (folder / "Caddyfile").write_text(text)
    with (folder / "caddy.log").open("wb") as log:
        process = subprocess.Popen(
            [str(CADDY), "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"],
            pass_fds=[fd], stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            env={"HOME": str(folder), "PATH": "/usr/bin:/bin"},
        )  # fmt: skip
    try:
        yield _trusted(folder, process, there.url)
    finally:
        process.terminate()
        process.wait(30)


def root_of(folder: Path) -> Path:
    """Return the proxy's own root certificate."""
    return folder / "store/pki/authorities/local/root.crt"


def _trusted(folder: Path, process: subprocess.Popen[bytes], url: str) -> ssl.SSLContext:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, (folder / "caddy.log").read_text()
        try:
            context = ssl.create_default_context(cafile=str(root_of(folder)))
            httpx2.get(f"{url}/healthz", verify=context, trust_env=False, timeout=10)
        except (OSError, httpx2.TransportError):
            time.sleep(0.05)
        else:
            return context
    raise AssertionError(f"the proxy didn't start: {(folder / 'caddy.log').read_text()}")
