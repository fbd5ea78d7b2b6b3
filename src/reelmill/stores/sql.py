"""The SQL store: SQLite and PostgreSQL under one contract. Here are the writes; `reads.py`, `keeping.py` have the rest.

Invariants of every write:
- the guard is in the WHERE clause and the row comes back by RETURNING; nothing is read, decided and then written;
- rows are locked in one order: job, then its steps, then its video. The only exception is `claim`, which locks ready
  steps first, with SKIP LOCKED; so whoever else wants a *ready* step takes it with SKIP LOCKED too;
- an event's `seq` is taken from the job's row in the same transaction, so that events commit in the order of seq.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import IntegrityError

from reelmill.errors import (
    DatabaseUnavailable,
    LeaseLost,
    NotFound,
    SourceGone,
    StaleAttempt,
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
from reelmill.jobs.model import Artifact, Claim, Job, Json, Step, Video
from reelmill.jobs.ports import Failure, Held, NewJob, NewVideo, Opening, Outcome
from reelmill.stores import claims, lanes, moves, rows, spooled
from reelmill.stores.engine import open_engine, reading, writing
from reelmill.stores.joined import Joined
from reelmill.stores.keeping import SqlKeeping
from reelmill.stores.reads import SqlReads
from reelmill.stores.schema import jobs, leases, now, steps, videos
from reelmill.stores.usage import Usage
from reelmill.stores.workers import SqlWorkers

OPEN_UPLOADS = [UploadStatus.AWAITING, UploadStatus.EXPIRED]  # may still be completed
ADD_VIDEO = (  # built once: to build it each time would cost as much as to run it
    sa.insert(videos)
    .values(created_at=now(), upload_expires_at=now(sa.bindparam("upload_ttl_s", type_=sa.Float)))
    .returning(videos)
)
MOST_JOINED = 32  # claims, or ends, in one transaction
CLAIM_TRIES = 4  # a lane may have had nothing, steps may have waited until just now


@dataclass(frozen=True, slots=True)
class Wanted:
    """One call of `claim`."""

    worker_id: str
    limit: int
    lease_s: float
    engine_task_id: str | None
    queues: tuple[str, ...] | None


Ended = tuple[Claim, Outcome]


def open_store(url: str, on_commit: Callable[[], None] | None = None) -> SqlStore:
    """Return the store behind `sqlite:///…` or `postgresql://…`; its schema must be up to date (`migrate.upgrade`).

    on_commit: called after each write, in the writer's thread; must be quick. Raises SettingInvalid.
    """
    return SqlStore(open_engine(url), on_commit)


class SqlStore(SqlReads, SqlWorkers, SqlKeeping):
    """JobStore on SQLAlchemy Core."""

    def __init__(self, engine: Engine, on_commit: Callable[[], None] | None = None) -> None:
        self.engine = engine
        self.on_commit = on_commit or (lambda: None)
        self._usage = Usage(engine)
        self._finish: Joined[Ended, Job] = Joined(self._finish_together, MOST_JOINED)
        self._claim: Joined[Wanted, list[Claim]] = Joined(self._claim_together, MOST_JOINED)

    def close_engine(self) -> None:
        """Give all connections back."""
        self._usage.settle()
        self._usage.close()
        self.engine.dispose()

    # ── videos and jobs ───────────────────────────────────────────────────────────────────────

    def add_video(self, video: NewVideo, job: NewJob | None = None) -> tuple[Video, Job | None]:
        try:
            return self._add_video(video, job)
        except IntegrityError as error:
            try:
                return self.video_and_job(video.id)
            except NotFound:
                raise TransitionRefused("There is a video of this key already.") from error

    @writing
    def _add_video(self, tx: Connection, video: NewVideo, job: NewJob | None) -> tuple[Video, Job | None]:
        row = tx.execute(ADD_VIDEO, {
            "id": video.id,
            "tenant": video.tenant,
            "user_id": video.user_id,
            "filename": video.filename,
            "content_type": video.content_type,
            "size_bytes": video.size_bytes,
            "sha256": video.sha256,
            "key": video.key,
            "labels": dict(video.labels),
            "upload_status": UploadStatus.AWAITING,
            "processing_status": Processing.PENDING,
            "processing_job_id": job.id if job else None,
            "part_size": video.part_size,
            "multipart_id": video.multipart_id,
            "upload_ttl_s": float(video.upload_ttl_s),
        }).mappings().one()  # fmt: skip
        return rows.to_video(row), moves.insert_job(tx, job, Status.AWAITING_UPLOAD) if job else None

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
        mine = sa.and_(videos.c.id == job.video_id, videos.c.tenant == job.tenant, videos.c.deleted_at.is_(None))
        driven = moves.returned(
            tx,
            sa.update(videos)
            .where(mine, videos.c.upload_status == UploadStatus.UPLOADED)
            .values(
                processing_job_id=job.id,
                processing_status=Processing.PROCESSING,
                processing_error=None,
                processing_completed_at=None,
            ),
        )
        if driven is None:
            there = tx.execute(sa.select(videos.c.upload_status).where(mine)).scalar_one_or_none()
            if there is None:
                raise NotFound(f"There is no video {job.video_id}.")
            raise SourceGone if there == UploadStatus.GONE else UploadNeeded
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

    # ── work ──────────────────────────────────────────────────────────────────────────────────

    def claim(
        self,
        worker_id: str,
        *,
        limit: int,
        lease_s: float,
        engine_task_id: str | None = None,
        queues: Sequence[str] | None = None,
    ) -> list[Claim]:
        named = None if queues is None else tuple(queues)
        return self._claim(Wanted(worker_id, limit, lease_s, engine_task_id, named))

    def _claim_together(self, wanted: Sequence[Wanted]) -> Sequence[list[Claim]]:
        taken: list[list[Claim]] = [[] for _ in wanted]
        for again in range(CLAIM_TRIES):
            without = [n for n, theirs in enumerate(taken) if not theirs]
            got, wrong, due = self._claim_all([wanted[n] for n in without], past_due=again > 0)
            for n, theirs in zip(without, got, strict=True):
                taken[n] = theirs
            self._usage.settle()
            # In transactions of their own: who holds a lane waits for nobody.
            if wrong:
                self._put_right(sorted(wrong))
            if due:
                self._wake()
            if all(taken) or not (wrong or due):
                break
        return taken

    @writing
    def _claim_all(
        self, tx: Connection, wanted: Sequence[Wanted], *, past_due: bool
    ) -> tuple[list[list[Claim]], set[tuple[str, str]], bool]:
        """Return what each gets, the lanes that have less than they say, and whether steps are to be woken."""
        taken: list[list[Claim]] = [[] for _ in wanted]
        wrong: set[tuple[str, str]] = set()
        due = False
        alike: dict[tuple[str, float, tuple[str, ...] | None], list[int]] = {}
        for n, one in enumerate(wanted):
            alike.setdefault((one.worker_id, one.lease_s, one.queues), []).extend([n] * one.limit)
        for (worker_id, lease_s, queues), places in alike.items():
            choice = lanes.choose(tx, len(places), queues, past_due=past_due)
            chosen = choice.steps
            tasks = [wanted[n].engine_task_id for n in places[: len(chosen)]]
            got = claims.take(tx, chosen, tasks, worker_id, lease_s) if chosen else []
            for n, claim in zip(places, got, strict=False):
                taken[n].append(claim)
            self._usage.charge(tx, choice.charges)
            wrong.update(choice.wrong)
            due = due or choice.due
        return taken, wrong, due

    @writing
    def _wake(self, tx: Connection) -> None:
        lanes.wake(tx)

    @writing
    def _put_right(self, tx: Connection, wrong: Sequence[tuple[str, str]]) -> None:
        lanes.put_right(tx, wrong)

    def beat(self, held: Sequence[Held], *, lease_s: float) -> frozenset[Held]:
        # One transaction each: several step locks at once, without their jobs', could meet a cancel half-way.
        return frozenset(hold for hold in held if self._beat(hold, lease_s))

    @writing
    def _beat(self, tx: Connection, hold: Held, lease_s: float) -> bool:
        kept = moves.returned(tx, sa.update(steps).where(moves.of(hold)).values(lease_until=now(lease_s)))
        return kept is not None

    @writing
    def report(self, tx: Connection, claim: Claim, fraction: float, message: str | None = None) -> None:
        row = moves.hold(tx, claim.job.id, claim.run)
        mine = moves.of(Held(claim.step.id, claim.attempt)), steps.c.worker_id == claim.worker_id
        values = {"progress": min(max(fraction, 0.0), 1.0)}
        if row is None or moves.returned(tx, sa.update(steps).where(*mine).values(values)) is None:
            raise StaleAttempt
        moves.progress(tx, row, message=message)

    def close(self, claim: Claim, outcome: Outcome) -> Job:
        if outcome.event is StepEvent.FINISH and outcome.result is not None and not outcome.result.warnings:
            return self._finish((claim, outcome))
        return self._close(claim, outcome)

    @writing
    def _close(self, tx: Connection, claim: Claim, outcome: Outcome) -> Job:
        warnings: list[str] = list(outcome.result.warnings) if outcome.result else []
        if outcome.event is StepEvent.FAIL and claim.step.optional:
            assert outcome.failure is not None
            warnings = [moves.warning_of(claim.step.kind, claim.step.index, outcome.failure.detail)]
        message = (outcome.result.message or None) if outcome.result else None
        if outcome.event is StepEvent.RELEASE and outcome.failure is not None:
            message = outcome.failure.detail  # what it waits for
        row = claims.count(
            tx,
            [claim],
            done=int(bool(outcome.result or warnings)),
            spooled=claims.spooled(outcome),
            message=message,
            warnings=warnings,
        )
        claims.close(tx, claim, outcome, row)
        moves.insert_artifacts(tx, [(claim, outcome)])
        job = rows.to_job(row)
        if outcome.event is StepEvent.FAIL and not claim.step.optional:
            assert outcome.failure is not None
            job = moves.fail(tx, claim.job.id, claim.run, outcome.failure)
            moves.follow(tx, job)
        self._usage.charge(tx, [lanes.close_charge(claim, outcome)])
        return job

    def _finish_together(self, ended: Sequence[Ended]) -> Sequence[Job | BaseException]:
        try:
            return self._finish_all(ended)
        except DatabaseUnavailable:
            raise  # it is so for all
        except Exception as error:
            if len(ended) == 1:
                return [error]
        # One of them can't be recorded, and nothing was written: each for itself.
        return [self._finish_together([one])[0] for one in ended]

    @writing
    def _finish_all(self, tx: Connection, ended: Sequence[Ended]) -> list[Job]:
        by_job: dict[str, list[Ended]] = {}
        for one in ended:
            by_job.setdefault(one[0].job.id, []).append(one)
        done = {job_id: rows.to_job(claims.finish(tx, by_job[job_id])) for job_id in sorted(by_job)}
        moves.insert_artifacts(tx, ended)
        self._usage.charge(tx, [lanes.close_charge(claim, outcome) for claim, outcome in ended])
        # Each sees its job as if they had come one by one: so one alone has ended the stage's last step.
        left = {job_id: len(theirs) for job_id, theirs in by_job.items()}
        seen = []
        for claim, _ in ended:
            left[claim.job.id] -= 1
            job, behind = done[claim.job.id], left[claim.job.id]
            seen.append(replace(job, steps_done=job.steps_done - behind, last_seq=job.last_seq - behind))
        return seen

    @writing
    def set_priority(self, tx: Connection, job_id: str, priority: int, tenant: str | None = None) -> Job:
        return moves.set_priority(tx, job_id, priority, tenant)

    # ── care ──────────────────────────────────────────────────────────────────────────────────

    def lose_dead(self, *, max_crashes: int) -> list[Held]:
        return [hold for hold in self._dead() if self._lose(hold, max_crashes)]

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
