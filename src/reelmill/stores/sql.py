"""The SQL store: SQLite and PostgreSQL under one contract. Here are writes; `work.py` has the busiest of them.

Invariants of every write:
- the guard is in the WHERE clause and the row comes back by RETURNING; nothing is read, decided and then written;
- rows are locked in one order: job, then its steps, then its video. The only exception is `claim`, which locks ready
  steps first, with SKIP LOCKED; so whoever else wants a *ready* step takes it with SKIP LOCKED too;
- an event's `seq` is taken from the job's row in the same transaction, so that events commit in the order of seq.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import IntegrityError

from reelmill.errors import (
    LeaseLost,
    NotFound,
    SourceGone,
    TransitionRefused,
    UploadNeeded,
)
from reelmill.jobs.lifecycle import (
    CLAIMABLE,
    UPLOAD_ERRORS,
    Event,
    Processing,
    Status,
    StepEvent,
    StepStatus,
    UploadStatus,
)
from reelmill.jobs.model import Artifact, Job, Json, Step, Video
from reelmill.jobs.ports import Failure, Held, NewJob, NewVideo, Opening
from reelmill.stores import claims, lanes, moves, rows, spooled
from reelmill.stores.engine import open_engine, reading, writing
from reelmill.stores.following import SqlFollowing
from reelmill.stores.joined import MOST_JOINED, Joined
from reelmill.stores.keeping import SqlKeeping
from reelmill.stores.prepared import Prepared, new
from reelmill.stores.reads import SqlReads
from reelmill.stores.schema import jobs, leases, now, steps, videos
from reelmill.stores.work import SqlWork
from reelmill.stores.workers import SqlWorkers

OPEN_UPLOADS = [UploadStatus.AWAITING, UploadStatus.EXPIRED]  # may still be completed
ADD_VIDEO = Prepared(
    sa.insert(videos)
    .values(
        **new(videos, "id", "tenant", "user_id", "filename", "content_type", "size_bytes", "sha256", "key", "labels",
              "processing_job_id", "part_size", "multipart_id"),
        upload_status=UploadStatus.AWAITING,
        processing_status=Processing.PENDING,
        created_at=now(),
        upload_expires_at=now(sa.bindparam("upload_ttl_s", type_=sa.Float)),
    )
    .returning(videos)
)  # fmt: skip
ITS_VIDEO = sa.and_(
    videos.c.id == sa.bindparam("its_video"),
    videos.c.tenant == sa.bindparam("its_tenant"),
    videos.c.deleted_at.is_(None),
)
Announced = tuple[NewVideo, NewJob | None]
READ_UPLOAD = Prepared(sa.select(videos.c.upload_status).where(ITS_VIDEO))
DRIVE = Prepared(
    sa.update(videos)
    .where(ITS_VIDEO, videos.c.upload_status == UploadStatus.UPLOADED)
    .values(
        processing_job_id=sa.bindparam("its_job"),
        processing_status=Processing.PROCESSING,
        processing_error=None,
        processing_completed_at=None,
    )
)


def open_store(url: str, on_commit: Callable[[], None] | None = None) -> SqlStore:
    """Return the store behind `sqlite:///…` or `postgresql://…`; its schema must be up to date (`migrate.upgrade`).

    on_commit: called after each write, in the writer's thread; must be quick. Raises SettingInvalid.
    """
    return SqlStore(open_engine(url), on_commit)


class SqlStore(SqlReads, SqlWork, SqlWorkers, SqlKeeping, SqlFollowing):
    """JobStore on SQLAlchemy Core."""

    def __init__(self, engine: Engine, on_commit: Callable[[], None] | None = None) -> None:
        self.engine = engine
        self.on_commit = on_commit or (lambda: None)
        self._announce: Joined[Announced, tuple[Video, Job | None]] = Joined(self._add_together, MOST_JOINED)
        self.open_work()

    def close_engine(self) -> None:
        """Give all connections back."""
        self.close_work()
        self.engine.dispose()

    # ── videos and jobs ───────────────────────────────────────────────────────────────────────

    def add_video(self, video: NewVideo, job: NewJob | None = None) -> tuple[Video, Job | None]:
        try:
            return self._announce((video, job))
        except IntegrityError as error:
            try:
                return self.video_and_job(video.id)
            except NotFound:
                raise TransitionRefused("There is a video of this key already.") from error

    def _add_together(self, announced: Sequence[Announced]) -> Sequence[tuple[Video, Job | None] | BaseException]:
        try:
            return self._add_videos(announced)
        except IntegrityError as error:
            if len(announced) == 1:
                return [error]
        return [self._add_together([one])[0] for one in announced]  # one of them is there already: each for itself

    @writing
    def _add_videos(self, tx: Connection, announced: Sequence[Announced]) -> list[tuple[Video, Job | None]]:
        added = []
        for video, job in announced:
            (row,) = ADD_VIDEO.rows(tx, {
                "new_id": video.id,
                "new_tenant": video.tenant,
                "new_user_id": video.user_id,
                "new_filename": video.filename,
                "new_content_type": video.content_type,
                "new_size_bytes": video.size_bytes,
                "new_sha256": video.sha256,
                "new_key": video.key,
                "new_labels": dict(video.labels),
                "new_processing_job_id": job.id if job else None,
                "new_part_size": video.part_size,
                "new_multipart_id": video.multipart_id,
                "upload_ttl_s": float(video.upload_ttl_s),
            })  # fmt: skip
            waiting = moves.insert_job(tx, job, Status.AWAITING_UPLOAD) if job else None
            added.append((rows.to_video(row), waiting))
        return added

    def add_job(self, job: NewJob, opening: Opening) -> Job:
        try:
            return self._add_job(job, opening)
        except IntegrityError:
            with suppress(NotFound):
                return self.job(job.id, job.tenant)
            raise

    @writing
    def _add_job(self, tx: Connection, job: NewJob, opening: Opening) -> Job:
        # The video first, against the usual order: nobody else can wait for a job that isn't there yet,
        # and whoever comes first in this queue must also have the older stamp.
        its = {"its_video": job.video_id, "its_tenant": job.tenant, "its_job": job.id}
        if not DRIVE.write(tx, its):
            there = READ_UPLOAD.all(tx, its)
            if not there:
                raise NotFound(f"There is no video {job.video_id}.")
            raise SourceGone if there[0][0] == UploadStatus.GONE else UploadNeeded
        made = moves.insert_job(tx, job, Status.QUEUED, opening)
        moves.insert_steps(tx, made, opening)
        return made

    @writing
    def uploaded(
        self, tx: Connection, video_id: str, source: Json, job_id: str | None, then: Opening | Failure | None
    ) -> Job | None:
        job = None
        if job_id is not None and isinstance(then, Opening):
            job = moves.move(
                tx,
                job_id,
                Event.UPLOADED,
                where=[sa.or_(jobs.c.status == Status.AWAITING_UPLOAD, jobs.c.error_code.in_(UPLOAD_ERRORS))],
                values={
                    **moves.opened(then),
                    "message": "Queued",
                    "error_code": None,
                    "error_detail": None,
                    "queued_at": now(),
                    "completed_at": None,
                    "swept_at": None,
                },
                events_=[("job.queued", {"stage": then.stage, "steps": len(then.specs)})],
            )
            moves.insert_steps(tx, job, then)
        elif job_id is not None and isinstance(then, Failure):
            job = moves.fail_waiting(tx, job_id, then)
            if job is None:
                raise TransitionRefused("The job doesn't wait for this upload any more.")
        taken = moves.returned(
            tx,
            sa.update(videos)
            .where(videos.c.id == video_id, videos.c.upload_status.in_(OPEN_UPLOADS))
            .values(upload_status=UploadStatus.UPLOADED, source=dict(source), uploaded_at=now()),
        )
        if taken is None:
            raise TransitionRefused("The upload was recorded before.")
        if job is not None:
            moves.follow(tx, job)
        return job

    @writing
    def became(self, tx: Connection, video_id: str, *, source: Json, size_bytes: int, sha256: str) -> None:
        told = {"source": dict(source), "size_bytes": size_bytes, "sha256": sha256, "uploaded_at": now()}
        taken = videos.c.id == video_id, videos.c.upload_status == UploadStatus.UPLOADED
        if not tx.execute(sa.update(videos).where(*taken).values(told)).rowcount:
            raise NotFound(f"There is no video {video_id}.")

    @writing
    def reject_upload(
        self, tx: Connection, video_id: str, job_id: str | None, failure: Failure, upload_status: UploadStatus | None
    ) -> Job | None:
        job = moves.fail_waiting(tx, job_id, failure) if job_id is not None else None
        values = {"upload_status": upload_status or videos.c.upload_status}
        kept = moves.returned(
            tx,
            sa.update(videos).where(videos.c.id == video_id, videos.c.upload_status.in_(OPEN_UPLOADS)).values(values),
        )
        if kept is None:
            raise TransitionRefused("The upload was recorded or rejected before.")
        if job is not None:
            moves.follow(tx, job)
        return job or (None if job_id is None else moves.read_job(tx, job_id))

    @writing
    def set_multipart(
        self, tx: Connection, video_id: str, *, was: str | None, to: str | None, upload_ttl_s: float = 86400.0
    ) -> Video:
        kept = [videos.c.id == video_id, videos.c.multipart_id.is_not_distinct_from(was)]
        values: dict[str, Any] = {"multipart_id": to}
        if to is not None:
            kept.append(videos.c.upload_status.in_(OPEN_UPLOADS))
            expired = videos.c.upload_status == UploadStatus.EXPIRED
            values["upload_status"] = UploadStatus.AWAITING
            values["upload_expires_at"] = sa.case((expired, now(upload_ttl_s)), else_=videos.c.upload_expires_at)
        row = moves.returned(tx, sa.update(videos).where(*kept).values(values))
        if row is None:
            raise TransitionRefused("The upload's parts were begun anew, or it wants no bytes any more.")
        return rows.to_video(row)

    @writing
    def abort_upload(self, tx: Connection, video_id: str) -> tuple[Video, Job | None]:
        # Until the upload is recorded, the job that was made with the video drives it.
        driver = tx.execute(sa.select(videos.c.processing_job_id).where(videos.c.id == video_id)).scalar()
        job = moves.read_job(tx, driver) if driver is not None else None
        if job is not None and job.status is Status.AWAITING_UPLOAD:
            job = moves.cancel(tx, job.id, job.run)
            moves.follow(tx, job)
        row = moves.returned(
            tx,
            sa.update(videos)
            .where(videos.c.id == video_id, videos.c.upload_status.in_([*OPEN_UPLOADS, UploadStatus.ABORTED]))
            .values(upload_status=UploadStatus.ABORTED),
        )
        if row is None:
            raise TransitionRefused("The upload was completed or rejected before.")
        return rows.to_video(row), job

    @reading
    def left_multiparts(self, tx: Connection, limit: int = 100) -> list[Video]:
        wanted = [UploadStatus.AWAITING]
        query = sa.select(videos).where(videos.c.multipart_id.is_not(None), videos.c.upload_status.not_in(wanted))
        return [rows.to_video(row) for row in tx.execute(query.limit(limit)).mappings()]

    @writing
    def apply(
        self,
        tx: Connection,
        job_id: str,
        event: Event,
        *,
        run: int | None = None,
        failure: Failure | None = None,
        opening: Opening | None = None,
    ) -> Job:
        match event:
            case Event.FINISH:
                job = moves.finish(tx, job_id, run)
            case Event.FAIL:
                job = moves.fail(
                    tx, job_id, run, failure or Failure("internal_error", "The job failed without a reason.")
                )
            case Event.CANCEL:
                job = moves.cancel(tx, job_id, run)
            case Event.RETRY:
                job = moves.retry(tx, job_id, run, opening)
            case _:
                raise TransitionRefused(f"'{event}' isn't applied by hand.")
        moves.follow(tx, job)
        return job

    @writing
    def open_stage(self, tx: Connection, job_id: str, *, run: int, after: str, opening: Opening) -> Job | None:
        moves.locked(tx, job_id)
        row = moves.returned(
            tx,
            sa.update(jobs)
            .where(
                jobs.c.id == job_id,
                jobs.c.run == run,
                jobs.c.stage == after,
                jobs.c.status.in_(list(CLAIMABLE)),
                ~moves.has_open_step(),
            )
            .values(**moves.opened(opening), last_seq=jobs.c.last_seq + 1),
        )
        if row is None:
            return None
        moves.insert_steps(tx, rows.to_job(row), opening)
        moves.record(tx, row, [("stage.opened", {"stage": opening.stage, "steps": len(opening.specs)})])
        return rows.to_job(moves.progress(tx, row))

    @writing
    def set_priority(self, tx: Connection, job_id: str, priority: int, tenant: str | None = None) -> Job:
        return moves.set_priority(tx, job_id, priority, tenant)

    # ── care ──────────────────────────────────────────────────────────────────────────────────

    def lose_dead(self, *, max_crashes: int, spare: Collection[Held] = ()) -> list[Held]:
        return [hold for hold in self._dead() if hold not in spare and self._lose(hold, max_crashes)]

    @reading
    def _dead(self, tx: Connection) -> list[Held]:
        query = sa.select(steps.c.id, steps.c.attempt).where(claims.RUNNING, steps.c.lease_until < now())
        return [Held(row.id, row.attempt) for row in tx.execute(query)]

    @writing
    def _lose(self, tx: Connection, hold: Held, max_crashes: int) -> bool:
        # A worker that hangs within a write holds its rows: they are passed over, so that others' steps come back.
        row = moves.idle_job(tx, hold.step_id.split(":", 1)[0])
        dead = sa.and_(moves.of(hold), steps.c.lease_until < now())
        free = tx.execute(sa.select(steps.c.id).where(dead).with_for_update(skip_locked=True)).one_or_none()
        if row is None or free is None:
            return False
        crashed = sa.case((steps.c.crashes + 1 >= max_crashes, StepStatus.FAILED.value), else_=StepStatus.READY.value)
        failure = Failure(LeaseLost.code, LeaseLost.what)
        lost = moves.returned(
            tx,
            sa.update(steps)
            .where(dead)
            .values(
                moves.freed(StepEvent.CRASH)
                | {"status": crashed, "crashes": steps.c.crashes + 1, "rank": -row["priority"]}
            ),
        )
        if lost is None:
            return False  # it was closed or beaten for just now
        moves.end_attempt(tx, hold.step_id, hold.attempt, StepEvent.CRASH, failure)
        brief = {"step": hold.step_id, "attempt": hold.attempt, "code": failure.code}
        row = moves.note(tx, row, [("step.crashed", brief)])
        if lost["status"] == StepStatus.FAILED:
            worn = Failure("worker_crashed", f"The workers on step {hold.step_id} died {max_crashes} times.")
            if lost["optional"]:
                warning = moves.warning_of(lost["kind"], lost["index"], worn.detail)
                moves.count_done(tx, row, warnings=[*row["warnings"], warning])
            else:
                moves.follow(tx, moves.fail(tx, row["id"], row["run"], worn))
        else:
            lanes.open_lanes(tx, [(lost["tenant"], lost["queue"], lost["rank"])])
        return True

    @writing
    def release_all(self, tx: Connection) -> int:
        tx.execute(sa.delete(leases))  # their holders are gone too
        held = tx.execute(sa.select(steps.c.id, steps.c.attempt, steps.c.job_id).where(claims.RUNNING)).all()
        for step_id, attempt, job_id in held:
            row = moves.locked(tx, job_id)
            values = moves.freed(StepEvent.RELEASE) | {"rank": -row["priority"]}
            freed = moves.returned(tx, sa.update(steps).where(moves.of(Held(step_id, attempt))).values(values))
            if freed is None:
                continue  # it was closed, or lost and claimed again, just now
            lanes.open_lanes(tx, [(freed["tenant"], freed["queue"], freed["rank"])])
            moves.end_attempt(tx, step_id, attempt, StepEvent.RELEASE, None)
            moves.note(tx, row, [("step.released", {"step": step_id, "attempt": attempt})])
        # Nor does anybody wait on: a step that was queued before the clock was set back would wait for all that time.
        waiting = sa.update(steps).where(steps.c.status == StepStatus.READY, steps.c.not_before > now())
        tx.execute(waiting.values(not_before=now()))
        return len(held)

    @writing
    def to_ring(self, tx: Connection, limit: int, *, again_after_s: float) -> list[Step]:
        lanes.mend(tx)
        lanes.wake(tx)
        chosen = [row.id for row in lanes.choose(tx, limit, past_due=True, unrung_s=again_after_s).steps]
        rung = sa.update(steps).where(steps.c.id.in_(chosen)).values(rung_at=now()).returning(steps)
        return [rows.to_step(row) for row in tx.execute(rung).mappings()]

    def expire_uploads(self, limit: int = 100) -> list[Job]:
        failure = Failure("upload_expired", "The upload wasn't completed in time.")
        expired = []
        for video_id, job_id in self._overdue(limit):
            try:
                job = self.reject_upload(video_id, job_id, failure, UploadStatus.EXPIRED)
            except TransitionRefused:
                continue  # it was completed after all
            if job is not None:
                expired.append(job)
        return expired

    @reading
    def _overdue(self, tx: Connection, limit: int) -> list[tuple[str, str | None]]:
        query = (
            sa.select(videos.c.id, videos.c.processing_job_id)
            .where(videos.c.upload_status == UploadStatus.AWAITING, videos.c.upload_expires_at < now())
            .limit(limit)
        )
        return [(row.id, row.processing_job_id) for row in tx.execute(query)]

    @writing
    def lease(self, tx: Connection, name: str, holder: str, seconds: float) -> bool:
        free = sa.or_(leases.c.holder == holder, leases.c.until < now())
        taken = moves.returned(
            tx, sa.update(leases).where(leases.c.name == name, free).values(holder=holder, until=now(seconds))
        )
        if taken is not None:
            return True
        insert = sa.insert(leases).from_select(
            ["name", "holder", "until"],
            sa.select(sa.literal(name), sa.literal(holder), now(seconds)).where(
                ~sa.exists().where(leases.c.name == name)
            ),
        )
        try:
            with tx.begin_nested():
                return tx.execute(insert.returning(leases.c.name)).one_or_none() is not None
        except sa.exc.IntegrityError:
            return False  # another process made the row first

    # ── the spool ─────────────────────────────────────────────────────────────────────────────

    @writing
    def moved(self, tx: Connection, artifact: Artifact) -> Job | None:
        row = spooled.take(tx, artifact)
        return None if row is None else spooled.moved(tx, row, artifact)

    @writing
    def redo(self, tx: Connection, artifact: Artifact) -> Job | None:
        row = spooled.take(tx, artifact)
        return None if row is None else spooled.redo(tx, row, artifact)

    @writing
    def mark_swept(self, tx: Connection, job_id: str) -> None:
        tx.execute(
            sa.update(jobs).where(jobs.c.id == job_id, jobs.c.status.not_in(list(CLAIMABLE))).values(swept_at=now())
        )
