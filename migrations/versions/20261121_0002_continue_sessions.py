"""Take in messages of open chats in one call.

Expand. Locks: none, a function is added; the program that does not know it works on.
"""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# One call for what most webhooks are: a message of a known customer, whose chat is open, arriving
# as it is sent. Decides as intake_batch and placement do, in the same order and under the same
# locks, and leaves to them whatever is not so plain: those messages are not in the answer.
CONTINUE_SESSIONS = """
CREATE FUNCTION continue_sessions(items json)
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

    SELECT s.id, s.business_id INTO chat FROM sessions s
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

    nth := one.nth;
    UPDATE sessions SET
      version = version + 1,
      message_count = message_count + 1,
      last_message_at = greatest(last_message_at, now_at),
      last_customer_message_at = CASE WHEN one.direction = 'in'
        THEN greatest(last_customer_message_at, now_at) ELSE last_customer_message_at END,
      last_touch_at = CASE WHEN rules.touch
        THEN greatest(last_touch_at, now_at) ELSE last_touch_at END,
      deadline_at = CASE WHEN rules.touch
        THEN greatest(last_touch_at, now_at) + make_interval(secs => rules.idle_gap_s)
        ELSE deadline_at END
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
    op.execute(CONTINUE_SESSIONS)


def downgrade() -> None:
    op.execute("DROP FUNCTION continue_sessions(json)")
