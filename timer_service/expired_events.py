"""The subscription to Redis's expired events: keys in, batches of sessions out.

Run by the expiry listener in a thread of its own. Events are hints: Redis forgets them when nobody
listens, and redis-py may reconnect without a word. So each confirmation of a subscription is
reported, and a connection that stops answering is given up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Event

import structlog
from redis import Redis
from redis.client import PubSub

from timer_service import keys, metrics
from timer_service.clock import monotonic_s
from timer_service.errors import RedisUnavailable
from timer_service.keys import Member
from timer_service.redis_clients import open_pubsub, redis_errors

log = structlog.get_logger(__name__)

BATCH_MAX = 500

_BATCH_S = 0.002
_WAIT_S = 0.2
_PING_EVERY_S = 1.0
_SILENT_AFTER_S = 5.0
_BACKOFF_MIN_S = 0.05
_BACKOFF_MAX_S = 1.0


class ExpiredEvents:
    """One subscription, made again for as long as it is wanted.

    ``client`` answers in bytes. ``on_expired`` gets each batch; ``on_subscribed`` is told of each
    confirmation, and whether it is a repeated one, before which events were lost. Either may raise
    RedisUnavailable: the subscription is then made anew.
    """

    def __init__(
        self,
        client: Redis,
        database: int,
        *,
        on_expired: Callable[[Sequence[Member]], None],
        on_subscribed: Callable[[bool], None],
    ) -> None:
        self._client = client
        self._channel = keys.expired_channel(database)
        self._on_expired = on_expired
        self._on_subscribed = on_subscribed
        self._confirmed = 0
        self._heard_at_s = 0.0
        self._pinged_at_s = 0.0

    def run(self, stop: Event) -> None:
        """Listen until told to stop; an outage is waited out."""
        backoff_s = _BACKOFF_MIN_S
        while not stop.is_set():
            confirmed_before = self._confirmed
            try:
                self._listen(stop)
            except RedisUnavailable as error:
                metrics.LISTENER_ERRORS.labels("events").inc()
                log.warning("events_without_redis", cause=str(error), retry_in_s=backoff_s)
            except Exception:
                # Whatever one event did, the next one must still be heard.
                metrics.LISTENER_ERRORS.labels("events").inc()
                log.exception("events_failed")
            if self._confirmed > confirmed_before:
                backoff_s = _BACKOFF_MIN_S
            stop.wait(backoff_s)
            backoff_s = min(2 * backoff_s, _BACKOFF_MAX_S)

    def _listen(self, stop: Event) -> None:
        with redis_errors(), open_pubsub(self._client) as pubsub:
            pubsub.subscribe(self._channel)
            self._heard_at_s = self._pinged_at_s = monotonic_s()
            while not stop.is_set():
                self._read_batch(pubsub)
                self._check_pulse(pubsub)

    def _read_batch(self, pubsub: PubSub) -> None:
        """Wait for a first message, take what has come with it, and hand it on."""
        batch: list[Member] = []
        message = pubsub.get_message(timeout=_WAIT_S)
        until_s = monotonic_s() + _BATCH_S
        while message is not None:
            self._heard_at_s = monotonic_s()
            if message["type"] == "message":
                member = read_expired_key(message["data"])
                if member is not None:
                    batch.append(member)
            elif message["type"] == "subscribe":
                self._confirm()
            if len(batch) >= BATCH_MAX or self._heard_at_s >= until_s:
                break
            message = pubsub.get_message(timeout=0)
        if batch:
            self._on_expired(batch)

    def _confirm(self) -> None:
        self._confirmed += 1
        repeated = self._confirmed > 1
        log.info("events_subscribed", channel=self._channel, repeated=repeated)
        if repeated:
            metrics.PUBSUB_RESUBSCRIBED.inc()
        self._on_subscribed(repeated)

    def _check_pulse(self, pubsub: PubSub) -> None:
        """Ask for a sign of life now and then: a connection cut without a word looks like peace."""
        now_s = monotonic_s()
        if now_s - self._heard_at_s > _SILENT_AFTER_S:
            raise RedisUnavailable(
                f"the subscription was silent for {_SILENT_AFTER_S} s although it was asked"
            )
        if now_s - self._pinged_at_s > _PING_EVERY_S:
            self._pinged_at_s = now_s
            pubsub.ping()


def read_expired_key(data: bytes) -> Member | None:
    """Read the session from an expired key's name; None for any key that is not a live key."""
    try:
        return keys.parse_live_key(data.decode("ascii"))
    except UnicodeDecodeError:
        return None
