"""Takes messages in: Postgres first, then Redis and RQ.

Called by the webhooks, the recording API and the in-process API. Callers that come at one time
share a transaction; what happens inside it is `intake_batch`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from threading import Lock
from typing import TypeVar
from uuid import UUID

import structlog
from sqlalchemy.exc import IntegrityError

from timer_service import metrics
from timer_service.clock import monotonic_s
from timer_service.database import REQUEST_POOL_WAIT_S, Database, may_work_at_once
from timer_service.errors import DatabaseBusy, DatabaseUnavailable, NotFound
from timer_service.follow_up import FollowUp, Outcome
from timer_service.group_commit import Alone, GroupCommit, TooBusy
from timer_service.ids import ConnectionId
from timer_service.intake_batch import (
    Answers,
    Batch,
    Bundle,
    ContactsMoved,
    Recorded,
    continue_chats,
)
from timer_service.messages import ChatMessage, ContactIds, Event, OwnMessage
from timer_service.records.sends import NewSend

log = structlog.get_logger(__name__)

MOST_TRIES = 3
MOST_GROUPS = 2
"""Transactions of several callers at one time, in one process: one works while one commits."""
MOST_IN_GROUP = 32
TRY_AGAIN_WITHIN_S = 0.3
"""Whoever has waited longer than that is not kept waiting for another try."""

T = TypeVar("T")


class _Following:
    """What follows a group's commits, seen to by the first of its callers for all of them.

    Not inside the group: the next one need not wait for Redis.
    """

    def __init__(self, follow_up: FollowUp, outcome: Outcome) -> None:
        self._follow_up = follow_up
        self._outcome: Outcome | None = outcome
        self._lock = Lock()

    def see_to(self) -> None:
        """Return when it is seen to."""
        with self._lock:
            if self._outcome is not None:
                outcome, self._outcome = self._outcome, None
                self._follow_up.run(outcome)


class Intake:
    """The door every message comes in by."""

    def __init__(
        self,
        database: Database,
        follow_up: FollowUp,
        *,
        held_after: Callable[[], datetime | None] = lambda: None,
        held_here: Callable[[], datetime | None] = lambda: None,
    ) -> None:
        """Make the door; ``held_after`` tells since when messages may wait in other spools.

        ``held_here`` tells the same of the host's own, where what comes in here is of chats of
        which nothing waits: it may still merge others'.
        """
        self._database = database
        self._follow_up = follow_up
        self._held_after = held_after
        self._held_here = held_here
        self._stored_at_s = monotonic_s()
        self._groups = GroupCommit(
            self._record_together,
            most_groups=MOST_GROUPS,
            most_works=MOST_IN_GROUP,
            patience_s=REQUEST_POOL_WAIT_S,
        )

    def record(self, connection_id: ConnectionId, events: Sequence[Event]) -> list[Recorded]:
        """Store a batch of one connection; answer for each of its messages, in the given order.

        Safe to repeat: a message that is held already changes nothing.

        Raises:
            NotFound: the connection is gone.
            DatabaseUnavailable: nothing was stored; the sender should try again.
            DatabaseBusy: the same, and only because so many others come.
        """
        bundle = Bundle(connection_id, events)
        began_at_s = monotonic_s()
        try:
            together = self._groups.do(bundle)
        except TooBusy:
            # Where nothing at all was stored meanwhile, more is wrong than that many come at once.
            kind = DatabaseBusy if self._stored_at_s > began_at_s else DatabaseUnavailable
            raise kind("no turn for a transaction in time") from None
        if together is Alone.ALONE:
            recorded = self._record_alone(bundle)
        else:
            recorded, following = together
            following.see_to()
        for event in events:
            if isinstance(event, ChatMessage):
                metrics.MESSAGES.labels(event.direction.value).inc()
        return recorded

    def replay(self, bundles: Sequence[Bundle]) -> list[list[Recorded] | BaseException]:
        """Store what waited in a spool, in its order; answer for each, with what went wrong.

        After a DatabaseUnavailable nothing further was tried. What cannot be stored together is
        tried in halves: while a spool empties, whatever comes to the chats in it queues behind it.
        """
        answers: dict[Bundle, list[Recorded] | BaseException] = {}
        waiting = list(bundles)
        at_once = len(waiting)
        while waiting:
            group = waiting[:at_once]
            found = self._replay_alone(group[0]) if len(group) == 1 else self._replay_some(group)
            answers |= found
            waiting = [one for one in waiting if one not in found]
            for answer in found.values():
                if isinstance(answer, DatabaseUnavailable):
                    answers |= dict.fromkeys(waiting, answer)
                    waiting = []
            at_once = min(2 * at_once, len(bundles)) if found else len(group) // 2
        return [answers[one] for one in bundles]

    def open_session(
        self, connection_id: ConnectionId, customer: ContactIds, context_json: str = "{}"
    ) -> Recorded:
        """Open a session before anybody wrote, or find the one that is open.

        Raises:
            NotFound: the connection is gone.
            DatabaseUnavailable: nothing was stored.
        """
        return self._in_transaction(
            connection_id, lambda batch: batch.open_empty(connection_id, customer, context_json)
        )

    def queue_message(
        self, connection_id: ConnectionId, message: OwnMessage, send: NewSend
    ) -> UUID:
        """Store a message that is to be sent and enqueue it, or find that of the same reference.

        Raises:
            NotFound: the connection is gone.
            DatabaseUnavailable: nothing was stored.
        """
        message_id = self._in_transaction(
            connection_id, lambda batch: batch.queue_message(connection_id, message, send)
        )
        if message_id == send.message_id:
            metrics.MESSAGES.labels(message.direction.value).inc()
        return message_id

    def _replay_some(
        self, bundles: Sequence[Bundle]
    ) -> dict[Bundle, list[Recorded] | BaseException]:
        """Store those that can be stored together."""
        answers: dict[Bundle, list[Recorded] | BaseException] = {}
        for bundle, together in zip(bundles, self._record_together(bundles), strict=True):
            if isinstance(together, tuple):
                answers[bundle], following = together
                following.see_to()
            elif isinstance(together, BaseException):
                answers[bundle] = together
        return answers

    def _replay_alone(self, bundle: Bundle) -> dict[Bundle, list[Recorded] | BaseException]:
        try:
            return {bundle: self._record_alone(bundle)}
        except Exception as error:  # noqa: BLE001 - it is the answer
            return {bundle: error}

    def _record_together(
        self, bundles: Sequence[Bundle]
    ) -> list[tuple[list[Recorded], _Following] | BaseException | Alone]:
        """Record what several callers brought; whatever stands in one's way it meets alone."""
        outcome = Outcome()
        answers: dict[Bundle, list[Recorded] | BaseException] = {}
        try:
            answers |= self._continue(bundles, outcome)
            rest = [one for one in bundles if one not in answers]
            if rest:
                answers |= self._record_batch(rest, outcome)
        except DatabaseUnavailable as error:
            if not may_work_at_once(error):
                for one in bundles:
                    answers.setdefault(one, DatabaseUnavailable(str(error)))
        except Exception as error:  # noqa: BLE001 - it is one of theirs, and comes again to its own
            log.info("intake_group_broken_up", cause=type(error).__name__, bundles=len(bundles))
        following = _Following(self._follow_up, outcome)
        return [
            (answer, following) if isinstance(answer, list) else answer
            for answer in (answers.get(one, Alone.ALONE) for one in bundles)
        ]

    def _continue(self, bundles: Sequence[Bundle], outcome: Outcome) -> Answers:
        continued = Outcome()
        with self._database.statements() as db:
            answers = continue_chats(db, bundles, continued)
        outcome.absorb(continued)
        if answers:
            self._stored_at_s = monotonic_s()
        return answers

    def _record_batch(
        self, bundles: Sequence[Bundle], outcome: Outcome
    ) -> dict[Bundle, list[Recorded] | BaseException]:
        held_after = self._held_after()
        connection_ids = {one.connection_id for one in bundles}
        with self._database.transaction() as db:
            batch = Batch(db, connection_ids, with_others=True, held_after=held_after)
            known = [one for one in bundles if batch.knows(one.connection_id)]
            answers = batch.record(known)
        outcome.absorb(batch.outcome)
        self._stored_at_s = monotonic_s()
        unknown = {one: _unknown(one.connection_id) for one in bundles if one not in known}
        return {**answers, **unknown}

    def _record_alone(self, bundle: Bundle) -> list[Recorded]:
        return self._in_transaction(
            bundle.connection_id, lambda batch: batch.record([bundle])[bundle]
        )

    def _in_transaction(
        self,
        connection_id: ConnectionId,
        work: Callable[[Batch], T],
        tries_left: int = MOST_TRIES - 1,
        began_at_s: float | None = None,
    ) -> T:
        began_at_s = monotonic_s() if began_at_s is None else began_at_s
        held_after = self._held_after()
        try:
            with self._database.transaction() as db:
                batch = Batch(db, [connection_id], held_after=held_after, held_here=self._held_here)
                if not batch.knows(connection_id):
                    raise _unknown(connection_id)
                answer = work(batch)
        except (IntegrityError, ContactsMoved, DatabaseUnavailable) as error:
            # Contacts merged meanwhile, the same message twice at one instant, a deadlock's victim,
            # a connection from before a restart: another try finds things settled. Anything else
            # would only fail again.
            is_away = isinstance(error, DatabaseUnavailable) and not may_work_at_once(error)
            is_late = monotonic_s() - began_at_s > TRY_AGAIN_WITHIN_S
            if is_away or is_late or not tries_left:
                if isinstance(error, ContactsMoved):
                    raise DatabaseBusy("contacts are being merged") from error
                raise
            log.info("intake_tried_again", cause=type(error).__name__)
            return self._in_transaction(connection_id, work, tries_left - 1, began_at_s)
        self._stored_at_s = monotonic_s()
        self._follow_up.run(batch.outcome)
        return answer


def _unknown(connection_id: ConnectionId) -> NotFound:
    return NotFound(f"there is no connection {connection_id}")
