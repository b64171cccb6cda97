"""Redis is away while customers write: dead, or there and silent."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from uuid import UUID

import pytest

from tests.support.callers import (
    Caller,
    CountWatch,
    assert_closed_by_silence,
    customer,
)
from tests.support.deployment import Parts, is_ready
from tests.support.waiting import wait_until
from timer_service.ids import BusinessId
from timer_service.messages import ProviderName
from timer_service.sweeper import LOOK_AGAIN_AFTER

GAP_S = 3
LASTING = 12

Outage = Callable[[Parts], AbstractContextManager[None]]


@pytest.mark.parametrize("outage", [Parts.dead_redis, Parts.silent_redis])
def test_without_redis_messages_are_taken_counted_and_closed_and_afterwards_all_is_rebuilt(
    parts: Parts, parts_caller: Caller, outage: Outage
) -> None:
    shop = parts_caller.add_business("Shop", idle_gap_s=GAP_S)
    lasting = parts_caller.add_business("Slow Shop", idle_gap_s=600)
    line, lasting_line = shop.connect(ProviderName.META), lasting.connect(ProviderName.BAILEYS)
    line.say(customer(1), "is the blue one in stock?")
    lasting_line.say(customer(1), "is the blue one in stock?")

    with outage(parts):
        line.say(customer(2), "is the red one in stock?", at_once=True)
        line.say(customer(1), "or the green one?", at_once=True)
        for number in range(2, LASTING + 1):
            lasting_line.say(customer(number), "is the blue one in stock?", at_once=True)
        assert not is_ready(parts.base_url), "Redis was there all the time"
        with CountWatch(lasting) as watch:
            sessions = shop.wait_until_closed(within_s=30)
        assert shop.active_count == 0
        watch.check(lasting.sessions(), at_least=3)

    assert len(sessions) == 2
    for session in sessions:
        assert_closed_by_silence(session, idle_gap_s=GAP_S)
        assert session["summary"]["status"] == "pending"
    with CountWatch(shop) as watch, CountWatch(lasting) as lasting_watch:
        wait_until(lambda: _held(parts, lasting.id) == LASTING, what="Redis holds every session")
        parts.let_pass(LOOK_AGAIN_AFTER.seconds + 1)
        shop.wait_until_summarised()
    watch.check(sessions, at_least=1)  # it may all take less than a second
    lasting_watch.check(lasting.sessions(), at_least=1)


def _held(parts: Parts, business_id: str) -> int | None:
    page = parts.live_chats.list_active(BusinessId(UUID(business_id)), 0)
    return None if page is None else page.count
