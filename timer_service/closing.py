"""Closes sessions: those that are due, one that an agent completed, all of a connection.

The listener hands over what it claimed and the sweeper what it found overdue; the API completes.
Postgres decides in one statement; Redis and the queue follow its commit.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from uuid import UUID

from sqlalchemy import Connection

from timer_service.clock_guard import ClockGuard
from timer_service.database import Database, was_away
from timer_service.errors import DatabaseUnavailable
from timer_service.follow_up import Follows, FollowUp, Outcome
from timer_service.ids import BusinessId, SessionId
from timer_service.keys import Member
from timer_service.messages import CloseReason
from timer_service.records import sessions
from timer_service.records.sessions import ClosedSession
from timer_service.spool_announcements import SpoolAnnouncements


class Closer:
    """Closes what is due, but nothing that a message in some host's spool may continue."""

    def __init__(
        self,
        database: Database,
        follow_up: Follows,
        clock_guard: ClockGuard,
        spools: SpoolAnnouncements | None = None,
    ) -> None:
        self._database = database
        self._follow_up = follow_up
        self._clock_guard = clock_guard
        self._spools = spools

    def close_claimed(self, members: Sequence[Member]) -> int:
        """Close those that are due; arm again those that are not; forget those that are closed.

        A claim is settled by either. Returns how many were closed.

        Raises:
            DatabaseUnavailable: nothing was closed; the claims' leases will offer them again.
            ClockStepped: nothing may be closed now.
        """
        if not members:
            return 0
        try:
            until = None if self._spools is None else self._spools.closable_until()
            return self._close(members, until)
        except DatabaseUnavailable as error:
            if self._spools is not None and was_away(error):
                self._spools.postgres_was_away()
            raise

    def _close(self, members: Sequence[Member], until: datetime | None) -> int:
        ids = [member.session_id for member in members]
        outcome = Outcome()
        with self._database.statements() as db:
            closable = ids if until is None else sessions.due_by(db, ids, until)
            closed = self._close_due(db, closable) if closable else []
            outcome.close(closed)
            if len(closed) < len(ids):
                closed_ids = {one.session_id for one in closed}
                rest = [member for member in members if member.session_id not in closed_ids]
                still_open = sessions.still_open(db, [one.session_id for one in rest])
                # Messages may wait in a spool: what is due and may not be closed yet counts no
                # more, and its claim stands. The sweep or the lease's end brings it again.
                held = {one.session_id for one in still_open if until is not None and one.is_due}
                for one in still_open:
                    if one.session_id not in held:
                        outcome.arm(one)
                left = held | outcome.armed.keys()
                outcome.forgotten.extend(one for one in rest if one.session_id not in left)
        self._follow_up.run(outcome)
        return len(closed)

    def _close_due(self, db: Connection, ids: Sequence[SessionId]) -> list[ClosedSession]:
        plausible = self._clock_guard.plausible()
        if plausible is None:
            self._clock_guard.check(partial(sessions.read_clock, db))
            return self._close_due(db, ids)
        closed: list[ClosedSession] = []

        def close() -> datetime:
            closing = sessions.close_due(db, ids, clock_between=plausible)
            closed.extend(closing.closed)
            return closing.now

        self._clock_guard.check(close)
        return closed


class Completion:
    """Closes what somebody asked to close."""

    def __init__(self, database: Database, follow_up: FollowUp) -> None:
        self._database = database
        self._follow_up = follow_up

    def complete(self, business_id: BusinessId, session_id: UUID) -> bool:
        """Close one session as completed; False if it is not open (or not there).

        One that fell due before it was asked for ended by silence, and says so.
        """
        return self._close(business_id, session_id=session_id) == 1

    def close_connection(self, business_id: BusinessId, connection_id: UUID) -> int:
        """Close every open session of a connection as completed; return how many."""
        return self._close(business_id, connection_id=connection_id)

    def _close(
        self,
        business_id: BusinessId,
        *,
        session_id: UUID | None = None,
        connection_id: UUID | None = None,
    ) -> int:
        outcome = Outcome()
        with self._database.transaction() as db:
            locked = sessions.lock_for_close(
                db, business_id, session_id=session_id, connection_id=connection_id
            )
            for is_due, reason in ((True, CloseReason.IDLE), (False, CloseReason.COMPLETED)):
                ids = [one.session_id for one in locked if one.is_due is is_due]
                if ids:
                    outcome.close(sessions.close_locked(db, ids, reason))
        self._follow_up.run(outcome)
        return len(outcome.closed)
