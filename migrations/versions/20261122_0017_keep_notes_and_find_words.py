"""Keep notes, tasks and attributes of contacts; find conversations by their words.

Expand: the program before this one writes none of it, and what it summarises meanwhile is found by
words once its row is marked again. Every closed session is marked here for the indexer, one small
row each. Locks: `sessions`, `summaries`, `contacts` and `contact_ids` against writing, for the time
it takes to read each once (some seconds for a million): webhooks wait in the spool meanwhile.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TSVECTOR

revision = "0017"
down_revision = "0016d"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _find_words()
    _keep_notes()


def _find_words() -> None:
    op.create_table(
        "session_words",
        sa.Column("session_id", sa.Uuid, nullable=False),
        sa.Column("business_id", sa.Uuid, nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("words", TSVECTOR, nullable=False),
        sa.PrimaryKeyConstraint("session_id", name=op.f("pk_session_words")),
        sa.ForeignKeyConstraint(
            ["session_id"],
            ["sessions.id"],
            name=op.f("fk_session_words_session_id"),
            ondelete="CASCADE",
        ),
    )
    op.create_index(
        "ix_session_words_of_business", "session_words", ["business_id", "started_at", "session_id"]
    )
    op.create_index("ix_session_words_words", "session_words", ["words"], postgresql_using="gin")
    op.create_table(
        "stale_words",
        sa.Column("session_id", sa.Uuid, nullable=False),
        sa.PrimaryKeyConstraint("session_id", name=op.f("pk_stale_words")),
        sa.ForeignKeyConstraint(
            ["session_id"],
            ["sessions.id"],
            name=op.f("fk_stale_words_session_id"),
            ondelete="CASCADE",
        ),
    )
    op.execute("INSERT INTO stale_words SELECT id FROM sessions WHERE state = 'closed'")
    op.create_index(
        "ix_sessions_summary_waiting",
        "sessions",
        ["business_id", "started_at", "id"],
        postgresql_where=sa.text("summary_status IN ('pending', 'running', 'failed')"),
    )
    op.create_index("ix_sessions_of_connection", "sessions", ["connection_id"])
    op.create_index(
        "ix_summaries_follow_up",
        "summaries",
        ["business_id"],
        postgresql_where=sa.text("follow_up IS NOT NULL"),
    )
    op.create_index(
        "ix_contact_ids_tail",
        "contact_ids",
        ["business_id", sa.func.reverse(sa.text("value")).label("tail")],
        postgresql_ops={"tail": "text_pattern_ops"},
        postgresql_where=sa.text("kind = 'phone'"),
    )
    op.create_index(
        "ix_contacts_words",
        "contacts",
        [
            sa.text(
                "(to_tsvector('simple'::regconfig, name)"
                " || array_to_tsvector(ARRAY[business_id::text]))"
            )
        ],
        postgresql_using="gin",
        postgresql_where=sa.text("name IS NOT NULL"),
    )


def _keep_notes() -> None:
    op.execute("ALTER TABLE contacts ADD COLUMN attributes jsonb NOT NULL DEFAULT '{}'")
    op.create_table(
        "notes",
        sa.Column("id", sa.Uuid, nullable=False),
        *_of_contact("notes"),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("author", sa.Text, nullable=False),
        sa.Column("author_id", sa.Uuid),
        _instant("created_at", default_now=True),
        _instant("edited_at", nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notes")),
    )
    op.create_table(
        "tasks",
        sa.Column("id", sa.Uuid, nullable=False),
        *_of_contact("tasks"),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("author", sa.Text, nullable=False),
        sa.Column("author_id", sa.Uuid),
        sa.Column("assignee", sa.Text),
        sa.Column("is_follow_up", sa.Boolean, nullable=False, server_default=sa.text("false")),
        _instant("due_at", nullable=True),
        _instant("done_at", nullable=True),
        _instant("created_at", default_now=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tasks")),
    )
    for table in ("notes", "tasks"):
        op.create_index(op.f(f"ix_{table}_contact_id_id"), table, ["contact_id", "id"])
        op.create_index(
            f"ix_{table}_of_session",
            table,
            ["session_id"],
            postgresql_where=sa.text("session_id IS NOT NULL"),
        )
    op.create_index(
        "uq_tasks_follow_up",
        "tasks",
        ["session_id"],
        unique=True,
        postgresql_where=sa.text("is_follow_up"),
    )
    op.create_index(
        "ix_tasks_open",
        "tasks",
        ["business_id", "due_at", "id"],
        postgresql_where=sa.text("done_at IS NULL"),
    )
    op.create_index(
        "ix_tasks_done",
        "tasks",
        ["business_id", "done_at", "id"],
        postgresql_where=sa.text("done_at IS NOT NULL"),
    )


def _instant(name: str, *, nullable: bool = False, default_now: bool = False) -> sa.Column[object]:
    default = sa.text("clock_timestamp()") if default_now else None
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable, server_default=default)


def _of_contact(table: str) -> tuple[sa.Column[object] | sa.ForeignKeyConstraint, ...]:
    return (
        sa.Column("business_id", sa.Uuid, nullable=False),
        sa.Column("contact_id", sa.Uuid, nullable=False),
        sa.Column("session_id", sa.Uuid),
        sa.ForeignKeyConstraint(
            ["contact_id"], ["contacts.id"], name=op.f(f"fk_{table}_contact_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["session_id"],
            ["sessions.id"],
            name=op.f(f"fk_{table}_session_id"),
            ondelete="SET NULL",
        ),
    )


def downgrade() -> None:
    for table in ("tasks", "notes"):
        op.drop_table(table)
    op.execute("ALTER TABLE contacts DROP COLUMN attributes")
    op.drop_index("ix_contacts_words", "contacts")
    op.drop_index("ix_contact_ids_tail", "contact_ids")
    op.drop_index("ix_summaries_follow_up", "summaries")
    op.drop_index("ix_sessions_of_connection", "sessions")
    op.drop_index("ix_sessions_summary_waiting", "sessions")
    op.drop_table("stale_words")
    op.drop_table("session_words")
