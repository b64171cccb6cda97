"""Somebody types FLUSHALL while customers are talking."""

from __future__ import annotations

from redis import Redis

from tests.support.callers import (
    Caller,
    CountWatch,
    assert_closed_by_silence,
    customer,
)
from tests.support.deployment import Up
from timer_service.messages import ProviderName

SESSIONS = 60
GAP_S = 3
PUNCTUAL_WITHIN_MS = 1000


def test_flushall_makes_no_count_wrong_and_no_close_late(up: Up, caller: Caller) -> None:
    shop = caller.add_business("Shop", idle_gap_s=GAP_S)
    lasting = caller.add_business("Slow Shop", idle_gap_s=600)
    line = shop.connect(ProviderName.META)
    line.record([customer(number) for number in range(SESSIONS)], "is the blue one in stock?")
    lasting.connect(ProviderName.BAILEYS).say(customer(1), "is the blue one in stock?")

    with CountWatch(shop) as watch, CountWatch(lasting) as lasting_watch:
        with Redis.from_url(up.redis_url) as redis:
            redis.flushall()
        sessions = shop.wait_until_closed()
    watch.check(sessions)
    lasting_watch.check(lasting.sessions())

    assert len(sessions) == SESSIONS
    for session in sessions:
        assert_closed_by_silence(session, idle_gap_s=GAP_S)
        assert session["close_lateness_ms"] < PUNCTUAL_WITHIN_MS
    assert len(shop.wait_until_summarised()) == SESSIONS
    assert lasting.active_count == 1
