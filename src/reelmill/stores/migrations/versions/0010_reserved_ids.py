"""The id of what an idempotent request makes, reserved before it is made."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("requests", sa.Column("made", sa.String(length=36)))


def downgrade() -> None:
    op.drop_column("requests", "made")
