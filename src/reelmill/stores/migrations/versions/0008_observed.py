"""The trace that a job belongs to, and an index by which jobs are counted."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("trace_context", sa.String(length=64), nullable=True))
    op.create_index(op.f("ix_jobs_status_pipeline"), "jobs", ["status", "pipeline"])


def downgrade() -> None:
    op.drop_index(op.f("ix_jobs_status_pipeline"), table_name="jobs")
    op.drop_column("jobs", "trace_context")
