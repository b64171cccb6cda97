"""No listener runs while thousands of sessions fall due: the first that starts closes all (C2)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.builders import World
from tests.support.crowd import listening
from tests.support.waiting import wait_until
from timer_service.messages import ContactIds

BATCH = 500
GAP_S = 900
SPREAD_S = 600


@pytest.mark.parametrize("sessions", [1_000, pytest.param(5_000, marks=pytest.mark.slow)])
def test_what_fell_due_unseen_is_counted_no_more_and_closed_at_the_start(
    world: World, sessions: int, record_property: Callable[[str, object], None]
) -> None:
    for first in range(0, sessions, BATCH):
        people = [ContactIds(phone=f"97250{number:07}") for number in range(first, first + BATCH)]
        world.record(*(world.heard(contact=one) for one in people))
    # over ten minutes, the last of them just now
    world.run(
        "UPDATE sessions SET last_touch_at = last_touch_at - age, deadline_at = deadline_at - age, "
        "due_not_before = due_not_before - age, last_customer_message_at = "
        "last_customer_message_at - age, started_at = started_at - age FROM (SELECT id AS aged, "
        "make_interval(secs => :gap + row_number() OVER (ORDER BY id) * :spread / :all) AS age "
        "FROM sessions) AS ages WHERE id = aged",
        gap=float(GAP_S),
        spread=float(SPREAD_S),
        all=float(sessions),
    )
    world.redis.flushall()
    world.trust()
    assert world.counted_by_redis() == world.counted() == 0
    assert open_sessions(world) == sessions
    with listening(world):
        wait_until(lambda: not open_sessions(world), within_s=60, what="all are closed")
    (told,) = world.read(
        "SELECT min(closed_at - deadline_at) >= interval '0' AS none_early, "
        "count(*) FILTER (WHERE close_reason = 'idle') AS idle, "
        "extract(epoch FROM max(closed_at) - min(closed_at))::float AS took_s, "
        "corr(extract(epoch FROM deadline_at), extract(epoch FROM closed_at)) AS in_order "
        "FROM sessions"
    )
    record_property("closed_per_s", round(sessions / max(told["took_s"], 0.001)))
    record_property("in_order", round(told["in_order"], 3))
    assert told["none_early"]
    assert told["idle"] == sessions
    assert told["in_order"] > 0.5, "the longest overdue first"
    jobs = world.queued()
    assert len(jobs) == len(set(jobs)) == sessions, "each closed once"


def open_sessions(world: World) -> int:
    return int(world.read("SELECT count(*) AS n FROM sessions WHERE state = 'open'")[0]["n"])
