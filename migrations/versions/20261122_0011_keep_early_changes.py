"""Keep edits, revocations and reactions that come before their message.

Expand. Locks: `connections` for an instant, as a foreign key points at it; the program that does
not know the table works on, and what comes early is lost to it as before.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "early_changes",
        sa.Column("connection_id", sa.Uuid(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("direction", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "arrived_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "kind IN ('edit', 'revoke', 'reaction')", name=op.f("ck_early_changes_kind_known")
        ),
        sa.CheckConstraint(
            "direction IN ('in', 'out', '')", name=op.f("ck_early_changes_direction_known")
        ),
        sa.ForeignKeyConstraint(
            ["connection_id"],
            ["connections.id"],
            name=op.f("fk_early_changes_connection_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(
            "connection_id", "target", "kind", "direction", name=op.f("pk_early_changes")
        ),
    )
    op.create_index(op.f("ix_early_changes_arrived_at"), "early_changes", ["arrived_at"])


def downgrade() -> None:
    op.drop_table("early_changes")
