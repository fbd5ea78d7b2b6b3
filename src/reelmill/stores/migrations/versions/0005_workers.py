"""The processes that claim steps, and which of them shall drain."""

import sqlalchemy as sa
from alembic import op

from reelmill.stores.schema import Json, Stamp

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "workers",
        sa.Column("id", sa.String(length=128), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("slots", sa.Integer(), nullable=False),
        sa.Column("queues", Json, nullable=False),
        sa.Column("version", sa.String(length=32), nullable=False),
        sa.Column("engine", sa.String(length=16), nullable=False),
        sa.Column("started_at", Stamp(), nullable=False),
        sa.Column("seen_at", Stamp(), nullable=False),
        sa.Column("draining_at", Stamp(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workers")),
    )


def downgrade() -> None:
    op.drop_table("workers")
