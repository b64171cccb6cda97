"""Keep uploads: files a business hands over to be sent, each for a day.

Expand: the program before this one neither reads nor writes any of it; a message with an upload
that it takes up is refused by the gateway, as it names no file. Locks: `sends`, for an instant.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "uploads",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("business_id", sa.Uuid, nullable=False),
        sa.Column("mime_type", sa.Text, nullable=False),
        sa.Column("file_name", sa.Text),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            nullable=False,
            server_default=sa.text("clock_timestamp()"),
        ),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_uploads")),
        sa.ForeignKeyConstraint(
            ["business_id"],
            ["businesses.id"],
            name=op.f("fk_uploads_business_id"),
            ondelete="CASCADE",
        ),
    )
    op.create_index(op.f("ix_uploads_business_id"), "uploads", ["business_id"])
    op.create_index(op.f("ix_uploads_expires_at"), "uploads", ["expires_at"])
    op.add_column("sends", sa.Column("upload_id", sa.Uuid))


def downgrade() -> None:
    op.drop_column("sends", "upload_id")
    op.drop_table("uploads")
