"""Let hosts announce what waits in their spools, so that closers do not overtake it.

Expand. Locks: none, a table is added; the program that does not know it works on.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "spool_announcements",
        sa.Column("spool_id", sa.Text(), nullable=False),
        sa.Column("oldest_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("announced_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("spool_id", name=op.f("pk_spool_announcements")),
    )


def downgrade() -> None:
    op.drop_table("spool_announcements")
