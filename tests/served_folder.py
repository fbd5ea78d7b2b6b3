"""A folder store with its signed URLs served, by themselves, on a port of loopback."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from reelmill.api.objects import router
from reelmill.errors import ReelmillError
from reelmill.objects.folder import FolderStore

SECRET = bytes(range(32))


async def show(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ReelmillError)
    return JSONResponse({"code": error.code, "detail": error.detail}, error.status_code)


@contextlib.contextmanager
def serve(root: Path) -> Iterator[FolderStore]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        base = f"http://127.0.0.1:{sock.getsockname()[1]}/api"
        store = FolderStore(root, secret=SECRET, base_url=lambda: base)
        app = FastAPI(max_body_size=1000)  # the limit for API requests must not touch uploads
        app.add_exception_handler(ReelmillError, show)
        app.include_router(router(store), prefix="/api")
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield store
        finally:
            server.should_exit = True
            thread.join()
