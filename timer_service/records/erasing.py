"""Deleting for good, in steps that are over at once: an erased business, and what is too old.

Each step locks what nobody else holds, so it waits for nobody, and nobody for long for it. Whatever
hangs on a session (messages, its summary, callbacks made of it) goes with its row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from timer_service.ids import BusinessId, SessionId
from timer_service.keys import Member
from timer_service.records import members


@dataclass(frozen=True, slots=True)
class Doomed:
    """A session this transaction has locked, to be deleted. ``at`` is its place in the walk."""

    member: Member
    is_open: bool
    message_count: int
    at: datetime


def mark_business(db: Connection, business_id: BusinessId) -> bool:
    """Take a business out of everybody's sight, its keys and secrets first; False if it is gone."""
    marked = db.execute(
        text("""
            UPDATE businesses SET erased_at = clock_timestamp()
            WHERE id = :id AND erased_at IS NULL"""),
        {"id": business_id},
    )
    if marked.rowcount == 0:
        return False
    db.execute(text("DELETE FROM api_keys WHERE business_id = :id"), {"id": business_id})
    members.remove_all(db, business_id)
    db.execute(
        text("""
            UPDATE connections SET secrets = '', status = 'removed',
              deleted_at = coalesce(deleted_at, clock_timestamp())
            WHERE business_id = :id"""),
        {"id": business_id},
    )
    return True


def marked_business(db: Connection) -> BusinessId | None:
    """Return a business that is marked and not yet gone, the first marked first."""
    return db.execute(
        text("""
            SELECT id FROM businesses WHERE erased_at IS NOT NULL
            ORDER BY erased_at, id LIMIT 1""")
    ).scalar_one_or_none()


def lock_of_business(
    db: Connection, business_id: BusinessId, *, after: datetime | None, limit: int
) -> list[Doomed]:
    """Lock sessions of a business, the first begun first, from where the last step ended."""
    return _lock(
        db,
        f"""business_id = :business_id {"AND started_at >= :after" if after else ""}
            ORDER BY started_at, id""",
        "started_at",
        {"business_id": business_id, "after": after, "limit": limit},
    )


def lock_closed_before(
    db: Connection, *, ago: timedelta, after: datetime | None, limit: int
) -> list[Doomed]:
    """Lock sessions that closed longer ago, the first closed first."""
    return _lock(
        db,
        f"""state = 'closed' AND closed_at < clock_timestamp() - CAST(:ago AS interval)
            {"AND closed_at >= :after" if after else ""} ORDER BY closed_at""",
        "closed_at",
        {"ago": ago, "after": after, "limit": limit},
    )


def _lock(db: Connection, which: str, place: str, parameters: dict[str, Any]) -> list[Doomed]:
    rows = db.execute(
        text(f"""
            SELECT id, business_id, state = 'open' AS is_open, message_count, {place} AS at
            FROM sessions WHERE {which} LIMIT :limit FOR UPDATE SKIP LOCKED"""),
        parameters,
    )
    return [
        Doomed(Member(row.business_id, row.id), row.is_open, row.message_count, row.at)
        for row in rows
    ]


def delete_sessions(db: Connection, session_ids: Sequence[SessionId]) -> None:
    """Delete locked sessions and all that hangs on them."""
    db.execute(
        text("DELETE FROM sessions WHERE id = ANY(CAST(:ids AS uuid[]))"),
        {"ids": list(session_ids)},
    )


def delete_messages(db: Connection, session_id: SessionId, *, limit: int) -> int:
    """Delete so many messages of a locked session that has too many for one step."""
    deleted = db.execute(
        text("""
            DELETE FROM messages WHERE id IN (
              SELECT id FROM messages WHERE session_id = :id LIMIT :limit)"""),
        {"id": session_id, "limit": limit},
    ).rowcount
    db.execute(
        text("""
            UPDATE sessions SET message_count = CASE WHEN :deleted < :limit THEN 0
              ELSE greatest(0, message_count - :deleted) END
            WHERE id = :id"""),
        {"id": session_id, "deleted": deleted, "limit": limit},
    )
    return deleted


def delete_contacts(
    db: Connection, business_id: BusinessId, *, after: UUID | None, limit: int
) -> tuple[int, UUID | None]:
    """Delete contacts of a business; return how many, and where the next step begins if any."""
    ids = (
        db.execute(
            text(f"""
                SELECT id FROM contacts
                WHERE business_id = :business_id {"AND id > :after" if after else ""}
                ORDER BY id LIMIT :limit FOR UPDATE SKIP LOCKED"""),
            {"business_id": business_id, "after": after, "limit": limit},
        )
        .scalars()
        .all()
    )
    db.execute(
        text("DELETE FROM contacts WHERE id = ANY(CAST(:ids AS uuid[]))"), {"ids": list(ids)}
    )
    return len(ids), ids[-1] if len(ids) == limit else None


def delete_business(db: Connection, business_id: BusinessId) -> None:
    """Delete a marked business, and by cascade what arrived while the rest of it went."""
    db.execute(
        text("DELETE FROM businesses WHERE id = :id AND erased_at IS NOT NULL"),
        {"id": business_id},
    )
