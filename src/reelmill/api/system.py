"""`reelmill doctor` for a browser: the same checks, made by the server on itself, with their remedies."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request

from reelmill import __version__
from reelmill.api.access import Guarded, Who, needs
from reelmill.doctor import packages
from reelmill.doctor.findings import Examiner, Finding, Level
from reelmill.doctor.installation import Installation
from reelmill.errors import PublicUrlBroken
from reelmill.jobs.model import OPERATOR
from reelmill.objects.folder import FolderStore
from reelmill.schemas import FindingReply, SystemReply
from reelmill.settings import Settings
from reelmill.wiring import App

router = APIRouter(prefix="/api/v1/system", tags=["admin"], route_class=Guarded)

FRESH_S = 60.0  #: a report is good for so long: some checks write, and one asks the text model
LEFT_OUT = {"port"}  #: it is ours


@router.get("")
@needs("admin")
def get_system(
    request: Request,
    who: Who,
    fresh: Annotated[bool, Query(description="Look again, though the last report is less than a minute old.")] = False,
) -> SystemReply:
    """Examine the installation as `reelmill doctor` does: what works, what doesn't, and how to repair it.

    It takes some seconds. All tenants share the installation: another tenant's admin is told the version alone.
    """
    if who.tenant != OPERATOR.tenant:
        return SystemReply(version=__version__, ok=True, checked_at=datetime.now(UTC), findings=[])
    report: Report = request.app.state.report
    return report.read(fresh=fresh)


class Report:
    """The last report. Who asks while one is being made waits for that."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._guard = threading.Lock()
        self._last: SystemReply | None = None
        self._made_at = 0.0

    def read(self, *, fresh: bool) -> SystemReply:
        asked_at = time.monotonic()
        with self._guard:
            known = self._last
            stale = fresh or time.monotonic() - self._made_at > FRESH_S
            if known is None or (stale and self._made_at < asked_at):
                known = self._last = self._made()
                self._made_at = time.monotonic()
            return known

    def _made(self) -> SystemReply:
        findings = Examiner(packages.checks([])).examine()
        if all(finding.level is not Level.FAILED for finding in findings):
            with Installation(self._settings(), lend=_lend) as installation:
                checks = [check for check in installation.checks() if check.name not in LEFT_OUT]
                findings = [*findings, *Examiner(checks).examine()]
        return SystemReply(
            version=__version__,
            ok=not any(finding.level is Level.FAILED for finding in findings),
            checked_at=datetime.now(UTC),
            findings=[_told(finding) for finding in findings],
        )

    def _settings(self) -> Settings:
        """Return the settings, with where this process itself is reached: its port may be any free one."""
        app = self._app
        if app.settings.public_url or not isinstance(app.objects, FolderStore):
            return app.settings
        url = app.objects.generate_presigned_download_url(app.objects.bucket, "any", 60)
        return app.settings.model_copy(update={"public_url": url.partition("/objects/")[0]})


@contextmanager
def _lend(_: FolderStore) -> Iterator[str]:
    raise PublicUrlBroken("This server doesn't reach itself by the address that clients use.")
    yield ""


def _told(finding: Finding) -> FindingReply:
    problem = finding.problem
    return FindingReply(
        name=finding.name,
        title=finding.title.strip(),
        part_of="public" if finding.title.startswith(" ") else None,
        level=finding.level.value,
        detail=finding.detail,
        code=problem.code if problem else None,
        why=problem.why if problem else None,
        remedy=problem.remedy if problem else None,
        fix=finding.fix or None,
        took_s=finding.took_s,
    )
