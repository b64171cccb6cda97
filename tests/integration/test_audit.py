"""The audit: what neither events nor watermarks would find, slowly and a page at a time."""

from __future__ import annotations

from uuid import UUID

import pytest

from tests.support.builders import DANA, NOAM, World
from tests.support.live_sessions import SHARD, Held, new_member
from timer_service import audit, keys
from timer_service.errors import RedisUnavailable
from timer_service.ids import BusinessId
from timer_service.live_chats import Arm, LiveChats
from timer_service.messages import ContactIds


def audit_all(world: World, steps: int = 12) -> int:
    return sum(world.auditor.audit_once() for _ in range(steps))


def test_an_index_entry_without_a_session_is_removed(world: World) -> None:
    alive = world.hear().session_id
    dead = new_member(world.business_id)
    world.live_chats.arm([Arm(*dead, version=1, remaining_ms=600_000)])
    assert world.counted_by_redis() == 2
    assert audit_all(world) == 1
    assert world.counted_by_redis() == 1
    assert Held(world.redis, dead).version is None
    assert Held(world.redis, world.member(alive)).version == "1"


def test_a_closed_session_that_is_still_indexed_is_removed(world: World) -> None:
    session_id = world.hear().session_id
    world.run(
        "UPDATE sessions SET state = 'closed', close_reason = 'completed', "
        "closed_at = clock_timestamp() - interval '1 day'"
    )
    assert world.sweeper.forget_closed_once() == 0  # long behind the watermark
    assert audit_all(world) == 1
    assert Held(world.redis, world.member(session_id)).version is None


def test_an_open_session_that_is_not_indexed_is_armed(world: World) -> None:
    session_id = world.hear().session_id
    world.live_chats.forget([world.member(session_id)])
    world.let_pass(300)
    world.sweeper.arm_opened_once()
    assert audit_all(world) == 1
    held = Held(world.redis, world.member(session_id))
    assert 590_000 < world.redis.pttl(held.live_key) <= 600_000


def test_one_that_is_claimed_is_not_missing(world: World) -> None:
    session_id = world.hear().session_id
    member = world.member(session_id)
    Held(world.redis, member).make_due()
    world.live_chats.claim([member], 60_000)
    assert audit_all(world) == 0
    assert Held(world.redis, member).lease_end_ms is not None


def test_where_both_agree_nothing_is_touched(world: World) -> None:
    world.record(*[world.heard(contact=one) for one in (DANA, NOAM)])
    assert audit_all(world) == 0
    assert world.counted_by_redis() == 2


def test_it_walks_through_everything_a_page_at_a_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "PAGE", 5)
    recorded = world.record(
        *[world.heard(contact=ContactIds(phone=f"97250{i:07}")) for i in range(23)]
    )
    world.live_chats.forget([world.member(one.session_id) for one in recorded])
    found = [world.auditor.audit_once() for _ in range(5)]
    assert found == [5, 5, 5, 5, 3]
    assert world.counted_by_redis() == 23


def test_one_that_closed_between_the_two_looks_is_not_armed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    session_id = world.hear().session_id
    world.live_chats.forget([world.member(session_id)])
    not_held = LiveChats.not_held

    def close_meanwhile(self: LiveChats, members: list[object]) -> object:
        found = not_held(self, members)  # type: ignore[arg-type]
        world.completion.complete(world.business_id, session_id)
        return found

    monkeypatch.setattr(LiveChats, "not_held", close_meanwhile)
    assert audit_all(world) == 0
    assert world.counted_by_redis() == 0


def test_a_redis_that_goes_away_in_the_middle_only_costs_the_step(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.hear()
    dead = new_member(world.business_id)
    world.live_chats.arm([Arm(*dead, version=1, remaining_ms=600_000)])

    execute = world.redis.execute_command

    def away(*command: object, **more: object) -> object:
        if command[0] == "ZSCAN":
            raise RedisUnavailable("away")
        return execute(*command, **more)

    with monkeypatch.context() as patch:
        patch.setattr(world.redis, "execute_command", away)
        with pytest.raises(RedisUnavailable):
            world.auditor.audit_once()
    assert audit_all(world) == 1


def test_what_names_no_session_is_removed_and_stops_nobody(world: World) -> None:
    session_id = world.hear().session_id
    dead = new_member(world.business_id)
    world.live_chats.arm([Arm(*dead, version=1, remaining_ms=600_000)])
    held = Held(world.redis, world.member(session_id))
    strange: list[str | bytes] = ["nonsense", "a:b", b"\xff\xfe", ""]
    world.redis.zadd(held.active_key, dict.fromkeys(strange, 9e15))
    world.redis.zadd(keys.agenda_key(SHARD), {"nobody": 9e15, b"\xff": 9e15})
    world.redis.zadd(f"{keys.active_prefix(SHARD)}nobody", {"nothing": 9e15})
    assert world.live_chats.count_all() is not None
    page = world.live_chats.list_active(world.business_id, 10)
    assert page is not None
    assert {one for one, _ in page.chats} == {session_id, dead.session_id}
    assert audit_all(world) == len(strange) + 2 + 1
    assert world.counted_by_redis() == 1
    assert world.redis.zrange(keys.agenda_key(SHARD), 0, -1) == [held.short_business]
    assert not world.redis.exists(f"{keys.active_prefix(SHARD)}nobody")


def test_an_index_that_is_none_is_passed_over(world: World) -> None:
    first, last = (BusinessId(UUID(int=number)) for number in (1, 2**128 - 1))
    for business_id in (first, last):
        world.live_chats.arm([Arm(*new_member(business_id), version=1, remaining_ms=600_000)])
    world.redis.set(keys.active_key(SHARD, first), "no index")
    assert audit_all(world) == 1
    assert not world.redis.exists(keys.active_key(SHARD, last))
