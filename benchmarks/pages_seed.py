"""Fills Postgres with years of conversations: closed ones with their messages and summaries.

Called by `pages`. One business has nine tenths of all, four others the rest. What is said is made
of words as frequent as a language's, and of three that are searched for: `שלום` in every
conversation, `סנדלים` in one of a hundred, `זברה` in one of fifty thousand.
"""

from __future__ import annotations

from typing import LiteralString

import psycopg

from benchmarks.seeding import _FUNCTIONS

BUSINESSES = 5
PER_CONTACT = 4
"""How many conversations a customer has had, but for the first one: see `FAITHFUL`."""
FAITHFUL = 2_000
"""How many the first customer has had."""
LONG = 3_000
"""How many messages the newest conversation has."""

_FIXED: LiteralString = """
    INSERT INTO businesses (id, name, idle_gap_s, locale, timezone)
      SELECT bench_id(0, n), 'Shop ' || n, 900, 'he-IL', 'Asia/Jerusalem'
      FROM generate_series(0, %(businesses)s - 1) n;
    INSERT INTO connections (id, business_id, provider, external_id, secrets, status)
      SELECT bench_id(1, n * 4 + kind), bench_id(0, n),
        (ARRAY['meta', 'baileys', 'waha', 'twilio'])[kind + 1], n || '-' || kind, '', 'connected'
      FROM generate_series(0, %(businesses)s - 1) n, generate_series(0, 3) kind;
    INSERT INTO contacts (id, business_id, name, session_count)
      SELECT bench_id(2, n), bench_id(0, CASE WHEN n %% 10 < 9 THEN 0 ELSE 1 + n / 10 %% 4 END),
        (ARRAY['Dana', 'Noam', 'Siti', 'Budi', 'דנה', 'נועם', 'יעל', 'Maya'])[1 + n %% 8]
          || ' ' || 'L' || n %% 5000, %(per_contact)s
      FROM generate_series(0, %(contacts)s - 1) n;
    INSERT INTO contact_ids (business_id, kind, value, contact_id)
      SELECT business_id, 'phone', (972500000000 + row_number() OVER (ORDER BY id))::text, id
      FROM contacts;
"""
_SESSIONS: LiteralString = """
    INSERT INTO sessions (id, business_id, connection_id, contact_id, customer_wa_id, number, state,
      version, created_at, started_at, last_message_at, last_customer_message_at, last_touch_at,
      deadline_at, due_not_before, closed_at, close_reason, message_count, summary_status,
      summary_attempt)
    SELECT bench_id(3, n), k.business_id,
      bench_id(1, 4 * ('x' || right(k.business_id::text, 12))::bit(48)::bigint
        + CASE WHEN n %% 20000 = 0 THEN 2 WHEN n %% 10 = 0 THEN 1 ELSE 0 END),
      k.id, '9725', 1 + n / %(contacts)s, CASE WHEN is_open THEN 'open' ELSE 'closed' END, 1, at,
      at, at, at, at,
      CASE WHEN is_open THEN clock_timestamp() + interval '3 hours' + n * interval '1 ms'
        ELSE at + interval '15 min' END,
      CASE WHEN is_open THEN clock_timestamp() + interval '3 hours' ELSE at + interval '15 min' END,
      CASE WHEN NOT is_open THEN at + interval '15 min' END,
      CASE WHEN NOT is_open THEN 'idle' END, %(messages)s,
      CASE WHEN is_open THEN NULL WHEN n %% 50000 = 3 THEN 'failed' ELSE 'done' END, 1
    FROM (SELECT n, n > %(sessions)s - %(open)s AS is_open,
        clock_timestamp() - interval '3 years' * (1 - n / %(sessions)s::float8) AS at,
        bench_id(2, CASE WHEN n < %(faithful)s THEN 0 ELSE n %% %(contacts)s END) AS contact_id
      FROM generate_series(%(first)s::int8, %(last)s::int8) n) made
    JOIN contacts k ON k.id = made.contact_id
    ON CONFLICT DO NOTHING
"""
_MESSAGES: LiteralString = """
    INSERT INTO messages (id, business_id, connection_id, session_id, provider_message_id,
      direction, author, type, text, sent_at, received_at, placed_at, status)
    SELECT bench_id(4, n * %(messages)s + m), s.business_id, s.connection_id, s.id, n || '-' || m,
      (ARRAY['in', 'out'])[1 + m %% 2], (ARRAY['customer', 'bot'])[1 + m %% 2], 'text',
      CASE WHEN m = 0 THEN 'שלום ' ELSE '' END
        || CASE WHEN m = 2 AND n %% 100 = 7 THEN 'סנדלים ' ELSE '' END
        || CASE WHEN m = 2 AND n %% 50000 = 7 THEN 'זברה ' ELSE '' END
        || (SELECT string_agg('w' || floor(power(random(), 4) * 50000), ' ')
            FROM generate_series(1, 8 + 0 * m)),
      at, at, at, CASE m %% 2 WHEN 1 THEN 'read' END
    FROM (SELECT n, bench_id(3, n) AS id
          FROM generate_series(%(first)s::int8, %(last)s::int8) n) made
    JOIN sessions s ON s.id = made.id
    CROSS JOIN generate_series(0, %(messages)s - 1) m,
    LATERAL (SELECT s.started_at + m * interval '40 s' AS at) placed
"""
_SUMMARIES: LiteralString = """
    INSERT INTO summaries (session_id, business_id, attempt, summarizer, title, text, asked_for,
      follow_up, language, sentiment, message_ids)
    SELECT s.id, s.business_id, 1, 'extractive', 'Order w' || n %% 50000,
      'The customer asked for w' || n %% 7919 || ' and the shop said w' || n %% 104729,
      'w' || n %% 7919, CASE WHEN n %% 20 = 0 THEN 'Call back about w' || n %% 7919 END,
      'en', 'neutral', '{}'
    FROM generate_series(%(first)s::int8, %(last)s::int8) n JOIN sessions s ON s.id = bench_id(3, n)
    WHERE s.summary_status = 'done'
"""
_REST: LiteralString = """
    INSERT INTO notes (id, business_id, contact_id, text, author)
      SELECT bench_id(5, n), business_id, id, 'note ' || n, 'Maya'
      FROM (SELECT row_number() OVER () AS n, id, business_id FROM contacts
            WHERE ('x' || right(id::text, 12))::bit(48)::bigint %% 3 = 0) k;
    INSERT INTO tasks (id, business_id, contact_id, text, author, due_at, done_at)
      SELECT bench_id(6, n), business_id, id, 'task ' || n, 'Maya',
        clock_timestamp() + (n %% 60 - 30) * interval '1 day',
        CASE WHEN n %% 4 > 0 THEN clock_timestamp() END
      FROM (SELECT row_number() OVER () AS n, id, business_id FROM contacts
            WHERE ('x' || right(id::text, 12))::bit(48)::bigint %% 3 = 1) k;
    INSERT INTO messages (id, business_id, connection_id, session_id, provider_message_id,
      direction, author, type, text, received_at, placed_at)
    SELECT bench_id(7, m), business_id, connection_id, id, 'long-' || m, 'in', 'customer', 'text',
      'another line of a long talk, ' || m, started_at + m * interval '1 s',
      started_at + m * interval '1 s'
    FROM sessions CROSS JOIN generate_series(1, %(long)s) m WHERE id = bench_id(3, %(sessions)s);
    INSERT INTO stale_words SELECT id FROM sessions WHERE state = 'closed'
"""
_STEP = 50_000


def seed(database_url: str, *, sessions: int, messages: int) -> None:
    """Write so many sessions, each with so many messages, and what belongs to them."""
    open_ones = max(10, sessions // 100)
    values: dict[str, object] = {
        "businesses": BUSINESSES,
        "contacts": max(100, sessions // PER_CONTACT),
        "per_contact": PER_CONTACT,
        "faithful": min(FAITHFUL, sessions // 10),
        "sessions": sessions,
        "open": open_ones,
        "messages": messages,
        "long": LONG,
    }
    with psycopg.connect(database_url, autocommit=True) as db:
        db.execute(_FUNCTIONS)
        # Foreign keys hold by construction; looking them up takes longer than all else.
        db.execute("SET session_replication_role = replica")
        for statement in _FIXED.split(";\n"):
            if statement.strip():
                db.execute(statement, values)
        for first in range(1, sessions + 1, _STEP):
            step = {**values, "first": first, "last": min(first + _STEP - 1, sessions)}
            for statement in (_SESSIONS, _MESSAGES, _SUMMARIES):
                db.execute(statement, step)
        for statement in _REST.split(";\n"):
            db.execute(statement, values)
        db.execute("VACUUM (ANALYZE)")
        db.execute("CHECKPOINT")
