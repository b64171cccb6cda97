"""Send messages: what is to be sent, how far it got, and why it was refused.

Expand: the program before this one reads the new words as any other and never writes them; what it
finds queued waits for this one. Locks: `messages`, for the time it takes to read it once (a second
or two for some millions): webhooks wait in the spool meanwhile. No row is rewritten.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_STATUS = "ck_messages_status_known"
_FAILURE = "ck_messages_failure_known"
_BEFORE = "'pending', 'sent', 'delivered', 'read', 'played', 'failed'"
_AFTER = f"'queued', 'sending', 'unknown', {_BEFORE}"
_FAILURES = (
    "'rate', 'temporary', 'unreachable', 'not_connected', 'window_closed', 'recipient', 'content', "
    "'unwanted', 'auth', 'account', 'no_credentials', 'connection_gone', 'given_up', 'other'"
)


def upgrade() -> None:
    op.execute(f"""
        ALTER TABLE messages
          ADD COLUMN failure text,
          ADD COLUMN retryable boolean,
          DROP CONSTRAINT {_STATUS},
          ADD CONSTRAINT {_STATUS} CHECK (status IN ({_AFTER})),
          ADD CONSTRAINT {_FAILURE} CHECK (failure IN ({_FAILURES}))""")
    op.create_table(
        "sends",
        sa.Column("message_id", sa.Uuid, nullable=False),
        sa.Column("business_id", sa.Uuid, nullable=False),
        sa.Column("client_ref", sa.Text),
        sa.Column("recipient", sa.Text, nullable=False),
        sa.Column("template", JSONB),
        sa.Column("attempt", sa.Integer, nullable=False, server_default="1"),
        sa.Column("refusals", sa.Integer, nullable=False, server_default="0"),
        sa.Column("is_running", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.Column("turn_at", sa.DateTime(timezone=True)),
        sa.Column("next_check_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("message_id", name=op.f("pk_sends")),
        sa.ForeignKeyConstraint(
            ["message_id"],
            ["messages.id"],
            name=op.f("fk_sends_message_id"),
            ondelete="CASCADE",
        ),
    )
    op.create_index(
        "uq_sends_client_ref",
        "sends",
        ["business_id", "client_ref"],
        unique=True,
        postgresql_where=sa.text("client_ref IS NOT NULL"),
    )
    op.create_index(
        "ix_sends_unfinished",
        "sends",
        ["next_check_at"],
        postgresql_where=sa.text("next_check_at IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_table("sends")
    op.execute(
        "UPDATE messages SET status = 'pending' WHERE status IN ('queued', 'sending', 'unknown')"
    )
    op.execute(f"""
        ALTER TABLE messages
          DROP CONSTRAINT {_STATUS},
          ADD CONSTRAINT {_STATUS} CHECK (status IN ({_BEFORE})),
          DROP COLUMN failure,
          DROP COLUMN retryable""")
