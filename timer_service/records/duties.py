"""Duties that one process at a time is to see to: who has each, and until when.

A lease, not a session's lock: behind a pooler a session belongs to nobody. It spares work only;
what the duty does must be harmless twice, as a holder that stalls is taken over from.
"""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from sqlalchemy import Connection, text

_TAKE = text("""
    INSERT INTO duties (name, holder, ends_at)
    VALUES (:name, :holder, clock_timestamp() + CAST(:lease AS interval))
    ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, ends_at = excluded.ends_at
    WHERE duties.holder = excluded.holder OR duties.ends_at <= clock_timestamp()
    RETURNING true
""")


def take(db: Connection, name: str, holder: UUID, *, lease: timedelta) -> bool:
    """Take a duty that nobody has, or keep one's own for longer; False if another has it."""
    row = db.execute(_TAKE, {"name": name, "holder": holder, "lease": lease}).one_or_none()
    return row is not None


def give_up(db: Connection, name: str, holder: UUID) -> None:
    """Let the next one have a duty at once."""
    db.execute(
        text("DELETE FROM duties WHERE name = :name AND holder = :holder"),
        {"name": name, "holder": holder},
    )
