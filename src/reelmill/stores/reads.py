"""The reading half of the SQL store."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from reelmill.errors import NotFound
from reelmill.jobs.lifecycle import CLAIMABLE, Status, StepStatus
from reelmill.jobs.model import Artifact, Attempt, Figures, Job, JobEvent, Output, Page, Step, Video
from reelmill.jobs.ports import Held
from reelmill.stores import figures, rows, schema
from reelmill.stores.engine import reading
from reelmill.stores.schema import now

T = TypeVar("T")
# Jobs that are counted before another: a look at the queue must not grow with it. In the statement's own words: of a
# parameter PostgreSQL would expect a share of the table, and read it whole.
MOST_AHEAD = sa.literal_column("1000", sa.Integer)
EVENT_TERMS = 250  # followed jobs in one query: SQLite takes expressions up to a depth of 1,000


class SqlReads:
    """What can be asked; see `jobs.ports.JobStore` for each method's promise."""

    engine: Engine
    on_commit: Callable[[], None]

    @reading
    def clock(self, tx: Connection) -> datetime:
        """Return the database's own time; works on an empty database too."""
        return tx.execute(sa.select(now())).scalar_one()

    @reading
    def video(self, tx: Connection, video_id: str, tenant: str | None = None) -> Video:
        return rows.to_video(_one(tx, schema.videos, video_id, tenant))

    @reading
    def video_at(self, tx: Connection, key: str, tenant: str) -> Video:
        v = schema.videos
        mine = sa.select(v).where(v.c.key == key, v.c.tenant == tenant, v.c.deleted_at.is_(None))
        row = tx.execute(mine).mappings().one_or_none()
        if row is None:
            raise NotFound(f"There is no upload {key}.")
        return rows.to_video(row)

    @reading
    def job(self, tx: Connection, job_id: str, tenant: str | None = None) -> Job:
        return rows.to_job(_one(tx, schema.jobs, job_id, tenant))

    @reading
    def video_and_job(self, tx: Connection, video_id: str) -> tuple[Video, Job | None]:
        v, j = schema.videos, schema.jobs
        row = tx.execute(_with_driver(), {"row_id": video_id}).mappings().one_or_none()
        if row is None:
            raise NotFound(f"There is no video {video_id}.")
        job = None if row["jobs_id"] is None else rows.to_job({c.name: row[f"jobs_{c.name}"] for c in j.c})
        return rows.to_video({c.name: row[f"videos_{c.name}"] for c in v.c}), job

    @reading
    def videos(
        self,
        tx: Connection,
        tenant: str,
        *,
        processing_status: str | None = None,
        upload_status: str | None = None,
        labels: Mapping[str, str] | None = None,
        older_than_s: float | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[Video]:
        v = schema.videos
        wanted = [v.c.deleted_at.is_(None), *(_labelled(tx, name, value) for name, value in (labels or {}).items())]
        if older_than_s is not None:
            wanted.append(v.c.created_at < now(-older_than_s))
        if processing_status is not None:
            wanted.append(v.c.processing_status == processing_status)
        if upload_status is not None:
            wanted.append(v.c.upload_status == upload_status)
        return page_of(tx, v, rows.to_video, tenant, wanted, cursor, limit)

    @reading
    def jobs(
        self,
        tx: Connection,
        tenant: str,
        *,
        status: Status | None = None,
        pipeline: str | None = None,
        video_id: str | None = None,
        error_code: str | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        labels: Mapping[str, str] | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[Job]:
        j, v = schema.jobs, schema.videos
        given = {j.c.status: status, j.c.pipeline: pipeline, j.c.video_id: video_id, j.c.error_code: error_code}
        wanted = [j.c.deleted_at.is_(None), *(column == value for column, value in given.items() if value is not None)]
        if created_after is not None:
            wanted.append(j.c.created_at >= created_after)
        if created_before is not None:
            wanted.append(j.c.created_at < created_before)
        if labels:
            labelled = [_labelled(tx, name, value) for name, value in labels.items()]
            wanted.append(sa.exists().where(v.c.id == j.c.video_id, *labelled).correlate(j))
        return page_of(tx, j, rows.to_job, tenant, wanted, cursor, limit)

    @reading
    def jobs_by_id(self, tx: Connection, ids: Sequence[str]) -> list[Job]:
        found = tx.execute(sa.select(schema.jobs).where(schema.jobs.c.id.in_(ids)))
        return [rows.to_job(row) for row in found.mappings()]

    @reading
    def steps(self, tx: Connection, job_id: str, stage: str | None = None) -> list[Step]:
        s = schema.steps
        query = sa.select(s).where(s.c.job_id == job_id).order_by(s.c.stage_no, s.c.index)
        if stage is not None:
            query = query.where(s.c.stage == stage)
        return [rows.to_step(row) for row in tx.execute(query).mappings()]

    @reading
    def attempts(self, tx: Connection, job_id: str) -> list[Attempt]:
        a, s = schema.attempts, schema.steps
        query = (
            sa.select(a)
            .join(s, s.c.id == a.c.step_id)
            .where(a.c.job_id == job_id)
            .order_by(s.c.stage_no, s.c.index, a.c.attempt)
        )
        return [rows.to_attempt(row) for row in tx.execute(query).mappings()]

    @reading
    def artifacts(self, tx: Connection, job_id: str) -> list[Artifact]:
        names = rows.names_of(Artifact)
        found = tx.execute(_artifacts_of(), {"owner": job_id})
        return [Artifact(**dict(zip(names, row, strict=True))) for row in found]

    @reading
    def outputs(self, tx: Connection, job_id: str) -> list[Output]:
        return [Output(*row) for row in tx.execute(_outputs_of(), {"owner": job_id})]

    @reading
    def spooled(self, tx: Connection, spool: str, limit: int = 100) -> list[Artifact]:
        a = schema.artifacts
        query = sa.select(a).where(a.c.spool == spool).order_by(a.c.created_at, a.c.id).limit(limit)
        return [rows.to_artifact(row) for row in tx.execute(query).mappings()]

    @reading
    def events_after(self, tx: Connection, after: Mapping[str, int], limit: int = 500) -> list[JobEvent]:
        e = schema.events
        found: list[JobEvent] = []
        followed = sorted(after.items())
        for first in range(0, len(followed), EVENT_TERMS):
            some = followed[first : first + EVENT_TERMS]
            wanted = sa.or_(*(sa.and_(e.c.job_id == job_id, e.c.seq > seq) for job_id, seq in some))
            query = sa.select(e).where(wanted).order_by(e.c.job_id, e.c.seq).limit(limit - len(found))
            found += [rows.to_event(row) for row in tx.execute(query).mappings()]
            if len(found) >= limit:
                break
        return found

    @reading
    def still_held(self, tx: Connection, held: Sequence[Held]) -> frozenset[Held]:
        s = schema.steps
        found = tx.execute(
            sa.select(s.c.id, s.c.attempt).where(
                s.c.id.in_([h.step_id for h in held]), s.c.status == StepStatus.RUNNING
            )
        )
        return frozenset(held) & frozenset(Held(row.id, row.attempt) for row in found)

    @reading
    def stalled(self, tx: Connection, limit: int = 100) -> list[Job]:
        j, s = schema.jobs, schema.steps
        open_step = sa.exists().where(s.c.job_id == j.c.id, s.c.status.in_([StepStatus.READY, StepStatus.RUNNING]))
        query = sa.select(j).where(j.c.status.in_(list(CLAIMABLE)), ~open_step).order_by(j.c.queued_at).limit(limit)
        return [rows.to_job(row) for row in tx.execute(query).mappings()]

    @reading
    def unswept(self, tx: Connection, limit: int = 100) -> list[Job]:
        j = schema.jobs
        ended = [Status.COMPLETED, Status.FAILED, Status.CANCELLED]
        query = sa.select(j).where(j.c.status.in_(ended), j.c.swept_at.is_(None)).limit(limit)
        return [rows.to_job(row) for row in tx.execute(query).mappings()]

    @reading
    def queue_position(self, tx: Connection, job_id: str) -> int | None:
        j, lane = schema.jobs, schema.lanes
        mine = tx.execute(
            sa.select(j.c.tenant, j.c.priority, j.c.queued_at).where(j.c.id == job_id, j.c.status == Status.QUEUED)
        ).one_or_none()
        if mine is None:
            return None
        queued = sa.select(sa.literal(1).label("one")).where(j.c.status == Status.QUEUED)
        same = queued.where(j.c.priority == mine.priority)
        older = sa.or_(j.c.queued_at < mine.queued_at, sa.and_(j.c.queued_at == mine.queued_at, j.c.id < job_id))
        usage = sa.select(sa.func.max(lane.c.usage)).where(lane.c.tenant == mine.tenant).scalar_subquery()
        before = sa.select(lane.c.tenant).distinct().where(lane.c.rank.is_not(None), lane.c.usage < usage)
        others = before.where(lane.c.tenant != mine.tenant).subquery()
        theirs = same.where(j.c.tenant == others.c.tenant)
        if tx.dialect.name == "postgresql":  # it would rather read the whole table
            each = theirs.limit(MOST_AHEAD).lateral()
            theirs = sa.select(each.c.one).select_from(others.join(each, sa.true()))
        ahead = [
            queued.where(j.c.priority > mine.priority).order_by(j.c.priority.desc()),  # so that the index is read
            same.where(j.c.tenant == mine.tenant, j.c.queued_at <= mine.queued_at, older),
            theirs,
        ]
        counted = sa.union_all(*(one.limit(MOST_AHEAD).subquery().select() for one in ahead)).limit(MOST_AHEAD)
        return int(tx.execute(sa.select(sa.func.count()).select_from(counted.subquery())).scalar_one())

    @reading
    def figures(self, tx: Connection, *, stuck_after_s: float) -> Figures:
        return figures.read(tx, stuck_after_s)


# What is asked again and again is built once: to build a query costs more than to run it.


@cache
def _by_id(table: sa.Table, tenants: bool) -> sa.Select[Any]:
    query = sa.select(table).where(table.c.id == sa.bindparam("row_id"))
    if not tenants:
        return query
    return query.where(table.c.tenant == sa.bindparam("owner"), table.c.deleted_at.is_(None))


@cache
def _with_driver() -> sa.Select[Any]:
    v, j = schema.videos, schema.jobs
    both = sa.select(v, j).select_from(v.outerjoin(j, j.c.id == v.c.processing_job_id))
    return both.where(v.c.id == sa.bindparam("row_id")).set_label_style(sa.LABEL_STYLE_TABLENAME_PLUS_COL)


@cache
def _artifacts_of() -> sa.Select[Any]:
    a = schema.artifacts
    wanted = sa.select(*(a.c[name] for name in rows.names_of(Artifact)))
    return wanted.where(a.c.job_id == sa.bindparam("owner")).order_by(a.c.stage_no, a.c.index, a.c.name)


@cache
def _outputs_of() -> sa.Select[Any]:
    a = schema.artifacts
    wanted = sa.select(*(a.c[name] for name in rows.names_of(Output))).where(a.c.job_id == sa.bindparam("owner"))
    return wanted.where(a.c.primary).order_by(a.c.stage_no, a.c.index, a.c.name)


def _one(tx: Connection, table: sa.Table, row_id: str, tenant: str | None) -> rows.Row:
    asked = {"row_id": row_id} if tenant is None else {"row_id": row_id, "owner": tenant}
    row = tx.execute(_by_id(table, tenant is not None), asked).mappings().one_or_none()
    if row is None:
        raise NotFound(f"There is no {table.name.removesuffix('s')} {row_id}.")
    return row


def _labelled(tx: Connection, name: str, value: str) -> sa.ColumnElement[bool]:
    """Any name may be asked for, so it must not become a part of a JSON path."""
    column = schema.videos.c.labels
    if tx.dialect.name == "postgresql":
        return column.op("->>")(name) == value
    each = sa.func.json_each(column).table_valued("key", "value")
    return sa.exists().where(each.c.key == name, each.c.value == value).correlate(schema.videos)


def page_of(
    tx: Connection,
    table: sa.Table,
    make: Callable[[rows.Row], T],
    tenant: str | None,
    wanted: Sequence[sa.ColumnElement[bool]],
    cursor: str | None,
    limit: int,
) -> Page[T]:
    """Newest first by (created_at, id); rows that are added meanwhile don't shift later pages."""
    query: sa.Select[Any] = sa.select(table).where(*wanted)
    if tenant is not None:
        query = query.where(table.c.tenant == tenant)
    if cursor is not None:
        stamp, row_id = rows.read_cursor(cursor)
        query = query.where(
            sa.or_(table.c.created_at < stamp, sa.and_(table.c.created_at == stamp, table.c.id < row_id))
        )
    query = query.order_by(table.c.created_at.desc(), table.c.id.desc()).limit(limit + 1)
    found = tx.execute(query).mappings().all()
    more = len(found) > limit
    shown = found[:limit]
    return Page(
        tuple(make(row) for row in shown),
        rows.write_cursor(shown[-1]["created_at"], shown[-1]["id"]) if more else None,
    )
