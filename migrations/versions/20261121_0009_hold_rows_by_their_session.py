"""Hold messages and summaries by their session alone, and sessions by their business and contact.

What goes are foreign keys that repeat what the session's says, with the indexes only they needed:
deleting a connection read every session, deleting a business every dead entry of its messages, and
each message cost two look-ups, two row locks and an index entry more.

Contract; the program before this one works on. Locks: `sessions`, `messages`, `summaries`,
`connections` and `businesses` for an instant, nothing is read.
"""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_KEYS = (
    ("sessions", "connection_id", "connections"),
    ("messages", "business_id", "businesses"),
    ("messages", "connection_id", "connections"),
    ("summaries", "business_id", "businesses"),
)


def upgrade() -> None:
    for table, column, _ in _KEYS:
        op.drop_constraint(op.f(f"fk_{table}_{column}"), table, type_="foreignkey")
    for table in ("messages", "summaries"):
        op.drop_index(op.f(f"ix_{table}_business_id"), table_name=table)


def downgrade() -> None:
    for table in ("messages", "summaries"):
        op.create_index(op.f(f"ix_{table}_business_id"), table, ["business_id"])
    for table, column, other in _KEYS:
        op.create_foreign_key(
            op.f(f"fk_{table}_{column}"), table, other, [column], ["id"], ondelete="CASCADE"
        )
