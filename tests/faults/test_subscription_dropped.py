"""The subscription to expired events is dropped, one way or another, and events with it (C3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from redis import Redis

from tests.support.builders import World
from tests.support.crowd import Crowd, listening
from tests.support.tcp_proxy import TcpProxy, Way
from tests.support.waiting import wait_until
from timer_service import keys, metrics
from timer_service.redis_clients import database_of

GAP_S = 1
CUSTOMERS = 200
LIMIT = "pubsub 65536 0 0"
JUNK = "x" * 60_000


@pytest.fixture
def way_to_redis(redis_url: str) -> Iterator[TcpProxy]:
    with TcpProxy.before(redis_url) as proxy:
        yield proxy


@pytest.fixture
def beyond(database_url: str, redis_url: str, way_to_redis: TcpProxy) -> Iterator[World]:
    """Give a world that has Redis beyond a network."""
    with World(database_url, way_to_redis.url(redis_url)) as world:
        world.trust()
        yield world


def killed(redis: Redis, _way: TcpProxy) -> None:
    redis.client_kill_filter(_type="pubsub")


def reset(_redis: Redis, way: TcpProxy) -> None:
    way.reset(new=False)


def overflown(redis: Redis, way: TcpProxy) -> None:
    """Let nothing reach the subscriber until Redis has had enough of keeping it."""
    limits = redis.config_get("client-output-buffer-limit")["client-output-buffer-limit"]
    redis.config_set("client-output-buffer-limit", LIMIT)
    channel = keys.expired_channel(database_of("redis://any/0"))
    way.blackhole(Way.TO_CLIENT)
    try:
        wait_until(
            lambda: not redis.publish(channel, JUNK), every_s=0, what="the subscriber is dropped"
        )
    finally:
        redis.config_set("client-output-buffer-limit", limits)
        way.pass_all()


@pytest.mark.parametrize(
    "drop",
    [
        pytest.param(killed, marks=pytest.mark.slow),
        pytest.param(reset, marks=pytest.mark.slow),
        overflown,
    ],
)
def test_what_expired_unheard_is_closed_once_and_events_come_again(
    beyond: World, redis_url: str, way_to_redis: TcpProxy, drop: Callable[[Redis, TcpProxy], None]
) -> None:
    crowd = Crowd(beyond, idle_gap_s=GAP_S)
    resubscribed = metrics.PUBSUB_RESUBSCRIBED._value.get()
    with listening(beyond), Redis.from_url(redis_url, decode_responses=True) as redis:
        for customer in range(CUSTOMERS):
            crowd.hear(beyond.intake, customer)
            if customer == CUSTOMERS // 2:
                drop(redis, way_to_redis)
        wait_until(
            lambda: metrics.PUBSUB_RESUBSCRIBED._value.get() > resubscribed, what="a subscription"
        )
        late_ms = crowd.wait_until_closed()
        assert len(late_ms) == CUSTOMERS
        heard = metrics.CLAIMS.labels("won")._value.get()
        crowd.hear(beyond.intake, CUSTOMERS)
        crowd.wait_until_closed()
        assert metrics.CLAIMS.labels("won")._value.get() > heard, "by its event"
