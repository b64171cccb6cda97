"""Slowly compares the deadline index with Postgres; what it finds should always be nothing.

A step of every sweep. Index first, Postgres second: only what Postgres says is closed is removed,
and only what was missing from the index and is still open afterwards is armed.
"""

from __future__ import annotations

import structlog

from timer_service.arming import Armer, arm_of
from timer_service.database import Database
from timer_service.ids import SessionId
from timer_service.live_chats import LiveChats
from timer_service.records import session_sweeps, sessions
from timer_service.records.session_sweeps import OpenPage

log = structlog.get_logger(__name__)

PAGE = 200


class Auditor:
    """Walks through both sides, a page of each at every step."""

    def __init__(self, database: Database, live_chats: LiveChats, armer: Armer) -> None:
        self._database = database
        self._live_chats = live_chats
        self._armer = armer
        self._open = OpenPage([], None)
        self._index = live_chats.walk_index(PAGE)

    def audit_once(self) -> int:
        """Compare the next page of each side; return how many sessions were put right.

        Raises:
            DatabaseUnavailable, RedisUnavailable: the step is left out.
        """
        drift = self._remove_dead() + self._add_missing()
        if drift:
            log.warning("audit_found_drift", sessions=drift)
        return drift

    def _remove_dead(self) -> int:
        page = next(self._index, None)
        if page is None:
            self._index = self._live_chats.walk_index(PAGE)
            return 0
        members, strangers = page
        if strangers:
            log.warning("index_held_strangers", members=strangers)
        with self._database.transaction() as db:
            alive = {
                one.session_id
                for one in sessions.still_open(db, [member.session_id for member in members])
            }
        dead = [member for member in members if member.session_id not in alive]
        return strangers + self._live_chats.forget(dead)

    def _add_missing(self) -> int:
        with self._database.transaction() as db:
            self._open = session_sweeps.open_by_deadline(db, after=self._open.after, limit=PAGE)
        missing = self._live_chats.not_held([one.member for one in self._open.sessions])
        if not missing:
            return 0
        with self._database.transaction() as db:
            still = sessions.still_open(db, [SessionId(one.session_id) for one in missing])
        self._armer.arm([arm_of(one) for one in still])
        return len(still)
