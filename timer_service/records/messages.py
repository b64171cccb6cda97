"""Messages: what is held already, what is added, what changes later, and reading them in order."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, RowMapping, text

from timer_service.ids import BusinessId, ConnectionId, SessionId
from timer_service.messages import ChangeKind, Delivery, DeliveryStatus, MessageChange
from timer_service.records import search

MessageName = tuple[ConnectionId, str]
"""What makes a message one: a gateway's id for it, on a connection."""

_HELD_NOW = text("""
    SELECT clock_timestamp() AS now, held.*
    FROM (VALUES (1)) AS always LEFT JOIN (
        SELECT connection_id, provider_message_id, session_id FROM messages
        WHERE (connection_id, provider_message_id) IN (
            SELECT * FROM unnest(CAST(:connection_ids AS uuid[]), CAST(:names AS text[])))
    ) AS held ON true
""")
_NEW = {
    "id": "uuid",
    "business_id": "uuid",
    "connection_id": "uuid",
    "session_id": "uuid",
    "provider_message_id": "text",
    "direction": "text",
    "author": "text",
    "type": "text",
    "text": "text",
    "media": "jsonb",
    "reply_to": "text",
    "payload": "text",
    "extra": "jsonb",
    "sent_at": "timestamptz",
    "received_at": "timestamptz",
    "placed_at": "timestamptz",
    "status": "text",
}
_ADD = text(f"""
    INSERT INTO messages ({", ".join(_NEW)})
    SELECT * FROM json_to_recordset(CAST(:rows AS json))
      AS new ({", ".join(f"{name} {kind}" for name, kind in _NEW.items())})
""")
_COLUMNS = """
    id, session_id, provider_message_id, direction, author, type, text, media, reply_to, payload,
    extra, sent_at, received_at, placed_at, status, error_code, failure, retryable, edited_at,
    revoked_at, reactions
"""
RANK = (
    "array_position(ARRAY['queued', 'sending', 'unknown', 'pending', 'sent', 'delivered', 'read',"
    " 'played'], {})"
)
"""How far a status is, as SQL: of a column, or of a parameter that says it is text."""
MAY_STILL_FAIL = "('queued', 'sending', 'unknown', 'pending', 'sent')"


def held_now(
    db: Connection, names: Iterable[MessageName]
) -> tuple[dict[MessageName, SessionId], datetime]:
    """Return which of these messages are stored already, their sessions, and Postgres's clock."""
    wanted = list(names)
    rows = db.execute(
        _HELD_NOW,
        {
            "connection_ids": [connection_id for connection_id, _ in wanted],
            "names": [provider_message_id for _, provider_message_id in wanted],
        },
    ).all()
    held = {
        (row.connection_id, row.provider_message_id): row.session_id
        for row in rows
        if row.session_id is not None
    }
    return held, rows[0].now


def add(db: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert messages: each row is JSON-ready, with columns of ``_NEW``; the others are null.

    Raises:
        sqlalchemy.exc.IntegrityError: one arrived twice at the same instant; try the whole
            transaction again, then it is held.
    """
    if rows:
        db.execute(_ADD, {"rows": json.dumps(rows, ensure_ascii=False)})


def is_forward(column: str, status: Delivery) -> str:
    """Say in SQL whether a status, given as ``:status``, is further than the column's."""
    if status is Delivery.FAILED:
        return f"coalesce({column}, 'pending') IN {MAY_STILL_FAIL}"
    return (
        f"coalesce({RANK.format(column)}, 0) < {RANK.format(':status')} "
        f"AND coalesce({column}, '') <> 'failed'"
    )


def set_status(db: Connection, connection_id: ConnectionId, status: DeliveryStatus) -> bool:
    """Move an outgoing message's status forward; False if it is unknown or further on already.

    A status that carries our own id is found by it, though we may not know the gateway's yet.
    """
    name, learn = "provider_message_id = :provider_message_id", ""
    if status.message_id is not None:
        name = f"({name} OR id = :message_id)"
        # Whoever records its own sends may have recorded this one: two cannot have one name.
        learn = """, provider_message_id = CASE
          WHEN provider_message_id = id::text AND NOT EXISTS (
            SELECT FROM messages o WHERE o.connection_id = :connection_id
              AND o.provider_message_id = :provider_message_id)
          THEN :provider_message_id ELSE provider_message_id END"""
    result = db.execute(
        text(f"""
            UPDATE messages SET status = :status, error_code = coalesce(:error_code, error_code),
              retryable = coalesce(:retryable, retryable) {learn}
            WHERE connection_id = :connection_id AND {name}
              AND direction = 'out' AND {is_forward("status", status.status)}"""),
        {
            "status": status.status.value,
            "error_code": status.error_code,
            "retryable": status.retryable,
            "connection_id": connection_id,
            "provider_message_id": status.provider_message_id,
        }
        | ({} if status.message_id is None else {"message_id": status.message_id}),
    )
    return result.rowcount > 0


def get(db: Connection, business_id: BusinessId, message_id: UUID) -> RowMapping | None:
    """Return one message."""
    return (
        db.execute(
            text(f"SELECT {_COLUMNS} FROM messages WHERE id = :id AND business_id = :business_id"),
            {"id": message_id, "business_id": business_id},
        )
        .mappings()
        .one_or_none()
    )


def is_held(db: Connection, connection_id: ConnectionId, provider_message_id: str) -> bool:
    """Tell whether a message is stored."""
    held: bool = db.execute(
        text("""
            SELECT EXISTS (SELECT 1 FROM messages WHERE connection_id = :connection_id
              AND provider_message_id = :provider_message_id)"""),
        {"connection_id": connection_id, "provider_message_id": provider_message_id},
    ).scalar_one()
    return held


def apply_change(db: Connection, connection_id: ConnectionId, change: MessageChange) -> bool:
    """Edit, revoke or react to an earlier message. Twice is harmless.

    False if the message is unknown, or the change has nothing to say to it.
    """
    parameters = {
        "connection_id": connection_id,
        "target": change.target,
        "direction": change.direction.value if change.direction else None,
        "text": change.text,
    }
    # An edit or a revocation must come from the side that wrote the message; a reaction need not.
    from_its_side = "AND direction = coalesce(:direction, direction) AND revoked_at IS NULL"
    assignment, condition = {
        ChangeKind.EDIT: (
            "text = :text, edited_at = clock_timestamp()",
            f"{from_its_side} AND text <> :text",
        ),
        ChangeKind.REVOKE: (
            "text = '', media = NULL, extra = NULL, revoked_at = clock_timestamp()",
            from_its_side,
        ),
        ChangeKind.REACTION: (
            """reactions = jsonb_strip_nulls(coalesce(reactions, '{}') ||
               jsonb_build_object(CAST(:direction AS text), nullif(CAST(:text AS text), '')))""",
            "",
        ),
    }[change.kind]
    result = db.execute(
        text(f"""
            UPDATE messages SET {assignment}
            WHERE connection_id = :connection_id AND provider_message_id = :target {condition}
            RETURNING session_id"""),
        parameters,
    )
    session_id = result.scalar_one_or_none()
    if session_id is not None and change.kind is not ChangeKind.REACTION:
        search.mark_stale(db, session_id)
    return session_id is not None


def of_session(
    db: Connection,
    session_id: SessionId,
    business_id: BusinessId,
    *,
    after: tuple[Any, Any, UUID] | None = None,
    limit: int | None = None,
) -> Sequence[RowMapping]:
    """Return a session's messages in order, after the position ``(placed_at, received_at, id)``."""
    condition = ""
    parameters: dict[str, Any] = {
        "session_id": session_id,
        "business_id": business_id,
        "limit": limit,
    }
    if after is not None:
        condition = "AND (placed_at, received_at, id) > (:placed_at, :received_at, :id)"
        parameters |= dict(zip(("placed_at", "received_at", "id"), after, strict=True))
    return (
        db.execute(
            text(f"""
                SELECT {_COLUMNS} FROM messages
                WHERE session_id = :session_id AND business_id = :business_id {condition}
                ORDER BY placed_at, received_at, id LIMIT :limit"""),
            parameters,
        )
        .mappings()
        .all()
    )
