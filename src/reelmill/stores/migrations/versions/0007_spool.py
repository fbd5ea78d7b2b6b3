"""Finished files that wait in a spool while storage is away; when each was stored, after how many retries."""

import sqlalchemy as sa
from alembic import op

from reelmill.stores.schema import Stamp

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("spooled", sa.Integer(), nullable=False, server_default=sa.text("0")))
    place = sa.Column("place", sa.String(length=16), nullable=False, server_default=sa.text("'stored'"))
    op.add_column("artifacts", place)
    op.add_column("artifacts", sa.Column("spool", sa.String(length=36)))
    op.add_column("artifacts", sa.Column("retries", sa.Integer(), nullable=False, server_default=sa.text("0")))
    op.add_column("artifacts", sa.Column("stored_at", Stamp()))
    op.execute("UPDATE artifacts SET stored_at = created_at")
    op.create_index(op.f("ix_artifacts_spool_created_at"), "artifacts", ["spool", "created_at"])


def downgrade() -> None:
    op.drop_index(op.f("ix_artifacts_spool_created_at"), table_name="artifacts")
    for name in ("stored_at", "retries", "spool", "place"):
        op.drop_column("artifacts", name)
    op.drop_column("jobs", "spooled")
