"""Connections: the numbers and devices a business is linked by. Secrets stay encrypted here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, RowMapping, func, insert, select, text, update

from timer_service.ids import BusinessId, ConnectionId
from timer_service.messages import ConnectionUpdate, ProviderName
from timer_service.tables import connections


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


def mark_deleted(db: Connection, business_id: BusinessId, connection_id: UUID) -> bool:
    """Take a connection out of use; its rows stay. False if it was gone already."""
    return (
        change(
            db,
            business_id,
            connection_id,
            {"deleted_at": func.clock_timestamp(), "secrets": b"", "status": "removed"},
        )
        is not None
    )


def note_state(db: Connection, connection_id: ConnectionId, update_: ConnectionUpdate) -> None:
    """Store what the gateway said of a connection."""
    db.execute(
        text("""
            UPDATE connections SET status = :status, updated_at = clock_timestamp(),
              own_number = coalesce(:own_number, own_number)
            WHERE id = :id AND deleted_at IS NULL"""),
        {
            "id": connection_id,
            "status": update_.state.value,
            "own_number": update_.own_number,
        },
    )
