"""Deletes for good what nobody may see any more: erased businesses, and what was kept long enough.

A thread in each listener process, of which one works at a time; `Administration` takes the first
steps itself. What is left to do stands in the rows (a marked business, a session closed long ago),
so it may stop anywhere. It takes small steps and rests after each: nobody waits for it.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from sqlalchemy import Connection

from timer_service import metrics
from timer_service.clock import monotonic_s
from timer_service.database import Database
from timer_service.errors import TimerServiceError
from timer_service.follow_up import FollowUp, Outcome
from timer_service.ids import BusinessId, new_id
from timer_service.records import duties, early_changes, early_statuses, erasing, sessions
from timer_service.records.erasing import Doomed

log = structlog.get_logger(__name__)

MOST_SESSIONS = 200
MOST_MESSAGES = 1_000
MOST_CONTACTS = 500
"""What one step deletes at most: some tens of milliseconds of locks that others might meet."""
SHARE = 0.25
"""Of its time it works; however slow Postgres is, it rests three times as long."""
LOOK_EVERY_S = 5.0
LEASE = timedelta(seconds=40)
"""Longer than any statement may take: a step is never begun beside another process's."""

_DUTY = "erase"


@dataclass(slots=True)
class _Walk:
    """How far the erasing of one business has come; forgotten with the process, to no harm."""

    business_id: BusinessId
    session_at: datetime | None = None
    are_sessions_gone: bool = False
    contact_id: UUID | None = None
    are_contacts_gone: bool = False
    is_done: bool = False


class Eraser:
    """Deletes in steps. ``kept_for`` is how long closed sessions are kept; None: for ever."""

    def __init__(
        self, database: Database, follow_up: FollowUp, *, kept_for: timedelta | None = None
    ) -> None:
        self._database = database
        self._follow_up = follow_up
        self._kept_for = kept_for
        self._id = new_id()
        self._walk: _Walk | None = None
        self._closed_at: datetime | None = None

    def run(self, stop: threading.Event) -> None:
        """Erase until told to stop."""
        while not stop.is_set():
            began_s = monotonic_s()
            has_more = False
            try:
                has_more = self.erase_once()
            except TimerServiceError as error:
                log.warning("erasing_failed", cause=str(error))
            except Exception:
                log.exception("erasing_broke")
            rest_s = (monotonic_s() - began_s) * (1 / SHARE - 1)
            stop.wait(rest_s if has_more else LOOK_EVERY_S)

    def erase_once(self) -> bool:
        """Take one step of whatever is to be erased; tell whether there may be another.

        Raises:
            DatabaseUnavailable: the step was not taken.
        """
        with self._database.transaction() as db:
            if not duties.take(db, _DUTY, self._id, lease=LEASE):
                return False
            early_changes.delete_old(db, limit=MOST_MESSAGES)
            early_statuses.delete_old(db, limit=MOST_MESSAGES)
            business_id = erasing.marked_business(db)
        if business_id is not None:
            if self._walk is None or self._walk.business_id != business_id:
                self._walk = _Walk(business_id)
            self._step(self._walk)
            return True
        return self._kept_for is not None and self._erase_old(self._kept_for)

    def erase_business(self, business_id: BusinessId, *, within_s: float) -> bool:
        """Erase a marked business as far as the time allows; tell whether nothing of it is left.

        Raises:
            DatabaseUnavailable: the rest is left to the listeners.
        """
        ends_s = monotonic_s() + within_s
        walk = _Walk(business_id)
        while not walk.is_done and monotonic_s() < ends_s:
            self._step(walk)
        return walk.is_done

    def _step(self, walk: _Walk) -> None:
        outcome = Outcome()
        with self._database.transaction() as db:
            _ = (
                self._delete_sessions(db, walk, outcome)
                or self._delete_contacts(db, walk)
                or self._delete_rest(db, walk, outcome)
            )
        if walk.is_done:
            log.info("business_erased", business_id=str(walk.business_id))
        self._follow_up.run(outcome)

    def _delete_sessions(self, db: Connection, walk: _Walk, outcome: Outcome) -> bool:
        """Delete the next sessions; False where there are none, or others hold the rest."""
        if walk.are_sessions_gone:
            return False
        doomed = erasing.lock_of_business(
            db, walk.business_id, after=walk.session_at, limit=MOST_SESSIONS
        )
        gone = self._delete(db, doomed)
        outcome.forgotten += [one.member for one in gone if one.is_open]
        walk.session_at = gone[-1].at if gone else walk.session_at
        walk.are_sessions_gone = not doomed
        return bool(doomed)

    def _delete_contacts(self, db: Connection, walk: _Walk) -> bool:
        if walk.are_contacts_gone:
            return False
        deleted, walk.contact_id = erasing.delete_contacts(
            db, walk.business_id, after=walk.contact_id, limit=MOST_CONTACTS
        )
        walk.are_contacts_gone = walk.contact_id is None
        return deleted > 0

    def _delete_rest(self, db: Connection, walk: _Walk, outcome: Outcome) -> bool:
        outcome.forgotten += sessions.open_members(db, walk.business_id)
        erasing.delete_business(db, walk.business_id)
        walk.is_done = True
        return True

    def _erase_old(self, kept_for: timedelta) -> bool:
        with self._database.transaction() as db:
            doomed = erasing.lock_closed_before(
                db, ago=kept_for, after=self._closed_at, limit=MOST_SESSIONS
            )
            gone = self._delete(db, doomed)
        # From the beginning again where it ends: what somebody held was passed over.
        self._closed_at = gone[-1].at if gone else (self._closed_at if doomed else None)
        return bool(doomed)

    def _delete(self, db: Connection, doomed: list[Doomed]) -> list[Doomed]:
        """Delete as many of these sessions as one step may, the first ones; return those."""
        gone: list[Doomed] = []
        messages = 0
        for one in doomed:
            messages += one.message_count
            if messages > MOST_MESSAGES:
                break
            gone.append(one)
        if gone:
            erasing.delete_sessions(db, [one.member.session_id for one in gone])
            metrics.SESSIONS_ERASED.inc(len(gone))
        elif doomed:
            erasing.delete_messages(db, doomed[0].member.session_id, limit=MOST_MESSAGES)
        return gone
