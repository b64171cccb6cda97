"""The pacer: makes Redis expire what is due on time, and finds what events missed.

Run by the expiry listener in a thread of its own. It hands on what it claimed and reports a shard
that cannot be trusted; it closes nothing and rebuilds nothing. Any number of pacers may run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Event

import structlog

from timer_service import metrics
from timer_service.clock import monotonic_s
from timer_service.errors import RedisUnavailable
from timer_service.keys import Member
from timer_service.live_chats import LiveChats, Pace
from timer_service.notifications import NotificationMode

log = structlog.get_logger(__name__)

GRACE_MS = 250
LEASE_MS = 10_000

OTHERS_GRACE_MS = 150
"""How much longer another listener's shards are left alone: its pacer goes first."""

_LIMIT = 1000
_OTHERS_EVERY_S = 0.1
_SLEEP_MIN_S = 0.0002
_SLEEP_MAX_S = 0.010
_BACKOFF_MIN_S = 0.05
_BACKOFF_MAX_S = 1.0
_REPORT_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Paced:
    """What one pass over all shards did, and how long to wait before the next."""

    touched: int
    taken_over: int
    lent_again: int
    sleep_s: float


class Pacer:
    """Paces the shards of one server.

    ``shards`` says which these are at present; of them those among ``others_shards`` are another
    listener's to pace, and looked at now and then only.
    """

    def __init__(
        self,
        live_chats: LiveChats,
        *,
        on_claimed: Callable[[Sequence[Member]], None],
        on_untrusted: Callable[[int], None],
        shards: Callable[[], Sequence[int]] | None = None,
        others_shards: Callable[[], frozenset[int]] = frozenset,
        grace_ms: int = GRACE_MS,
        lease_ms: int = LEASE_MS,
        limit: int = _LIMIT,
    ) -> None:
        self._live_chats = live_chats
        self._on_claimed = on_claimed
        self._on_untrusted = on_untrusted
        self._grace_ms = grace_ms
        self._lease_ms = lease_ms
        self._limit = limit
        every_shard = range(live_chats.shards)
        self._shards = shards or (lambda: every_shard)
        self._others_shards = others_shards
        self._looked_at_others_s = float("-inf")
        self._reported_at_s: dict[int, float] = {}
        self.mode = NotificationMode.EVENTS
        """DIRECT claims at once what is gone, since no event will."""
        self.took_over = Event()
        """Set where something was claimed that no event had told of."""

    def pace_once(self) -> Paced:
        """Make one pass.

        Raises:
            RedisUnavailable: nothing is lost; the next pass finds the same.
        """
        grace_ms = 0 if self.mode is NotificationMode.DIRECT else self._grace_ms
        shards, others = self._shards(), self._others_shards()
        ours = [shard for shard in shards if shard not in others] if others else shards
        asked_at_s = monotonic_s()
        passes = self._pace(ours, grace_ms)
        round_trip_s = monotonic_s() - asked_at_s
        idle_s = _SLEEP_MAX_S if ours else _OTHERS_EVERY_S
        sleep_s = min((_sleep_s(one, round_trip_s) for one in passes), default=idle_s)
        if others and asked_at_s - self._looked_at_others_s >= _OTHERS_EVERY_S:
            self._looked_at_others_s = asked_at_s
            theirs = [shard for shard in shards if shard in others]
            passes += self._pace(theirs, grace_ms + OTHERS_GRACE_MS)
        taken_over = [member for one in passes for member in one.taken_over]
        lent_again = [member for one in passes for member in one.lent_again]
        if taken_over or lent_again:
            metrics.CLAIMS.labels("taken_over").inc(len(taken_over))
            metrics.CLAIMS.labels("lent_again").inc(len(lent_again))
            self.took_over.set()
            self._on_claimed(taken_over + lent_again)
        return Paced(
            touched=sum(one.touched for one in passes),
            taken_over=len(taken_over),
            lent_again=len(lent_again),
            sleep_s=sleep_s,
        )

    def _pace(self, shards: Sequence[int], grace_ms: int) -> list[Pace]:
        """Pace some shards; a shard that cannot be paced does not hold up the others."""
        if not shards:
            return []
        answers = self._live_chats.pace(
            shards, grace_ms=grace_ms, lease_ms=self._lease_ms, limit=self._limit
        )
        passes = []
        for shard, one in zip(shards, answers, strict=True):
            if isinstance(one, Exception):
                self._note_fault(shard, one)
            else:
                passes.append(one)
                if not one.trusted:
                    self._report(shard)
        return passes

    def run(self, stop: Event) -> None:
        """Make passes until told to stop, each when something is due; an outage is waited out."""
        backoff_s = _BACKOFF_MIN_S
        while not stop.is_set():
            try:
                sleep_s = self.pace_once().sleep_s
                backoff_s = _BACKOFF_MIN_S
            except RedisUnavailable as error:
                metrics.PACER_ERRORS.inc()
                log.warning("pacer_without_redis", cause=str(error), retry_in_s=backoff_s)
                sleep_s = backoff_s
                backoff_s = min(2 * backoff_s, _BACKOFF_MAX_S)
            except Exception:
                # The loop is what keeps time for everybody: no single fault may end it.
                metrics.PACER_ERRORS.inc()
                log.exception("pacer_failed")
                sleep_s = _BACKOFF_MAX_S
            stop.wait(sleep_s)

    def _report(self, shard: int) -> None:
        if self._is_time(shard):
            metrics.UNTRUSTED_EPOCH.inc()
            log.warning("shard_untrusted", shard=shard)
            self._on_untrusted(shard)

    def _note_fault(self, shard: int, fault: Exception) -> None:
        if self._is_time(shard):
            metrics.PACER_ERRORS.inc()
            log.warning("shard_not_paced", shard=shard, cause=f"{type(fault).__name__}: {fault}")

    def _is_time(self, shard: int) -> bool:
        """Tell whether a shard was not spoken of lately."""
        now_s = monotonic_s()
        if now_s - self._reported_at_s.get(shard, -_REPORT_EVERY_S) < _REPORT_EVERY_S:
            return False
        self._reported_at_s[shard] = now_s
        return True


def _sleep_s(one: Pace, round_trip_s: float) -> float:
    """Sleep until what is due next, but never long: an earlier deadline may be armed meanwhile.

    The answer took half a round trip since the script read its clock, and the next call takes half
    of one until its script does.
    """
    if one.wake_at_ms is None:
        return _SLEEP_MAX_S
    left_s = (one.wake_at_ms - one.now_us / 1000) / 1000 - round_trip_s
    return min(max(left_s, _SLEEP_MIN_S), _SLEEP_MAX_S)
