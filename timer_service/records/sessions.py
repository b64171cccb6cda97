"""Sessions as intake and the closers change them: lock, open, extend, close, re-read.

What the sweep looks for is in `session_sweeps`, reading them for people in `session_views`, their
summaries in `summaries`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from timer_service.ids import BusinessId, ConnectionId, ContactId, SessionId
from timer_service.keys import Member
from timer_service.messages import CloseReason, TouchOn
from timer_service.placement import Draft

SUMMARY_CHECK_AFTER = timedelta(seconds=30)
"""How long after a close the sweep looks whether its summary job got anywhere."""

REMAINING_MS = "greatest(1, ceil(extract(epoch FROM deadline_at - clock_timestamp()) * 1000))::int8"
_CLOSED_COLUMNS = "id, business_id, close_reason, summary_attempt, deadline_at, closed_at"
_PLAN_CALLBACKS = """
    planned AS (
        INSERT INTO callback_runs (session_id, callback_id, next_check_at)
        SELECT closed.id, c.id, clock_timestamp() + CAST(:check_after AS interval)
        FROM closed CROSS JOIN close_callbacks c
        ON CONFLICT DO NOTHING
        RETURNING session_id, callback_id
    )
    SELECT closed.*,
      ARRAY(SELECT callback_id FROM planned WHERE planned.session_id = closed.id) AS callback_ids
    FROM closed
"""


@dataclass(frozen=True, slots=True)
class ConnectionRules:
    """What intake must know of a connection and its business, and the present instant."""

    business_id: BusinessId
    idle_gap: timedelta
    touch_on: TouchOn
    now: datetime
    is_new: bool
    """Nothing was heard of the connection's state yet."""


@dataclass(frozen=True, slots=True)
class Armable:
    """An open session as the live keys need it. ``remaining_ms`` is at least 1."""

    business_id: BusinessId
    session_id: SessionId
    version: int
    remaining_ms: int

    @property
    def member(self) -> Member:
        """How Redis names it."""
        return Member(self.business_id, self.session_id)


@dataclass(frozen=True, slots=True)
class ClosedSession:
    """A session this transaction closed."""

    business_id: BusinessId
    session_id: SessionId
    reason: CloseReason
    attempt: int
    lateness_s: float
    callback_ids: tuple[UUID, ...] = ()

    @property
    def member(self) -> Member:
        """How Redis names it."""
        return Member(self.business_id, self.session_id)


_RULES = text("""
    SELECT b.id AS business_id, b.idle_gap_s, b.touch_on, c.status = 'new' AS is_new,
      clock_timestamp() AS now
    FROM connections c JOIN businesses b ON b.id = c.business_id
    WHERE c.id = :connection_id AND c.deleted_at IS NULL
""")
_LOCK_OPEN = text("""
    SELECT id, contact_id, started_at, last_touch_at, deadline_at, last_message_at,
      last_customer_message_at
    FROM sessions
    WHERE connection_id = :connection_id AND contact_id = ANY(CAST(:contact_ids AS uuid[]))
      AND state = 'open'
    ORDER BY id FOR NO KEY UPDATE
""")
_LOCK_SPANNING = text("""
    SELECT id, contact_id, started_at, last_touch_at, deadline_at, last_message_at,
      last_customer_message_at, closed_at, close_reason
    FROM sessions
    WHERE contact_id = :contact_id AND connection_id = :connection_id AND state = 'closed'
      AND close_reason <> 'replaced' AND started_at <= :latest_at
      AND least(deadline_at, closed_at) >= :earliest_at
    ORDER BY started_at DESC, id FOR NO KEY UPDATE
""")
_INSERT = text(f"""
    INSERT INTO sessions (id, business_id, connection_id, contact_id, customer_wa_id, number,
      state, version, created_at, started_at, last_message_at, last_customer_message_at,
      last_touch_at, deadline_at, closed_at, close_reason, message_count, context,
      summary_status, summary_attempt, next_check_at)
    VALUES (:id, :business_id, :connection_id, :contact_id, :customer_wa_id, :number,
      :state, 1, clock_timestamp(), :started_at, :last_message_at, :last_customer_message_at,
      :last_touch_at, :deadline_at, :closed_at, :close_reason, :message_count,
      CAST(:context AS jsonb), :summary_status, :summary_attempt,
      CASE WHEN :state = 'closed'
        THEN clock_timestamp() + CAST(:check_after AS interval) END)
    RETURNING id, business_id, version, {REMAINING_MS} AS remaining_ms
""")
_EXTEND = text(f"""
    UPDATE sessions SET version = version + 1, started_at = :started_at,
      last_message_at = :last_message_at, last_customer_message_at = :last_customer_message_at,
      last_touch_at = :last_touch_at, deadline_at = :deadline_at,
      message_count = message_count + :added
    WHERE id = :id
    RETURNING id, business_id, version, {REMAINING_MS} AS remaining_ms
""")
_SUMMARISE_AGAIN = text("""
    UPDATE sessions SET summary_status = 'pending', summary_reason = NULL,
      summary_attempt = summary_attempt + 1,
      next_check_at = clock_timestamp() + CAST(:check_after AS interval)
    WHERE id = :id AND state = 'closed'
    RETURNING summary_attempt
""")


def rules_of(db: Connection, connection_id: ConnectionId) -> ConnectionRules | None:
    """Return the business's rules and the instant by Postgres's clock; None if deleted."""
    row = db.execute(_RULES, {"connection_id": connection_id}).one_or_none()
    if row is None:
        return None
    gap = timedelta(seconds=row.idle_gap_s)
    return ConnectionRules(row.business_id, gap, TouchOn(row.touch_on), row.now, row.is_new)


def lock_open(
    db: Connection, connection_id: ConnectionId, contact_ids: Iterable[ContactId]
) -> dict[ContactId, Draft]:
    """Lock these contacts' open sessions on a connection."""
    rows = db.execute(
        _LOCK_OPEN, {"connection_id": connection_id, "contact_ids": list(contact_ids)}
    ).mappings()
    return {row["contact_id"]: _draft(dict(row)) for row in rows}


def lock_spanning(
    db: Connection,
    connection_id: ConnectionId,
    contact_id: ContactId,
    earliest_at: datetime,
    latest_at: datetime,
) -> list[Draft]:
    """Lock the closed sessions of a contact that overlap a stretch of time, newest first."""
    rows = db.execute(
        _LOCK_SPANNING,
        {
            "connection_id": connection_id,
            "contact_id": contact_id,
            "earliest_at": earliest_at,
            "latest_at": latest_at,
        },
    ).mappings()
    return [_draft(dict(row)) for row in rows]


def _draft(row: dict[str, Any]) -> Draft:
    row.pop("contact_id")
    reason = row.pop("close_reason", None)
    return Draft(**row, close_reason=CloseReason(reason) if reason else None)


def insert_draft(
    db: Connection,
    draft: Draft,
    *,
    business_id: BusinessId,
    connection_id: ConnectionId,
    contact_id: ContactId,
    customer_wa_id: str,
    number: int,
    context_json: str = "{}",
) -> Armable:
    """Insert a new session; one made already closed awaits its summary at once."""
    row = db.execute(
        _INSERT,
        {
            "id": draft.id,
            "business_id": business_id,
            "connection_id": connection_id,
            "contact_id": contact_id,
            "customer_wa_id": customer_wa_id,
            "number": number,
            "state": "open" if draft.is_open else "closed",
            "started_at": draft.started_at,
            "last_message_at": draft.last_message_at,
            "last_customer_message_at": draft.last_customer_message_at,
            "last_touch_at": draft.last_touch_at,
            "deadline_at": draft.deadline_at,
            "closed_at": draft.closed_at,
            "close_reason": draft.close_reason.value if draft.close_reason else None,
            "message_count": draft.added,
            "context": context_json,
            "summary_status": None if draft.is_open else "pending",
            "summary_attempt": 0 if draft.is_open else 1,
            "check_after": SUMMARY_CHECK_AFTER,
        },
    ).one()
    return Armable(row.business_id, row.id, row.version, row.remaining_ms)


def extend(db: Connection, draft: Draft) -> Armable:
    """Write back a session that messages were added to."""
    row = db.execute(
        _EXTEND,
        {
            "id": draft.id,
            "started_at": draft.started_at,
            "last_message_at": draft.last_message_at,
            "last_customer_message_at": draft.last_customer_message_at,
            "last_touch_at": draft.last_touch_at,
            "deadline_at": draft.deadline_at,
            "added": draft.added,
        },
    ).one()
    return Armable(row.business_id, row.id, row.version, row.remaining_ms)


def ask_summary_again(db: Connection, session_id: UUID) -> int | None:
    """Begin a new summary attempt of a closed session; None if it is not closed."""
    return db.execute(
        _SUMMARISE_AGAIN, {"id": session_id, "check_after": SUMMARY_CHECK_AFTER}
    ).scalar_one_or_none()


def close_locked(
    db: Connection, session_ids: Sequence[UUID], reason: CloseReason
) -> list[ClosedSession]:
    """Close open sessions this transaction has locked, whatever their deadline."""
    condition = "id = ANY(CAST(:ids AS uuid[])) AND state = 'open'"
    return _close(db, condition, {"ids": list(session_ids)}, reason)


def close_overdue_of(db: Connection, contact_ids: Sequence[ContactId]) -> list[ClosedSession]:
    """Close as idle the overdue sessions of contacts this transaction has locked."""
    condition = """
        id IN (SELECT id FROM sessions
               WHERE contact_id = ANY(CAST(:contact_ids AS uuid[])) AND state = 'open'
               ORDER BY id FOR UPDATE)
        AND state = 'open' AND deadline_at <= clock_timestamp()"""
    return _close(db, condition, {"contact_ids": list(contact_ids)}, CloseReason.IDLE)


def close_due(
    db: Connection, session_ids: Sequence[SessionId], *, clock_not_after: datetime
) -> list[ClosedSession]:
    """Close those of these sessions that are open, due, and not locked by anybody else.

    ``clock_not_after`` is the latest instant Postgres's clock can plausibly show: past it the
    clock stepped, and nothing is closed.
    """
    condition = """
        id IN (SELECT id FROM sessions
               WHERE id = ANY(CAST(:ids AS uuid[])) AND state = 'open'
               ORDER BY id FOR UPDATE SKIP LOCKED)
        AND state = 'open' AND deadline_at <= clock_timestamp()
        AND clock_timestamp() <= :clock_not_after"""
    parameters = {"ids": list(session_ids), "clock_not_after": clock_not_after}
    return _close(db, condition, parameters, CloseReason.IDLE)


def _close(
    db: Connection, condition: str, parameters: dict[str, Any], reason: CloseReason
) -> list[ClosedSession]:
    rows = db.execute(
        text(f"""
            WITH closed AS (
                UPDATE sessions SET state = 'closed', version = version + 1,
                  closed_at = clock_timestamp(), close_reason = :reason,
                  summary_status = 'pending', summary_attempt = summary_attempt + 1,
                  next_check_at = clock_timestamp() + CAST(:check_after AS interval)
                WHERE {condition}
                RETURNING {_CLOSED_COLUMNS}
            ), {_PLAN_CALLBACKS}"""),
        {**parameters, "reason": reason.value, "check_after": SUMMARY_CHECK_AFTER},
    )
    return [_closed(row) for row in rows]


def closed_at_birth(db: Connection, session_id: SessionId) -> list[ClosedSession]:
    """Return a session inserted already closed as a closed session, its callbacks planned."""
    rows = db.execute(
        text(f"""
            WITH closed AS (SELECT {_CLOSED_COLUMNS} FROM sessions WHERE id = :id),
            {_PLAN_CALLBACKS}"""),
        {"id": session_id, "check_after": SUMMARY_CHECK_AFTER},
    )
    return [_closed(row) for row in rows]


def _closed(row: Any) -> ClosedSession:
    return ClosedSession(
        business_id=row.business_id,
        session_id=row.id,
        reason=CloseReason(row.close_reason),
        attempt=row.summary_attempt,
        lateness_s=(row.closed_at - row.deadline_at).total_seconds(),
        callback_ids=tuple(row.callback_ids),
    )


def join_open(
    db: Connection, keeper: ContactId, merged: ContactId
) -> list[tuple[Armable, SessionId]]:
    """Make one of two contacts' open sessions on each connection: ``(kept, replaced)`` each.

    The older keeps all messages and the later deadline; both contacts are locked.
    """
    rows = db.execute(
        text("""
            SELECT id, connection_id FROM sessions
            WHERE contact_id IN (:keeper, :merged) AND state = 'open'
            ORDER BY id FOR NO KEY UPDATE"""),
        {"keeper": keeper, "merged": merged},
    ).all()
    oldest: dict[UUID, UUID] = {}
    joined = []
    for row in rows:
        kept = oldest.setdefault(row.connection_id, row.id)
        if kept != row.id:
            joined.append((_join(db, kept, row.id), SessionId(row.id)))
    return joined


def _join(db: Connection, kept: UUID, replaced: UUID) -> Armable:
    ids = {"kept": kept, "replaced": replaced}
    db.execute(text("UPDATE messages SET session_id = :kept WHERE session_id = :replaced"), ids)
    row = db.execute(
        text(f"""
            UPDATE sessions SET version = sessions.version + 1,
              started_at = least(sessions.started_at, old.started_at),
              last_message_at = greatest(sessions.last_message_at, old.last_message_at),
              last_customer_message_at =
                greatest(sessions.last_customer_message_at, old.last_customer_message_at),
              last_touch_at = greatest(sessions.last_touch_at, old.last_touch_at),
              deadline_at = greatest(sessions.deadline_at, old.deadline_at),
              message_count = sessions.message_count + old.message_count,
              context = old.context || sessions.context,
              order_details = old.order_details || sessions.order_details
            FROM sessions old
            WHERE sessions.id = :kept AND old.id = :replaced
            RETURNING sessions.id, sessions.business_id, sessions.version,
              {REMAINING_MS.replace("deadline_at", "sessions.deadline_at")} AS remaining_ms"""),
        ids,
    ).one()
    db.execute(
        text("""
            UPDATE sessions SET state = 'closed', version = version + 1,
              closed_at = clock_timestamp(), close_reason = 'replaced', message_count = 0,
              summary_status = 'skipped', summary_reason = 'replaced'
            WHERE id = :replaced"""),
        ids,
    )
    return Armable(row.business_id, row.id, row.version, row.remaining_ms)


@dataclass(frozen=True, slots=True)
class LockedSession:
    """An open session this transaction holds."""

    session_id: SessionId
    is_due: bool


def lock_for_close(
    db: Connection,
    business_id: BusinessId,
    *,
    session_id: UUID | None = None,
    connection_id: UUID | None = None,
) -> list[LockedSession]:
    """Lock one session, or every open session of a connection, so that it can be closed."""
    column, value = ("id", session_id) if session_id else ("connection_id", connection_id)
    rows = db.execute(
        text(f"""
            SELECT id, deadline_at <= clock_timestamp() AS is_due FROM sessions
            WHERE {column} = :value AND business_id = :business_id AND state = 'open'
            ORDER BY id FOR UPDATE"""),
        {"value": value, "business_id": business_id},
    )
    return [LockedSession(row.id, row.is_due) for row in rows]


def still_open(db: Connection, session_ids: Sequence[SessionId]) -> list[Armable]:
    """Return those that are open, as the live keys need them."""
    rows = db.execute(
        text(f"""
            SELECT id, business_id, version, {REMAINING_MS} AS remaining_ms FROM sessions
            WHERE id = ANY(CAST(:ids AS uuid[])) AND state = 'open'"""),
        {"ids": list(session_ids)},
    )
    return [Armable(row.business_id, row.id, row.version, row.remaining_ms) for row in rows]


def read_clock(db: Connection) -> datetime:
    """Return the present instant by Postgres's clock."""
    now: datetime = db.execute(text("SELECT clock_timestamp()")).scalar_one()
    return now


def count_active(db: Connection, business_id: BusinessId) -> int:
    """Count open sessions that are not due, without Redis."""
    count: int = db.execute(
        text("""
            SELECT count(*) FROM sessions
            WHERE business_id = :business_id AND state = 'open'
              AND deadline_at > clock_timestamp()"""),
        {"business_id": business_id},
    ).scalar_one()
    return count


def open_members(db: Connection, business_id: BusinessId) -> list[Member]:
    """Return every open session of a business."""
    ids = db.execute(
        text("SELECT id FROM sessions WHERE business_id = :business_id AND state = 'open'"),
        {"business_id": business_id},
    ).scalars()
    return [Member(business_id, session_id) for session_id in ids]
