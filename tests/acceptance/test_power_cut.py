"""Every process is killed at one instant while customers write, and Redis's latest writes are gone.

Killing alone proves little of a power cut: what a process wrote survives it in the page cache. So
the end of Redis's log is cut off, as far back as its timestamps say. Postgres is killed with all of
its backends and recovers from its own log.
"""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from redis import Redis

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
from tests.support.steady_traffic import SteadyTraffic
from tests.support.waiting import wait_until
from timer_service.clock import utc_now
from timer_service.messages import ProviderName


@pytest.mark.timeout(240)
def test_a_power_cut_loses_nothing_accepted_and_what_fell_due_is_closed_at_the_next_start(
    up: Up, caller: Caller, shop: Business
) -> None:
    lasting = caller.add_business("Slow Shop", idle_gap_s=600)
    lasting.connect(ProviderName.BAILEYS).say(customer(1), "is the blue one in stock?")
    note_times(up)
    with Traffic(shop.connect(ProviderName.META)) as traffic:
        wait_until(lambda: len(traffic.accepted) > 20, what="customers write")
        up.cut_the_power()
    cut_at = utc_now()
    assert lose_latest(up.data, seconds=1) > 0
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


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seconds", [1, 5, 30])
def test_touches_that_redis_lost_close_nothing_early(up: Up, caller: Caller, seconds: int) -> None:
    gap_s = seconds + 4  # so that what Redis still knows ends before what Postgres knows
    shop = caller.add_business("Shop", idle_gap_s=gap_s)
    note_times(up)
    began_s = time.monotonic()
    with SteadyTraffic(shop.connect(ProviderName.META), rate=40) as traffic:
        wait_until(
            lambda: time.monotonic() - began_s > seconds + 2, within_s=60, what="customers write"
        )
        up.cut_the_power()
    assert lose_latest(up.data, seconds=seconds) > 0

    up.start()

    sessions = shop.wait_until_closed(within_s=gap_s + 30)
    assert len(sessions) == len({one["customer_wa_id"] for one in sessions})
    for session in sessions:
        assert_closed_by_silence(session, idle_gap_s=gap_s)
    stored = [
        one["provider_message_id"] for session in sessions for one in shop.messages(session["id"])
    ]
    assert set(stored) >= set(traffic.accepted)
    assert len(stored) == len(set(stored))


def note_times(up: Up) -> None:
    """Let Redis note the time in its log from now on."""
    with Redis.from_url(up.redis_url) as client:
        client.config_set("aof-timestamp-enabled", "yes")


def lose_latest(data: Path, *, seconds: int) -> int:
    """Cut what Redis wrote in its last seconds off its log; return how many bytes that was."""
    (log,) = (data / "redis" / "appendonlydir").glob("*.incr.aof")
    written = log.read_bytes()
    marks = [(int(one[1]), one.start()) for one in re.finditer(rb"#TS:(\d+)\r\n", written)]
    kept = next(at for stamp, at in marks if stamp > marks[-1][0] - seconds)
    with log.open("r+b") as file:
        file.truncate(kept)
    return len(written) - kept
