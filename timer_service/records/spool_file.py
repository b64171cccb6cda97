"""The spool's SQLite file: webhooks' events that wait on this host's disk until Postgres is back.

Called by `spool`, which owns locking and limits. An instant here is whole microseconds since the
epoch. Rows hold what customers wrote: what is deleted is overwritten, in the file as in its log.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_BUSY_S = 0.2
_TABLES = """
    PRAGMA auto_vacuum = INCREMENTAL;
    PRAGMA journal_mode = WAL;
    BEGIN IMMEDIATE;
    CREATE TABLE IF NOT EXISTS spooled (
      seq INTEGER PRIMARY KEY AUTOINCREMENT,
      received_us INTEGER NOT NULL,
      connection_id TEXT NOT NULL,
      events TEXT NOT NULL,
      tries INTEGER NOT NULL DEFAULT 0,
      parked INTEGER NOT NULL DEFAULT 0,
      fault TEXT,
      keys TEXT
    );
    CREATE INDEX IF NOT EXISTS ix_spooled_waiting ON spooled (received_us) WHERE parked = 0;
    CREATE TABLE IF NOT EXISTS about (only_row INTEGER PRIMARY KEY CHECK (only_row = 1), id TEXT);
    INSERT OR IGNORE INTO about VALUES (1, lower(hex(randomblob(16))));
"""
_ADDED_COLUMNS = ("fault", "keys")
"""Files that were made before have none."""
_KEYS = """
    BEGIN IMMEDIATE;
    CREATE TABLE IF NOT EXISTS spooled_keys (
      key INTEGER NOT NULL,
      seq INTEGER NOT NULL,
      PRIMARY KEY (key, seq)
    ) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS ix_spooled_keyless ON spooled (seq)
      WHERE parked = 0 AND keys IS NULL;
    CREATE TRIGGER IF NOT EXISTS spooled_keys_deleted AFTER DELETE ON spooled BEGIN
      DELETE FROM spooled_keys
      WHERE seq = OLD.seq AND key IN (SELECT value FROM json_each(OLD.keys));
    END;
    COMMIT;
"""
"""A trigger, so that a process of the version before deletes keys too; its rows have none."""


@dataclass(frozen=True, slots=True)
class Row:
    """One connection's events of one webhook. ``tries``: how often a replay of it was begun."""

    seq: int
    received_us: int
    connection_id: str
    events: str
    tries: int


@dataclass(frozen=True, slots=True)
class Parked:
    """A row that was set aside, without what it holds. ``fault``: the kind of its last error."""

    seq: int
    received_us: int
    connection_id: str
    fault: str | None
    tries: int


@dataclass(frozen=True, slots=True)
class Totals:
    """What the file holds."""

    waiting: int
    parked: int
    oldest_us: int | None
    used_bytes: int


def connect(path: Path) -> sqlite3.Connection:
    """Open the file, making its tables where they are missing; any thread may use it, one a time.

    Every commit is on the disk when it returns.
    """
    db = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    db.executescript(_TABLES)
    known = {row[1] for row in db.execute("PRAGMA table_info(spooled)")}
    for column in _ADDED_COLUMNS:
        if column not in known:
            db.execute(f"ALTER TABLE spooled ADD COLUMN {column} TEXT")
    db.executescript(_KEYS)  # it commits what is open first
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA secure_delete = ON")
    return db


def read_id(db: sqlite3.Connection) -> str:
    """Return what this file is known by."""
    return str(db.execute("SELECT id FROM about").fetchone()[0])


def has_waiting(db: sqlite3.Connection) -> bool:
    """Tell whether a row waits; parked ones do not."""
    return bool(db.execute("SELECT EXISTS (SELECT 1 FROM spooled WHERE parked = 0)").fetchone()[0])


def waits_for(db: sqlite3.Connection, keys: list[int]) -> bool:
    """Tell whether a row with one of these keys waits, or one of which nobody knows its keys."""
    found = db.execute(
        """
        SELECT EXISTS (SELECT 1 FROM spooled WHERE parked = 0 AND keys IS NULL) OR EXISTS (
          SELECT 1 FROM json_each(?) AS asked
          CROSS JOIN spooled_keys AS k ON k.key = asked.value
          CROSS JOIN spooled AS s ON s.seq = k.seq WHERE s.parked = 0)""",
        [_json(keys)],
    )
    return bool(found.fetchone()[0])


def oldest_us(db: sqlite3.Connection) -> int | None:
    """Return the earliest receipt that waits."""
    found: int | None = db.execute(
        "SELECT min(received_us) FROM spooled WHERE parked = 0"
    ).fetchone()[0]
    return found


def used_bytes(db: sqlite3.Connection) -> int:
    """Return how much of the file is in use."""
    pages, free, size = (
        db.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def totals(db: sqlite3.Connection) -> Totals:
    """Return what the file holds."""
    waiting, parked = db.execute(
        "SELECT count(*) FILTER (WHERE parked = 0), count(*) FILTER (WHERE parked = 1) FROM spooled"
    ).fetchone()
    return Totals(waiting, parked, oldest_us(db), used_bytes(db))


@dataclass(frozen=True, slots=True)
class NewRow:
    """A row to add, with the keys it is found by."""

    received_us: int
    connection_id: str
    events: str
    keys: list[int]

    @property
    def size_bytes(self) -> int:
        """About what it takes in the file."""
        return len(self.events.encode()) + 100 + 40 * len(self.keys)


def add(db: sqlite3.Connection, rows: Sequence[NewRow]) -> None:
    """Add rows and their keys, in the caller's transaction, which writes already."""
    db.executemany(
        "INSERT INTO spooled (received_us, connection_id, events, keys) VALUES (?, ?, ?, ?)",
        [(one.received_us, one.connection_id, one.events, _json(one.keys)) for one in rows],
    )
    last_seq = db.execute("SELECT last_insert_rowid()").fetchone()[0]
    db.executemany(
        "INSERT OR IGNORE INTO spooled_keys (key, seq) VALUES (?, ?)",
        [
            (key, seq)  # nobody else writes meanwhile, so their numbers follow one another
            for seq, one in enumerate(rows, last_seq - len(rows) + 1)
            for key in one.keys
        ],
    )


def oldest(db: sqlite3.Connection, limit: int) -> list[Row]:
    """Return the rows that wait in the order they came."""
    rows = db.execute(
        "SELECT seq, received_us, connection_id, events, tries FROM spooled WHERE parked = 0 "
        "ORDER BY seq LIMIT ?",
        [limit],
    )
    return [Row(*row) for row in rows]


def count_try(db: sqlite3.Connection, seqs: Iterable[int], by: int) -> None:
    """Count a replay of these rows as begun, or with -1 as not to be counted after all."""
    db.executemany("UPDATE spooled SET tries = tries + ? WHERE seq = ?", [(by, s) for s in seqs])


def delete(db: sqlite3.Connection, seqs: Iterable[int]) -> None:
    """Delete rows."""
    db.executemany("DELETE FROM spooled WHERE seq = ?", [(seq,) for seq in seqs])


def park(db: sqlite3.Connection, faults: Mapping[int, str]) -> None:
    """Set rows aside, each with the kind of its fault: nobody tries them again by himself."""
    db.executemany(
        "UPDATE spooled SET parked = 1, fault = ? WHERE seq = ?",
        [(fault, seq) for seq, fault in faults.items()],
    )


def parked(db: sqlite3.Connection) -> list[Parked]:
    """Return what was set aside, in the order it came."""
    rows = db.execute(
        "SELECT seq, received_us, connection_id, fault, tries FROM spooled WHERE parked = 1 "
        "ORDER BY seq"
    )
    return [Parked(*row) for row in rows]


def unpark(db: sqlite3.Connection, seq: int | None) -> int:
    """Let one row, or every one, wait again as if it had never been tried; return how many."""
    return db.execute(
        "UPDATE spooled SET parked = 0, tries = 0, fault = NULL "
        "WHERE parked = 1 AND seq = coalesce(?, seq)",
        [seq],
    ).rowcount


def drop_parked(db: sqlite3.Connection, seq: int) -> bool:
    """Delete one row that was set aside; False if there is none."""
    return db.execute("DELETE FROM spooled WHERE parked = 1 AND seq = ?", [seq]).rowcount == 1


def shrink(db: sqlite3.Connection) -> None:
    """Give back what is free, and empty the log that still holds deleted rows."""
    db.execute("PRAGMA incremental_vacuum").fetchall()
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _json(numbers: list[int]) -> str:
    """Write whole numbers as JSON, ten times as fast as ``json`` does."""
    return str(numbers)
