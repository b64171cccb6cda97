"""Every process is killed at one instant while customers write."""

from __future__ import annotations

import pytest

from tests.acceptance.conftest import IDLE_GAP_S
from tests.support.callers import (
    Business,
    Caller,
    Traffic,
    assert_closed_by_silence,
    customer,
    instant,
)
from tests.support.deployment import Up
from tests.support.waiting import wait_until
from timer_service.clock import utc_now
from timer_service.messages import ProviderName


@pytest.mark.timeout(240)
def test_a_power_cut_loses_nothing_accepted_and_what_fell_due_is_closed_at_the_next_start(
    up: Up, caller: Caller, shop: Business
) -> None:
    lasting = caller.add_business("Slow Shop", idle_gap_s=600)
    lasting.connect(ProviderName.BAILEYS).say(customer(1), "is the blue one in stock?")
    with Traffic(shop.connect(ProviderName.META)) as traffic:
        wait_until(lambda: len(traffic.accepted) > 20, what="customers write")
        up.cut_the_power()
    cut_at = utc_now()
    wait_until(
        lambda: (utc_now() - cut_at).total_seconds() > IDLE_GAP_S, what="the silence is over"
    )
    again_at = utc_now()

    up.start()

    assert lasting.active_count == 1
    sessions = shop.wait_until_closed()
    traffic.check_nothing_lost(sessions)
    for session in sessions:
        assert_closed_by_silence(session, idle_gap_s=IDLE_GAP_S)
        assert instant(session["deadline_at"]) < again_at < instant(session["closed_at"])
    assert len(shop.wait_until_summarised()) == len(sessions)
    assert lasting.session_of(customer(1))["is_open"]
