"""The console's lists, read from a replica where there is one that keeps up.

People leaf through years of conversations; that need not cost the primary anything. What a program
reads, and whatever is looked at by itself, comes from the primary: it must see what it just wrote.

How old a replica's answer is, is told by the log alone: the primary's place in it is noted with the
instant, and what the replica has replayed up to a noted place is as of that instant. No clock of
another machine is believed, and a replica that is cut off grows old like one that is slow.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from threading import Lock
from typing import TypeVar

import structlog
from sqlalchemy import Connection

from timer_service import metrics
from timer_service.clock import monotonic_s
from timer_service.database import Database
from timer_service.errors import DatabaseUnavailable, TimerServiceError
from timer_service.ids import BusinessId
from timer_service.records import replication, search
from timer_service.records.replication import Written
from timer_service.records.session_views import Filter
from timer_service.resources import Session

log = structlog.get_logger(__name__)

MOST_LAG_S = 30.0
"""A replica older than this is not read: the primary is."""
SAID_FROM_S = 2.0
"""From this age on whoever reads is told."""
NOTE_EVERY_S = 0.5
TRY_AGAIN_AFTER_S = 5.0

Rows = TypeVar("Rows")


class _NotUsable(TimerServiceError):
    """The replica cannot answer now; the message is the label it is counted under."""


@dataclass(frozen=True, slots=True)
class SessionList:
    """Sessions, and the instant they are as of where that is worth saying."""

    sessions: list[Session]
    as_of: datetime | None


class StaleLists:
    """Reads lists that may be some seconds old."""

    def __init__(self, primary: Database, replica: Database | None = None) -> None:
        self._primary = primary
        self._replica = replica
        self._notes: deque[tuple[float, Written]] = deque()
        self._lock = Lock()
        self._try_again_s = 0.0
        self._source = "replica"

    def sessions(self, business_id: BusinessId, which: Filter) -> SessionList:
        """Return sessions, the newest begun first.

        Raises:
            DatabaseUnavailable: neither the replica nor the primary can tell.
        """
        rows, as_of = self._read(lambda db: search.list_page(db, business_id, which))
        return SessionList([Session.of(row) for row in rows], as_of)

    def _read(self, query: Callable[[Connection], Rows]) -> tuple[Rows, datetime | None]:
        if self._replica is not None:
            try:
                answer = self._read_replica(self._replica, query)
            except _NotUsable as reason:
                self._note_source(str(reason))
            else:
                self._note_source("replica")
                return answer
        with self._primary.transaction() as db:
            return query(db), None

    def _read_replica(
        self, replica: Database, query: Callable[[Connection], Rows]
    ) -> tuple[Rows, datetime | None]:
        if monotonic_s() < self._try_again_s:
            raise _NotUsable("primary_replica_away")
        self._note_written()
        try:
            with replica.transaction() as db:
                replayed = replication.read_replayed(db)  # first: what follows is no older
                written = self._last_replayed(replayed)
                rows = query(db)
        except DatabaseUnavailable:
            self._try_again_s = monotonic_s() + TRY_AGAIN_AFTER_S
            raise _NotUsable("primary_replica_away") from None
        age_s, as_of = written
        return rows, as_of if age_s >= SAID_FROM_S else None

    def _note_written(self) -> None:
        """Note how far the primary is; where it is away, what is noted only grows older."""
        with self._lock:
            now_s = monotonic_s()
            if self._notes and now_s - self._notes[-1][0] < NOTE_EVERY_S:
                return
            try:
                with self._primary.transaction() as db:
                    self._notes.append((now_s, replication.read_written(db)))
            except DatabaseUnavailable:
                return
            while now_s - self._notes[0][0] > MOST_LAG_S:
                self._notes.popleft()

    def _last_replayed(self, replayed: int | None) -> tuple[float, datetime]:
        """Return the age in seconds, and the instant, of the latest note that was replayed."""
        if replayed is None:
            raise _NotUsable("primary_not_a_replica")
        with self._lock:
            for noted_s, written in reversed(self._notes):
                age_s = monotonic_s() - noted_s
                if written.place <= replayed and age_s <= MOST_LAG_S:
                    return age_s, written.at
        raise _NotUsable("primary_replica_lags")

    def _note_source(self, source: str) -> None:
        metrics.LISTS_READ.labels(source).inc()
        if source != self._source:
            log.warning("lists_read_elsewhere", source=source, before=self._source)
            self._source = source
