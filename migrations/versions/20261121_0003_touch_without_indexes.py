"""Let a touch change no index of `sessions`.

``due_not_before`` is indexed in the place of ``deadline_at``: a bound below it, which the sweep
moves up. A touch is then a HOT update, one row written instead of one row and eight index entries.

Expand, and contract of three indexes: the program before this one works on, its sweep and its
console read slower. Locks: `sessions` while three indexes are built, seconds for millions of rows.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_IS_OPEN = sa.text("state = 'open'")

# As in 0002, but the session's new times are worked out before they are written.
CONTINUE_SESSIONS = """
CREATE OR REPLACE FUNCTION continue_sessions(items json)
RETURNS TABLE (nth int, in_session uuid, of_business uuid, new_version bigint, remaining_ms bigint)
LANGUAGE plpgsql
-- Every statement is a look-up by a whole key: one plan, by index, however young the statistics are.
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
AS $$
DECLARE
  now_at timestamptz;
  one record;
  rules record;
  chat record;
  owner uuid;
  found_id uuid;
  owners uuid[] := '{}';
  held uuid[];
  touched_at timestamptz;
  due_at timestamptz;
BEGIN
  -- Whose each message is: one contact, known by every id that is named.
  FOR one IN
    SELECT * FROM json_to_recordset(items) AS item (connection_id uuid, kinds text[], names text[])
  LOOP
    owner := NULL;
    FOR i IN 1 .. cardinality(one.kinds) LOOP
      SELECT k.contact_id INTO found_id
      FROM connections c JOIN contact_ids k ON k.business_id = c.business_id
      WHERE c.id = one.connection_id AND k.kind = one.kinds[i] AND k.value = one.names[i];
      IF i > 1 AND found_id IS DISTINCT FROM owner THEN
        owner := NULL;
        EXIT;
      END IF;
      owner := found_id;
    END LOOP;
    owners := owners || owner;
  END LOOP;

  -- In id order, as every transaction locks contacts; nobody waits for one that is held.
  held := ARRAY(
    SELECT k.id FROM contacts k WHERE k.id = ANY(owners) AND k.merged_into IS NULL
    ORDER BY k.id FOR NO KEY UPDATE SKIP LOCKED);
  now_at := clock_timestamp();

  FOR one IN
    SELECT * FROM json_to_recordset(items) AS item (
      nth int, connection_id uuid, customer_name text, id uuid, provider_message_id text,
      direction text, author text, type text, text text, media jsonb, reply_to text, payload text,
      extra jsonb, sent_at timestamptz, status text)
  LOOP
    owner := owners[one.nth];
    CONTINUE WHEN owner IS NULL OR owner <> ALL(held)
      -- What was sent earlier counts when it was sent (timer_service.placement).
      OR one.sent_at < now_at - interval '60 s';

    SELECT b.idle_gap_s, one.direction = 'in' OR b.touch_on = 'any' AS touch INTO rules
    FROM connections c JOIN businesses b ON b.id = c.business_id
    WHERE c.id = one.connection_id AND c.deleted_at IS NULL AND c.status <> 'new';
    CONTINUE WHEN NOT FOUND;

    PERFORM FROM contacts k
    WHERE k.id = owner AND (one.customer_name IS NULL OR one.customer_name = k.name);
    CONTINUE WHEN NOT FOUND;

    SELECT s.id, s.business_id, s.last_touch_at, s.deadline_at INTO chat FROM sessions s
    WHERE s.connection_id = one.connection_id AND s.contact_id = owner AND s.state = 'open'
      AND s.started_at <= now_at AND s.deadline_at > now_at
    FOR NO KEY UPDATE;
    CONTINUE WHEN NOT FOUND;

    INSERT INTO messages (id, business_id, connection_id, session_id, provider_message_id,
      direction, author, type, text, media, reply_to, payload, extra, sent_at, received_at,
      placed_at, status)
    VALUES (one.id, chat.business_id, one.connection_id, chat.id, one.provider_message_id,
      one.direction, one.author, one.type, one.text, one.media, one.reply_to, one.payload,
      one.extra, one.sent_at, now_at, least(one.sent_at, now_at), one.status)
    ON CONFLICT (connection_id, provider_message_id) DO NOTHING;
    CONTINUE WHEN NOT FOUND;

    touched_at := chat.last_touch_at;
    due_at := chat.deadline_at;
    IF rules.touch THEN
      touched_at := greatest(touched_at, now_at);
      due_at := touched_at + make_interval(secs => rules.idle_gap_s);
    END IF;
    nth := one.nth;
    UPDATE sessions SET
      version = version + 1,
      message_count = message_count + 1,
      last_message_at = greatest(last_message_at, now_at),
      last_customer_message_at = CASE WHEN one.direction = 'in'
        THEN greatest(last_customer_message_at, now_at) ELSE last_customer_message_at END,
      last_touch_at = touched_at,
      deadline_at = due_at,
      due_not_before = least(due_not_before, due_at)
    WHERE id = chat.id
    RETURNING id, business_id, version,
      greatest(1, ceil(extract(epoch FROM deadline_at - clock_timestamp()) * 1000))::int8
    INTO in_session, of_business, new_version, remaining_ms;
    RETURN NEXT;
  END LOOP;
END
$$
"""


def upgrade() -> None:
    op.add_column(
        "sessions",
        sa.Column(
            "due_not_before",
            sa.DateTime(timezone=True),
            server_default=sa.text("'epoch'::timestamptz"),
            nullable=False,
        ),
    )
    op.create_check_constraint(
        op.f("ck_sessions_due_not_before_deadline"), "sessions", "due_not_before <= deadline_at"
    )
    op.execute("ALTER TABLE sessions SET (fillfactor = 80)")
    op.create_index(
        "ix_sessions_due_not_before",
        "sessions",
        ["due_not_before", "id"],
        postgresql_where=_IS_OPEN,
    )
    op.create_index(
        "ix_sessions_open_of_business",
        "sessions",
        ["business_id", "due_not_before"],
        postgresql_where=_IS_OPEN,
    )
    op.drop_index("ix_sessions_due", table_name="sessions")
    op.drop_index("ix_sessions_active", table_name="sessions")
    op.drop_index("ix_sessions_of_connection", table_name="sessions")
    op.execute(CONTINUE_SESSIONS)


def downgrade() -> None:
    op.create_index("ix_sessions_of_connection", "sessions", ["connection_id", "started_at"])
    op.create_index(
        "ix_sessions_active", "sessions", ["business_id", "deadline_at"], postgresql_where=_IS_OPEN
    )
    op.create_index("ix_sessions_due", "sessions", ["deadline_at"], postgresql_where=_IS_OPEN)
    op.drop_index("ix_sessions_open_of_business", table_name="sessions")
    op.drop_index("ix_sessions_due_not_before", table_name="sessions")
    op.execute("ALTER TABLE sessions RESET (fillfactor)")
    op.execute("DROP FUNCTION continue_sessions(json)")
    op.execute(context.script.get_revision("0002").module.CONTINUE_SESSIONS)
    op.drop_column("sessions", "due_not_before")
