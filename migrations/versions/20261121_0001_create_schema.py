"""Create the schema.

Expand. Locks: none that matter, every table is new.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "businesses",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("idle_gap_s", sa.Integer(), nullable=False),
        sa.Column("touch_on", sa.Text(), server_default="customer", nullable=False),
        sa.Column("country", sa.Text(), nullable=True),
        sa.Column("locale", sa.Text(), server_default="en", nullable=False),
        sa.Column("timezone", sa.Text(), server_default="UTC", nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "touch_on IN ('customer', 'any')", name=op.f("ck_businesses_touch_on_known")
        ),
        sa.CheckConstraint(
            "idle_gap_s BETWEEN 1 AND 2592000", name=op.f("ck_businesses_idle_gap_s_in_range")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_businesses")),
    )
    op.create_table(
        "close_callbacks",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_close_callbacks")),
        sa.UniqueConstraint("path", name=op.f("uq_close_callbacks_path")),
    )
    op.create_table(
        "install",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("shards", sa.Integer(), nullable=False),
        sa.Column("admin_key_digest", sa.LargeBinary(), nullable=True),
        sa.CheckConstraint("id = 1", name=op.f("ck_install_single_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_install")),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("business_id", sa.Uuid(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), server_default="", nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "role IN ('viewer', 'agent', 'manager')", name=op.f("ck_api_keys_role_known")
        ),
        sa.ForeignKeyConstraint(
            ["business_id"],
            ["businesses.id"],
            name=op.f("fk_api_keys_business_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("digest", name=op.f("uq_api_keys_digest")),
    )
    op.create_index(op.f("ix_api_keys_business_id"), "api_keys", ["business_id"], unique=False)
    op.create_table(
        "connections",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("business_id", sa.Uuid(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), server_default="", nullable=False),
        sa.Column("base_url", sa.Text(), server_default="", nullable=False),
        sa.Column("secrets", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.Text(), server_default="new", nullable=False),
        sa.Column("own_number", sa.Text(), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "provider IN ('meta', 'baileys', 'twilio', 'waha')",
            name=op.f("ck_connections_provider_known"),
        ),
        sa.CheckConstraint(
            "status IN ('new', 'connecting', 'waiting_qr', 'connected', 'logged_out', 'failed', 'removed')",
            name=op.f("ck_connections_status_known"),
        ),
        sa.ForeignKeyConstraint(
            ["business_id"],
            ["businesses.id"],
            name=op.f("fk_connections_business_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_connections")),
    )
    op.create_index(
        op.f("ix_connections_business_id"), "connections", ["business_id"], unique=False
    )
    op.create_index(
        "uq_connections_account_at_gateway",
        "connections",
        ["business_id", "provider", "base_url", "external_id"],
        unique=True,
        postgresql_where=sa.text("provider IN ('baileys', 'waha') AND deleted_at IS NULL"),
    )
    op.create_index(
        "uq_connections_account_everywhere",
        "connections",
        ["provider", "external_id"],
        unique=True,
        postgresql_where=sa.text("provider IN ('meta', 'twilio') AND deleted_at IS NULL"),
    )
    op.create_table(
        "contacts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("business_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("session_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("merged_into", sa.Uuid(), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["business_id"],
            ["businesses.id"],
            name=op.f("fk_contacts_business_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["merged_into"],
            ["contacts.id"],
            name=op.f("fk_contacts_merged_into"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_contacts")),
    )
    op.create_index(
        op.f("ix_contacts_business_id_id"),
        "contacts",
        ["business_id", "id"],
        unique=False,
        postgresql_where=sa.text("merged_into IS NULL"),
    )
    op.create_index(
        op.f("ix_contacts_merged_into"),
        "contacts",
        ["merged_into"],
        unique=False,
        postgresql_where=sa.text("merged_into IS NOT NULL"),
    )
    op.create_table(
        "contact_ids",
        sa.Column("business_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("contact_id", sa.Uuid(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "kind IN ('phone', 'lid', 'bsuid')", name=op.f("ck_contact_ids_kind_known")
        ),
        sa.ForeignKeyConstraint(
            ["business_id"],
            ["businesses.id"],
            name=op.f("fk_contact_ids_business_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["contact_id"],
            ["contacts.id"],
            name=op.f("fk_contact_ids_contact_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("business_id", "kind", "value", name=op.f("pk_contact_ids")),
    )
    op.create_index(op.f("ix_contact_ids_contact_id"), "contact_ids", ["contact_id"], unique=False)
    op.create_table(
        "sessions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("business_id", sa.Uuid(), nullable=False),
        sa.Column("connection_id", sa.Uuid(), nullable=False),
        sa.Column("contact_id", sa.Uuid(), nullable=False),
        sa.Column("customer_wa_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_message_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_customer_message_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_touch_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deadline_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("close_reason", sa.Text(), nullable=True),
        sa.Column("message_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column(
            "context",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
        sa.Column(
            "order_details",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
        sa.Column("summary_status", sa.Text(), nullable=True),
        sa.Column("summary_reason", sa.Text(), nullable=True),
        sa.Column("summary_attempt", sa.Integer(), server_default="0", nullable=False),
        sa.Column("next_check_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(state = 'open') = (closed_at IS NULL) AND (state = 'open') = (close_reason IS NULL)",
            name=op.f("ck_sessions_closed_whole"),
        ),
        sa.CheckConstraint(
            "close_reason IN ('idle', 'completed', 'recovered', 'replaced')",
            name=op.f("ck_sessions_close_reason_known"),
        ),
        sa.CheckConstraint("state IN ('open', 'closed')", name=op.f("ck_sessions_state_known")),
        sa.CheckConstraint(
            "summary_status IN ('pending', 'running', 'done', 'skipped', 'failed')",
            name=op.f("ck_sessions_summary_status_known"),
        ),
        sa.ForeignKeyConstraint(
            ["business_id"],
            ["businesses.id"],
            name=op.f("fk_sessions_business_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["connection_id"],
            ["connections.id"],
            name=op.f("fk_sessions_connection_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["contact_id"], ["contacts.id"], name=op.f("fk_sessions_contact_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sessions")),
    )
    op.create_index(
        "ix_sessions_active",
        "sessions",
        ["business_id", "deadline_at"],
        unique=False,
        postgresql_where=sa.text("state = 'open'"),
    )
    op.create_index(
        "ix_sessions_closed",
        "sessions",
        ["closed_at"],
        unique=False,
        postgresql_where=sa.text("state = 'closed'"),
    )
    op.create_index(
        "ix_sessions_due",
        "sessions",
        ["deadline_at"],
        unique=False,
        postgresql_where=sa.text("state = 'open'"),
    )
    op.create_index(
        "ix_sessions_of_business", "sessions", ["business_id", "started_at", "id"], unique=False
    )
    op.create_index(
        "ix_sessions_of_connection", "sessions", ["connection_id", "started_at"], unique=False
    )
    op.create_index(
        "ix_sessions_of_contact",
        "sessions",
        ["contact_id", "connection_id", "started_at"],
        unique=False,
    )
    op.create_index(
        "ix_sessions_opened",
        "sessions",
        ["created_at"],
        unique=False,
        postgresql_where=sa.text("state = 'open'"),
    )
    op.create_index(
        "ix_sessions_summary_unfinished",
        "sessions",
        ["next_check_at"],
        unique=False,
        postgresql_where=sa.text("next_check_at IS NOT NULL"),
    )
    op.create_index(
        "uq_sessions_one_open",
        "sessions",
        ["connection_id", "contact_id"],
        unique=True,
        postgresql_where=sa.text("state = 'open'"),
    )
    op.create_table(
        "callback_runs",
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("callback_id", sa.Uuid(), nullable=False),
        sa.Column("attempt", sa.Integer(), server_default="1", nullable=False),
        sa.Column("next_check_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("done_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["callback_id"],
            ["close_callbacks.id"],
            name=op.f("fk_callback_runs_callback_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["session_id"],
            ["sessions.id"],
            name=op.f("fk_callback_runs_session_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("session_id", "callback_id", name=op.f("pk_callback_runs")),
    )
    op.create_index(
        op.f("ix_callback_runs_callback_id"), "callback_runs", ["callback_id"], unique=False
    )
    op.create_index(
        "ix_callback_runs_unfinished",
        "callback_runs",
        ["next_check_at"],
        unique=False,
        postgresql_where=sa.text("next_check_at IS NOT NULL"),
    )
    op.create_table(
        "messages",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("business_id", sa.Uuid(), nullable=False),
        sa.Column("connection_id", sa.Uuid(), nullable=False),
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("provider_message_id", sa.Text(), nullable=False),
        sa.Column("direction", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), server_default="", nullable=False),
        sa.Column(
            "media", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column("reply_to", sa.Text(), nullable=True),
        sa.Column("payload", sa.Text(), nullable=True),
        sa.Column(
            "extra", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("placed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("status", sa.Text(), nullable=True),
        sa.Column("error_code", sa.Integer(), nullable=True),
        sa.Column("edited_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "reactions", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.CheckConstraint(
            "author IN ('customer', 'agent', 'bot', 'system')",
            name=op.f("ck_messages_author_known"),
        ),
        sa.CheckConstraint("direction IN ('in', 'out')", name=op.f("ck_messages_direction_known")),
        sa.CheckConstraint(
            "status IN ('pending', 'sent', 'delivered', 'read', 'played', 'failed')",
            name=op.f("ck_messages_status_known"),
        ),
        sa.ForeignKeyConstraint(
            ["business_id"],
            ["businesses.id"],
            name=op.f("fk_messages_business_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["connection_id"],
            ["connections.id"],
            name=op.f("fk_messages_connection_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["session_id"], ["sessions.id"], name=op.f("fk_messages_session_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_messages")),
        sa.UniqueConstraint(
            "connection_id",
            "provider_message_id",
            name=op.f("uq_messages_connection_id_provider_message_id"),
        ),
    )
    op.create_index(op.f("ix_messages_business_id"), "messages", ["business_id"], unique=False)
    op.create_index(
        "ix_messages_of_session",
        "messages",
        ["session_id", "placed_at", "received_at", "id"],
        unique=False,
    )
    op.create_table(
        "summaries",
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("business_id", sa.Uuid(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("summarizer", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("customer", sa.Text(), nullable=True),
        sa.Column("asked_for", sa.Text(), nullable=True),
        sa.Column("provided", sa.Text(), nullable=True),
        sa.Column("next_steps", sa.Text(), nullable=True),
        sa.Column("follow_up", sa.Text(), nullable=True),
        sa.Column("language", sa.Text(), nullable=False),
        sa.Column("sentiment", sa.Text(), nullable=False),
        sa.Column("message_ids", postgresql.ARRAY(sa.Uuid()), nullable=False),
        sa.Column("dropped_messages", sa.Integer(), server_default="0", nullable=False),
        sa.Column("tokens", sa.Integer(), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["business_id"],
            ["businesses.id"],
            name=op.f("fk_summaries_business_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["session_id"],
            ["sessions.id"],
            name=op.f("fk_summaries_session_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("session_id", name=op.f("pk_summaries")),
    )
    op.create_index(op.f("ix_summaries_business_id"), "summaries", ["business_id"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_summaries_business_id"), table_name="summaries")
    op.drop_table("summaries")
    op.drop_index("ix_messages_of_session", table_name="messages")
    op.drop_index(op.f("ix_messages_business_id"), table_name="messages")
    op.drop_table("messages")
    op.drop_index(
        "ix_callback_runs_unfinished",
        table_name="callback_runs",
        postgresql_where=sa.text("next_check_at IS NOT NULL"),
    )
    op.drop_index(op.f("ix_callback_runs_callback_id"), table_name="callback_runs")
    op.drop_table("callback_runs")
    op.drop_index(
        "uq_sessions_one_open", table_name="sessions", postgresql_where=sa.text("state = 'open'")
    )
    op.drop_index(
        "ix_sessions_summary_unfinished",
        table_name="sessions",
        postgresql_where=sa.text("next_check_at IS NOT NULL"),
    )
    op.drop_index(
        "ix_sessions_opened", table_name="sessions", postgresql_where=sa.text("state = 'open'")
    )
    op.drop_index("ix_sessions_of_contact", table_name="sessions")
    op.drop_index("ix_sessions_of_connection", table_name="sessions")
    op.drop_index("ix_sessions_of_business", table_name="sessions")
    op.drop_index(
        "ix_sessions_due", table_name="sessions", postgresql_where=sa.text("state = 'open'")
    )
    op.drop_index(
        "ix_sessions_closed", table_name="sessions", postgresql_where=sa.text("state = 'closed'")
    )
    op.drop_index(
        "ix_sessions_active", table_name="sessions", postgresql_where=sa.text("state = 'open'")
    )
    op.drop_table("sessions")
    op.drop_index(op.f("ix_contact_ids_contact_id"), table_name="contact_ids")
    op.drop_table("contact_ids")
    op.drop_index(
        op.f("ix_contacts_merged_into"),
        table_name="contacts",
        postgresql_where=sa.text("merged_into IS NOT NULL"),
    )
    op.drop_index(
        op.f("ix_contacts_business_id_id"),
        table_name="contacts",
        postgresql_where=sa.text("merged_into IS NULL"),
    )
    op.drop_table("contacts")
    op.drop_index(
        "uq_connections_account_everywhere",
        table_name="connections",
        postgresql_where=sa.text("provider IN ('meta', 'twilio') AND deleted_at IS NULL"),
    )
    op.drop_index(
        "uq_connections_account_at_gateway",
        table_name="connections",
        postgresql_where=sa.text("provider IN ('baileys', 'waha') AND deleted_at IS NULL"),
    )
    op.drop_index(op.f("ix_connections_business_id"), table_name="connections")
    op.drop_table("connections")
    op.drop_index(op.f("ix_api_keys_business_id"), table_name="api_keys")
    op.drop_table("api_keys")
    op.drop_table("install")
    op.drop_table("close_callbacks")
    op.drop_table("businesses")
