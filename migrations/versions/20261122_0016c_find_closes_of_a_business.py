"""Find what a business closed of late: its overview says how many, how long and how late.

Expand. Locks: `sessions`, while the index is built: about a second for each million of rows; webhooks
wait in the spool meanwhile.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016c"
down_revision = "0016b"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "ix_sessions_closed_of_business",
        "sessions",
        ["business_id", "closed_at"],
        postgresql_where=sa.text("state = 'closed'"),
    )


def downgrade() -> None:
    op.drop_index("ix_sessions_closed_of_business", "sessions")
