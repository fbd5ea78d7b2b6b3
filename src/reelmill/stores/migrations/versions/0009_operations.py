"""Operations: switches, limits of tenants, deleted videos, what retention removed, versions of attempts."""

import sqlalchemy as sa
from alembic import op

from reelmill.stores.schema import Json, Stamp

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

COLUMNS = {
    "videos": ("deleted_at", "purge_after", "source_removed_at"),
    "jobs": ("deleted_at", "outputs_removed_at", "events_removed_at"),
}
INDEXES = {
    "videos": (["upload_status", "uploaded_at"], ["purge_after"]),
    "jobs": (["outputs_removed_at", "completed_at"], ["events_removed_at", "completed_at"]),
}


def upgrade() -> None:
    for table, names in COLUMNS.items():
        for name in names:
            op.add_column(table, sa.Column(name, Stamp()))
    op.add_column("attempts", sa.Column("versions", Json))
    for table, indexes in INDEXES.items():
        for columns in indexes:
            op.create_index(op.f(f"ix_{table}_{'_'.join(columns)}"), table, columns)
    op.create_table(
        "switches",
        sa.Column("pipeline", sa.String(length=64), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("actor", sa.String(length=128), nullable=False),
        sa.Column("since", Stamp(), nullable=False),
        sa.PrimaryKeyConstraint("pipeline", "tenant", name=op.f("pk_switches")),
    )
    op.create_table(
        "tenant_limits",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("quota_bytes", sa.BigInteger(), nullable=True),
        sa.Column("quota_jobs", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("tenant", name=op.f("pk_tenant_limits")),
    )


def downgrade() -> None:
    op.drop_table("tenant_limits")
    op.drop_table("switches")
    for table, indexes in INDEXES.items():
        for columns in indexes:
            op.drop_index(op.f(f"ix_{table}_{'_'.join(columns)}"), table)
    op.drop_column("attempts", "versions")
    for table, names in COLUMNS.items():
        for name in names:
            op.drop_column(table, name)
