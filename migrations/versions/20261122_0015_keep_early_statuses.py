"""Keep statuses that come before their message is known.

Expand. Locks: `connections` for an instant, as a foreign key points at it; the program that does
not know the table works on, and what comes early is lost to it as before.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "early_statuses",
        sa.Column("connection_id", sa.Uuid(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("error_code", sa.Integer(), nullable=True),
        sa.Column("retryable", sa.Boolean(), nullable=True),
        sa.Column(
            "arrived_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["connection_id"],
            ["connections.id"],
            name=op.f("fk_early_statuses_connection_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("connection_id", "target", name=op.f("pk_early_statuses")),
    )
    op.create_index(op.f("ix_early_statuses_arrived_at"), "early_statuses", ["arrived_at"])


def downgrade() -> None:
    op.drop_table("early_statuses")
