"""Sorts the items of one authentic webhook by connection and hands each its own to intake.

One tenant's trouble is never another's: every connection's items are one transaction, and all are
tried before the webhook is answered. While Postgres is away they go to the host's spool, and queue
behind what waits there as long as they must.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from enum import StrEnum

import structlog
from werkzeug.exceptions import ServiceUnavailable

from timer_http.problems import log_unexpected
from timer_service import metrics
from timer_service.clock import utc_now
from timer_service.connection_directory import KnownConnection
from timer_service.errors import DatabaseBusy, DatabaseUnavailable, NotFound
from timer_service.ids import BusinessId, ConnectionId
from timer_service.intake import Intake
from timer_service.messages import Event, ProviderName, Skipped
from timer_service.spool import PATIENCE_S, Spool, SpoolFull
from timer_service.spool_replay import SpoolKeeper

log = structlog.get_logger(__name__)

QUEUED_PATIENCE_S = 0.5
"""How long what did not wait for Postgres may wait for the spool's disk."""


class Result(StrEnum):
    """What a webhook came to."""

    ACCEPTED = "accepted"
    FOREIGN = "foreign"
    SKIPPED = "skipped"


class Delivery:
    """The items of one webhook, received now.

    ``is_incomplete``: not all of them could be judged, so the gateway must bring them again.
    """

    def __init__(
        self,
        provider: ProviderName,
        intake: Intake,
        spool: Spool | None,
        spool_keeper: SpoolKeeper,
    ) -> None:
        self.provider = provider
        self.is_incomplete = False
        self._intake = intake
        self._spool = spool
        self._spool_keeper = spool_keeper
        self._received_at = utc_now()
        self._events: dict[ConnectionId, list[Event]] = defaultdict(list)
        self._businesses: Counter[BusinessId] = Counter()
        self._has_foreign = False

    @property
    def business_id(self) -> BusinessId | None:
        """Whose it is: of several businesses the one with most events; None if it is nobody's."""
        return max(self._businesses, key=self._businesses.__getitem__, default=None)

    def add(self, connection: KnownConnection | None, event: Event) -> None:
        """Note an event of a connection, or of None that this request may act for."""
        if isinstance(event, Skipped):
            self._skip(event.reason)
        elif connection is None:
            self._has_foreign = True
            self._skip("foreign")
        else:
            self._events[connection.id].append(event)
            self._businesses[connection.business_id] += 1

    def hand_over(self) -> Result:
        """Hand each connection's events to intake, in their order.

        Raises:
            ServiceUnavailable: something of it is not stored; all of it may be brought again.
        """
        has_failed = self.is_incomplete
        has_recorded = False
        for connection_id, events in self._events.items():
            try:
                has_recorded |= self._keep(connection_id, events)
            except (DatabaseUnavailable, SpoolFull):
                has_failed = True
            except Exception as error:  # noqa: BLE001  # whatever it is, the others' come first
                log_unexpected(error)
                has_failed = True
                self._record_each(connection_id, events)
        if has_failed:
            raise ServiceUnavailable("try again in a moment")
        if has_recorded:
            return Result.ACCEPTED
        return Result.FOREIGN if self._has_foreign else Result.SKIPPED

    def _keep(self, connection_id: ConnectionId, events: Sequence[Event]) -> bool:
        """Store events, or spool them; False where their connection is gone."""
        if self._spool is None:
            return self._record(connection_id, events)
        patience_s = QUEUED_PATIENCE_S
        if not self._spool_keeper.must_queue(connection_id, events):
            patience_s = PATIENCE_S  # Postgres has had most of the second there is
            try:
                is_recorded = self._record(connection_id, events)
            except DatabaseUnavailable as error:
                if isinstance(error, DatabaseBusy) and not self._spool.is_waiting:
                    raise  # it answers others: who comes too fast is told so
                self._spool_keeper.note_not_stored()
                log.info("webhook_spooled", connection_id=str(connection_id))
            else:
                self._spool_keeper.note_stored()
                return is_recorded
        self._spool_keeper.append(connection_id, events, self._received_at, patience_s=patience_s)
        return True

    def _record(self, connection_id: ConnectionId, events: Sequence[Event]) -> bool:
        try:
            self._intake.record(connection_id, events)
        except NotFound:
            for _ in events:
                self._skip("gone")
            return False
        return True

    def _record_each(self, connection_id: ConnectionId, events: Sequence[Event]) -> None:
        """Store what can be stored of a batch in which one event cannot."""
        for event in events if len(events) > 1 else ():
            try:
                self._intake.record(connection_id, [event])
            except Exception as error:  # noqa: BLE001  # the next one may be storable
                log_unexpected(error)

    def _skip(self, reason: str) -> None:
        metrics.SKIPPED_ITEMS.labels(self.provider.value, reason).inc()
