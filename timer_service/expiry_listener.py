"""The process that notices expiry: events and pacer in, claimed sessions to the closer.

Started by `timer-service listen` and `up` through wiring. Its threads: the subscription claims what
Redis says expired, the pacer makes Redis say so on time and claims what events missed, the closing
queue hands both to the closer in batches. Any number of listeners may run: the claim
decides between them. It reads no row and closes nothing itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from threading import Event, Thread

import structlog
from redis import Redis

from timer_service import keys, metrics
from timer_service.closing_queue import Closer, ClosingQueue
from timer_service.errors import RedisUnavailable, TimerServiceError
from timer_service.expired_events import ExpiredEvents
from timer_service.keys import Member
from timer_service.live_chats import ClaimResult, LiveChats
from timer_service.notifications import NotificationMode, ensure_notifications
from timer_service.pacer import GRACE_MS, LEASE_MS, Pacer
from timer_service.redis_clients import redis_errors

log = structlog.get_logger(__name__)

PROCESS = "listener"
"""The kind of process its heartbeat key names."""

CLOSERS = 2
"""Threads that close: while one waits for its commit, the next batch is on its way."""

_BEAT_EVERY_S = 1.0
_BEAT_PX_MS = 5_000


class ListenerBroken(TimerServiceError):
    """A thread ended that never should; who supervises the process starts it again."""


class ExpiryListener:
    """The threads of one listener process.

    ``client`` is for background duties, ``events_client`` for the subscription (it answers in
    bytes); both are of the same database. ``on_resubscribed`` is called when events were lost, so
    that the sweep looks at once; ``on_untrusted`` with each shard that has to be rebuilt, about
    once a second until it is. Both are called from the listener's threads and must not block.
    ``follow_up`` runs in a thread until all is closed: it sees to what the closer left to it.
    """

    def __init__(
        self,
        live_chats: LiveChats,
        closer: Closer,
        *,
        client: Redis,
        events_client: Redis,
        database: int,
        on_resubscribed: Callable[[], None],
        on_untrusted: Callable[[int], None],
        follow_up: Callable[[Event], None] | None = None,
        grace_ms: int = GRACE_MS,
        lease_ms: int = LEASE_MS,
    ) -> None:
        self._live_chats = live_chats
        self._client = client
        self._on_resubscribed = on_resubscribed
        self._follow_up = follow_up
        self._lease_ms = lease_ms
        self._events_missed = Event()
        self._queue = ClosingQueue(closer)
        self._events = ExpiredEvents(
            events_client,
            database,
            on_expired=self.claim,
            on_subscribed=self._check_subscription,
        )
        self.pacer = Pacer(
            live_chats,
            on_claimed=self._take_paced,
            on_untrusted=on_untrusted,
            grace_ms=grace_ms,
            lease_ms=lease_ms,
        )

    def run(self, stop: Event) -> None:
        """Run the threads until told to stop; first those that claim end, then the closing.

        Raises:
            ListenerBroken: a thread ended by itself.
        """
        claiming_over = Event()
        claiming = [
            Thread(target=self._events.run, args=(stop,), name="expired-events"),
            Thread(target=self.pacer.run, args=(stop,), name="pacer"),
        ]
        closing = [
            Thread(target=self._queue.run, args=(claiming_over,), name=f"closing-{number}")
            for number in range(CLOSERS)
        ]
        closing_over = Event()
        follow_up = self._follow_up or Event.wait
        following = Thread(target=follow_up, args=(closing_over,), name="follow-up")
        threads = [*claiming, *closing, following]
        for thread in threads:
            thread.start()
        try:
            while not stop.is_set():
                ended = [thread.name for thread in threads if not thread.is_alive()]
                if ended and not stop.is_set():
                    raise ListenerBroken(f"{', '.join(ended)} ended: to be started anew")
                self._beat()
                stop.wait(_BEAT_EVERY_S)
        finally:
            stop.set()
            for thread in claiming:
                thread.join()
            claiming_over.set()
            for thread in closing:
                thread.join()
            closing_over.set()
            following.join()

    def claim(self, members: Sequence[Member]) -> None:
        """Claim expired sessions and hand the won ones to the closing queue.

        Raises:
            RedisUnavailable: the pacer takes over what was not claimed.
        """
        outcomes = self._live_chats.claim(members, self._lease_ms)
        won = []
        for member, outcome in zip(members, outcomes, strict=True):
            if outcome.result is ClaimResult.WON:
                won.append(member)
                metrics.EVENT_LATENESS.observe((outcome.late_ms or 0) / 1000)
        for result, times in Counter(outcome.result for outcome in outcomes).items():
            metrics.CLAIMS.labels(result.name.lower()).inc(times)
        self._queue.put(won)

    def check_notifications(self) -> None:
        """Make sure events come; where they cannot, let the pacer claim by itself.

        Raises:
            RedisUnavailable: the mode stays as it is.
        """
        mode = ensure_notifications(self._client)
        if mode is not self.pacer.mode:
            self.pacer.mode = mode
            if mode is NotificationMode.DIRECT:
                log.warning(
                    "notifications_refused",
                    meaning="Redis publishes no expired events and refuses CONFIG SET; the pacer "
                    "claims directly, with the same result and as fast",
                    remedy="set notify-keyspace-events to Ex in the server's own configuration",
                )
            else:
                log.info("notifications_on")

    def _check_subscription(self, repeated: bool) -> None:
        self.check_notifications()
        if repeated:
            self._on_resubscribed()

    def _take_paced(self, members: Sequence[Member]) -> None:
        self._events_missed.set()
        self._queue.put(members)

    def _beat(self) -> None:
        """Show that all threads run, and look after the events where some did not come."""
        try:
            with redis_errors():
                self._client.set(keys.heartbeat_key(PROCESS), self.pacer.mode, px=_BEAT_PX_MS)
            if self._events_missed.is_set() and self.pacer.mode is NotificationMode.EVENTS:
                self._events_missed.clear()
                self.check_notifications()
        except RedisUnavailable as error:
            metrics.LISTENER_ERRORS.labels("heartbeat").inc()
            log.warning("heartbeat_without_redis", cause=str(error))
