"""Arms sessions that a transaction just read, and makes sure that none of them was closed since.

Between a session's commit and its arming another process may have closed and forgotten it; armed
after that, a closed chat would be counted as active until the sweep. Redis notices (it held nothing
of a session that says it was armed before), so Postgres is asked again then, and only then.
"""

from __future__ import annotations

from collections.abc import Sequence

from timer_service.database import Database
from timer_service.keys import Member
from timer_service.live_chats import Arm, ArmOutcome, LiveChats
from timer_service.records import sessions
from timer_service.records.sessions import Armable


def arm_of(session: Armable, *, elapsed_ms: int = 0) -> Arm:
    """Return what the live keys are told of an open session read ``elapsed_ms`` ago."""
    remaining_ms = max(1, session.remaining_ms - elapsed_ms)
    return Arm(session.business_id, session.session_id, session.version, remaining_ms)


class Armer:
    """Arms what is open."""

    def __init__(self, database: Database, live_chats: LiveChats) -> None:
        self._database = database
        self._live_chats = live_chats

    def arm(self, arms: Sequence[Arm], forget: Sequence[Member] = ()) -> list[ArmOutcome]:
        """Forget and arm sessions in one round trip; answer for each that was to be armed.

        Raises:
            RedisUnavailable: some or none are armed.
            DatabaseUnavailable: all are armed, and one that was closed meanwhile may be counted
                until the sweep.
        """
        outcomes = self._live_chats.arm(arms, forget)
        anew = [
            Member(arm.business_id, arm.session_id)
            for arm, outcome in zip(arms, outcomes, strict=True)
            if outcome is ArmOutcome.ANEW
        ]
        if anew:
            self._forget_closed(anew)
        return outcomes

    def _forget_closed(self, members: Sequence[Member]) -> None:
        with self._database.transaction() as db:
            found = sessions.still_open(db, [member.session_id for member in members])
        still_open = {one.session_id for one in found}
        self._live_chats.forget([one for one in members if one.session_id not in still_open])
