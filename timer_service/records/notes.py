"""Notes on contacts: written, read newest first, changed, taken away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, RowMapping, insert, select, text

from timer_service.ids import BusinessId
from timer_service.tables import notes


def add(db: Connection, values: dict[str, Any]) -> RowMapping:
    """Insert a note and return its row."""
    return db.execute(insert(notes).values(values).returning(notes)).mappings().one()


def list_page(
    db: Connection,
    business_id: BusinessId,
    contact_id: UUID,
    *,
    before: UUID | None = None,
    limit: int,
) -> Sequence[RowMapping]:
    """Return a contact's notes, newest first, older than ``before``."""
    query = select(notes).where(
        notes.c.business_id == business_id, notes.c.contact_id == contact_id
    )
    if before is not None:
        query = query.where(notes.c.id < before)
    return db.execute(query.order_by(notes.c.id.desc()).limit(limit)).mappings().all()


def change(db: Connection, business_id: BusinessId, note_id: UUID, words: str) -> RowMapping | None:
    """Change what a note says; None if there is none."""
    return (
        db.execute(
            text("""
                UPDATE notes SET text = :words, edited_at = clock_timestamp()
                WHERE id = :id AND business_id = :business_id RETURNING *"""),
            {"id": note_id, "business_id": business_id, "words": words},
        )
        .mappings()
        .one_or_none()
    )


def delete(db: Connection, business_id: BusinessId, note_id: UUID) -> bool:
    """Take a note away; False if there is none."""
    result = db.execute(
        text("DELETE FROM notes WHERE id = :id AND business_id = :business_id"),
        {"id": note_id, "business_id": business_id},
    )
    return result.rowcount == 1
