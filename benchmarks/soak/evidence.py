"""Reads what Postgres holds after a soak, and lets it witness what a row cannot tell.

A row says how a session ended, not how often. Triggers of the soak's own note every change of a
session's state and every storing of a summary, in the transaction that made it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import psycopg

from benchmarks.soak.history import Count, ModelCall, Sent, Struck, Told

_WITNESSES = """
    CREATE TABLE soak_states (session_id uuid, was text, became text, at timestamptz);
    CREATE FUNCTION soak_note_state() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN
        IF TG_OP = 'INSERT' THEN
          INSERT INTO soak_states VALUES (NEW.id, NULL, NEW.state, clock_timestamp());
        ELSIF TG_OP = 'DELETE' THEN
          INSERT INTO soak_states VALUES (OLD.id, OLD.state, NULL, clock_timestamp());
        ELSIF OLD.state <> NEW.state OR OLD.closed_at IS DISTINCT FROM NEW.closed_at THEN
          INSERT INTO soak_states VALUES (NEW.id, OLD.state, NEW.state, clock_timestamp());
        END IF;
        RETURN NULL;
      END $$;
    CREATE TRIGGER soak_note_state AFTER INSERT OR UPDATE OR DELETE ON sessions
      FOR EACH ROW EXECUTE FUNCTION soak_note_state();
    CREATE TABLE soak_summaries (session_id uuid);
    CREATE FUNCTION soak_note_summary() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN INSERT INTO soak_summaries VALUES (NEW.session_id); RETURN NULL; END $$;
    CREATE TRIGGER soak_note_summary AFTER INSERT OR UPDATE ON summaries
      FOR EACH ROW EXECUTE FUNCTION soak_note_summary()
"""
_US = "(extract(epoch FROM {}) * 1000000)::int8"


@dataclass(frozen=True, slots=True)
class MessageRow:
    """A message as it is stored; instants in µs since the epoch, here and below."""

    id: str
    connection_id: str
    provider_message_id: str
    session_id: str
    text: str
    direction: str
    received_us: int
    phone: str | None
    """Of the contact whose session it is in."""
    stored_us: int
    """When the transaction that stored it was committed, as Postgres noted."""


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A session as it is stored."""

    id: str
    business_id: str
    connection_id: str
    contact_id: str
    state: str
    close_reason: str | None
    started_us: int
    deadline_us: int
    closed_us: int | None
    message_count: int
    summary_status: str | None
    summary_reason: str | None


@dataclass(frozen=True, slots=True)
class StateChange:
    """A session that began (``was`` None), changed its state, or went (``became`` None)."""

    session_id: str
    was: str | None
    became: str | None
    at_us: int


@dataclass(frozen=True, slots=True)
class SummaryRow:
    """A stored summary."""

    session_id: str
    summarizer: str
    text: str
    message_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rows:
    """What Postgres holds."""

    messages: Sequence[MessageRow]
    sessions: Sequence[SessionRow]
    changes: Sequence[StateChange]
    summaries: Sequence[SummaryRow]
    stored: Counter[str]
    """How often each session's summary was written."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything the checker judges by. ``sent`` is by connection and message id."""

    gap_us: int
    sent: dict[str, Sent]
    rows: Rows
    model_calls: Sequence[ModelCall] = ()
    told: Sequence[Told] = ()
    counts: Sequence[Count] = ()
    struck: Sequence[Struck] = ()
    wrong: Sequence[str] = ()
    """Answers that told a gateway not to come again."""


def install_witnesses(database_url: str) -> None:
    """Add the soak's triggers to a migrated database."""
    with psycopg.connect(database_url, autocommit=True) as db:
        db.execute(_WITNESSES)


def read_rows(database_url: str) -> Rows:
    """Read it all."""
    with psycopg.connect(database_url) as db:
        messages = db.execute(f"""
            SELECT m.id::text, m.connection_id::text, m.provider_message_id, m.session_id::text,
              m.text, m.direction, {_US.format("m.received_at")}, k.value,
              {_US.format("pg_xact_commit_timestamp(m.xmin)")}
            FROM messages m JOIN sessions s ON s.id = m.session_id
            LEFT JOIN contact_ids k ON k.contact_id = s.contact_id AND k.kind = 'phone'
            """).fetchall()
        sessions = db.execute(f"""
            SELECT id::text, business_id::text, connection_id::text, contact_id::text, state,
              close_reason, {_US.format("started_at")}, {_US.format("deadline_at")},
              {_US.format("closed_at")}, message_count, summary_status, summary_reason
            FROM sessions""").fetchall()
        changes = db.execute(
            f"SELECT session_id::text, was, became, {_US.format('at')} FROM soak_states ORDER BY at"
        ).fetchall()
        summaries = db.execute(
            "SELECT session_id::text, summarizer, text, message_ids::text[] FROM summaries"
        ).fetchall()
        stored = db.execute("SELECT session_id::text FROM soak_summaries").fetchall()
    return Rows(
        [MessageRow(*row) for row in messages],
        [SessionRow(*row) for row in sessions],
        [StateChange(*row) for row in changes],
        [SummaryRow(one, by, text, tuple(ids)) for one, by, text, ids in summaries],
        Counter(name for (name,) in stored),
    )


def count_unfinished(database_url: str, taken: int) -> int:
    """Return how many messages, of so many taken, sessions and callbacks are not finished with.

    -1 where nobody answers. A message may be taken and wait in a spool.
    """
    try:
        with psycopg.connect(database_url, connect_timeout=2) as db:
            row = db.execute(
                """
                SELECT (SELECT count(*) FROM sessions WHERE state = 'open'
                  OR summary_status NOT IN ('done', 'skipped'))
                + (SELECT count(*) FROM callback_runs WHERE done_at IS NULL)
                + greatest(0, %s - (SELECT count(*) FROM messages))""",
                (taken,),
            ).fetchone()
    except psycopg.Error:
        return -1
    return int(row[0]) if row else -1


def hurry(database_url: str) -> None:
    """Let the sweep look now at every summary and callback that is not finished.

    It would look by itself, after at most the length of a job's lease; a short run does not wait.
    """
    with psycopg.connect(database_url, autocommit=True) as db:
        for table in ("sessions", "callback_runs"):
            db.execute(
                f"UPDATE {table} SET next_check_at = clock_timestamp() "
                "WHERE next_check_at > clock_timestamp()"
            )
