"""Sessions as people and programs read them: one row per session with its provider and summary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, RowMapping, text

from timer_service import service_window
from timer_service.ids import BusinessId, SessionId
from timer_service.messages import ContactIds
from timer_service.records.contacts import OWNER_OF_ID, parameters_of_id

_SELECT = f"""
    SELECT s.*, c.provider,
      (SELECT k.name FROM contacts k WHERE k.id = s.contact_id) AS customer_name,
      m.text AS summary_text, m.title, m.customer, m.asked_for, m.provided, m.next_steps,
      m.follow_up, m.language, m.sentiment, m.summarizer, m.model, m.message_ids,
      m.dropped_messages, m.tokens, m.created_at AS summarised_at,
      CASE WHEN c.provider IN ({service_window.PROVIDERS_IN_SQL}) THEN (
        SELECT max(w.last_customer_message_at) FROM sessions w
        WHERE w.contact_id = s.contact_id AND w.connection_id = s.connection_id
      ) END AS window_began_at, clock_timestamp() AS read_at
    FROM sessions s
    JOIN businesses b ON b.id = s.business_id AND b.erased_at IS NULL
    JOIN connections c ON c.id = s.connection_id
    LEFT JOIN summaries m ON m.session_id = s.id
"""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which sessions to list; None means any.

    ``text`` is words, the beginnings of words, or how a number ends (`records.search`);
    ``summary`` is ``waiting`` or ``failed``. ``before`` is the position of the last one seen, where
    a list goes on to older ones, ``after`` that of the first one seen, where it goes back.
    """

    state: str | None = None
    provider: str | None = None
    contact_id: UUID | None = None
    customer: ContactIds | None = None
    since: datetime | None = None
    until: datetime | None = None
    text: str | None = None
    follow_up: bool | None = None
    summary: str | None = None
    before: tuple[datetime, UUID] | None = None
    after: tuple[datetime, UUID] | None = None
    limit: int = 50


_HAS_FOLLOW_UP = """
    EXISTS (SELECT FROM summaries u WHERE u.session_id = s.id AND u.follow_up IS NOT NULL)
"""
_STATE_IS = {"open": "s.state = 'open'", "closed": "s.state = 'closed'"}
_SUMMARY_IS = {
    "waiting": "s.summary_status IN ('pending', 'running')",
    "failed": "s.summary_status = 'failed'",
}


def get(db: Connection, business_id: BusinessId, session_id: UUID) -> RowMapping | None:
    """Return one session."""
    return (
        db.execute(
            text(f"{_SELECT} WHERE s.id = :id AND s.business_id = :business_id"),
            {"id": session_id, "business_id": business_id},
        )
        .mappings()
        .one_or_none()
    )


def owner_of(db: Connection, session_id: UUID) -> BusinessId | None:
    """Return whose session this is; for the admin, who need not name the business."""
    return db.execute(
        text("""
            SELECT s.business_id FROM sessions s
            JOIN businesses b ON b.id = s.business_id AND b.erased_at IS NULL
            WHERE s.id = :id"""),
        {"id": session_id},
    ).scalar_one_or_none()


def get_many(
    db: Connection, business_id: BusinessId, session_ids: Sequence[SessionId]
) -> dict[SessionId, RowMapping]:
    """Return these sessions by id."""
    rows = db.execute(
        text(f"""{_SELECT}
            WHERE s.id = ANY(CAST(:ids AS uuid[])) AND s.business_id = :business_id"""),
        {"ids": list(session_ids), "business_id": business_id},
    ).mappings()
    return {row["id"]: row for row in rows}


def conditions_of(
    db: Connection, business_id: BusinessId, which: Filter
) -> tuple[list[str], dict[str, Any]]:
    """Return what a filter asks of a session ``s``, all but its text, and the parameters."""
    conditions = ["s.business_id = :business_id"]
    parameters: dict[str, Any] = {"business_id": business_id, "limit": which.limit}
    for name, condition in (
        ("contact_id", "s.contact_id = :contact_id"),
        ("since", "s.started_at >= :since"),
        ("until", "s.started_at < :until"),
    ):
        value = getattr(which, name)
        if value is not None:
            conditions.append(condition)
            parameters[name] = value
    if which.customer is not None:
        conditions.append(f"s.contact_id = {OWNER_OF_ID}")
        parameters |= parameters_of_id(which.customer)
    if which.state is not None:
        conditions.append(_STATE_IS[which.state])
    if which.provider is not None:
        conditions.append(_connected_by(db, business_id, which.provider))
    if which.follow_up is not None:
        conditions.append(_HAS_FOLLOW_UP if which.follow_up else f"NOT {_HAS_FOLLOW_UP}")
    if which.summary is not None:
        conditions.append(_SUMMARY_IS[which.summary])
    if which.before is not None:
        conditions.append("(s.started_at, s.id) < (:before_at, :before_id)")
        parameters["before_at"], parameters["before_id"] = which.before
    if which.after is not None:
        conditions.append("(s.started_at, s.id) > (:after_at, :after_id)")
        parameters["after_at"], parameters["after_id"] = which.after
    return conditions, parameters


def _connected_by(db: Connection, business_id: BusinessId, provider: str) -> str:
    """Name the connections in the query itself: how many sessions each has decides its plan.

    A gateway that has few is read by its index, one that has most in order of time.
    """
    ids = db.execute(
        text(
            "SELECT id FROM connections WHERE business_id = :business_id AND provider = :provider"
        ),
        {"business_id": business_id, "provider": provider},
    ).scalars()
    named = ", ".join(f"'{UUID(str(one))}'" for one in ids)
    return f"s.connection_id IN ({named})" if named else "false"


def order_of(which: Filter) -> str:
    """Return the order in which a page is read; what is shown has the newest begun first."""
    return "s.started_at DESC, s.id DESC" if which.after is None else "s.started_at, s.id"


def list_page(db: Connection, business_id: BusinessId, which: Filter) -> Sequence[RowMapping]:
    """Return sessions, whatever their text, the newest begun first."""
    conditions, parameters = conditions_of(db, business_id, which)
    # The page is found before anything is joined to it, so no join is made for what is not on it.
    found = db.execute(
        text(f"""
            SELECT s.id FROM sessions s WHERE {" AND ".join(conditions)}
            ORDER BY {order_of(which)} LIMIT :limit"""),
        parameters,
    ).scalars()
    return list_these(db, business_id, list(found))


def list_these(
    db: Connection, business_id: BusinessId, session_ids: Sequence[UUID]
) -> Sequence[RowMapping]:
    """Return these sessions, the newest begun first."""
    return (
        db.execute(
            text(f"""{_SELECT}
                WHERE s.id = ANY(CAST(:ids AS uuid[])) AND s.business_id = :business_id
                ORDER BY s.started_at DESC, s.id DESC"""),
            {"ids": list(session_ids), "business_id": business_id},
        )
        .mappings()
        .all()
    )


def list_active(db: Connection, business_id: BusinessId, *, limit: int) -> Sequence[RowMapping]:
    """Return open sessions that are not due, latest deadline first, without Redis."""
    return (
        db.execute(
            text(f"""{_SELECT}
                WHERE s.id IN (
                  SELECT id FROM sessions
                  WHERE business_id = :business_id AND state = 'open'
                    AND deadline_at > clock_timestamp()
                  ORDER BY deadline_at DESC LIMIT :limit)
                ORDER BY s.deadline_at DESC"""),
            {"business_id": business_id, "limit": limit},
        )
        .mappings()
        .all()
    )


def active_of_number(
    db: Connection, business_id: BusinessId, customer: ContactIds
) -> RowMapping | None:
    """Return a contact's most recently active open session that is not due."""
    return (
        db.execute(
            text(f"""{_SELECT}
                WHERE s.business_id = :business_id AND s.state = 'open'
                  AND s.deadline_at > clock_timestamp()
                  AND s.contact_id = {OWNER_OF_ID}
                ORDER BY s.last_message_at DESC NULLS LAST LIMIT 1"""),
            {"business_id": business_id, **parameters_of_id(customer)},
        )
        .mappings()
        .one_or_none()
    )


def merge_json(
    db: Connection, business_id: BusinessId, session_id: UUID, values: dict[str, str]
) -> bool:
    """Merge JSON objects into ``context`` and ``order_details``; False if there is no session."""
    assignments = ", ".join(f"{name} = {name} || CAST(:{name} AS jsonb)" for name in values)
    result = db.execute(
        text(f"""
            UPDATE sessions SET {assignments}
            WHERE id = :id AND business_id = :business_id"""),
        {**values, "id": session_id, "business_id": business_id},
    )
    return result.rowcount == 1


def last_message_times(db: Connection, business_id: BusinessId) -> dict[UUID, datetime]:
    """Return when each connection of a business last heard or said anything.

    Read from the business's thousand sessions begun last and the thousand open ones due last, so
    it costs the same however many there are; what no message of those went through is left out.
    """
    rows = db.execute(
        text("""
            SELECT connection_id AS id, max(last_message_at) AS last_message_at FROM (
              (SELECT connection_id, last_message_at FROM sessions
               WHERE business_id = :business_id AND state = 'open'
               ORDER BY due_not_before DESC LIMIT 1000)
              UNION ALL
              (SELECT connection_id, last_message_at FROM sessions
               WHERE business_id = :business_id ORDER BY started_at DESC LIMIT 1000)
            ) recent GROUP BY connection_id"""),
        {"business_id": business_id},
    )
    return {row.id: row.last_message_at for row in rows if row.last_message_at is not None}
