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

Chat = tuple[ConnectionId, ContactId]
"""A contact on a connection: what has at most one open session."""

SUMMARY_CHECK_AFTER = timedelta(seconds=30)
"""How long after a close the sweep looks whether its summary job got anywhere."""

REMAINING_MS = "greatest(1, ceil(extract(epoch FROM deadline_at - clock_timestamp()) * 1000))::int8"

_CLOSE = text("""
    SELECT * FROM close_sessions(CAST(:ids AS uuid[]), :reason, CAST(:check_after AS interval),
      CAST(:earliest_at AS timestamptz), CAST(:latest_at AS timestamptz))
""")
_CLOSED_AT_BIRTH = text("""
    SELECT s.id, s.business_id, s.close_reason, s.summary_attempt, s.deadline_at, s.closed_at,
      coalesce(p.callback_ids, '{}') AS callback_ids
    FROM sessions s
    LEFT JOIN plan_callbacks(CAST(:ids AS uuid[]), CAST(:check_after AS interval)) p
      ON p.session_id = s.id
    WHERE s.id = ANY(CAST(:ids AS uuid[]))
""")


@dataclass(frozen=True, slots=True)
class ConnectionRules:
    """What intake must know of a connection and its business."""

    business_id: BusinessId
    idle_gap: timedelta
    touch_on: TouchOn
    is_new: bool
    """Nothing was heard of the connection's state yet."""


@dataclass(frozen=True, slots=True)
class Armable:
    """An open session as the live keys need it. ``remaining_ms`` is at least 1."""

    business_id: BusinessId
    session_id: SessionId
    version: int
    remaining_ms: float

    @property
    def is_due(self) -> bool:
        """Its deadline has passed, or is less than a millisecond away."""
        return self.remaining_ms <= 1

    @property
    def member(self) -> Member:
        """How Redis names it."""
        return Member(self.business_id, self.session_id)


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session to be inserted, and whose it is."""

    draft: Draft
    business_id: BusinessId
    connection_id: ConnectionId
    contact_id: ContactId
    customer_wa_id: str
    number: int
    context_json: str


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
    SELECT c.id, b.id AS business_id, b.idle_gap_s, b.touch_on, c.status = 'new' AS is_new
    FROM connections c JOIN businesses b ON b.id = c.business_id
    WHERE c.id = ANY(CAST(:connection_ids AS uuid[])) AND c.deleted_at IS NULL
""")
_LOCK_OPEN = text("""
    SELECT id, connection_id, contact_id, started_at, last_touch_at, deadline_at, last_message_at,
      last_customer_message_at
    FROM sessions
    WHERE (connection_id, contact_id) IN (
        SELECT * FROM unnest(CAST(:connection_ids AS uuid[]), CAST(:contact_ids AS uuid[])))
      AND state = 'open'
    ORDER BY id FOR NO KEY UPDATE
""")
_LOCK_SPANNING = text("""
    SELECT id, connection_id, contact_id, started_at, last_touch_at, deadline_at, last_message_at,
      last_customer_message_at, closed_at, close_reason
    FROM sessions
    WHERE contact_id = :contact_id AND connection_id = :connection_id AND state = 'closed'
      AND close_reason <> 'replaced' AND started_at <= :latest_at
      AND least(deadline_at, closed_at) >= :earliest_at
    ORDER BY started_at DESC, id FOR NO KEY UPDATE
""")
_INSERT = text(f"""
    INSERT INTO sessions (id, business_id, connection_id, contact_id, customer_wa_id, number,
      context, started_at, last_message_at, last_customer_message_at, last_touch_at, deadline_at,
      closed_at, close_reason, message_count, due_not_before, state, version, created_at,
      summary_status, summary_attempt, next_check_at)
    SELECT new.*, deadline_at, CASE WHEN closed_at IS NULL THEN 'open' ELSE 'closed' END, 1,
      clock_timestamp(),
      CASE WHEN closed_at IS NOT NULL THEN 'pending' END,
      CASE WHEN closed_at IS NULL THEN 0 ELSE 1 END,
      CASE WHEN closed_at IS NOT NULL
        THEN clock_timestamp() + CAST(:check_after AS interval) END
    FROM unnest(
      CAST(:ids AS uuid[]), CAST(:business_ids AS uuid[]), CAST(:connection_ids AS uuid[]),
      CAST(:contact_ids AS uuid[]), CAST(:customer_wa_ids AS text[]), CAST(:numbers AS int[]),
      CAST(:contexts AS jsonb[]), CAST(:started_ats AS timestamptz[]),
      CAST(:last_message_ats AS timestamptz[]), CAST(:last_customer_message_ats AS timestamptz[]),
      CAST(:last_touch_ats AS timestamptz[]), CAST(:deadline_ats AS timestamptz[]),
      CAST(:closed_ats AS timestamptz[]), CAST(:close_reasons AS text[]), CAST(:added AS int[])
    ) AS new (id, business_id, connection_id, contact_id, customer_wa_id, number, context,
      started_at, last_message_at, last_customer_message_at, last_touch_at, deadline_at, closed_at,
      close_reason, message_count)
    RETURNING id, business_id, version, {REMAINING_MS} AS remaining_ms
""")
_EXTEND = text(f"""
    UPDATE sessions SET version = version + 1, started_at = new_started_at,
      last_message_at = new_last_message_at,
      last_customer_message_at = new_last_customer_message_at,
      last_touch_at = new_last_touch_at, deadline_at = new_deadline_at,
      due_not_before = least(due_not_before, new_deadline_at),
      message_count = message_count + added
    FROM unnest(
      CAST(:ids AS uuid[]), CAST(:started_ats AS timestamptz[]),
      CAST(:last_message_ats AS timestamptz[]), CAST(:last_customer_message_ats AS timestamptz[]),
      CAST(:last_touch_ats AS timestamptz[]), CAST(:deadline_ats AS timestamptz[]),
      CAST(:added AS int[])
    ) AS new (new_id, new_started_at, new_last_message_at, new_last_customer_message_at,
      new_last_touch_at, new_deadline_at, added)
    WHERE id = new_id
    RETURNING id, business_id, version, {REMAINING_MS} AS remaining_ms
""")
_SUMMARISE_AGAIN = text("""
    UPDATE sessions SET summary_status = 'pending', summary_reason = NULL,
      summary_attempt = summary_attempt + 1,
      next_check_at = clock_timestamp() + CAST(:check_after AS interval)
    WHERE id = :id AND state = 'closed'
    RETURNING summary_attempt
""")


def rules_of(
    db: Connection, connection_ids: Iterable[ConnectionId]
) -> dict[ConnectionId, ConnectionRules]:
    """Return the rules of each connection that is there and not deleted."""
    rows = db.execute(_RULES, {"connection_ids": list(connection_ids)})
    return {
        row.id: ConnectionRules(
            row.business_id, timedelta(seconds=row.idle_gap_s), TouchOn(row.touch_on), row.is_new
        )
        for row in rows
    }


def lock_open(db: Connection, chats: Iterable[Chat]) -> dict[Chat, Draft]:
    """Lock the open sessions of these contacts on these connections."""
    wanted = list(chats)
    rows = db.execute(
        _LOCK_OPEN,
        {
            "connection_ids": [connection_id for connection_id, _ in wanted],
            "contact_ids": [contact_id for _, contact_id in wanted],
        },
    ).mappings()
    return {(row["connection_id"], row["contact_id"]): _draft(dict(row)) for row in rows}


def lock_spanning(
    db: Connection, chat: Chat, earliest_at: datetime, latest_at: datetime
) -> list[Draft]:
    """Lock the closed sessions of a chat that overlap a stretch of time, newest first."""
    connection_id, contact_id = chat
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
    del row["connection_id"], row["contact_id"]
    reason = row.pop("close_reason", None)
    return Draft(**row, close_reason=CloseReason(reason) if reason else None)


def insert(db: Connection, new: Sequence[NewSession]) -> list[Armable]:
    """Insert sessions; one made already closed awaits its summary at once.

    Answers for each, in any order.
    """
    drafts = [one.draft for one in new]
    rows = db.execute(
        _INSERT,
        {
            **_columns(drafts),
            "business_ids": [one.business_id for one in new],
            "connection_ids": [one.connection_id for one in new],
            "contact_ids": [one.contact_id for one in new],
            "customer_wa_ids": [one.customer_wa_id for one in new],
            "numbers": [one.number for one in new],
            "contexts": [one.context_json for one in new],
            "closed_ats": [draft.closed_at for draft in drafts],
            "close_reasons": [draft.close_reason and draft.close_reason.value for draft in drafts],
            "check_after": SUMMARY_CHECK_AFTER,
        },
    )
    return [Armable(row.business_id, row.id, row.version, row.remaining_ms) for row in rows]


def extend(db: Connection, drafts: Sequence[Draft]) -> list[Armable]:
    """Write back sessions that messages were added to; answers for each, in any order."""
    rows = db.execute(_EXTEND, _columns(drafts))
    return [Armable(row.business_id, row.id, row.version, row.remaining_ms) for row in rows]


def _columns(drafts: Sequence[Draft]) -> dict[str, list[Any]]:
    return {
        "ids": [draft.id for draft in drafts],
        "started_ats": [draft.started_at for draft in drafts],
        "last_message_ats": [draft.last_message_at for draft in drafts],
        "last_customer_message_ats": [draft.last_customer_message_at for draft in drafts],
        "last_touch_ats": [draft.last_touch_at for draft in drafts],
        "deadline_ats": [draft.deadline_at for draft in drafts],
        "added": [draft.added for draft in drafts],
    }


def ask_summary_again(db: Connection, session_id: UUID) -> int | None:
    """Begin a new summary attempt of a closed session; None if it is not closed."""
    return db.execute(
        _SUMMARISE_AGAIN, {"id": session_id, "check_after": SUMMARY_CHECK_AFTER}
    ).scalar_one_or_none()


def close_locked(
    db: Connection, session_ids: Sequence[UUID], reason: CloseReason
) -> list[ClosedSession]:
    """Close open sessions this transaction has locked, whatever their deadline."""
    return _close(db, session_ids, reason).closed


def close_overdue_of(
    db: Connection, contact_ids: Sequence[ContactId], *, until: datetime | None = None
) -> list[ClosedSession]:
    """Close as idle the overdue sessions of contacts this transaction has locked.

    With ``until``, only those that fell due by then.
    """
    overdue = db.execute(
        text("""
            SELECT id FROM sessions
            WHERE contact_id = ANY(CAST(:contact_ids AS uuid[])) AND state = 'open'
              AND deadline_at <= least(clock_timestamp(), CAST(:until AS timestamptz))
            ORDER BY id FOR UPDATE"""),
        {"contact_ids": list(contact_ids), "until": until},
    ).scalars()
    return close_locked(db, list(overdue), CloseReason.IDLE)


@dataclass(frozen=True, slots=True)
class Closing:
    """What one statement closed, and the instant by Postgres's clock when it began."""

    closed: list[ClosedSession]
    now: datetime


def close_due(
    db: Connection, session_ids: Sequence[SessionId], *, clock_between: tuple[datetime, datetime]
) -> Closing:
    """Close those of these sessions that are open, due, and not locked by anybody else.

    ``clock_between`` are the first and the last instant Postgres's clock can plausibly show:
    outside them the clock stepped, and nothing is closed. One statement, which may be its own
    transaction.
    """
    return _close(db, session_ids, CloseReason.IDLE, clock_between)


def _close(
    db: Connection,
    session_ids: Sequence[UUID],
    reason: CloseReason,
    clock_between: tuple[datetime, datetime] | None = None,
) -> Closing:
    earliest_at, latest_at = clock_between or (None, None)
    rows = db.execute(
        _CLOSE,
        {
            "ids": list(session_ids),
            "reason": reason.value,
            "check_after": SUMMARY_CHECK_AFTER,
            "earliest_at": earliest_at,
            "latest_at": latest_at,
        },
    ).all()
    return Closing([_closed(row) for row in rows if row.id is not None], rows[0].now_at)


def closed_at_birth(db: Connection, session_ids: Sequence[SessionId]) -> list[ClosedSession]:
    """Return sessions inserted already closed as closed sessions, their callbacks planned."""
    rows = db.execute(
        _CLOSED_AT_BIRTH, {"ids": list(session_ids), "check_after": SUMMARY_CHECK_AFTER}
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
    db.execute(
        text("""
            UPDATE messages SET session_id = :kept WHERE id IN (
              SELECT id FROM messages WHERE session_id = :replaced
              ORDER BY connection_id, provider_message_id COLLATE "C" FOR NO KEY UPDATE)"""),
        ids,
    )
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


def due_by(db: Connection, session_ids: Sequence[SessionId], until: datetime) -> list[SessionId]:
    """Return those of these open sessions that fall due by an instant."""
    found = db.execute(
        text("""
            SELECT id FROM sessions
            WHERE id = ANY(CAST(:ids AS uuid[])) AND state = 'open' AND deadline_at <= :until"""),
        {"ids": list(session_ids), "until": until},
    ).scalars()
    return list(found)


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
              AND (due_not_before > clock_timestamp() OR deadline_at > clock_timestamp())"""),
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
