"""The process that notices expiry: events and pacer in, claimed sessions to the closer.

Started by `timer-service listen` and `up` through wiring. Its threads: for each primary a
subscription that claims what Redis says expired, and a pacer that makes Redis say so on time and
claims what events missed; and the closing queue, which hands both to the closer in batches. Any
number of listeners may run: the claim decides between them. It reads no row and closes nothing
itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from threading import Event, Thread

import structlog

from timer_service import metrics
from timer_service.clock import monotonic_s
from timer_service.closing_queue import Closer, ClosingQueue
from timer_service.errors import RedisUnavailable, TimerServiceError
from timer_service.expired_events import ExpiredEvents
from timer_service.keys import Member, shard_of
from timer_service.live_chats import ClaimResult, LiveChats
from timer_service.notifications import NotificationMode, ensure_notifications
from timer_service.pacer import GRACE_MS, LEASE_MS, Pacer
from timer_service.primaries import Primaries, Primary
from timer_service.shard_sharing import ShardSharing

log = structlog.get_logger(__name__)

PROCESS = "listener"
"""The kind of process its heartbeat key names."""

CLOSERS = 2
"""Threads that close: while one waits for its commit, the next batch is on its way."""

_MEET_EVERY_S = 0.2
_BEAT_EVERY_S = 1.0
_BEAT_PX_MS = 5_000
_LOOK_EVERY_S = 1.0


class ListenerBroken(TimerServiceError):
    """A thread ended that never should; who supervises the process starts it again."""


class ExpiryListener:
    """The threads of one listener process.

    ``primaries`` says where to subscribe, to channels of ``database``. ``on_resubscribed`` is
    called when events were lost, so that the sweep looks at once; ``on_untrusted`` with each shard
    that has to be rebuilt, about once a second until it is. Both are called from the listener's
    threads and must not block. ``follow_up`` runs in a thread until all is closed: it sees to what
    the closer left to it.
    """

    def __init__(
        self,
        live_chats: LiveChats,
        closer: Closer,
        *,
        primaries: Primaries,
        database: int,
        on_resubscribed: Callable[[], None],
        on_untrusted: Callable[[int], None],
        follow_up: Callable[[Event], None] | None = None,
        grace_ms: int = GRACE_MS,
        lease_ms: int = LEASE_MS,
    ) -> None:
        self._live_chats = live_chats
        self._primaries = primaries
        self._database = database
        self._on_resubscribed = on_resubscribed
        self._on_untrusted = on_untrusted
        self._follow_up = follow_up
        self._grace_ms = grace_ms
        self._lease_ms = lease_ms
        self._queue = ClosingQueue(closer)
        self._sharing = ShardSharing(live_chats)
        self._watches: dict[str, _Watch] = {}
        self._ended: list[_Watch] = []
        self._beat_at_s = float("-inf")

    @property
    def mode(self) -> NotificationMode:
        """DIRECT where at least one server publishes no events."""
        modes = {watch.pacer.mode for watch in self._watches.values()}
        direct = NotificationMode.DIRECT
        return direct if direct in modes else NotificationMode.EVENTS

    def run(self, stop: Event) -> None:
        """Run the threads until told to stop; first those that claim end, then the closing.

        Raises:
            ListenerBroken: a thread ended by itself.
        """
        claiming_over = Event()
        closing = [
            Thread(target=self._queue.run, args=(claiming_over,), name=f"closing-{number}")
            for number in range(CLOSERS)
        ]
        closing_over = Event()
        follow_up = self._follow_up or Event.wait
        following = Thread(target=follow_up, args=(closing_over,), name="follow-up")
        looking = Thread(target=self._follow_primaries, args=(stop,), name="primaries")
        threads = [*closing, following]
        if self._primaries.is_fixed:
            self._watch(self._primaries.look(), is_first=True)
        else:
            threads.append(looking)
        for thread in threads:
            thread.start()
        try:
            while not stop.is_set():
                ended = [thread.name for thread in threads if not thread.is_alive()]
                ended += [one for watch in self._watches.values() for one in watch.ended()]
                if ended and not stop.is_set():
                    raise ListenerBroken(f"{', '.join(ended)} ended: to be started anew")
                self._beat()
                stop.wait(_MEET_EVERY_S)
        finally:
            stop.set()
            self._leave()
            if looking.ident is not None:
                looking.join()
            self._watch((), is_first=False)
            for watch in self._ended:
                watch.join()
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

    def _claim_ours(self, members: Sequence[Member]) -> None:
        """Claim what expired of our shards; what others do not claim of theirs the pacer finds."""
        others, shards = self._sharing.others_shards, self._live_chats.shards
        if others:
            members = [one for one in members if shard_of(one.business_id, shards) not in others]
        if members:
            self.claim(members)

    def _follow_primaries(self, stop: Event) -> None:
        """Look for the primaries until told to stop; where nobody tells, keep to those known."""
        is_first = True
        while not stop.is_set():
            try:
                self._watch(self._primaries.look(), is_first=is_first)
                is_first = False
            except RedisUnavailable as error:
                metrics.LISTENER_ERRORS.labels("primaries").inc()
                log.warning("primaries_unknown", cause=str(error))
            except Exception:
                metrics.LISTENER_ERRORS.labels("primaries").inc()
                log.exception("primaries_failed")
            stop.wait(_LOOK_EVERY_S)

    def _watch(self, primaries: Sequence[Primary], *, is_first: bool) -> None:
        """Watch these primaries and no others."""
        wanted = {primary.name: primary for primary in primaries}
        for name in self._watches.keys() - wanted.keys():
            if wanted:
                log.info("primary_gone", primary=name)
            self._watches[name].stop()
            self._ended.append(self._watches[name])
        self._ended = [watch for watch in self._ended if watch.is_alive()]
        kept = {name: watch for name, watch in self._watches.items() if name in wanted}
        new = {
            name: self._make_watch(primary, is_first=is_first)
            for name, primary in wanted.items()
            if name not in kept
        }
        for name, watch in new.items():
            watch.start()
            if name:
                log.info("primary_watched", primary=name)
        self._watches = {**kept, **new}

    def _make_watch(self, primary: Primary, *, is_first: bool) -> _Watch:
        return _Watch(
            primary,
            Pacer(
                self._live_chats,
                on_claimed=self._queue.put,
                on_untrusted=self._on_untrusted,
                shards=lambda: self._primaries.shards_of(primary),
                others_shards=lambda: self._sharing.others_shards,
                grace_ms=self._grace_ms,
                lease_ms=self._lease_ms,
            ),
            database=self._database,
            on_expired=self._claim_ours,
            on_resubscribed=self._on_resubscribed,
            is_first=is_first,
        )

    def _beat(self) -> None:
        """Show that all threads run, and look after the events where some did not come."""
        try:
            self._sharing.meet()
            if monotonic_s() - self._beat_at_s >= _BEAT_EVERY_S:
                self._beat_at_s = monotonic_s()
                self._live_chats.show_alive(PROCESS, self.mode, _BEAT_PX_MS)
                for watch in list(self._watches.values()):
                    watch.look_after_events()
        except RedisUnavailable as error:
            metrics.LISTENER_ERRORS.labels("heartbeat").inc()
            log.warning("heartbeat_without_redis", cause=str(error))

    def _leave(self) -> None:
        try:
            self._sharing.leave()
        except RedisUnavailable as error:
            log.info("left_without_a_word", cause=str(error))


class _Watch:
    """The subscription to one primary, and the pacer of its shards."""

    def __init__(
        self,
        primary: Primary,
        pacer: Pacer,
        *,
        database: int,
        on_expired: Callable[[Sequence[Member]], None],
        on_resubscribed: Callable[[], None],
        is_first: bool,
    ) -> None:
        self._primary = primary
        self._on_resubscribed = on_resubscribed
        self._is_first = is_first
        self._stop = Event()
        self.pacer = pacer
        events = ExpiredEvents(
            primary.events_client,
            database,
            on_expired=on_expired,
            on_subscribed=self._check_subscription,
        )
        suffix = f" {primary.name}".rstrip()
        self.threads = (
            Thread(target=events.run, args=(self._stop,), name=f"expired-events{suffix}"),
            Thread(target=pacer.run, args=(self._stop,), name=f"pacer{suffix}"),
        )

    def start(self) -> None:
        for thread in self.threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()

    def join(self) -> None:
        for thread in self.threads:
            thread.join()

    def ended(self) -> list[str]:
        """Return the names of threads that ended by themselves."""
        names = [thread.name for thread in self.threads if not thread.is_alive()]
        # Asked afterwards, since it may have been told to stop just now.
        return [] if self._stop.is_set() else names

    def is_alive(self) -> bool:
        return any(thread.is_alive() for thread in self.threads)

    def look_after_events(self) -> None:
        """Make sure that events come where some did not."""
        missed = self.pacer.took_over
        if missed.is_set() and self.pacer.mode is NotificationMode.EVENTS:
            missed.clear()
            self._check_notifications()

    def _check_notifications(self) -> None:
        """Make sure events come; where they cannot, let the pacer claim by itself.

        Raises:
            RedisUnavailable: the mode stays as it is.
        """
        mode = ensure_notifications(self._primary.client, self._primary.tag)
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
        self._check_notifications()
        if repeated or not self._is_first:
            self._on_resubscribed()
