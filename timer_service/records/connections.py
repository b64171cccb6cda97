"""Connections: the numbers and devices a business is linked by. Secrets stay encrypted here."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, RowMapping, func, insert, select, text, update

from timer_service.ids import BusinessId, ConnectionId
from timer_service.messages import (
    ConnectionState,
    ConnectionUpdate,
    ProviderName,
    StatusReason,
)
from timer_service.tables import businesses, connections

ASK_LINKED_AFTER = timedelta(minutes=10)
"""How long a gateway may be silent before it is asked."""
ASK_SOON_AFTER = timedelta(minutes=1)
ASK_AFTER_TROUBLE = timedelta(minutes=5)
_ABOUT_TO_CHANGE = frozenset({ConnectionState.CONNECTING, ConnectionState.WAITING_QR})


def add(db: Connection, values: dict[str, Any]) -> RowMapping:
    """Insert a connection and return its row.

    Raises:
        sqlalchemy.exc.IntegrityError: the account is connected already.
    """
    return db.execute(insert(connections).values(values).returning(connections)).mappings().one()


def get(db: Connection, business_id: BusinessId, connection_id: UUID) -> RowMapping | None:
    """Return one connection that is not deleted."""
    query = select(connections).where(
        connections.c.id == connection_id,
        connections.c.business_id == business_id,
        connections.c.deleted_at.is_(None),
    )
    return db.execute(query).mappings().one_or_none()


def list_page(
    db: Connection, business_id: BusinessId, *, before: UUID | None, limit: int
) -> Sequence[RowMapping]:
    """Return a business's connections, newest first, older than ``before``."""
    query = (
        select(connections)
        .where(connections.c.business_id == business_id, connections.c.deleted_at.is_(None))
        .order_by(connections.c.id.desc())
        .limit(limit)
    )
    if before is not None:
        query = query.where(connections.c.id < before)
    return db.execute(query).mappings().all()


def list_of_provider(db: Connection, provider: ProviderName) -> Sequence[RowMapping]:
    """Return every connection of a provider, for checking where webhooks come from."""
    query = select(connections).where(
        connections.c.provider == provider.value, connections.c.deleted_at.is_(None)
    )
    return db.execute(query).mappings().all()


def change(
    db: Connection, business_id: BusinessId, connection_id: UUID, values: dict[str, Any]
) -> RowMapping | None:
    """Change a connection and return its row; None if it is gone."""
    query = (
        update(connections)
        .where(
            connections.c.id == connection_id,
            connections.c.business_id == business_id,
            connections.c.deleted_at.is_(None),
        )
        .values(**values, updated_at=func.clock_timestamp())
        .returning(connections)
    )
    return db.execute(query).mappings().one_or_none()


def hold(db: Connection, business_id: BusinessId, connection_id: UUID) -> bool:
    """Keep a connection from being deleted until this transaction ends; False if it is gone."""
    query = (
        select(connections.c.id)
        .where(
            connections.c.id == connection_id,
            connections.c.business_id == business_id,
            connections.c.deleted_at.is_(None),
        )
        .with_for_update(read=True, key_share=False)
    )
    return db.execute(query).one_or_none() is not None


def mark_deleted(db: Connection, business_id: BusinessId, connection_id: UUID) -> bool:
    """Take a connection out of use; its rows stay. False if it was gone already.

    A business whose default it was has none then.
    """
    values = {
        "deleted_at": func.clock_timestamp(),
        "secrets": b"",
        "status": "removed",
        "status_reason": None,
        "status_at": func.clock_timestamp(),
        "ask_at": None,
    }
    if change(db, business_id, connection_id, values) is None:
        return False
    query = update(businesses).where(
        businesses.c.id == business_id, businesses.c.default_connection_id == connection_id
    )
    db.execute(query.values(default_connection_id=None))
    return True


def owner_of(db: Connection, connection_id: UUID) -> BusinessId | None:
    """Return whose connection it is; None for one that is gone."""
    query = (
        select(connections.c.business_id)
        .join(businesses, businesses.c.id == connections.c.business_id)
        .where(
            connections.c.id == connection_id,
            connections.c.deleted_at.is_(None),
            businesses.c.erased_at.is_(None),
        )
    )
    return db.execute(query).scalar_one_or_none()


def note_state(db: Connection, connection_id: ConnectionId, update_: ConnectionUpdate) -> bool:
    """Store what a gateway said of a connection; return whether that was new.

    ``status_at`` is since when it is so. One that is linked is asked again after
    ``ASK_LINKED_AFTER``, one about to be linked soon.
    """
    ask_after: timedelta | None = ASK_LINKED_AFTER
    if update_.state is ConnectionState.REMOVED:
        ask_after = None  # there is nothing to ask about
    elif update_.state in _ABOUT_TO_CHANGE:
        ask_after = ASK_SOON_AFTER
    return _note(
        db,
        "status = :status, own_number = coalesce(:own_number, c.own_number)",
        id=connection_id,
        status=update_.state.value,
        own_number=update_.own_number,
        reason=None if update_.reason is None else update_.reason.value,
        ask_after=ask_after,
    )


def note_trouble(db: Connection, connection_id: ConnectionId, reason: StatusReason) -> bool:
    """Store why nobody knows how a connection is: its status stays what was told last."""
    return _note(
        db,
        "status = c.status",
        id=connection_id,
        status=None,
        reason=reason.value,
        ask_after=ASK_AFTER_TROUBLE,
    )


def ask_never(db: Connection, connection_id: ConnectionId) -> None:
    """Leave a connection alone until something is told of it: we cannot ask."""
    query = update(connections).where(connections.c.id == connection_id)
    db.execute(query.values(ask_at=None))


def _note(db: Connection, changes: str, **values: object) -> bool:
    row = db.execute(
        text(f"""
            UPDATE connections c SET {changes}, status_reason = :reason,
              status_at = CASE WHEN old.is_same THEN c.status_at ELSE clock_timestamp() END,
              updated_at = clock_timestamp(),
              ask_at = clock_timestamp() + CAST(:ask_after AS interval)
            FROM (
              SELECT id, status = coalesce(:status, status) AND status_at IS NOT NULL
                AND status_reason IS NOT DISTINCT FROM :reason AS is_same
              FROM connections WHERE id = :id AND deleted_at IS NULL FOR NO KEY UPDATE) AS old
            WHERE c.id = old.id
            RETURNING old.is_same"""),
        values,
    ).one_or_none()
    return row is not None and not row.is_same


def take_due_asks(db: Connection, *, limit: int) -> list[tuple[UUID, int]]:
    """Return connections of which nothing was heard for long, each with the number of this asking.

    They are due again after ``ASK_AFTER_TROUBLE``, whether or not somebody asks.
    """
    rows = db.execute(
        text("""
            UPDATE connections SET ask_at = clock_timestamp() + CAST(:again_after AS interval)
            WHERE id IN (
              SELECT id FROM connections
              WHERE ask_at <= clock_timestamp() AND ask_at IS NOT NULL AND deleted_at IS NULL
              ORDER BY ask_at LIMIT :limit FOR UPDATE SKIP LOCKED)
            RETURNING id, CAST(extract(epoch FROM ask_at) AS bigint) AS number"""),
        {"again_after": ASK_AFTER_TROUBLE, "limit": limit},
    )
    return [(row.id, row.number) for row in rows]


def count_by_status(db: Connection) -> list[tuple[str, str, str, int]]:
    """Return how many connections of all are of each provider, status and reason."""
    rows = db.execute(
        text("""
            SELECT c.provider, c.status, coalesce(c.status_reason, '') AS reason, count(*) AS many
            FROM connections c JOIN businesses b ON b.id = c.business_id AND b.erased_at IS NULL
            WHERE c.deleted_at IS NULL GROUP BY 1, 2, 3 ORDER BY 1, 2, 3""")
    )
    return [(row.provider, row.status, row.reason, row.many) for row in rows]
