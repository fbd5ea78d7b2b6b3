"""The database: does it answer, is its schema right, and does a job's row survive being made, moved and read."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from reelmill import wiring
from reelmill.doctor.findings import Finding, failed, ok, warned
from reelmill.errors import ClockSkewed, DatabaseRefused, InternalError, SchemaBehind, TableUnfit
from reelmill.jobs.lifecycle import Event, Status
from reelmill.jobs.model import Stage
from reelmill.jobs.ports import JobStore, NewJob, NewVideo
from reelmill.stores import migrate

TENANT = ".doctor"  #: no key can be of this tenant, so nobody's listing shows the trial
APART_S = 60.0  #: clocks may be so far apart
LEFT_BEHIND = timedelta(hours=1)  #: trial rows this old are of a doctor that was killed


def unmade(url: str) -> Path | None:
    """Return the SQLite file of a URL if it isn't there yet; only looked at, never made."""
    parsed = make_url(url)
    path = Path(parsed.database or "")
    return path if parsed.get_backend_name() == "sqlite" and not path.exists() and path.parent.is_dir() else None


def answers(store: JobStore, *, most_s: float = APART_S) -> Finding:
    """See that the database answers. most_s: its clock may be so many seconds off ours. Raises DatabaseUnavailable."""
    asked, began = datetime.now(UTC), time.monotonic()
    theirs = store.clock()
    took_s = time.monotonic() - began
    # Between question and answer any time is right.
    apart_s = min(0.0, (theirs - asked).total_seconds()) or max(0.0, (theirs - asked).total_seconds() - took_s)
    if abs(apart_s) > most_s:
        return warned(ClockSkewed(f"The database's clock is {apart_s:+.1f} s off this machine's."), apart_s=apart_s)
    return ok(f"answers in {1000 * took_s:.0f} ms, clocks agree", latency_ms=round(1000 * took_s, 1), apart_s=apart_s)


def schema(url: str, upgrade: Callable[[], None] | None = None) -> Finding:
    """See that the schema is the one that this version needs. upgrade: brings it there."""
    if wiring.is_dynamo(url):
        return _table(url, may_create=upgrade is not None)
    needed = migrate.head()
    there = None if unmade(url) else migrate.current(url)
    if there == needed:
        return ok(f"at {there}", revision=there)
    if there is not None and not migrate.is_known(there):
        # No failure: while a new version is rolled out, those of the version before work on.
        newer = SchemaBehind(f"The schema is at {there}, of a newer Reelmill; this version knows {needed}.")
        return warned(newer, fix="pip install --upgrade reelmill", revision=there)

    def mend() -> str:
        assert upgrade is not None
        upgrade()
        return f"brought the schema from {there or 'nothing'} to {needed}"

    behind = SchemaBehind(f"The schema is at {there or 'nothing'}, this version needs {needed}.")
    return failed(behind, fix="reelmill doctor --fix", mend=mend if upgrade else None, revision=there)


def _table(url: str, *, may_create: bool) -> Finding:
    with wiring.open_table(url) as table:
        name = table.place.table
        try:
            table.check()
        except TableUnfit as unfit:

            def mend() -> str:
                with wiring.open_table(url) as table:
                    table.create()
                return f"made the table {name}"

            return failed(unfit, fix="reelmill database create", mend=mend if may_create else None)
    return ok(f"the table {name} has its keys and indexes", table=name)


def job_row(store: JobStore) -> Finding:
    """Make a job with one fresh id, move it, read it by the id, show its row; then remove it.

    By the store's own methods, in a tenant of its own; workers can't claim it, for it awaits its upload until the end.
    Raises DatabaseRefused, DatabaseUnavailable.
    """
    video_id, job_id = str(uuid.uuid4()), str(uuid.uuid4())
    video = NewVideo(
        id=video_id,
        tenant=TENANT,
        user_id="doctor",
        filename="trial.mp4",
        content_type="video/mp4",
        size_bytes=1,
        sha256=None,
        key=f".probe/{video_id}",
    )
    job = NewJob(
        id=job_id,
        video_id=video_id,
        tenant=TENANT,
        user_id="doctor",
        pipeline="doctor",
        pipeline_version="1",
        params={},
        stages=(Stage("trial", 100),),
    )
    try:
        try:
            _, made = store.add_video(video, job)
            moved = store.apply(job_id, Event.CANCEL)
            read = store.job(job_id, TENANT)
        finally:
            store.forget(TENANT, video_id)
    except DBAPIError as problem:
        raise DatabaseRefused(f"It said: {str(problem.orig).strip().splitlines()[0]}.") from problem
    assert made is not None
    if (made.status, read.status) != (Status.AWAITING_UPLOAD, Status.CANCELLED) or read != moved:
        raise InternalError(f"The job {job_id} was written as {moved} and read as {read}.")
    for old in store.jobs(TENANT).items:
        if made.created_at - old.created_at > LEFT_BEHIND:
            store.forget(TENANT, old.video_id)
    row = {
        "job_id": read.id,
        "status": f"{made.status} → {read.status}",
        "run": read.run,
        "events": read.last_seq,
        "created_at": read.created_at.isoformat(),
        "completed_at": read.completed_at.isoformat() if read.completed_at else None,
    }
    return ok("made, moved, read by its id, removed", rows=row)
