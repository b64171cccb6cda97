"""Uploads: files a business handed over to be sent. Each ends a day after its last use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, RowMapping, text

from timer_service.ids import BusinessId

KEPT_FOR = timedelta(days=1)

_IS_THERE = "u.expires_at > clock_timestamp()"
_OF_NOBODY_ERASED = "JOIN businesses b ON b.id = u.business_id AND b.erased_at IS NULL"


def add(db: Connection, values: Mapping[str, Any]) -> RowMapping | None:
    """Insert an upload whose bytes are there already; None where the business is gone."""
    return (
        db.execute(
            text("""
                INSERT INTO uploads
                  (id, business_id, mime_type, file_name, size_bytes, sha256, expires_at)
                SELECT :id, b.id, :mime_type, :file_name, :size_bytes, :sha256,
                  clock_timestamp() + CAST(:kept_for AS interval)
                FROM businesses b WHERE b.id = :business_id AND b.erased_at IS NULL
                RETURNING *"""),
            {**values, "kept_for": KEPT_FOR},
        )
        .mappings()
        .one_or_none()
    )


def held_bytes(db: Connection, business_id: BusinessId) -> int:
    """Return how much a business has handed over that has not ended."""
    held: int = db.execute(
        text(f"""
            SELECT coalesce(sum(u.size_bytes), 0)::bigint FROM uploads u
            WHERE u.business_id = :business_id AND {_IS_THERE}"""),
        {"business_id": business_id},
    ).scalar_one()
    return held


def use(db: Connection, business_id: BusinessId, upload_id: UUID) -> RowMapping | None:
    """Return an upload that has not ended, which then lasts as long as one just made."""
    return (
        db.execute(
            text(f"""
                UPDATE uploads u SET expires_at = clock_timestamp() + CAST(:kept_for AS interval)
                WHERE u.id = :id AND u.business_id = :business_id AND {_IS_THERE}
                RETURNING u.*"""),
            {"id": upload_id, "business_id": business_id, "kept_for": KEPT_FOR},
        )
        .mappings()
        .one_or_none()
    )


def get(db: Connection, upload_id: UUID) -> RowMapping | None:
    """Return an upload that has not ended, to whoever holds an address we signed."""
    return (
        db.execute(
            text(f"""
                SELECT u.* FROM uploads u {_OF_NOBODY_ERASED}
                WHERE u.id = :id AND {_IS_THERE}"""),
            {"id": upload_id},
        )
        .mappings()
        .one_or_none()
    )


def still_there(db: Connection, upload_ids: Sequence[UUID]) -> set[UUID]:
    """Return those of these uploads that have not ended."""
    found = db.execute(
        text(f"""
            SELECT u.id FROM uploads u {_OF_NOBODY_ERASED}
            WHERE u.id = ANY(CAST(:ids AS uuid[])) AND {_IS_THERE}"""),
        {"ids": list(upload_ids)},
    )
    return set(found.scalars())


def delete_ended(db: Connection, *, limit: int) -> int:
    """Delete the rows of so many uploads that have ended."""
    return db.execute(
        text("""
            DELETE FROM uploads WHERE id IN (
              SELECT id FROM uploads WHERE expires_at <= clock_timestamp()
              ORDER BY expires_at LIMIT :limit FOR UPDATE SKIP LOCKED)"""),
        {"limit": limit},
    ).rowcount
