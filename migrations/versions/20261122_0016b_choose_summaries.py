"""Let each business choose how its conversations are summarised.

Expand: the program before this one summarises as the service is set. Locks: `businesses`, for a
moment; no row is rewritten.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016b"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("summarizer", "summary_model", "summary_language"):
        op.add_column("businesses", sa.Column(name, sa.Text))
    op.add_column(
        "businesses",
        sa.Column("summary_instructions", sa.Text, nullable=False, server_default=""),
    )
    op.create_check_constraint(
        op.f("ck_businesses_summarizer_known"),
        "businesses",
        "summarizer IN ('auto', 'openai', 'extractive')",
    )


def downgrade() -> None:
    for name in ("summary_instructions", "summary_language", "summary_model", "summarizer"):
        op.drop_column("businesses", name)
