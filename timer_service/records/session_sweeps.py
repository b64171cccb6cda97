"""Sessions as the sweep, the rebuild and the audit look for them: in pages, each by an index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection, text

from timer_service.keys import Member
from timer_service.records.sessions import REMAINING_MS, Armable

SETTLED_AFTER = timedelta(seconds=1)
"""Whoever committed less than that ago is about to tell Redis by itself."""


@dataclass(frozen=True, slots=True)
class Looked:
    """What one look at the sessions that may be due found."""

    overdue: list[Member]
    moved: int
    """How many had moved on; they are looked at again when they may be due."""


def look_for_overdue(db: Connection, *, by: timedelta, limit: int) -> Looked:
    """Look at open sessions that may be overdue ``by`` so much, longest overdue first.

    Touches move a deadline without its index entry, ``due_not_before``; here that follows.
    """
    rows = db.execute(
        text("""
            SELECT business_id, id,
              deadline_at <= clock_timestamp() - CAST(:by AS interval) AS is_overdue
            FROM sessions
            WHERE state = 'open' AND due_not_before <= clock_timestamp() - CAST(:by AS interval)
            ORDER BY due_not_before LIMIT :limit"""),
        {"by": by, "limit": limit},
    ).all()
    early = [row.id for row in rows if not row.is_overdue]
    if early:
        db.execute(_MOVE, {"ids": early})
    return Looked([Member(row.business_id, row.id) for row in rows if row.is_overdue], len(early))


_MOVE = text("""
    UPDATE sessions SET due_not_before = deadline_at
    WHERE state = 'open' AND id IN (
      SELECT id FROM sessions WHERE id = ANY(CAST(:ids AS uuid[])) AND state = 'open'
      ORDER BY id FOR NO KEY UPDATE SKIP LOCKED)
""")


@dataclass(frozen=True, slots=True)
class OpenPage:
    """Open sessions and where the next page begins."""

    sessions: list[Armable]
    after: tuple[datetime, UUID] | None


def open_by_deadline(
    db: Connection,
    *,
    after: tuple[datetime, UUID] | None,
    limit: int,
    now: datetime | None = None,
    businesses: Sequence[UUID] | None = None,
) -> OpenPage:
    """Return a page of all open sessions, or of those of some businesses: what may be due first.

    So whoever has read up to an instant has read all that is due by then.
    What remains of each counts from ``now``, else from the moment its row was read; it is exact.
    """
    condition = "AND (due_not_before, id) > (:due_not_before, :id)" if after else ""
    if businesses is not None:
        condition += " AND business_id = ANY(CAST(:businesses AS uuid[]))"
    due_not_before, last_id = after or (None, None)
    instant = "CAST(:now AS timestamptz)" if now else "clock_timestamp()"
    rows = db.execute(
        text(f"""
            SELECT id, business_id, version, due_not_before,
              greatest(1, extract(epoch FROM deadline_at - {instant}) * 1000)::float8
                AS remaining_ms
            FROM sessions WHERE state = 'open' {condition}
            ORDER BY due_not_before, id LIMIT :limit"""),
        {
            "due_not_before": due_not_before,
            "id": last_id,
            "limit": limit,
            "now": now,
            "businesses": None if businesses is None else list(businesses),
        },
    ).all()
    return OpenPage(
        [Armable(row.business_id, row.id, row.version, row.remaining_ms) for row in rows],
        (rows[-1].due_not_before, rows[-1].id) if len(rows) == limit else None,
    )


def opened_since(
    db: Connection, since: datetime, *, limit: int
) -> tuple[list[Armable], datetime | None]:
    """Return open sessions created after ``since``, oldest first, and the last one's instant."""
    rows = db.execute(
        text(f"""
            SELECT id, business_id, version, created_at, {REMAINING_MS} AS remaining_ms
            FROM sessions
            WHERE state = 'open' AND created_at > :since
              AND created_at <= clock_timestamp() - CAST(:settled_after AS interval)
            ORDER BY created_at LIMIT :limit"""),
        {"since": since, "limit": limit, "settled_after": SETTLED_AFTER},
    ).all()
    found = [Armable(row.business_id, row.id, row.version, row.remaining_ms) for row in rows]
    return found, rows[-1].created_at if rows else None


def closed_since(
    db: Connection, since: datetime, *, limit: int, settled_after: timedelta = SETTLED_AFTER
) -> tuple[list[Member], datetime | None]:
    """Return sessions closed after ``since``, oldest first, and the last one's instant.

    Those that closed as idle are left out: their deadline has passed, so they count no more, and
    what Redis may still hold of them the pacer comes upon at once.
    """
    rows = db.execute(
        text("""
            SELECT id, business_id, closed_at FROM sessions
            WHERE state = 'closed' AND closed_at > :since AND close_reason <> 'idle'
              AND closed_at <= clock_timestamp() - CAST(:settled_after AS interval)
            ORDER BY closed_at LIMIT :limit"""),
        {"since": since, "limit": limit, "settled_after": settled_after},
    ).all()
    return [Member(row.business_id, row.id) for row in rows], rows[-1].closed_at if rows else None
