"""Health: is the process alive, and can it do its work? The checks are those of `reelmill doctor`, the cheap ones."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import Future

import structlog
from fastapi import APIRouter, Request, Response

from reelmill import __version__
from reelmill.doctor import broker, database, machine, storage
from reelmill.doctor.findings import Check, Examiner, Finding, Level, failed, ok
from reelmill.errors import InternalError
from reelmill.schemas import CheckReply, HealthReply, ReadyReply
from reelmill.wiring import App

log: structlog.typing.FilteringBoundLogger = structlog.get_logger("reelmill.health")

router = APIRouter(tags=["health"])

FRESH_S = 3.0  #: a verdict is good for so long: nobody can wear the disk out by asking
LIMIT_S = 5.0  #: a check that has said nothing for so long has failed


@router.get("/healthz")
async def healthz() -> HealthReply:
    """Tell that the process answers."""
    return HealthReply(version=__version__)


@router.get("/readyz", responses={503: {"model": ReadyReply, "description": "At least one check failed."}})
async def readyz(request: Request, response: Response) -> ReadyReply:
    """Tell whether database, schema, storage, disk and workers do their work."""
    readiness: Readiness = request.app.state.readiness
    verdict = await readiness.verdict()
    if not verdict.ready:
        response.status_code = 503
    return verdict


class Readiness:
    """The last verdict. Many askers cause one examination, in a thread of its own, and wait for it."""

    def __init__(self, app: App) -> None:
        self._examiner = Examiner(checks(app))
        self._guard = threading.Lock()
        self._verdict: Future[ReadyReply] | None = None
        self._ended_at = 0.0

    async def verdict(self) -> ReadyReply:
        with self._guard:
            verdict = self._verdict
            if verdict is None or (verdict.done() and time.monotonic() - self._ended_at > FRESH_S):
                verdict = self._verdict = Future()
                threading.Thread(target=self._examine, args=(verdict,), name="readiness", daemon=True).start()
        return await asyncio.shield(asyncio.wrap_future(verdict))  # one asker who leaves doesn't end it for the others

    def _examine(self, verdict: Future[ReadyReply]) -> None:
        try:
            verdict.set_result(self._examined())
        except BaseException as problem:  # or its askers would wait for ever
            verdict.set_exception(problem)

    def _examined(self) -> ReadyReply:
        findings = self._examiner.examine()
        for finding in findings:
            if finding.problem is not None:
                log.warning("not ready", check=finding.name, code=finding.problem.code, detail=finding.detail)
        self._ended_at = time.monotonic()
        ready = all(finding.level in (Level.OK, Level.WARNING) for finding in findings)
        return ReadyReply(ready=ready, checks={one.name: _told(one) for one in findings})


def checks(app: App) -> list[Check]:
    """Return what is cheap enough to be asked every few seconds."""
    settings = app.settings
    reserve = settings.disk_reserve_mb << 20
    return [
        Check(name="database", title="database", look=lambda: database.answers(app.store), limit_s=LIMIT_S),
        Check(name="schema", title="migrations", look=lambda: database.schema(settings.database), limit_s=LIMIT_S),
        Check(name="storage", title="storage", look=lambda: storage.works(app.objects), limit_s=LIMIT_S),
        Check(
            name="disk", title="disk", look=lambda: machine.disk(settings.written, least_bytes=reserve), limit_s=LIMIT_S
        ),
        Check(name="workers", title="workers", look=lambda: _workers(app), limit_s=LIMIT_S),
        *([Check(name="broker", title="broker", look=lambda: broker.slows(settings))] if settings.broker_url else []),
    ]


def _workers(app: App) -> Finding:
    if dead := app.dead():
        return failed(InternalError(f"not at work: {', '.join(dead)}"))
    if app.runner.silent_s() > 2 * app.settings.heartbeat_s + LIMIT_S:
        return failed(InternalError("its workers' heartbeat doesn't reach the database"))
    return ok(f"{app.settings.workers} alive")


def _told(finding: Finding) -> CheckReply:
    """Return a finding as anybody may read it: paths and addresses stay in the log."""
    problem = finding.problem
    return CheckReply(
        ok=finding.level in (Level.OK, Level.WARNING),
        detail=problem.what if problem else finding.detail,
        code=problem.code if problem else None,
    )
