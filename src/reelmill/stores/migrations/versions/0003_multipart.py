"""Uploads in parts: the size of a part, and the storage's id of what is under way."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("videos", sa.Column("part_size", sa.BigInteger()))
    op.add_column("videos", sa.Column("multipart_id", sa.Text()))


def downgrade() -> None:
    op.drop_column("videos", "multipart_id")
    op.drop_column("videos", "part_size")
