"""The audit log, and the browsers that were signed out before their cookie's time."""

import sqlalchemy as sa
from alembic import op

from reelmill.stores.schema import Json, Stamp

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audit",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("target", sa.String(length=255), nullable=False),
        sa.Column("actor", sa.String(length=128), nullable=False),
        sa.Column("actor_key_id", sa.String(length=36), nullable=True),
        sa.Column("correlation_id", sa.String(length=64), nullable=True),
        sa.Column("data", Json, nullable=False),
        sa.Column("created_at", Stamp(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
    op.create_index(op.f("ix_audit_tenant_created_at_id"), "audit", ["tenant", "created_at", "id"])
    op.create_index(op.f("ix_audit_created_at_id"), "audit", ["created_at", "id"])
    op.create_table(
        "signed_out",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("until", Stamp(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_signed_out")),
    )


def downgrade() -> None:
    op.drop_table("signed_out")
    op.drop_table("audit")
