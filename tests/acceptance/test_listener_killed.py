"""The listener dies in the middle of a burst; the supervisor starts it again."""

from __future__ import annotations

from tests.acceptance.conftest import IDLE_GAP_S
from tests.support.callers import (
    Business,
    Caller,
    CountWatch,
    assert_closed_by_silence,
    customer,
)
from tests.support.deployment import Up
from tests.support.waiting import wait_until
from timer_service.messages import ProviderName

SESSIONS = 300
BATCH = 15


def test_a_listener_killed_mid_burst_closes_everything_once_when_it_is_back(
    up: Up, caller: Caller, shop: Business
) -> None:
    closed_before = caller.metric("timer_sessions_closed_total", reason="idle")
    summaries_before = caller.metric("timer_summaries_total", outcome="extractive")
    line = shop.connect(ProviderName.META)
    people = [customer(number) for number in range(SESSIONS)]
    for start in range(0, SESSIONS, BATCH):  # so that their deadlines come one batch after another
        line.record(people[start : start + BATCH], "is the blue one in stock?")
    listener = up.children["listen"]

    with CountWatch(shop) as watch:
        wait_until(lambda: shop.active_count < SESSIONS, what="the burst began")
        up.kill_child("listen")
        open_when_killed = shop.sessions(state="open")
        sessions = shop.wait_until_closed()
    watch.check(sessions)

    assert open_when_killed, "it was killed before the last had fallen due"
    assert up.children["listen"] != listener
    assert len(sessions) == SESSIONS
    for session in sessions:
        assert_closed_by_silence(session, idle_gap_s=IDLE_GAP_S)
    shop.wait_until_summarised(within_s=60)
    assert {one["summary"]["status"] for one in shop.sessions()} == {"done"}
    # A killed listener may not have counted its last closes; nobody may count one twice.
    closed = caller.metric("timer_sessions_closed_total", reason="idle") - closed_before
    assert SESSIONS / 2 < closed <= SESSIONS
    summaries = caller.metric("timer_summaries_total", outcome="extractive") - summaries_before
    assert summaries == SESSIONS
