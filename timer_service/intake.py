"""Takes messages in: Postgres first, then Redis and RQ.

Called by the webhooks, the recording API and the in-process API. Callers that come at one time
share a transaction; what happens inside it is `intake_batch`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import structlog
from sqlalchemy.exc import IntegrityError

from timer_service import metrics
from timer_service.database import REQUEST_POOL_WAIT_S, Database, may_work_at_once
from timer_service.errors import DatabaseUnavailable, NotFound
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
from timer_service.messages import ChatMessage, ContactIds, Event

log = structlog.get_logger(__name__)

MOST_TRIES = 3
MOST_GROUPS = 2
"""Transactions of several callers at one time, in one process: one works while one commits."""
MOST_IN_GROUP = 32

T = TypeVar("T")


class Intake:
    """The door every message comes in by."""

    def __init__(self, database: Database, follow_up: FollowUp) -> None:
        self._database = database
        self._follow_up = follow_up
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
        """
        bundle = Bundle(connection_id, events)
        try:
            recorded = self._groups.do(bundle)
        except TooBusy:
            raise DatabaseUnavailable("no turn for a transaction in time") from None
        if recorded is Alone.ALONE:
            recorded = self._record_alone(bundle)
        for event in events:
            if isinstance(event, ChatMessage):
                metrics.MESSAGES.labels(event.direction.value).inc()
        return recorded

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

    def _record_together(
        self, bundles: Sequence[Bundle]
    ) -> list[list[Recorded] | BaseException | Alone]:
        """Record what several callers brought; whatever stands in one's way it meets alone."""
        answers: dict[Bundle, list[Recorded] | BaseException] = {}
        try:
            answers |= self._continue(bundles)
            rest = [one for one in bundles if one not in answers]
            if rest:
                answers |= self._record_batch(rest)
        except DatabaseUnavailable as error:
            if not may_work_at_once(error):
                for one in bundles:
                    answers.setdefault(one, DatabaseUnavailable(str(error)))
        except Exception as error:  # noqa: BLE001 - it is one of theirs, and comes again to its own
            log.info("intake_group_broken_up", cause=type(error).__name__, bundles=len(bundles))
        return [answers.get(one, Alone.ALONE) for one in bundles]

    def _continue(self, bundles: Sequence[Bundle]) -> Answers:
        outcome = Outcome()
        with self._database.statements() as db:
            answers = continue_chats(db, bundles, outcome)
        self._follow_up.run(outcome)
        return answers

    def _record_batch(
        self, bundles: Sequence[Bundle]
    ) -> dict[Bundle, list[Recorded] | BaseException]:
        with self._database.transaction() as db:
            batch = Batch(db, (one.connection_id for one in bundles), with_others=True)
            known = [one for one in bundles if batch.knows(one.connection_id)]
            answers = batch.record(known)
        self._follow_up.run(batch.outcome)
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
    ) -> T:
        try:
            with self._database.transaction() as db:
                batch = Batch(db, [connection_id])
                if not batch.knows(connection_id):
                    raise _unknown(connection_id)
                answer = work(batch)
        except (IntegrityError, ContactsMoved, DatabaseUnavailable) as error:
            # Contacts merged meanwhile, the same message twice at one instant, a deadlock's victim,
            # a connection from before a restart: another try finds things settled. Anything else
            # would only fail again.
            is_away = isinstance(error, DatabaseUnavailable) and not may_work_at_once(error)
            if is_away or not tries_left:
                raise
            log.info("intake_tried_again", cause=type(error).__name__)
            return self._in_transaction(connection_id, work, tries_left - 1)
        self._follow_up.run(batch.outcome)
        return answer


def _unknown(connection_id: ConnectionId) -> NotFound:
    return NotFound(f"there is no connection {connection_id}")
