"""Writes what closed conversations are found by (`records.search`), soon after they change.

A thread in each listener process; they share the work. What is to be done stands in the rows
(`stale_words`, marked by whoever changed something), so it may stop anywhere. It takes small steps
and rests after each: nobody waits for it.
"""

from __future__ import annotations

import threading

import structlog

from timer_service.clock import monotonic_s
from timer_service.database import Database
from timer_service.errors import TimerServiceError
from timer_service.records import search

log = structlog.get_logger(__name__)

MOST_SESSIONS = 200
"""How many one step writes at most: some tens of milliseconds."""
SHARE = 0.25
"""Of its time it works, while there is more to do; it rests three times as long."""
LOOK_EVERY_S = 1.0


class Indexer:
    """Writes the words of marked sessions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def run(self, stop: threading.Event) -> None:
        """Write until told to stop."""
        while not stop.is_set():
            began_s = monotonic_s()
            written = 0
            try:
                written = self.index_once()
            except TimerServiceError as error:
                log.warning("indexing_failed", cause=str(error))
            except Exception:
                log.exception("indexing_broke")
            rest_s = (monotonic_s() - began_s) * (1 / SHARE - 1)
            stop.wait(rest_s if written == MOST_SESSIONS else LOOK_EVERY_S)

    def index_once(self) -> int:
        """Take one step; return of how many sessions the words were written.

        Raises:
            DatabaseUnavailable: the step was not taken.
        """
        with self._database.transaction() as db:
            return search.write_stale(db, limit=MOST_SESSIONS)
