"""Health: is the process alive, and can it do its work?"""

from __future__ import annotations

import hashlib
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import structlog
from fastapi import APIRouter, Request, Response

from reelmill import __version__
from reelmill.jobs.feed import Feed
from reelmill.jobs.runner import Runner
from reelmill.jobs.sweeper import Sweeper
from reelmill.schemas import CheckReply, HealthReply, ReadyReply
from reelmill.stores import migrate
from reelmill.wiring import App

log: structlog.stdlib.BoundLogger = structlog.get_logger("reelmill.health")

router = APIRouter(tags=["health"])

FRESH_S = 2.0  #: a verdict is good for so long: nobody can wear the disk out by asking


@router.get("/healthz")
async def healthz() -> HealthReply:
    """Tell that the process answers."""
    return HealthReply(version=__version__)


@router.get("/readyz", responses={503: {"model": ReadyReply, "description": "At least one check failed."}})
def readyz(request: Request, response: Response) -> ReadyReply:
    """Tell whether database, schema, storage and workers do their work."""
    readiness: Readiness = request.app.state.readiness
    verdict = readiness.verdict()
    if not verdict.ready:
        response.status_code = 503
    return verdict


class Readiness:
    """The last verdict, and a lock so that many askers cause one examination."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._guard = threading.Lock()
        self._last: tuple[float, ReadyReply] | None = None

    def verdict(self) -> ReadyReply:
        with self._guard:
            if self._last is None or time.monotonic() - self._last[0] > FRESH_S:
                self._last = (time.monotonic(), examine(self._app))
            return self._last[1]


def examine(app: App) -> ReadyReply:
    """Try everything that a job needs."""
    checks = {
        "database": _try(lambda: _database(app)),
        "schema": _try(lambda: _schema(app)),
        "storage": _try(lambda: _storage(app)),
        "workers": _try(lambda: _workers(app)),
    }
    return ReadyReply(ready=all(check.ok for check in checks.values()), checks=checks)


def _try(check: Callable[[], str]) -> CheckReply:
    try:
        return CheckReply(ok=True, detail=check())
    except Exception as error:  # whatever it is, it means "not ready"; the log has the words
        log.warning("not ready", error=type(error).__name__, detail=str(error))
        return CheckReply(ok=False, detail=type(error).__name__)


def _database(app: App) -> str:
    app.store.jobs_by_id([str(uuid.UUID(int=0))])
    return "answers"


def _schema(app: App) -> str:
    there, needed = migrate.current(app.settings.database), migrate.head()
    if there != needed:
        raise RuntimeError(
            f"the schema is at {there}, this version needs {needed}: restart the server, it upgrades at start"
        )
    return f"at {there}"


def _storage(app: App) -> str:
    key = f"health/{uuid.uuid4()}"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "probe"
        path.write_bytes(b"ready?")
        app.objects.put_file(
            key, path, content_type="application/octet-stream", sha256=hashlib.sha256(b"ready?").hexdigest()
        )
    app.objects.delete(key)
    return "writable"


def _workers(app: App) -> str:
    parts: dict[str, Runner | Sweeper | Feed] = {"workers": app.runner, "sweeper": app.sweeper, "feed": app.feed}
    dead = [name for name, part in parts.items() if not part.alive()]
    if dead:
        raise RuntimeError(f"not at work: {', '.join(dead)}")
    return f"{app.settings.workers} alive"
