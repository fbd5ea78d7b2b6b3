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


ACCELERATED = """
{{
	admin off
	auto_https off
	persist_config off
	storage file_system {store}
	servers {{
		protocols h1
	}}
}}
http://127.0.0.1:{port} {{
	bind fd/{fd}
	reverse_proxy {upstream} {{
		@file header X-Accel-Redirect *
		handle_response @file {{
			root * {files}
			rewrite * {{rp.header.X-Accel-Redirect}}
			uri strip_prefix {accel}
			copy_response_headers {{
				exclude X-Accel-Redirect Content-Length Etag Last-Modified
			}}
			file_server
		}}
	}}
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
    how = "handle_path" if strips else "handle"
    with _running(folder, there, CADDYFILE, how=how, upstream=upstream) as process:
        yield _trusted(folder, process, there.url)


@contextmanager
def accelerator(folder: Path, upstream: str, *, files: Path, accel: str) -> Iterator[str]:
    """Pass all on to the upstream, and send the files below `accel` by itself when told to; yield its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with _running(folder, Door(listener, url), ACCELERATED, upstream=upstream, files=files, accel=accel) as process:
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                assert process.poll() is None, (folder / "caddy.log").read_text()
                try:
                    httpx2.get(f"{url}/healthz", trust_env=False, timeout=10)
                except httpx2.TransportError:
                    time.sleep(0.05)
                else:
                    yield url
                    return
            raise AssertionError(f"the proxy didn't start: {(folder / 'caddy.log').read_text()}")


@contextmanager
def _running(folder: Path, there: Door, caddyfile: str, **words: object) -> Iterator[subprocess.Popen[bytes]]:
    assert CADDY.is_file(), f"{CADDY} is missing: run `make setup`"
    fd = there.listener.fileno()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    text = caddyfile.format(store=folder / "store", port=there.listener.getsockname()[1], fd=fd, **words)
    (folder / "Caddyfile").write_text(text)
    with (folder / "caddy.log").open("wb") as log:
        process = subprocess.Popen(
            [str(CADDY), "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"],
            pass_fds=[fd], stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            env={"HOME": str(folder), "PATH": "/usr/bin:/bin"},
        )  # fmt: skip
    try:
        yield process
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
