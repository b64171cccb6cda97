"""How far Postgres's log has come: written on the primary, replayed on a replica."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text


@dataclass(frozen=True, slots=True)
class Written:
    """A place in the log, in bytes from its beginning, that was reached by an instant."""

    place: int
    at: datetime


def read_written(db: Connection) -> Written:
    """Return how far the primary has written; all that was committed by then lies before it."""
    row = db.execute(
        text("""
            SELECT clock_timestamp() AS at,
              pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0')::int8 AS place""")
    ).one()
    return Written(row.place, row.at)


def read_replayed(db: Connection) -> int | None:
    """Return how far a replica has replayed; None for a server that is none."""
    replayed: int | None = db.execute(
        text("""
            SELECT CASE WHEN pg_is_in_recovery()
              THEN pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0')::int8 END""")
    ).scalar_one()
    return replayed
