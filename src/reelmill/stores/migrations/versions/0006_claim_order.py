"""What the order of claims needs to know of a step, on the step; the lanes; indexes for what grows with the jobs."""

import sqlalchemy as sa
from alembic import op

from reelmill.stores.schema import ENDED_WORDS, Stamp, clock, only_where

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

NEW_COLUMNS = ["waits", "queued_at", "later", "rank", "queue", "tenant"]
UNUSED = -46.0
CLAIMABLE = "status = 'ready' AND NOT waits"


def upgrade() -> None:
    op.add_column("steps", sa.Column("tenant", sa.String(length=64), nullable=False, server_default=sa.text("''")))
    op.add_column("steps", sa.Column("queue", sa.String(length=32), nullable=False, server_default="cpu"))
    op.add_column("steps", sa.Column("rank", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("steps", sa.Column("later", sa.Boolean(), nullable=False, server_default=sa.true()))
    op.add_column("steps", sa.Column("queued_at", Stamp(), nullable=True))
    op.add_column("steps", sa.Column("waits", sa.Boolean(), nullable=False, server_default=sa.false()))
    # not_before of steps that wait passes soon: they are looked at as if it had
    op.execute(
        "UPDATE steps SET tenant = jobs.tenant, rank = -jobs.priority, queued_at = jobs.queued_at "
        "FROM jobs WHERE jobs.id = steps.job_id"
    )
    op.create_index(
        "ix_steps_order",
        "steps",
        ["queue", "tenant", "rank", "later", "queued_at", "job_id", "index"],
        sqlite_where=sa.text("status = 'ready' AND waits = 0"),
        postgresql_where=sa.text(CLAIMABLE),
    )
    op.create_index(
        "ix_steps_waiting",
        "steps",
        ["not_before"],
        sqlite_where=sa.text("status = 'ready' AND waits = 1"),
        postgresql_where=sa.text("status = 'ready' AND waits"),
    )
    # It would be taken for these, and reads all that is ready.
    op.drop_index(op.f("ix_steps_status_not_before"), "steps")
    op.create_index("ix_steps_running", "steps", ["job_id"], **only_where("status = 'running'"))
    lanes = op.create_table(
        "lanes",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("queue", sa.String(length=32), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=True),
        sa.Column("usage", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "queue", name=op.f("pk_lanes")),
    )
    op.create_index("ix_lanes_order", "lanes", ["rank", "usage", "tenant", "queue"], **only_where("rank IS NOT NULL"))
    ready = "SELECT tenant, queue, min(rank) FROM steps WHERE status = 'ready' GROUP BY tenant, queue"
    for tenant, queue, rank in op.get_bind().execute(sa.text(ready)).all():
        op.get_bind().execute(sa.insert(lanes).values(tenant=tenant, queue=queue, rank=rank, usage=clock() + UNUSED))
    op.create_index(
        op.f("ix_jobs_status_tenant_priority_queued_at"), "jobs", ["status", "tenant", "priority", "queued_at"]
    )
    op.create_index("ix_jobs_unswept", "jobs", ["id"], **only_where(f"swept_at IS NULL AND status IN ({ENDED_WORDS})"))


def downgrade() -> None:
    op.drop_index("ix_jobs_unswept", "jobs")
    op.drop_index(op.f("ix_jobs_status_tenant_priority_queued_at"), "jobs")
    op.drop_table("lanes")
    op.create_index(op.f("ix_steps_status_not_before"), "steps", ["status", "not_before"])
    for index in ("ix_steps_running", "ix_steps_waiting", "ix_steps_order"):
        op.drop_index(index, "steps")
    for column in NEW_COLUMNS:
        op.drop_column("steps", column)
