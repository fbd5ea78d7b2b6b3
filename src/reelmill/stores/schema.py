"""The tables, once, for SQLite and PostgreSQL. Alembic's migrations build exactly these (a test compares)."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement


class Stamp(sa.types.TypeDecorator[datetime]):
    """A moment in UTC: `timestamptz` on PostgreSQL, sortable ISO text with milliseconds on SQLite."""

    impl = sa.String(24)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> sa.types.TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(sa.DateTime(timezone=True))
        return dialect.type_descriptor(sa.String(24))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None or dialect.name == "postgresql":
            return value
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def process_result_value(self, value: Any, _dialect: Dialect) -> datetime | None:
        if value is None or isinstance(value, datetime):
            return None if value is None else value.astimezone(UTC)
        return datetime.fromisoformat(value)


class now(FunctionElement[datetime]):  # noqa: N801 - reads like SQL's own function
    """The database's clock, `offset_s` seconds on (or back). Never the application's."""

    type = Stamp()
    inherit_cache = True
    name = "now"

    def __init__(self, offset_s: float | sa.ColumnElement[float] = 0.0) -> None:
        # A bound value, not text: a statement is compiled once for all offsets.
        if isinstance(offset_s, sa.ColumnElement):
            super().__init__(offset_s)
        else:
            super().__init__(*([sa.literal(float(offset_s), sa.Float)] if offset_s else []))


@compiles(now, "sqlite")
def _now_sqlite(element: now, compiler: Any, **more: Any) -> str:
    offset = compiler.process(element.clauses, **more)
    shift = f", printf('%+.3f seconds', {offset})" if offset else ""
    return f"strftime('%Y-%m-%dT%H:%M:%fZ','now'{shift})"


@compiles(now, "postgresql")
def _now_postgresql(element: now, compiler: Any, **more: Any) -> str:
    # Not now(): that is the transaction's start, which may lie before the commit of a row it waited for.
    offset = compiler.process(element.clauses, **more)
    shift = f" + make_interval(secs => {offset})" if offset else ""
    return f"(clock_timestamp(){shift})"


class clock(FunctionElement[float]):  # noqa: N801 - reads like SQL's own function
    """The database's clock as a number: seconds since 1970, divided by AGE_S."""

    type = sa.Float()
    inherit_cache = True
    name = "clock"


AGE_S = 3600 / math.log(2)  #: after so many seconds used processor time counts 1/e, after an hour half


@compiles(clock, "sqlite")
def _clock_sqlite(_element: clock, _compiler: Any, **_more: Any) -> str:
    return f"((julianday('now') - 2440587.5) * {86400 / AGE_S!r})"


@compiles(clock, "postgresql")
def _clock_postgresql(_element: clock, _compiler: Any, **_more: Any) -> str:
    return f"(extract(epoch from clock_timestamp())::float8 / {AGE_S!r})"


Json = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")


def only_where(condition: str) -> dict[str, Any]:
    """Return an index's options to hold only rows that meet a condition; queries must say it in the same words."""
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


ENDED_WORDS = "'cancelled', 'completed', 'failed'"
UNFOLLOWED_WORDS = '"then" IS NOT NULL AND followed_at IS NULL'

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

videos = sa.Table(
    "videos",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("tenant", sa.String(64), nullable=False),
    sa.Column("user_id", sa.String(128), nullable=False),
    sa.Column("filename", sa.Text, nullable=False),
    sa.Column("content_type", sa.String(255), nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.String(64)),
    sa.Column("key", sa.Text, nullable=False, unique=True),
    sa.Column("labels", Json, nullable=False),
    sa.Column("upload_status", sa.String(16), nullable=False),
    sa.Column("source", Json),
    sa.Column("processing_status", sa.String(16), nullable=False),
    sa.Column("processing_job_id", sa.String(36)),
    sa.Column("processing_completed_at", Stamp),
    sa.Column("processing_error", sa.Text),
    sa.Column("created_at", Stamp, nullable=False),
    sa.Column("uploaded_at", Stamp),
    sa.Column("upload_expires_at", Stamp, nullable=False),
    sa.Column("part_size", sa.BigInteger),
    sa.Column("multipart_id", sa.Text),
    sa.Column("deleted_at", Stamp),
    sa.Column("purge_after", Stamp),
    sa.Column("source_removed_at", Stamp),
    sa.Index(None, "tenant", "created_at", "id"),
    sa.Index(None, "upload_status", "upload_expires_at"),
    sa.Index(None, "upload_status", "uploaded_at"),
    sa.Index(None, "purge_after"),
)

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("video_id", sa.String(36), sa.ForeignKey("videos.id"), nullable=False),
    sa.Column("tenant", sa.String(64), nullable=False),
    sa.Column("user_id", sa.String(128), nullable=False),
    sa.Column("pipeline", sa.String(64), nullable=False),
    sa.Column("pipeline_version", sa.String(32), nullable=False),
    sa.Column("params", Json, nullable=False),
    sa.Column("stages", Json, nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("stage", sa.String(64)),
    sa.Column("run", sa.Integer, nullable=False),
    sa.Column("steps_planned", sa.Integer, nullable=False),
    sa.Column("steps_done", sa.Integer, nullable=False),
    sa.Column("progress_pct", sa.Float, nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("warnings", Json, nullable=False, server_default=sa.text("'[]'")),
    sa.Column("spooled", sa.Integer, nullable=False, server_default=sa.text("0")),
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("last_seq", sa.Integer, nullable=False),
    sa.Column("error_code", sa.String(64)),
    sa.Column("error_detail", sa.Text),
    sa.Column("correlation_id", sa.String(64)),
    sa.Column("trace_context", sa.String(64)),
    sa.Column("created_at", Stamp, nullable=False),
    sa.Column("queued_at", Stamp),
    sa.Column("started_at", Stamp),
    sa.Column("completed_at", Stamp),
    sa.Column("swept_at", Stamp),
    sa.Column("deleted_at", Stamp),
    sa.Column("outputs_removed_at", Stamp),
    sa.Column("events_removed_at", Stamp),
    sa.Column("reuse", sa.Boolean, nullable=False, server_default=sa.true()),
    sa.Column("then", Json),
    sa.Column("follows", sa.String(36)),
    sa.Column("followed_at", Stamp),
    sa.Index(None, "tenant", "created_at", "id"),
    sa.Index(None, "status", "priority", "queued_at"),
    sa.Index(None, "status", "pipeline"),  # counted for every scrape of the metrics
    sa.Index(None, "status", "tenant", "priority", "queued_at"),
    sa.Index(None, "video_id"),
    sa.Index(None, "outputs_removed_at", "completed_at"),
    sa.Index(None, "events_removed_at", "completed_at"),
    sa.Index("ix_jobs_unfollowed", "id", **only_where(UNFOLLOWED_WORDS)),
    sa.Index("ix_jobs_unswept", "id", **only_where(f"swept_at IS NULL AND status IN ({ENDED_WORDS})")),
)

# Of a step the order of claims needs to know its job's tenant and age, too: an index can't look into two tables.
# Whatever makes a step `ready` writes them anew and opens its lane (`lanes.py`).
steps = sa.Table(
    "steps",
    metadata,
    sa.Column("id", sa.String(128), primary_key=True),
    sa.Column("job_id", sa.String(36), sa.ForeignKey("jobs.id"), nullable=False),
    sa.Column("stage", sa.String(64), nullable=False),
    sa.Column("stage_no", sa.Integer, nullable=False),
    sa.Column("index", sa.Integer, nullable=False),
    sa.Column("kind", sa.String(64), nullable=False),
    sa.Column("params", Json, nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("optional", sa.Boolean, nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("run", sa.Integer, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("crashes", sa.Integer, nullable=False),
    sa.Column("worker_id", sa.String(128)),
    sa.Column("lease_until", Stamp),
    sa.Column("not_before", Stamp, nullable=False),
    sa.Column("rung_at", Stamp),
    sa.Column("progress", sa.Float, nullable=False),
    sa.Column("output", Json),
    sa.Column("error_code", sa.String(64)),
    sa.Column("error_detail", sa.Text),
    sa.Column("created_at", Stamp, nullable=False),
    sa.Column("started_at", Stamp),
    sa.Column("finished_at", Stamp),
    # server_default: for steps that are written by the release before this one while both are at work
    sa.Column("tenant", sa.String(64), nullable=False, server_default=sa.text("''")),
    sa.Column("queue", sa.String(32), nullable=False, server_default="cpu"),
    sa.Column("rank", sa.Integer, nullable=False, server_default="0"),  # minus the priority: lower is earlier
    sa.Column("later", sa.Boolean, nullable=False, server_default=sa.true()),  # not what a viewer can play first
    sa.Column("queued_at", Stamp),
    sa.Column("waits", sa.Boolean, nullable=False, server_default=sa.false()),  # for its not_before
    sa.Index(None, "job_id", "stage_no", "index"),
    sa.Index(
        "ix_steps_order", "queue", "tenant", "rank", "later", "queued_at", "job_id", "index",
        sqlite_where=sa.text("status = 'ready' AND waits = 0"),
        postgresql_where=sa.text("status = 'ready' AND NOT waits"),
    ),
    sa.Index(
        "ix_steps_waiting", "not_before",
        sqlite_where=sa.text("status = 'ready' AND waits = 1"),
        postgresql_where=sa.text("status = 'ready' AND waits"),
    ),
    sa.Index("ix_steps_running", "job_id", **only_where("status = 'running'")),
    sa.Index("ix_steps_made", "tenant", "digest", **only_where("status = 'done'")),
)  # fmt: skip

# A lane is what one tenant has in one queue. `rank` is its best ready step's, NULL when it has none: it may be too
# good, never too bad. `usage` is the tenant's, the same in all of its lanes.
lanes = sa.Table(
    "lanes",
    metadata,
    sa.Column("tenant", sa.String(64), primary_key=True),
    sa.Column("queue", sa.String(32), primary_key=True),
    sa.Column("rank", sa.Integer),
    sa.Column("usage", sa.Float, nullable=False),
    sa.Index("ix_lanes_order", "rank", "usage", "tenant", "queue", **only_where("rank IS NOT NULL")),
)

attempts = sa.Table(
    "attempts",
    metadata,
    sa.Column("step_id", sa.String(128), sa.ForeignKey("steps.id"), primary_key=True),
    sa.Column("attempt", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("job_id", sa.String(36), nullable=False),
    sa.Column("run", sa.Integer, nullable=False),
    sa.Column("worker_id", sa.String(128), nullable=False),
    sa.Column("engine_task_id", sa.String(128)),
    sa.Column("started_at", Stamp, nullable=False),
    sa.Column("ended_at", Stamp),
    sa.Column("outcome", sa.String(16)),
    sa.Column("error_code", sa.String(64)),
    sa.Column("error_detail", sa.Text),
    sa.Column("command", sa.Text),
    sa.Column("stderr", sa.Text),
    sa.Column("versions", Json),
    sa.Index(None, "job_id"),
)

artifacts = sa.Table(
    "artifacts",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("job_id", sa.String(36), sa.ForeignKey("jobs.id"), nullable=False),
    sa.Column("step_id", sa.String(128), sa.ForeignKey("steps.id"), nullable=False),
    sa.Column("stage", sa.String(64), nullable=False),
    sa.Column("stage_no", sa.Integer, nullable=False),
    sa.Column("index", sa.Integer, nullable=False),
    sa.Column("run", sa.Integer, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("kind", sa.String(64), nullable=False),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("key", sa.Text, nullable=False, unique=True),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("content_type", sa.String(255), nullable=False),
    sa.Column("meta", Json, nullable=False),
    sa.Column("primary", sa.Boolean, nullable=False),
    sa.Column("created_at", Stamp, nullable=False),
    sa.Column("place", sa.String(16), nullable=False, server_default=sa.text("'stored'")),
    sa.Column("spool", sa.String(36)),
    sa.Column("retries", sa.Integer, nullable=False, server_default=sa.text("0")),
    sa.Column("stored_at", Stamp),
    sa.UniqueConstraint("job_id", "name"),
    sa.Index(None, "spool", "created_at"),
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("job_id", sa.String(36), sa.ForeignKey("jobs.id"), primary_key=True),
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("type", sa.String(32), nullable=False),
    sa.Column("data", Json, nullable=False),
    sa.Column("created_at", Stamp, nullable=False),
)

leases = sa.Table(
    "leases",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("holder", sa.String(128), nullable=False),
    sa.Column("until", Stamp, nullable=False),
)

workers = sa.Table(
    "workers",
    metadata,
    sa.Column("id", sa.String(128), primary_key=True),
    sa.Column("host", sa.String(255), nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("slots", sa.Integer, nullable=False),
    sa.Column("queues", Json, nullable=False),
    sa.Column("version", sa.String(32), nullable=False),
    sa.Column("engine", sa.String(16), nullable=False),
    sa.Column("started_at", Stamp, nullable=False),
    sa.Column("seen_at", Stamp, nullable=False),
    sa.Column("draining_at", Stamp),
)

api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("name", sa.String(128), nullable=False),
    sa.Column("prefix", sa.String(16), nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False, unique=True),
    sa.Column("scopes", Json, nullable=False),
    sa.Column("subject", sa.String(128), nullable=False),
    sa.Column("tenant", sa.String(64), nullable=False),
    sa.Column("created_at", Stamp, nullable=False),
    sa.Column("revoked_at", Stamp),
)

audit = sa.Table(
    "audit",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("tenant", sa.String(64), nullable=False),
    sa.Column("action", sa.String(64), nullable=False),
    sa.Column("target", sa.String(255), nullable=False),
    sa.Column("actor", sa.String(128), nullable=False),
    sa.Column("actor_key_id", sa.String(36)),
    sa.Column("correlation_id", sa.String(64)),
    sa.Column("data", Json, nullable=False),
    sa.Column("created_at", Stamp, nullable=False),
    sa.Index(None, "tenant", "created_at", "id"),
    sa.Index(None, "created_at", "id"),
)

signed_out = sa.Table(
    "signed_out",
    metadata,
    sa.Column("sha256", sa.String(64), primary_key=True),
    sa.Column("until", Stamp, nullable=False),
)

secrets = sa.Table(
    "secrets",
    metadata,
    sa.Column("name", sa.String(32), primary_key=True),
    sa.Column("value", sa.String(64), nullable=False),
)

shares = sa.Table(
    "shares",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    # Goes with its job by itself: a version that knows no shares forgets jobs, too.
    sa.Column("job_id", sa.String(36), sa.ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("tenant", sa.String(64), nullable=False),
    sa.Column("actor", sa.String(128), nullable=False),
    sa.Column("embed", Json, nullable=False),
    sa.Column("created_at", Stamp, nullable=False),
    sa.Column("expires_at", Stamp, nullable=False),
    sa.Column("revoked_at", Stamp),
)

brands = sa.Table(
    "brands",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("tenant", sa.String(64), nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("name", sa.String(64), nullable=False),
    sa.Column("data", Json, nullable=False),
    sa.Column("created_at", Stamp, nullable=False),
    sa.Column("updated_at", Stamp, nullable=False),
    sa.UniqueConstraint("tenant", "kind", "name"),
)

requests = sa.Table(
    "requests",
    metadata,
    sa.Column("tenant", sa.String(64), primary_key=True),
    sa.Column("path", sa.String(255), primary_key=True),
    sa.Column("key", sa.String(255), primary_key=True),
    sa.Column("body_sha256", sa.String(64), nullable=False),
    sa.Column("made", sa.String(36)),  # the id of what the request makes, whenever it comes
    sa.Column("status_code", sa.Integer),
    sa.Column("body", sa.Text),
    sa.Column("content_type", sa.String(255)),
    sa.Column("created_at", Stamp, nullable=False),
)

switches = sa.Table(
    "switches",
    metadata,
    sa.Column("pipeline", sa.String(64), primary_key=True),
    sa.Column("tenant", sa.String(64), primary_key=True),  # "": all; a key can't be NULL
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("actor", sa.String(128), nullable=False),
    sa.Column("since", Stamp, nullable=False),
)

tenant_limits = sa.Table(
    "tenant_limits",
    metadata,
    sa.Column("tenant", sa.String(64), primary_key=True),
    sa.Column("quota_bytes", sa.BigInteger),
    sa.Column("quota_jobs", sa.Integer),
)
