"""The spool: accepted webhooks on this host's own disk while Postgres is away.

Webhooks append (fsynced when `append` returns), `spool_replay` takes, all web processes of a host
share one folder. What is kept are the parsed events of one connection, not the raw request: who may
act for what was decided when the origin was proven, nothing has to be trusted again; and a raw
request holds the gateway's tokens, which no file of ours may. It never talks to Postgres or Redis.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Lock
from typing import TypeVar
from uuid import UUID

import structlog

from timer_service import metrics, spooled_events
from timer_service.errors import TimerServiceError
from timer_service.group_commit import GroupCommit, TooBusy
from timer_service.ids import ConnectionId
from timer_service.messages import Event as ChatEvent
from timer_service.records import spool_file
from timer_service.records.spool_file import NewRow, Parked, Row
from timer_service.spool_keys import awaited_keys, held_keys

log = structlog.get_logger(__name__)

MAX_BYTES = 1024**3
"""Two million messages, about."""
MIN_FREE_BYTES = 256 * 1024**2
"""What must stay free on the disk: Postgres and Redis may live there too."""
_FILE = "spool.sqlite3"
PATIENCE_S = 0.2
_MOST_AT_ONCE = 64
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

T = TypeVar("T")


class SpoolFull(TimerServiceError):
    """Nothing more can be kept here now; the sender must try again."""

    retryable = True


@dataclass(frozen=True, slots=True)
class SpoolState:
    """What a spool holds. ``oldest_at`` by this host's clock."""

    waiting: int
    parked: int
    oldest_at: datetime | None
    used_bytes: int


class Spool:
    """One folder's spool."""

    def __init__(
        self, folder: Path, *, max_bytes: int = MAX_BYTES, min_free_bytes: int = MIN_FREE_BYTES
    ) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._min_free_bytes = min_free_bytes
        self._lock = Lock()
        self._reader: sqlite3.Connection | None = None
        self._writer: sqlite3.Connection | None = None
        self._writing = Lock()
        self._id = ""
        self._appends = GroupCommit(
            self._append_together, most_groups=1, most_works=_MOST_AT_ONCE, patience_s=PATIENCE_S
        )
        self.appended = Event()
        """Set when this process appended: a replayer need not look at its next turn only."""

    @staticmethod
    def is_in(folder: Path) -> bool:
        """Tell whether a folder holds a spool."""
        return (folder / _FILE).exists()

    @property
    def id(self) -> str:
        """What this folder's spool is known by among hosts; "" where it cannot be used."""
        if not self._id:
            with suppress(SpoolFull), self._reading():
                pass
        return self._id

    @property
    def is_waiting(self) -> bool:
        """Whether something waits to be replayed."""
        with self._reading() as db:
            return spool_file.has_waiting(db)

    def must_precede(self, connection_id: ConnectionId, events: Sequence[ChatEvent]) -> bool:
        """Tell whether something waits that these events of a connection must not overtake."""
        keys = awaited_keys(connection_id, events)
        with self._reading() as db:
            return spool_file.waits_for(db, keys)

    @property
    def oldest_at(self) -> datetime | None:
        """The earliest receipt that waits, by this host's clock."""
        with self._reading() as db:
            return _instant(spool_file.oldest_us(db))

    def state(self) -> SpoolState:
        """Return what is there.

        Raises:
            SpoolFull: the folder cannot be used.
        """
        with self._reading() as db:
            found = spool_file.totals(db)
        return SpoolState(found.waiting, found.parked, _instant(found.oldest_us), found.used_bytes)

    def append(
        self,
        connection_id: ConnectionId,
        events: Sequence[ChatEvent],
        received_at: datetime,
        *,
        patience_s: float = PATIENCE_S,
    ) -> None:
        """Keep events of a connection; on the disk when this returns.

        ``patience_s``: how long they may wait for the disk to take what came before them.

        Raises:
            SpoolFull: no room, or the disk does not take it.
        """
        row = NewRow(
            _micros(received_at),
            str(connection_id),
            spooled_events.encode(events),
            held_keys(connection_id, events),
        )
        try:
            self._appends.do(row, patience_s=patience_s)
        except TooBusy:
            metrics.SPOOL_REFUSED.inc()
            raise SpoolFull("the spool's disk is too slow for what comes") from None
        except SpoolFull:
            metrics.SPOOL_REFUSED.inc()
            raise
        metrics.SPOOLED.inc()
        self.appended.set()

    def take(self, limit: int) -> list[Row]:
        """Return the oldest rows that wait, and count a try of each: who dies now has tried.

        A row that was tried before comes alone, so that what breaks it breaks no other.
        """

        def take(db: sqlite3.Connection) -> list[Row]:
            rows = spool_file.oldest(db, limit)
            suspect = next((nth for nth, row in enumerate(rows) if row.tries), len(rows))
            taken = rows[: max(1, suspect)]
            spool_file.count_try(db, (row.seq for row in taken), 1)
            return taken

        return self._write(take)

    def settle(
        self,
        *,
        done: Sequence[int] = (),
        untried: Sequence[int] = (),
        parked: Mapping[int, str] | None = None,
    ) -> None:
        """Delete what is stored, give back what could not be tried, set aside what is poison.

        ``parked`` says of what kind each one's fault is.
        """

        def settle(db: sqlite3.Connection) -> None:
            spool_file.delete(db, done)
            spool_file.count_try(db, untried, -1)
            spool_file.park(db, parked or {})

        self._write(settle)

    def parked(self) -> list[Parked]:
        """Return what was set aside."""
        with self._reading() as db:
            return spool_file.parked(db)

    def retry(self, seq: int | None = None) -> int:
        """Let one part that was set aside, or all of them, be replayed; return how many."""
        return self._write(lambda db: spool_file.unpark(db, seq))

    def drop(self, seq: int) -> bool:
        """Delete for good a part that was set aside; False if there is none."""
        return self._write(lambda db: spool_file.drop_parked(db, seq))

    def shrink(self) -> None:
        """Give the disk back what is not in use, deleted messages first of all."""
        with self._writing, _disk_errors():
            spool_file.shrink(self._open_writer())

    @contextmanager
    def sole_replayer(self) -> Iterator[bool]:
        """Be the one process of the host that replays, for the block; yields whether it is."""
        with self._reading():
            pass  # the folder is there
        with _disk_errors():
            lock = os.open(
                self._folder / "replay.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
        try:
            with _disk_errors():
                is_sole = _lock_at_once(lock)
            yield is_sole
        finally:
            os.close(lock)

    def close(self) -> None:
        """Close the file."""
        with self._lock, self._writing:
            for db in (self._reader, self._writer):
                if db is not None:
                    db.close()
            self._reader = self._writer = None

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock, _disk_errors():
            if self._reader is None:
                self._reader = self._connect()
                self._id = spool_file.read_id(self._reader)
            yield self._reader

    def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._writing, _disk_errors():
            db = self._open_writer()
            try:
                db.execute("BEGIN IMMEDIATE")
                answer = work(db)
                db.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # SQLite may have rolled back by itself
                    db.execute("ROLLBACK")
                raise
            return answer

    def _open_writer(self) -> sqlite3.Connection:
        if self._writer is None:
            self._writer = self._connect()
        return self._writer

    def _append_together(self, rows: Sequence[NewRow]) -> Sequence[BaseException | None]:
        def append(db: sqlite3.Connection) -> list[BaseException | None]:
            room = self._max_bytes - spool_file.used_bytes(db)
            free = shutil.disk_usage(self._folder).free - self._min_free_bytes
            answers: list[BaseException | None] = []
            fitting = []
            for row in rows:
                size = row.size_bytes
                if size > min(room, free):
                    answers.append(SpoolFull("the spool is full"))
                    continue
                room, free = room - size, free - size
                fitting.append(row)
                answers.append(None)
            spool_file.add(db, fitting)
            return answers

        return self._write(append)

    def _connect(self) -> sqlite3.Connection:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        path = self._folder / _FILE
        # SQLite gives its log and its index the file's own mode. A file that is there must not be
        # opened: closing it drops every lock this process has on it (sqlite.org/howtocorrupt.html,
        # 2.2), and whoever closes the file next takes its log away from under us.
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return spool_file.connect(path)


def _lock_at_once(file: int) -> bool:
    """Lock a file for this process; False where another has it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise SpoolFull(f"the spool cannot be used: {type(error).__name__}: {error}") from error


def connection_of(row: Row) -> ConnectionId:
    """Return whose events a row holds."""
    return ConnectionId(UUID(row.connection_id))


def received_at(row: Row | Parked) -> datetime:
    """Return when a row's webhook came, by this host's clock."""
    return _EPOCH + timedelta(microseconds=row.received_us)


def _instant(micros: int | None) -> datetime | None:
    return None if micros is None else _EPOCH + timedelta(microseconds=micros)


def _micros(instant: datetime) -> int:
    return (instant - _EPOCH) // timedelta(microseconds=1)
