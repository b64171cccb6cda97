"""Redis hears and is not heard: scripts run whose callers believe they did not (B7)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.front import Front
from tests.support.live_sessions import Held
from tests.support.tcp_proxy import Way
from timer_service.keys import Member

MOST_S = 1.0


@pytest.fixture
def front(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Front]:
    with Front(database_url, redis_url, tmp_path / "spool") as front:
        yield front


def member_of(front: Front) -> Member:
    (row,) = front.world.read(
        "SELECT s.business_id, s.id FROM sessions s JOIN messages m ON m.session_id = s.id "
        "WHERE m.text = 'first'"
    )
    return Member(row["business_id"], row["id"])


def test_a_touch_whose_answer_was_lost_counts_once(front: Front) -> None:
    assert front.post(front.meta("first")).status == 200
    held = Held(front.world.redis, member_of(front))
    before = held.version
    front.redis.blackhole(Way.TO_CLIENT)
    second = front.post(front.meta("second"))
    again = front.post(front.meta("second"))
    assert (second.status, again.status) == (200, 200)
    assert max(second.seconds, again.seconds) < MOST_S
    assert held.version != before, "the script ran"
    front.redis.pass_all()
    third = front.post(front.meta("third"))
    assert (third.status, third.seconds < MOST_S) == (200, True)
    check_both_agree(front, messages=3)


@pytest.mark.parametrize("way", [Way.BOTH, Way.TO_SERVER, Way.TO_CLIENT])
def test_whichever_way_is_cut_webhooks_are_stored_in_time_and_redis_follows(
    front: Front, way: Way
) -> None:
    assert front.post(front.meta("first")).status == 200
    front.redis.blackhole(way)
    answers = front.post_together([front.meta(f"more {n}") for n in range(16)])
    front.redis.pass_all()
    assert {one.status for one in answers} == {200}
    assert max(one.seconds for one in answers) < MOST_S
    front.world.sweeper.sweep_once()
    check_both_agree(front, messages=17)


def check_both_agree(front: Front, *, messages: int) -> None:
    """Check that Redis holds the session as Postgres does, once."""
    world, member = front.world, member_of(front)
    session = world.read(
        "SELECT message_count, version, extract(epoch FROM deadline_at) * 1000 AS deadline_ms "
        "FROM sessions WHERE id = :id",
        id=member.session_id,
    )[0]
    held = Held(world.redis, member)
    assert session["message_count"] == messages
    assert held.version == str(session["version"])
    assert held.deadline_ms is not None
    assert abs(held.deadline_ms - float(session["deadline_ms"])) < 50
