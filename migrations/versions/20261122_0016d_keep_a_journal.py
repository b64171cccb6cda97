"""Keep a journal for each business: who changed what, and what happened to its connections.

A connection's status is noted by a trigger, for it is written on the path of messages and from
more than one place; every other entry is made by the program.

Expand. Locks: `connections`, for a moment. The program before this one has its status noted too.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016d"
down_revision = "0016c"
branch_labels = None
depends_on = None

NOTE_IN_JOURNAL = """
CREATE FUNCTION note_in_journal(
  in_business uuid, what text, by_kind text, by_id uuid, about uuid, more text
) RETURNS void LANGUAGE sql AS $$
  INSERT INTO journal (id, business_id, kind, actor_kind, actor_id, subject_id, detail)
  VALUES (gen_random_uuid(), in_business, what, by_kind, by_id, about, more);
  -- Each entry takes older ones with it: of the last 90 days, and of those the last 2000.
  DELETE FROM journal WHERE id IN (
    SELECT id FROM journal
    WHERE business_id = in_business AND at < clock_timestamp() - interval '90 days'
    ORDER BY at LIMIT 20);
  DELETE FROM journal WHERE id IN (
    SELECT id FROM journal WHERE business_id = in_business
    ORDER BY at DESC, id DESC OFFSET 2000 LIMIT 20);
$$"""

NOTE_CONNECTION_STATUS = """
CREATE FUNCTION note_connection_status() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM note_in_journal(
    NEW.business_id, 'connection_status', 'gateway', NULL, NEW.id, NEW.status);
  RETURN NULL;
END
$$"""


def upgrade() -> None:
    op.create_table(
        "journal",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("business_id", sa.Uuid, nullable=False),
        sa.Column(
            "at",
            sa.DateTime(timezone=True),
            nullable=False,
            server_default=sa.text("clock_timestamp()"),
        ),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("actor_kind", sa.Text, nullable=False),
        sa.Column("actor_id", sa.Uuid),
        sa.Column("subject_id", sa.Uuid),
        sa.Column("detail", sa.Text, nullable=False, server_default=""),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_journal")),
        sa.ForeignKeyConstraint(
            ["business_id"],
            ["businesses.id"],
            name=op.f("fk_journal_business_id"),
            ondelete="CASCADE",
        ),
    )
    op.create_index(op.f("ix_journal_business_id_at_id"), "journal", ["business_id", "at", "id"])
    op.execute(NOTE_IN_JOURNAL)
    op.execute(NOTE_CONNECTION_STATUS)
    op.execute("""
        CREATE TRIGGER note_status AFTER UPDATE OF status ON connections FOR EACH ROW
        WHEN (OLD.status IS DISTINCT FROM NEW.status AND NEW.deleted_at IS NULL)
        EXECUTE FUNCTION note_connection_status()""")


def downgrade() -> None:
    op.execute("DROP TRIGGER note_status ON connections")
    op.execute("DROP FUNCTION note_connection_status")
    op.execute("DROP FUNCTION note_in_journal")
    op.drop_table("journal")
