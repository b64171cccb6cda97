"""Duties that one process at a time is to see to: who has each, and until when.

A lease, not a session's lock: behind a pooler a session belongs to nobody. It spares work only;
what the duty does must be harmless twice, as a holder that stalls is taken over from.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import Connection, text

_TAKE = text("""
    INSERT INTO duties (name, holder, ends_at)
    SELECT name, :holder, clock_timestamp() + CAST(:lease AS interval)
    FROM unnest(CAST(:names AS text[])) AS name ORDER BY name
    ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, ends_at = excluded.ends_at
    WHERE duties.holder = excluded.holder OR duties.ends_at <= clock_timestamp()
    RETURNING name
""")


def take(db: Connection, name: str, holder: UUID, *, lease: timedelta) -> bool:
    """Take a duty that nobody has, or keep one's own for longer; False if another has it."""
    return name in take_each(db, [name], holder, lease=lease)


def take_each(db: Connection, names: Sequence[str], holder: UUID, *, lease: timedelta) -> set[str]:
    """Take or keep what can be had of several duties; return what is the holder's."""
    values = {"names": list(names), "holder": holder, "lease": lease}
    return set(db.execute(_TAKE, values).scalars())


def give_up_each(db: Connection, names: Sequence[str], holder: UUID) -> None:
    """Let the next one have those of several duties that are the holder's."""
    db.execute(
        text("DELETE FROM duties WHERE name = ANY(CAST(:names AS text[])) AND holder = :holder"),
        {"names": list(names), "holder": holder},
    )
