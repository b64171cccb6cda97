"""Close sessions in one call with plans that are kept.

Expand. Locks: none, two functions are added; the program that does not know them works on.
"""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# What is to be made of each session that closed: a row per callback, found by the sweep if its job
# gets lost.
PLAN_CALLBACKS = """
CREATE FUNCTION plan_callbacks(closed uuid[], check_after interval)
RETURNS TABLE (session_id uuid, callback_ids uuid[])
LANGUAGE sql AS $$
  WITH planned AS (
    INSERT INTO callback_runs (session_id, callback_id, next_check_at)
    SELECT s.id, c.id, clock_timestamp() + check_after
    FROM unnest(closed) AS s (id) CROSS JOIN close_callbacks c
    ON CONFLICT DO NOTHING
    RETURNING session_id, callback_id)
  SELECT session_id, array_agg(callback_id) FROM planned GROUP BY session_id
$$
"""

# The only way a session closes for a reason. With instants: those that are open, due and not locked
# by anybody else, if the clock is between the instants, else it stepped and nothing is closed.
# Without: those the caller has locked, whatever their deadline. One row at least comes back, so
# that the clock is always told.
CLOSE_SESSIONS = """
CREATE FUNCTION close_sessions(ids uuid[], reason text, check_after interval,
  earliest_at timestamptz, latest_at timestamptz)
RETURNS TABLE (id uuid, business_id uuid, close_reason text, summary_attempt int,
  deadline_at timestamptz, closed_at timestamptz, callback_ids uuid[], now_at timestamptz)
LANGUAGE plpgsql ROWS 10
-- Every statement is a look-up by a whole key: one plan, by index, however young the statistics are.
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
  has_callbacks boolean := EXISTS (SELECT FROM close_callbacks);
  asked_at timestamptz := clock_timestamp();
BEGIN
  now_at := asked_at;
  IF earliest_at IS NOT NULL THEN
    ids := CASE WHEN asked_at BETWEEN earliest_at AND latest_at THEN ARRAY(
      SELECT s.id FROM sessions s
      WHERE s.id = ANY(ids) AND s.state = 'open' AND s.deadline_at <= asked_at
      ORDER BY s.id FOR UPDATE SKIP LOCKED) ELSE '{}' END;
  END IF;
  FOR id, business_id, close_reason, summary_attempt, deadline_at, closed_at IN
    UPDATE sessions s SET state = 'closed', version = version + 1,
      closed_at = clock_timestamp(), close_reason = reason,
      summary_status = 'pending', summary_attempt = summary_attempt + 1,
      next_check_at = clock_timestamp() + check_after
    WHERE s.id = ANY(ids) AND s.state = 'open'
    RETURNING s.id, s.business_id, s.close_reason, s.summary_attempt, s.deadline_at, s.closed_at
  LOOP
    callback_ids := '{}';
    IF has_callbacks THEN
      SELECT p.callback_ids INTO callback_ids FROM plan_callbacks(ARRAY[id], check_after) p;
      callback_ids := coalesce(callback_ids, '{}');
    END IF;
    RETURN NEXT;
  END LOOP;
  IF NOT FOUND THEN
    id := NULL;
    RETURN NEXT;
  END IF;
END
$$
"""


def upgrade() -> None:
    op.execute(PLAN_CALLBACKS)
    op.execute(CLOSE_SESSIONS)


def downgrade() -> None:
    op.execute("DROP FUNCTION close_sessions(uuid[], text, interval, timestamptz, timestamptz)")
    op.execute("DROP FUNCTION plan_callbacks(uuid[], interval)")
