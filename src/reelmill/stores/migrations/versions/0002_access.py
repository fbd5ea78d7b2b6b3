"""API keys, idempotent requests, warnings of jobs, and when a job's files were last swept."""

import sqlalchemy as sa
from alembic import op

from reelmill.stores.schema import Json, Stamp

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("prefix", sa.String(length=16), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("scopes", Json, nullable=False),
        sa.Column("subject", sa.String(length=128), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("created_at", Stamp(), nullable=False),
        sa.Column("revoked_at", Stamp(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("sha256", name=op.f("uq_api_keys_sha256")),
    )
    op.create_table(
        "requests",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("path", sa.String(length=255), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("body_sha256", sa.String(length=64), nullable=False),
        sa.Column("status_code", sa.Integer(), nullable=True),
        sa.Column("body", sa.Text(), nullable=True),
        sa.Column("content_type", sa.String(length=255), nullable=True),
        sa.Column("created_at", Stamp(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "path", "key", name=op.f("pk_requests")),
    )
    op.add_column("jobs", sa.Column("warnings", Json, nullable=False, server_default=sa.text("'[]'")))
    op.add_column("jobs", sa.Column("swept_at", Stamp()))


def downgrade() -> None:
    # Not by Alembic's batch mode, which drops and renames the whole table: its rows are referenced.
    op.drop_column("jobs", "swept_at")
    op.drop_column("jobs", "warnings")
    op.drop_table("requests")
    op.drop_table("api_keys")
