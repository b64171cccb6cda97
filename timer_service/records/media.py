"""Files that came with messages: where each is to be had, and whose are still wanted."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Connection, RowMapping, text

from timer_service.ids import BusinessId


def find(db: Connection, business_id: BusinessId, message_id: UUID) -> RowMapping | None:
    """Return what is known of a message's file and of the connection it came by.

    ``is_sent`` tells that this service sent it: then the file is the upload, or where somebody
    said. ``is_gone`` tells that the connection was deleted.
    """
    return (
        db.execute(
            text("""
                SELECT m.id, m.type, m.media, m.provider_message_id,
                  s.message_id IS NOT NULL AS is_sent, s.upload_id,
                  c.id AS connection_id, c.provider, c.external_id, c.base_url, c.secrets,
                  c.deleted_at IS NOT NULL AS is_gone
                FROM messages m JOIN connections c ON c.id = m.connection_id
                  JOIN businesses b ON b.id = m.business_id AND b.erased_at IS NULL
                  LEFT JOIN sends s ON s.message_id = m.id
                WHERE m.id = :id AND m.business_id = :business_id AND m.media IS NOT NULL"""),
            {"id": message_id, "business_id": business_id},
        )
        .mappings()
        .one_or_none()
    )


def still_wanted(db: Connection, message_ids: Sequence[UUID]) -> set[UUID]:
    """Return those of these messages that are there, not erased and not revoked."""
    found = db.execute(
        text("""
            SELECT m.id FROM messages m
              JOIN businesses b ON b.id = m.business_id AND b.erased_at IS NULL
            WHERE m.id = ANY(CAST(:ids AS uuid[])) AND m.media IS NOT NULL"""),
        {"ids": list(message_ids)},
    )
    return set(found.scalars())
