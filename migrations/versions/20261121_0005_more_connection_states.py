"""Let a connection be stopped, or wait for somebody's action.

WAHA tells both: a session may be stopped, and pairing may wait for a passkey.

Expand: the program before this one writes what it wrote before. Locks: `connections`, a table of
few rows, for the moment it takes to read it.
"""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_BEFORE = "'new', 'connecting', 'waiting_qr', 'connected', 'logged_out', 'failed', 'removed'"
_AFTER = (
    "'new', 'connecting', 'waiting_qr', 'action_required', 'connected', 'stopped', 'logged_out', "
    "'failed', 'removed'"
)


def _allow(states: str) -> None:
    name = op.f("ck_connections_status_known")
    op.drop_constraint(name, "connections", type_="check")
    op.create_check_constraint(name, "connections", f"status IN ({states})")


def upgrade() -> None:
    _allow(_AFTER)


def downgrade() -> None:
    op.execute("UPDATE connections SET status = 'waiting_qr' WHERE status = 'action_required'")
    op.execute("UPDATE connections SET status = 'logged_out' WHERE status = 'stopped'")
    _allow(_BEFORE)
