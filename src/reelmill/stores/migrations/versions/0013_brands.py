"""What tenants keep by name for the looks of their texts."""

import sqlalchemy as sa
from alembic import op

from reelmill.stores.schema import Json, Stamp

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "brands",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("data", Json, nullable=False),
        sa.Column("created_at", Stamp(), nullable=False),
        sa.Column("updated_at", Stamp(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_brands")),
        sa.UniqueConstraint("tenant", "kind", "name", name=op.f("uq_brands_tenant_kind_name")),
    )


def downgrade() -> None:
    op.drop_table("brands")
