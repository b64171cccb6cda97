"""Mark a business as erased, so that its rows can go in small steps.

Expand: the program before this one shows a marked business until its row is gone. Locks:
`businesses` for an instant; `contacts` against writing while an index on it is built anew, seconds
for millions of rows.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("businesses", sa.Column("erased_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index(
        "ix_businesses_erased",
        "businesses",
        ["erased_at"],
        postgresql_where=sa.text("erased_at IS NOT NULL"),
    )
    # Of all contacts: merged ones have to be found too when their business goes.
    op.execute("ALTER INDEX ix_contacts_business_id_id RENAME TO ix_contacts_unmerged")
    op.create_index(op.f("ix_contacts_business_id_id"), "contacts", ["business_id", "id"])
    op.drop_index("ix_contacts_unmerged", table_name="contacts")


def downgrade() -> None:
    op.drop_index(op.f("ix_contacts_business_id_id"), table_name="contacts")
    op.create_index(
        op.f("ix_contacts_business_id_id"),
        "contacts",
        ["business_id", "id"],
        postgresql_where=sa.text("merged_into IS NULL"),
    )
    op.drop_index("ix_businesses_erased", table_name="businesses")
    op.drop_column("businesses", "erased_at")
