"""Fills Postgres with open sessions, as rows that intake could have written.

Called by the engine's benchmarks before a listener starts, whose rebuild then arms them. Nothing
but the number of rows is special about them: every constraint holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import LiteralString
from uuid import UUID

import psycopg

from timer_service.clock import epoch_s

IDLE_GAP_S = 900
BUSINESSES = 5
SEEDED_PER_S = 20_000
"""About how many sessions are seeded a second, for who has to know when it will be over."""
ARMED_PER_S = 18_000
"""The same for the rebuild that follows."""

_MIXER = 2_654_435_761
"""A prime: which session is due when has nothing to do with the order of their ids."""

_FIXED: LiteralString = """
    INSERT INTO businesses (id, name, idle_gap_s)
    SELECT bench_id(0, n), 'Shop ' || n, %(gap_s)s FROM generate_series(0, %(businesses)s - 1) n;
    INSERT INTO connections (id, business_id, provider, external_id, secrets, status)
    SELECT bench_id(0, n), bench_id(0, n), 'baileys', 'shop' || n, '', 'connected'
    FROM generate_series(0, %(businesses)s - 1) n
"""
_FUNCTIONS = """
    CREATE FUNCTION bench_id(kind int, n bigint) RETURNS uuid IMMUTABLE LANGUAGE sql AS $$
      SELECT (lpad(to_hex(1700000000000 + n / 100), 12, '0') || '7'
        || lpad(to_hex(n % 4096), 3, '0') || '8' || lpad(to_hex(kind), 3, '0')
        || lpad(to_hex(n), 12, '0'))::uuid $$;
    CREATE FUNCTION bench_summarised_later() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN NEW.next_check_at := NEW.next_check_at + interval '1 hour'; RETURN NEW; END $$;
    -- Without workers the sweep would take up every summary after 30 s, and write to its row.
    CREATE TRIGGER bench_summarised_later BEFORE UPDATE ON sessions FOR EACH ROW
      WHEN (OLD.state = 'open' AND NEW.state = 'closed')
      EXECUTE FUNCTION bench_summarised_later()
"""
_CONTACTS: LiteralString = """
    INSERT INTO contacts (id, business_id, name, session_count)
    SELECT bench_id(1, n), bench_id(0, n %% %(businesses)s), 'Customer ' || n, 1
    FROM generate_series(%(first)s::int8, %(last)s::int8) n
"""
_CONTACT_IDS: LiteralString = """
    INSERT INTO contact_ids (business_id, kind, value, contact_id)
    SELECT bench_id(0, n %% %(businesses)s), 'phone', (620000000000 + n)::text, bench_id(1, n)
    FROM generate_series(%(first)s::int8, %(last)s::int8) n
"""
_SESSIONS: LiteralString = """
    INSERT INTO sessions (id, business_id, connection_id, contact_id, customer_wa_id, number,
      state, version, created_at, started_at, last_message_at, last_customer_message_at,
      last_touch_at, deadline_at, due_not_before, message_count)
    SELECT bench_id(2, n), business, business, bench_id(1, n), (620000000000 + n)::text, 1,
      'open', 1, now() - interval '1 hour', now() - interval '1 hour', due - gap, due - gap,
      due - gap, due, due, 1
    FROM (
      SELECT n, bench_id(0, n %% %(businesses)s) AS business,
        to_timestamp(%(due_at_s)s
          + %(over_s)s::float8 * ((n * %(mixer)s) %% %(count)s) / %(count)s
          + CASE WHEN %(over_s)s > 0 THEN ((n * %(mixer)s) %% 1000) / 1e6 ELSE 0 END) AS due,
        make_interval(secs => %(gap_s)s) AS gap
      FROM generate_series(%(first)s::int8, %(last)s::int8) n) made
"""


@dataclass(frozen=True, slots=True)
class Due:
    """So many sessions, due evenly over ``over_s`` from an instant on; 0: at that instant.

    Spread ones fall at any microsecond of a millisecond, as people's do.
    """

    count: int
    at_s: float
    over_s: float = 0.0


def time_to_arm_s(live: int) -> float:
    """Return the seconds it takes, at most, until so many sessions are seeded and armed."""
    return 12 + live / SEEDED_PER_S + live / ARMED_PER_S


def seed(
    database_url: str,
    dues: Sequence[Due],
    *,
    businesses: int = BUSINESSES,
    gap_s: int = IDLE_GAP_S,
) -> list[UUID]:
    """Write the sessions, their contacts and businesses; return the businesses' ids."""
    steps: list[tuple[LiteralString, dict[str, object]]] = []
    first = 0
    for due in dues:
        values: dict[str, object] = {
            "first": first,
            "last": first + due.count - 1,
            "count": due.count,
            "due_at_s": round(due.at_s, 3),
            "over_s": due.over_s,
            "mixer": _MIXER,
            "businesses": businesses,
            "gap_s": gap_s,
        }
        steps += [(one, values) for one in (_CONTACTS, _CONTACT_IDS, _SESSIONS)]
        first += due.count
    with psycopg.connect(database_url, autocommit=True) as db:
        db.execute(_FUNCTIONS)
        for statement in _FIXED.split(";"):
            db.execute(statement, {"gap_s": gap_s, "businesses": businesses})
    sides = [
        [one for one in steps if one[0] is not _SESSIONS],
        [one for one in steps if one[0] is _SESSIONS],
    ]
    with ThreadPoolExecutor(len(sides)) as pool:
        for done in [pool.submit(_run, database_url, side) for side in sides]:
            done.result()
    with psycopg.connect(database_url, autocommit=True) as db:
        # Or autovacuum would do it in the middle of what is measured, to every row.
        db.execute("VACUUM (ANALYZE)")
        db.execute("CHECKPOINT")
        return [row[0] for row in db.execute("SELECT id FROM businesses ORDER BY id")]


def _run(database_url: str, steps: Sequence[tuple[LiteralString, dict[str, object]]]) -> None:
    with psycopg.connect(database_url, autocommit=True) as db:
        # Foreign keys hold by construction; looking up six million of them takes minutes.
        db.execute("SET session_replication_role = replica")
        for statement, values in steps:
            db.execute(statement, values)


def late_s(at_s: float) -> float:
    """Return by how many seconds an instant has passed; negative while it is still to come."""
    return epoch_s() - at_s
