"""What hosts announce of their spools, for the time that Redis is away."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection, text


def announce(db: Connection, spool_id: str, oldest_at: datetime) -> None:
    """Say that messages wait in a spool, the oldest received at this instant."""
    db.execute(
        text("""
            INSERT INTO spool_announcements (spool_id, oldest_at, announced_at)
            VALUES (:spool_id, :oldest_at, clock_timestamp())
            ON CONFLICT (spool_id) DO UPDATE
              SET oldest_at = excluded.oldest_at, announced_at = excluded.announced_at"""),
        {"spool_id": spool_id, "oldest_at": oldest_at},
    )


def withdraw(db: Connection, spool_id: str) -> None:
    """Say that a spool is empty."""
    db.execute(
        text("DELETE FROM spool_announcements WHERE spool_id = :spool_id"), {"spool_id": spool_id}
    )


def announced(db: Connection, *, within: timedelta) -> dict[str, datetime]:
    """Return the oldest receipt of each spool that was announced lately."""
    rows = db.execute(
        text("""
            SELECT spool_id, oldest_at FROM spool_announcements
            WHERE announced_at > clock_timestamp() - CAST(:within AS interval)"""),
        {"within": within},
    )
    return {row.spool_id: row.oldest_at for row in rows}
