"""A file that is a request's body: written to disk as it comes, never held in memory."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from fastapi import Request

from reelmill.errors import RequestTooLarge


@dataclass(frozen=True, slots=True)
class Received:
    """A body in a file, there as long as its request is answered."""

    path: Path
    size_bytes: int
    sha256: str


@asynccontextmanager
async def receiving(request: Request, scratch: Path, most_bytes: int) -> AsyncIterator[Received]:
    """Take a request's body. Raises RequestTooLarge as soon as more has come."""
    refused = RequestTooLarge(f"The file has more than {most_bytes:,} bytes.")
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > most_bytes:
        raise refused
    scratch.mkdir(parents=True, exist_ok=True)
    # By this name, the folder of a process that died is found: see `jobs.scratch`.
    folder = Path(tempfile.mkdtemp(prefix=f"{socket.gethostname()}-{os.getpid()}-received-", dir=scratch))
    try:
        digest, size = hashlib.sha256(), 0
        with (folder / "body").open("wb") as file:
            async for chunk in request.stream():
                size += len(chunk)
                if size > most_bytes:
                    raise refused
                digest.update(chunk)
                file.write(chunk)
        yield Received(folder / "body", size, digest.hexdigest())
    finally:
        shutil.rmtree(folder, ignore_errors=True)
