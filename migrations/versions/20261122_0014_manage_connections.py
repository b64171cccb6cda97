"""Manage connections: why each is as it is, when its gateway is asked, the default for sending.

Expand: the program before this one neither reads nor writes any of it; a status that it stores
leaves the reason of the one before standing until the next. Locks: `connections` and `businesses`,
tables of few rows, for a moment; no row is rewritten.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_INSTANT = sa.DateTime(timezone=True)
_COUNTS = ("seen", "made", "named", "linked", "skipped")


def upgrade() -> None:
    op.add_column("businesses", sa.Column("default_connection_id", sa.Uuid))
    op.add_column("connections", sa.Column("status_reason", sa.Text))
    op.add_column("connections", sa.Column("status_at", _INSTANT))
    op.add_column("connections", sa.Column("ask_at", _INSTANT))
    op.create_index(
        "ix_connections_ask_at",
        "connections",
        ["ask_at"],
        postgresql_where=sa.text("ask_at IS NOT NULL AND deleted_at IS NULL"),
    )
    op.create_table(
        "contact_pulls",
        sa.Column("connection_id", sa.Uuid, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("cursor", sa.Text, nullable=False, server_default=""),
        *(sa.Column(name, sa.Integer, nullable=False, server_default="0") for name in _COUNTS),
        sa.Column("failure", sa.Text),
        sa.Column(
            "asked_at", _INSTANT, nullable=False, server_default=sa.text("clock_timestamp()")
        ),
        sa.Column("finished_at", _INSTANT),
        sa.Column("attempt", sa.Integer, nullable=False, server_default="1"),
        sa.Column("refusals", sa.Integer, nullable=False, server_default="0"),
        sa.Column("deaths", sa.Integer, nullable=False, server_default="0"),
        sa.Column("is_running", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.Column("next_check_at", _INSTANT),
        sa.PrimaryKeyConstraint("connection_id", name=op.f("pk_contact_pulls")),
        sa.ForeignKeyConstraint(
            ["connection_id"],
            ["connections.id"],
            name=op.f("fk_contact_pulls_connection_id"),
            ondelete="CASCADE",
        ),
        sa.CheckConstraint(
            "status IN ('queued', 'running', 'done', 'failed')",
            name=op.f("ck_contact_pulls_status_known"),
        ),
    )
    op.create_index(
        "ix_contact_pulls_unfinished",
        "contact_pulls",
        ["next_check_at"],
        postgresql_where=sa.text("next_check_at IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_table("contact_pulls")
    op.drop_index("ix_connections_ask_at", "connections")
    op.drop_column("connections", "ask_at")
    op.drop_column("connections", "status_at")
    op.drop_column("connections", "status_reason")
    op.drop_column("businesses", "default_connection_id")
