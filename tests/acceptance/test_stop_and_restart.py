"""`up` is stopped while customers write, and started again."""

from __future__ import annotations

import os
import time

import pytest
from redis import Redis
from rq import Worker

from tests.acceptance.conftest import IDLE_GAP_S
from tests.support.callers import (
    Business,
    Caller,
    CountWatch,
    Traffic,
    assert_closed_by_silence,
    customer,
)
from tests.support.deployment import Up
from tests.support.waiting import wait_until
from timer_service.messages import ProviderName
from timer_service.redis_clients import default_queue_url

LASTING = 5
STOPPED_WITHIN_S = 10.0


@pytest.mark.timeout(240)
def test_a_stop_loses_nothing_accepted_and_a_start_goes_on_where_it_was(
    up: Up, caller: Caller, shop: Business
) -> None:
    lasting = caller.add_business("Slow Shop", idle_gap_s=600)
    lasting_line = lasting.connect(ProviderName.BAILEYS)
    for number in range(LASTING):
        lasting_line.say(customer(number), "is the blue one in stock?")
    with Traffic(shop.connect(ProviderName.META)) as traffic:
        wait_until(lambda: len(traffic.accepted) > 20, what="customers write")
        groups = {*up.children.values(), *_worker_pids(up)}
        began_s = time.monotonic()
        assert up.stop() == 0
        took_s = time.monotonic() - began_s
    assert took_s < STOPPED_WITHIN_S
    assert not any(map(_is_alive, groups))

    up.start()

    assert up.printed_admin_key == caller.admin_key
    traffic.check_nothing_lost(shop.wait_until_closed())
    for session in shop.sessions():
        assert_closed_by_silence(session, idle_gap_s=IDLE_GAP_S)
    assert len(lasting.sessions(state="open")) == LASTING
    with CountWatch(lasting) as watch:
        lasting.send("PATCH", f"/api/businesses/{lasting.id}", {"idle_gap_s": 1})
        lasting_line.say(customer(0), "and the red one?")
        wait_until(lambda: lasting.active_count == LASTING - 1, what="the silence ends it")
    watch.check(lasting.sessions(), at_least=5)
    session = lasting.session_of(customer(0))
    assert session["message_count"] == 2
    assert_closed_by_silence(session, idle_gap_s=1)


def _worker_pids(up: Up) -> list[int]:
    with Redis.from_url(default_queue_url(up.redis_url)) as client:
        return [worker.pid for worker in Worker.all(client) if worker.pid]


def _is_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
