"""Count how often a worker died over a summary or a callback, to give up on what kills it.

Expand: the program that does not know the columns works on; what it lets die is not counted.
Locks: `sessions` and `callback_runs` for an instant each; a constant default rewrites no row.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def _deaths(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, nullable=False, server_default="0")


def upgrade() -> None:
    op.add_column("sessions", _deaths("summary_deaths"))
    op.add_column("callback_runs", _deaths("deaths"))
    op.add_column(
        "callback_runs",
        sa.Column("is_running", sa.Boolean, nullable=False, server_default=sa.text("false")),
    )


def downgrade() -> None:
    op.drop_column("callback_runs", "is_running")
    op.drop_column("callback_runs", "deaths")
    op.drop_column("sessions", "summary_deaths")
