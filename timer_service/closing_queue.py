"""Between those who claim and the one who closes: bounded, without repeats, never in the way.

The expiry listener's event and pacer threads put what they claimed; its closing threads take it in
batches: at once what is there, and what piles up meanwhile next. What does not fit or cannot be
closed is let go of: its claim stands in Redis, and when the lease ends the pacer offers it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from threading import Condition, Event
from typing import Protocol

import structlog

from timer_service import metrics
from timer_service.errors import TimerServiceError
from timer_service.keys import Member

log = structlog.get_logger(__name__)

BATCH_MAX = 500
CAPACITY = 200_000

_WAIT_S = 0.2
_BACKOFF_MIN_S = 0.1
_BACKOFF_MAX_S = 2.0


class Closer(Protocol):
    """Closes claimed sessions."""

    def close_claimed(self, members: Sequence[Member]) -> object:
        """Close what is due in Postgres, enqueue what follows, and settle each claim in Redis.

        Raises:
            DatabaseUnavailable: nothing was closed; the claims stand.
            RedisUnavailable: claims were not settled; closing again is harmless.
        """


class ClosingQueue:
    """Hands claimed sessions to a closer, oldest claim first."""

    def __init__(
        self, closer: Closer, *, batch_max: int = BATCH_MAX, capacity: int = CAPACITY
    ) -> None:
        self._closer = closer
        self._batch_max = batch_max
        self._capacity = capacity
        # A dict keeps the order and knows a member lent again while it still waits here.
        self._waiting: dict[Member, None] = {}
        self._changed = Condition()

    def put(self, members: Sequence[Member]) -> None:
        """Add claimed sessions. Never blocks: what does not fit is left to its lease."""
        dropped = 0
        with self._changed:
            for member in members:
                if member in self._waiting:
                    continue
                if len(self._waiting) >= self._capacity:
                    dropped += 1
                    continue
                self._waiting[member] = None
            self._changed.notify()
        if dropped:
            metrics.CLAIMS_DROPPED.inc(dropped)
            log.warning("claims_left_to_their_lease", members=dropped, capacity=self._capacity)

    def close_once(self, wait_s: float) -> int:
        """Close one batch, waiting for a first member; return how many were handed to the closer.

        Raises:
            DatabaseUnavailable: the batch is left to its lease.
            RedisUnavailable: the same.
        """
        with self._changed:
            if not self._waiting:
                self._changed.wait(wait_s)
            batch = list(islice(self._waiting, self._batch_max))
            for member in batch:
                del self._waiting[member]
            if self._waiting:
                self._changed.notify()
        if batch:
            self._closer.close_claimed(batch)
        return len(batch)

    def run(self, stop: Event) -> None:
        """Close batches until told to stop, then what is still waiting, unless that fails."""
        backoff_s = _BACKOFF_MIN_S
        while True:
            try:
                closed = self.close_once(0 if stop.is_set() else _WAIT_S)
                backoff_s = _BACKOFF_MIN_S
                if stop.is_set() and not closed:
                    return
                continue
            except TimerServiceError as error:
                log.warning("close_batch_failed", cause=str(error), retryable=error.retryable)
            except Exception:
                # One batch must not end the closing of all others.
                log.exception("close_batch_failed")
            metrics.CLOSE_BATCHES_FAILED.inc()
            if stop.wait(backoff_s):
                return
            backoff_s = min(2 * backoff_s, _BACKOFF_MAX_S)
