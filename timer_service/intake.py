"""Takes messages in: one batch of one connection, one Postgres transaction, then Redis and RQ.

Called by the webhooks, the recording API and the in-process API. What happens inside the
transaction is `intake_batch`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog
from sqlalchemy.exc import IntegrityError

from timer_service import metrics
from timer_service.database import Database, may_work_at_once
from timer_service.errors import DatabaseUnavailable
from timer_service.follow_up import FollowUp
from timer_service.ids import ConnectionId
from timer_service.intake_batch import Batch, ContactsMoved, Recorded
from timer_service.messages import ChatMessage, ContactIds, Event

log = structlog.get_logger(__name__)

MOST_TRIES = 3


class Intake:
    """The door every message comes in by."""

    def __init__(self, database: Database, follow_up: FollowUp) -> None:
        self._database = database
        self._follow_up = follow_up

    def record(self, connection_id: ConnectionId, events: Sequence[Event]) -> list[Recorded]:
        """Store a batch of one connection; answer for each of its messages, in the given order.

        Safe to repeat: a message that is held already changes nothing.

        Raises:
            NotFound: the connection is gone.
            DatabaseUnavailable: nothing was stored; the sender should try again.
        """
        batch = self._in_transaction(connection_id, lambda batch: batch.record(events))
        for event in events:
            if isinstance(event, ChatMessage):
                metrics.MESSAGES.labels(event.direction.value).inc()
        return batch.recorded

    def open_session(
        self, connection_id: ConnectionId, customer: ContactIds, context_json: str = "{}"
    ) -> Recorded:
        """Open a session before anybody wrote, or find the one that is open.

        Raises:
            NotFound: the connection is gone.
            DatabaseUnavailable: nothing was stored.
        """
        batch = self._in_transaction(
            connection_id, lambda batch: batch.open_empty(customer, context_json)
        )
        return batch.recorded[0]

    def _in_transaction(
        self,
        connection_id: ConnectionId,
        work: Callable[[Batch], None],
        tries_left: int = MOST_TRIES - 1,
    ) -> Batch:
        try:
            batch = self._try(connection_id, work)
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
        return batch

    def _try(self, connection_id: ConnectionId, work: Callable[[Batch], None]) -> Batch:
        with self._database.transaction() as db:
            batch = Batch(db, connection_id)
            work(batch)
        return batch
