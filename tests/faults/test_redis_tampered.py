"""Redis is meddled with (B8), its clock jumps (B11), its scripts are forgotten (B12)."""

from __future__ import annotations

import random
import threading

from tests.support.builders import World
from tests.support.listening import listening
from tests.support.live_sessions import SHARD, Held
from tests.support.waiting import wait_until
from timer_service import keys
from timer_service.messages import ContactIds

CHATS = 40
GAP_S = 3
SEED = 20261121


def hear_from_many(world: World) -> list[Held]:
    told = [world.heard(contact=ContactIds(phone=f"97250{one:07}")) for one in range(CHATS)]
    recorded = world.record(*told)
    return [Held(world.redis, world.member(one.session_id)) for one in recorded]


def test_meddled_live_keys_close_nothing_early_and_nothing_late(world: World) -> None:
    world.set_rules(idle_gap_s=GAP_S)
    rng = random.Random(SEED)
    with listening(world):
        for number, held in enumerate(hear_from_many(world)):
            match rng.randrange(4) if number > 3 else number:
                case 0:
                    world.redis.delete(held.live_key)
                case 1:
                    world.redis.set(held.live_key, "1")  # and with it, no TTL
                case 2:
                    world.redis.persist(held.live_key)
                case _:
                    world.redis.rename(held.live_key, f"{held.live_key}-away")
        wait_until(lambda: not open_ones(world), within_s=GAP_S + 5, what="all are closed")
    for session in world.sessions():
        assert session.close_reason == "idle"
        assert session.closed_at >= session.deadline_at
        assert session.close_lateness_ms < 1000
    world.trust()
    assert world.counted_by_redis() == 0


def test_a_redis_clock_an_hour_ahead_closes_nothing_and_summarises_nothing(world: World) -> None:
    held = hear_from_many(world)
    with listening(world):
        for one in held:  # as its clock sees them then: all are due
            world.redis.set(one.live_key, one.version or "1", px=1)
            world.redis.zadd(one.active_key, {one.short_session: one.deadline_ms - 3_600_000})
            world.redis.zadd(keys.agenda_key(SHARD), {one.short_business: 0})
        wait_until(
            lambda: (
                all(one.deadline_ms is not None and one.version for one in held)
                and all(world.redis.pttl(one.live_key) > 800_000 for one in held)
            ),
            what="each is armed again for what is left by Postgres's clock",
        )
    assert len(open_ones(world)) == CHATS
    assert world.queued() == []
    assert world.counted_by_redis() == CHATS


def test_scripts_forgotten_again_and_again_cost_nobody_anything(world: World) -> None:
    over = threading.Event()

    def forget() -> None:
        while not over.wait(0.002):
            world.redis.script_flush()

    forgetting = threading.Thread(target=forget)
    forgetting.start()
    try:
        for _ in range(10):
            hear_from_many(world)
            assert world.counted_by_redis() == CHATS
    finally:
        over.set()
        forgetting.join()
    assert world.sweeper.arm_opened_once() == 0


def open_ones(world: World) -> list[object]:
    return list(world.read("SELECT id FROM sessions WHERE state = 'open'"))
