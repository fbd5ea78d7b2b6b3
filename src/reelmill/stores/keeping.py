"""What is kept and for how long: deleted videos, sources, outputs and events whose time is over, and who uses what.

*Invariant*: users are told that a file is gone before it is removed, and it is removed before the row by which it is
found. A crash between two of these leaves something that the next sweep finds and does again.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import suppress

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from reelmill.errors import ImportedFailure, NotFound, TransitionRefused
from reelmill.jobs.lifecycle import ENDED, PROCESSING_OF, Status, StepStatus, UploadStatus
from reelmill.jobs.model import Job, Usage, Video
from reelmill.jobs.ports import ImportedJob
from reelmill.stores import moves, rows
from reelmill.stores.engine import reading, writing
from reelmill.stores.schema import artifacts, attempts, events, jobs, now, steps, videos

IMPORTED = "imported"
IN_FLIGHT = [Status.AWAITING_UPLOAD, Status.QUEUED, Status.RUNNING]
TAKES_ROOM = [UploadStatus.AWAITING, UploadStatus.UPLOADED]


class SqlKeeping:
    """`Keeping`, on SQLAlchemy Core, and `forget` of `JobStore`."""

    engine: Engine
    on_commit: Callable[[], None]

    @reading
    def usage(self, tx: Connection, tenant: str) -> Usage:
        sources = sa.select(sa.func.coalesce(sa.func.sum(videos.c.size_bytes), 0)).where(
            videos.c.tenant == tenant, videos.c.upload_status.in_(TAKES_ROOM)
        )
        outputs = (
            sa.select(sa.func.coalesce(sa.func.sum(artifacts.c.size_bytes), 0))
            .join(jobs, jobs.c.id == artifacts.c.job_id)
            .where(jobs.c.tenant == tenant)
        )
        told = sa.select(
            sources.scalar_subquery(),
            outputs.scalar_subquery(),
            _flying(tenant).scalar_subquery(),
        )
        return Usage(*(int(value) for value in tx.execute(told).one()))

    @reading
    def in_flight(self, tx: Connection, tenant: str) -> int:
        return int(tx.execute(_flying(tenant)).scalar_one())

    @writing
    def import_job(self, tx: Connection, job: ImportedJob) -> bool:
        if tx.execute(sa.select(jobs.c.id).where(jobs.c.id == job.id)).one_or_none() is not None:
            return False
        failed, done = job.status is Status.FAILED, job.status is Status.COMPLETED
        whose = {"tenant": job.tenant, "user_id": job.user_id, "created_at": job.created_at}
        step_id = f"{job.id}:{IMPORTED}:0"
        error = ImportedFailure.code if failed else "cancelled" if job.status is Status.CANCELLED else None
        tx.execute(
            sa.insert(videos).values(
                **whose,
                id=job.id,
                filename=job.filename,
                content_type="application/octet-stream",
                size_bytes=0,
                key=f"{job.tenant}/{IMPORTED}/{job.id}",
                labels={IMPORTED: "job"},
                upload_status=UploadStatus.GONE,
                source_removed_at=job.completed_at,
                upload_expires_at=job.completed_at,
                processing_status=PROCESSING_OF[job.status],
                processing_job_id=job.id,
                processing_completed_at=job.completed_at,
                processing_error=error,
            )
        )
        tx.execute(
            sa.insert(jobs).values(
                **whose,
                id=job.id,
                video_id=job.id,
                pipeline=job.pipeline,
                pipeline_version=IMPORTED,
                params=dict(job.entry),
                stages=[[IMPORTED, 100]],
                status=job.status,
                stage=IMPORTED,
                run=1,
                steps_planned=1,
                steps_done=1 if done else 0,
                progress_pct=100.0 if done else 0.0,
                message="Imported",
                warnings=list(job.warnings),
                priority=0,
                last_seq=0,
                error_code=ImportedFailure.code if failed else None,
                error_detail=(job.error_detail or ImportedFailure.what) if failed else None,
                queued_at=job.created_at,
                started_at=job.created_at,
                completed_at=job.completed_at,
                swept_at=now(),
            )
        )
        tx.execute(
            sa.insert(steps).values(
                id=step_id,
                job_id=job.id,
                stage=IMPORTED,
                stage_no=0,
                index=0,
                kind=IMPORTED,
                params={},
                digest="",
                optional=False,
                status=StepStatus.DONE if done else StepStatus.CANCELLED,
                run=1,
                attempt=0,
                tries=0,
                crashes=0,
                not_before=job.completed_at,
                progress=1.0 if done else 0.0,
                created_at=job.created_at,
                finished_at=job.completed_at,
            )
        )
        for made in job.artifacts:
            if tx.execute(sa.select(artifacts.c.id).where(artifacts.c.key == made.key)).one_or_none() is None:
                tx.execute(
                    sa.insert(artifacts).values(
                        id=str(uuid.uuid4()),
                        job_id=job.id,
                        step_id=step_id,
                        stage=IMPORTED,
                        stage_no=0,
                        index=0,
                        run=1,
                        attempt=0,
                        kind=made.kind,
                        name=made.name,
                        key=made.key,
                        size_bytes=made.size_bytes,
                        sha256=made.sha256,
                        content_type=made.content_type,
                        meta=dict(made.meta),
                        primary=made.primary,
                        created_at=now(),
                    )
                )
        return True

    # ── deleted by their user ─────────────────────────────────────────────────────────────────

    @writing
    def delete_video(self, tx: Connection, video_id: str, tenant: str, *, undo_s: float) -> Video:
        mine = sa.and_(videos.c.id == video_id, videos.c.tenant == tenant, videos.c.deleted_at.is_(None))
        if tx.execute(sa.select(videos.c.id).where(mine)).one_or_none() is None:
            raise NotFound(f"There is no video {video_id}.")
        _hide_jobs(tx, video_id)
        row = moves.returned(tx, sa.update(videos).where(mine).values(deleted_at=now(), purge_after=now(undo_s)))
        if row is None:
            raise NotFound(f"There is no video {video_id}.")  # somebody else was faster
        _hide_jobs(tx, video_id)  # one that was just being added has waited for the video; no other can come
        return rows.to_video(row)

    @writing
    def restore_video(self, tx: Connection, video_id: str, tenant: str) -> Video:
        mine = sa.and_(videos.c.id == video_id, videos.c.tenant == tenant)
        _lock_jobs(tx, video_id)
        in_time = sa.or_(videos.c.deleted_at.is_(None), videos.c.purge_after > now())
        row = moves.returned(tx, sa.update(videos).where(mine, in_time).values(deleted_at=None, purge_after=None))
        if row is None:
            raise NotFound(f"There is no video {video_id}.")
        tx.execute(sa.update(jobs).where(jobs.c.video_id == video_id).values(deleted_at=None))
        return rows.to_video(row)

    @reading
    def doomed_videos(self, tx: Connection, limit: int = 100) -> list[Video]:
        running = (
            sa.exists()
            .where(jobs.c.video_id == videos.c.id, steps.c.job_id == jobs.c.id, steps.c.status == StepStatus.RUNNING)
            .correlate(videos)
        )
        query = sa.select(videos).where(videos.c.purge_after <= now(), ~running).order_by(videos.c.purge_after)
        return [rows.to_video(row) for row in tx.execute(query.limit(limit)).mappings()]

    @reading
    def jobs_of(self, tx: Connection, video_id: str) -> list[Job]:
        found = tx.execute(sa.select(jobs).where(jobs.c.video_id == video_id).order_by(jobs.c.id))
        return [rows.to_job(row) for row in found.mappings()]

    @writing
    def forget(self, tx: Connection, tenant: str, video_id: str) -> None:
        mine = sa.and_(videos.c.id == video_id, videos.c.tenant == tenant)
        if tx.execute(sa.select(videos.c.id).where(mine)).one_or_none() is None:
            return
        ids = _lock_jobs(tx, video_id)
        for table in (events, artifacts, attempts, steps):
            tx.execute(sa.delete(table).where(table.c.job_id.in_(ids)))
        tx.execute(sa.delete(jobs).where(jobs.c.id.in_(ids)))
        tx.execute(sa.delete(videos).where(mine))

    # ── whose time is over ────────────────────────────────────────────────────────────────────

    def expire_sources(self, older_than_s: float, limit: int = 100) -> list[Video]:
        return [gone for due in self._due_sources(older_than_s, limit) if (gone := self._expire_source(due))]

    @reading
    def _due_sources(self, tx: Connection, older_than_s: float, limit: int) -> list[str]:
        old = sa.and_(videos.c.upload_status == UploadStatus.UPLOADED, videos.c.uploaded_at < now(-older_than_s))
        query = sa.select(videos.c.id).where(old, ~_in_flight()).order_by(videos.c.uploaded_at).limit(limit)
        return list(tx.execute(query).scalars())

    @writing
    def _expire_source(self, tx: Connection, video_id: str) -> Video | None:
        # Whoever adds a job or retries one just now holds one of these rows: it is waited for, so that the guard's
        # own statement sees what it did.
        _lock_jobs(tx, video_id)
        tx.execute(sa.select(videos.c.id).where(videos.c.id == video_id).with_for_update())
        row = moves.returned(
            tx,
            sa.update(videos)
            .where(videos.c.id == video_id, videos.c.upload_status == UploadStatus.UPLOADED, ~_in_flight())
            .values(upload_status=UploadStatus.GONE),
        )
        return rows.to_video(row) if row is not None else None

    @reading
    def left_sources(self, tx: Connection, limit: int = 100) -> list[Video]:
        query = sa.select(videos).where(
            videos.c.upload_status == UploadStatus.GONE, videos.c.source_removed_at.is_(None)
        )
        return [rows.to_video(row) for row in tx.execute(query.limit(limit)).mappings()]

    @writing
    def source_removed(self, tx: Connection, video_id: str) -> None:
        gone = sa.and_(videos.c.upload_status == UploadStatus.GONE, videos.c.source_removed_at.is_(None))
        tx.execute(sa.update(videos).where(videos.c.id == video_id, gone).values(source_removed_at=now()))

    def expire_outputs(self, older_than_s: float, limit: int = 100) -> list[Job]:
        due = self._due_jobs(jobs.c.outputs_removed_at, older_than_s, limit)
        return [job for job_id in due if (job := self._expire_outputs(job_id, older_than_s))]

    @writing
    def _expire_outputs(self, tx: Connection, job_id: str, older_than_s: float) -> Job | None:
        row = moves.returned(
            tx,
            sa.update(jobs)
            .where(jobs.c.id == job_id, _over(jobs.c.outputs_removed_at, older_than_s))
            .values(outputs_removed_at=now(), swept_at=None, spooled=0),
        )
        if row is None:
            return None  # it was retried just now
        tx.execute(sa.delete(artifacts).where(artifacts.c.job_id == job_id))
        return rows.to_job(row)

    def expire_events(self, older_than_s: float, limit: int = 100) -> int:
        due = self._due_jobs(jobs.c.events_removed_at, older_than_s, limit)
        return sum(self._expire_events(job_id, older_than_s) for job_id in due)

    @writing
    def _expire_events(self, tx: Connection, job_id: str, older_than_s: float) -> bool:
        guarded = sa.update(jobs).where(jobs.c.id == job_id, _over(jobs.c.events_removed_at, older_than_s))
        if moves.returned(tx, guarded.values(events_removed_at=now())) is None:
            return False
        tx.execute(sa.delete(events).where(events.c.job_id == job_id))
        return True

    @reading
    def _due_jobs(self, tx: Connection, done: sa.Column[object], older_than_s: float, limit: int) -> list[str]:
        query = sa.select(jobs.c.id).where(_over(done, older_than_s)).order_by(jobs.c.completed_at).limit(limit)
        return list(tx.execute(query).scalars())


def _over(done: sa.Column[object], older_than_s: float) -> sa.ColumnElement[bool]:
    """The condition that a job ended so long ago and that this wasn't done to it yet."""
    return sa.and_(done.is_(None), jobs.c.completed_at < now(-older_than_s), jobs.c.status.in_(list(ENDED)))


def _flying(tenant: str) -> sa.Select[int]:
    mine = sa.and_(jobs.c.tenant == tenant, jobs.c.deleted_at.is_(None))
    return sa.select(sa.func.count()).where(jobs.c.status.in_(IN_FLIGHT), mine)


def _in_flight() -> sa.ColumnElement[bool]:
    return sa.exists().where(jobs.c.video_id == videos.c.id, jobs.c.status.in_(IN_FLIGHT)).correlate(videos)


def _lock_jobs(tx: Connection, video_id: str) -> list[str]:
    query = sa.select(jobs.c.id).where(jobs.c.video_id == video_id).order_by(jobs.c.id).with_for_update()
    return list(tx.execute(query).scalars())


def _hide_jobs(tx: Connection, video_id: str) -> None:
    """Cancel the video's jobs that are in flight, and hide all that aren't hidden yet."""
    for job_id in _lock_jobs(tx, video_id):
        with suppress(TransitionRefused):  # it has ended
            moves.follow(tx, moves.cancel(tx, job_id, None))
        shown = sa.and_(jobs.c.id == job_id, jobs.c.deleted_at.is_(None))
        tx.execute(sa.update(jobs).where(shown).values(deleted_at=now()))
