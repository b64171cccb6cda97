"""Redis hears and is not heard: scripts run whose callers believe they did not (B7)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.front import Front
from tests.support.invariants import violations, watch_closings
from tests.support.live_sessions import Held
from tests.support.tcp_proxy import Way
from timer_service.keys import Member

MOST_S = 1.0
DANA = "972500000077"


@pytest.fixture
def front(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Front]:
    with Front(database_url, redis_url, tmp_path / "spool") as front:
        watch_closings(front.world)
        yield front


def member_of(front: Front) -> Member:
    (row,) = front.world.read(
        "SELECT s.business_id, s.id FROM sessions s JOIN messages m ON m.session_id = s.id "
        "WHERE m.text = 'first'"
    )
    return Member(row["business_id"], row["id"])


def test_a_touch_whose_answer_was_lost_counts_once(front: Front) -> None:
    assert front.post(front.meta("first", sender=DANA)).status == 200
    held = Held(front.world.redis, member_of(front))
    before = held.version
    front.redis.blackhole(Way.TO_CLIENT)
    second = front.post(front.meta("second", sender=DANA))
    again = front.post(front.meta("second", sender=DANA))
    assert (second.status, again.status) == (200, 200)
    assert max(second.seconds, again.seconds) < MOST_S
    assert held.version != before, "the script ran"
    front.redis.pass_all()
    third = front.post(front.meta("third", sender=DANA))
    assert (third.status, third.seconds < MOST_S) == (200, True)
    check(front, "first", "second", "third")


@pytest.mark.parametrize("way", [Way.BOTH, Way.TO_SERVER, Way.TO_CLIENT])
def test_whichever_way_is_cut_webhooks_are_stored_in_time_and_redis_follows(
    front: Front, way: Way
) -> None:
    assert front.post(front.meta("first", sender=DANA)).status == 200
    front.redis.blackhole(way)
    answers = front.post_together([front.meta(f"more {n}", sender=DANA) for n in range(16)])
    front.redis.pass_all()
    assert {one.status for one in answers} == {200}
    assert max(one.seconds for one in answers) < MOST_S
    check(front, "first", *(f"more {n}" for n in range(16)))


def check(front: Front, *names: str) -> None:
    """Check that nothing is lost or twice, and that Redis knows nothing Postgres does not."""
    front.drain()
    world = front.world
    ids = [f"wamid.{front.number}.{name}" for name in names]
    # what was held back armed a key late: "has hung"
    assert violations(world, messages=ids, has_hung=True) == []
    rows = world.read(
        "SELECT DISTINCT session_id FROM messages WHERE text = ANY(:them)", them=[*names]
    )
    (session,) = (row["session_id"] for row in rows)
    assert world.session(session).message_count == len(names)
    world.let_pass(901)
    world.sweeper.sweep_once()
    assert world.session(session).close_reason == "idle"
    closings = world.read("SELECT 1 FROM noted_closings WHERE session_id = :id", id=session)
    assert len(closings) == 1
