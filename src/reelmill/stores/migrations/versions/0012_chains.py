"""What follows a job, and steps by their digest."""

import sqlalchemy as sa
from alembic import op

from reelmill.stores.schema import UNFOLLOWED_WORDS, Json, Stamp, only_where

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("reuse", sa.Boolean(), nullable=False, server_default=sa.true()))
    op.add_column("jobs", sa.Column("then", Json, nullable=True))
    op.add_column("jobs", sa.Column("follows", sa.String(length=36), nullable=True))
    op.add_column("jobs", sa.Column("followed_at", Stamp(), nullable=True))
    op.create_index("ix_jobs_unfollowed", "jobs", ["id"], **only_where(UNFOLLOWED_WORDS))
    op.create_index("ix_steps_made", "steps", ["tenant", "digest"], **only_where("status = 'done'"))


def downgrade() -> None:
    op.drop_index("ix_steps_made", "steps")
    op.drop_index("ix_jobs_unfollowed", "jobs")
    for name in ("followed_at", "follows", "then", "reuse"):
        op.drop_column("jobs", name)
