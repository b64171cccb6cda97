"""Redis is disposable: whatever it lost is put back from Postgres, and never trusted before."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from threading import Barrier, Event, Thread

import pytest

from tests.support.builders import DANA, NOAM, World, flush
from tests.support.live_sessions import Held
from tests.support.waiting import wait_until
from timer_service import keys, rebuild
from timer_service.errors import RedisUnavailable
from timer_service.ids import new_id
from timer_service.keys import shard_of
from timer_service.live_chats import Arm, ArmOutcome, LiveChats
from timer_service.messages import ContactIds
from timer_service.records import duties, session_sweeps
from timer_service.records.session_sweeps import OpenPage


def people(count: int) -> list[ContactIds]:
    return [ContactIds(phone=f"97250{i:07}") for i in range(count)]


def test_after_flushall_the_number_comes_from_postgres_until_all_is_back(world: World) -> None:
    recorded = world.record(*[world.heard(contact=one) for one in people(25)])
    before = {
        one.session_id: Held(world.redis, world.member(one.session_id)).ends_at_ms
        for one in recorded
    }
    flush(world.redis_url)
    assert world.counted_by_redis() is None
    assert world.counted() == 25
    assert world.sweeper.rebuild_once() == 25
    assert world.counted_by_redis() == world.counted() == 25
    for session_id, ends_at_ms in before.items():
        held = Held(world.redis, world.member(session_id))
        assert held.version == "1"
        assert abs(held.ends_at_ms - ends_at_ms) < 250
        assert held.deadline_ms == held.ends_at_ms


def test_a_page_that_took_long_to_arm_moves_no_deadline(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    session_id = world.hear().session_id
    flush(world.redis_url)
    arm = LiveChats.arm

    def arm_late(self: LiveChats, arms: list[Arm], *rest: object, **more: object) -> object:
        read_at_ms = self.clock_ms()
        wait_until(lambda: self.clock_ms() > read_at_ms + 100, what="a tenth of a second")
        return arm(self, arms, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(LiveChats, "arm", arm_late)
    world.sweeper.rebuild_once()
    ends_at_ms = Held(world.redis, world.member(session_id)).ends_at_ms
    deadline_ms = world.session(session_id).deadline_at.timestamp() * 1000
    # It ends when its millisecond is over; between the readings of the two clocks lies a moment.
    assert deadline_ms - 1 < ends_at_ms < deadline_ms + 20


def test_a_redis_that_can_be_trusted_is_not_rebuilt(world: World) -> None:
    world.hear()
    assert world.sweeper.rebuild_once() == 0


def test_overdue_sessions_are_put_back_too_so_that_the_pacer_closes_them(world: World) -> None:
    session_id = world.hear().session_id
    world.let_pass(901)
    flush(world.redis_url)
    world.sweeper.rebuild_once()
    assert Held(world.redis, world.member(session_id)).deadline_ms is not None
    assert world.counted() == 0


def test_more_than_a_page_is_put_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuild, "PAGE", 7)
    world.record(*[world.heard(contact=one) for one in people(50)])
    flush(world.redis_url)
    assert world.sweeper.rebuild_once() == 50
    assert world.counted_by_redis() == 50


def test_one_that_was_touched_while_it_was_rebuilt_keeps_the_newer_deadline(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    session_id = world.hear().session_id
    world.let_pass(600)
    flush(world.redis_url)
    arm = LiveChats.arm

    def touch_first(self: LiveChats, arms: list[Arm], *rest: object, **more: object) -> object:
        if more.get("token"):
            world.hear()
        return arm(self, arms, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(LiveChats, "arm", touch_first)
    world.sweeper.rebuild_once()
    held = Held(world.redis, world.member(session_id))
    assert held.version == "2"
    assert world.redis.pttl(held.live_key) > 890_000


def test_one_that_was_closed_while_it_was_rebuilt_is_gone_before_redis_is_trusted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    session_id = world.hear().session_id
    flush(world.redis_url)
    arm = LiveChats.arm

    def close_first(self: LiveChats, arms: list[Arm], *rest: object, **more: object) -> object:
        if more.get("token"):
            world.completion.complete(world.business_id, session_id)
        return arm(self, arms, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(LiveChats, "arm", close_first)
    assert world.sweeper.rebuild_once() == 1
    assert world.counted_by_redis() == world.counted() == 0


def test_a_rebuild_that_another_overtakes_stops_and_trusts_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.hear()
    flush(world.redis_url)
    arm = LiveChats.arm
    outcomes: list[ArmOutcome] = []

    def overtake(self: LiveChats, arms: list[Arm], *rest: object, **more: object) -> object:
        self.begin_rebuild(0, "another")
        found = arm(self, arms, *rest, **more)  # type: ignore[arg-type]
        outcomes.extend(found)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(LiveChats, "arm", overtake)
        world.sweeper.rebuild_once()
    assert outcomes == [ArmOutcome.FENCED]
    assert world.counted_by_redis() is None
    assert world.counted() == 1
    assert world.sweeper.rebuild_once() == 1
    assert world.counted_by_redis() == 1


def test_a_redis_wiped_in_the_middle_is_not_trusted_afterwards(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuild, "PAGE", 1)
    world.hear(contact=DANA)
    world.hear(contact=NOAM)
    flush(world.redis_url)
    calls = iter(range(10))
    arm = LiveChats.arm

    def wipe_at_the_second(self: LiveChats, *args: object, **more: object) -> object:
        if next(calls) == 1:
            flush(world.redis_url)
        return arm(self, *args, **more)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(LiveChats, "arm", wipe_at_the_second)
        world.sweeper.rebuild_once()
    assert world.counted_by_redis() is None
    assert world.counted() == 2
    world.sweeper.rebuild_once()
    assert world.counted_by_redis() == 2


def test_of_two_processes_one_rebuilds(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.record(*[world.heard(contact=one) for one in people(20)])
    flush(world.redis_url)
    begun: list[str] = []
    begin, lock = LiveChats.begin_rebuild, threading.Lock()

    def note(self: LiveChats, shard: int, token: str) -> None:
        with lock:
            begun.append(token)
        begin(self, shard, token)

    monkeypatch.setattr(LiveChats, "begin_rebuild", note)
    barrier = Barrier(4)

    def rebuild_at_once(_: int) -> int:
        barrier.wait()
        return world.make_sweeper().rebuild_once()

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(rebuild_at_once, range(4))) == 20
    assert len(begun) == 1
    assert world.counted_by_redis() == 20


def test_while_another_process_is_at_it_nothing_is_done(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("a second rebuild began")

    world.hear()
    flush(world.redis_url)
    monkeypatch.setattr(LiveChats, "begin_rebuild", never)
    other = new_id()
    with world.database.transaction() as db:
        assert duties.take(db, rebuild._duty(0), other, lease=timedelta(minutes=1))
    assert world.sweeper.rebuild_once() == 0
    with world.database.transaction() as db:
        duties.give_up_each(db, [rebuild._duty(0)], other)
    with pytest.raises(AssertionError, match="second rebuild"):
        world.sweeper.rebuild_once()


def test_one_that_died_at_it_is_taken_over_from_when_its_lease_has_ended(world: World) -> None:
    world.hear()
    flush(world.redis_url)
    with world.database.transaction() as db:
        assert duties.take(db, rebuild._duty(0), new_id(), lease=rebuild.LEASE)
    assert world.sweeper.rebuild_once() == 0
    wait_until(world.sweeper.rebuild_once, within_s=5, what="the lease has ended")
    assert world.counted_by_redis() == 1


def test_one_that_was_taken_over_from_stops(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.record(*[world.heard(contact=one) for one in people(3)])
    flush(world.redis_url)
    monkeypatch.setattr(rebuild, "PAGE", 1)
    arm, pages = LiveChats.arm, []

    def overtaken(live_chats: LiveChats, arms: list[Arm], **more: object) -> object:
        pages.append(arms)
        world.run("UPDATE duties SET holder = :other", other=new_id())
        return arm(live_chats, arms, **more)

    monkeypatch.setattr(LiveChats, "arm", overtaken)
    assert world.sweeper.rebuild_once() == 1
    assert len(pages) == 1
    assert world.counted_by_redis() is None


def test_the_rebuilder_rebuilds_when_it_is_wanted_and_outlives_its_failures(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    rebuilder = rebuild.Rebuilder(world.database, world.live_chats, shards=1)
    stop, failures = Event(), iter([RedisUnavailable("away"), ValueError("a fault of ours")])
    rebuild_once = rebuilder.rebuild_once

    def fail_twice() -> int:
        failure = next(failures, None)
        if failure is not None:
            raise failure
        return rebuild_once()

    monkeypatch.setattr(rebuilder, "rebuild_once", fail_twice)
    world.hear()
    flush(world.redis_url)
    thread = Thread(target=rebuilder.run, args=(stop,))
    thread.start()
    try:
        for _ in range(3):
            rebuilder.want()
            wait_until(lambda: not rebuilder._wanted.is_set(), what="it is begun")
        wait_until(lambda: world.live_chats.is_trusted(0), what="all is back")
    finally:
        stop.set()
        rebuilder.want()
        thread.join(10)
    assert not thread.is_alive()
    assert world.counted_by_redis() == 1


@contextmanager
def world_of_shards(database_url: str, redis_url: str, shards: int) -> Iterator[list[World]]:
    """Give a world for each shard, in order; the first is everybody's database."""
    with ExitStack() as stack:
        first = stack.enter_context(World(database_url, redis_url, shards=shards))
        first.trust()
        found = {shard_of(first.business_id, shards): first}
        while len(found) < shards:
            other = World(database_url, redis_url, shards=shards, database=first.database)
            stack.callback(other.redis.close)
            stack.callback(other.queue_redis.close)
            found.setdefault(shard_of(other.business_id, shards), other)
        yield [found[shard] for shard in range(shards)]


def test_each_shard_is_rebuilt_with_its_own_businesses(database_url: str, redis_url: str) -> None:
    with world_of_shards(database_url, redis_url, 3) as worlds:
        for one in worlds:
            one.hear()
        flush(redis_url)
        assert worlds[0].sweeper.rebuild_once() == 3
        for one in worlds:
            assert one.counted_by_redis() == 1


def test_all_shards_are_rebuilt_in_one_reading(
    database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with world_of_shards(database_url, redis_url, 8) as worlds:
        for one in worlds:
            one.record(*[one.heard(contact=person) for person in people(3)])
        flush(redis_url)
        pages = note_pages(monkeypatch)
        assert worlds[0].sweeper.rebuild_once() == 24
    assert [len(page.sessions) for page in pages] == [24]


def test_where_some_shards_are_lost_only_their_sessions_are_read(
    database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with world_of_shards(database_url, redis_url, 4) as worlds:
        for one in worlds:
            one.record(*[one.heard(contact=person) for person in people(3)])
        lost = (1, 3)
        for shard in lost:
            worlds[0].redis.set(keys.epoch_key(shard), "another run")
        pages = note_pages(monkeypatch)
        with monkeypatch.context() as patch:
            patch.setattr(rebuild, "NAMED_MAX", 2)
            assert worlds[0].sweeper.rebuild_once() == 6
        assert [len(page.sessions) for page in pages] == [12], "too many to be named"
        pages.clear()
        for shard in lost:
            worlds[0].redis.set(keys.epoch_key(shard), "another run")
        assert worlds[0].sweeper.rebuild_once() == 6
        assert [len(page.sessions) for page in pages] == [6]
        assert {one.business_id for one in pages[0].sessions} == {
            worlds[shard].business_id for shard in lost
        }
        assert [one.counted_by_redis() for one in worlds] == [3] * 4


def test_a_shard_that_is_overtaken_is_left_and_does_not_stop_the_others(
    database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with world_of_shards(database_url, redis_url, 3) as worlds:
        for one in worlds:
            one.record(*[one.heard(contact=person) for person in people(2)])
        flush(redis_url)
        arm = LiveChats.arm
        outcomes: list[ArmOutcome] = []

        def overtake_one(self: LiveChats, *args: object, **more: object) -> object:
            if more.get("token"):
                self.begin_rebuild(1, "another")
            found = arm(self, *args, **more)  # type: ignore[arg-type]
            outcomes.extend(found)
            return found

        with monkeypatch.context() as patch:
            patch.setattr(LiveChats, "arm", overtake_one)
            patch.setattr(rebuild, "PAGE", 1)
            assert worlds[0].sweeper.rebuild_once() == 4
        assert Counter(outcomes)[ArmOutcome.FENCED] == 1
        assert [one.counted_by_redis() for one in worlds] == [2, None, 2]


def note_pages(monkeypatch: pytest.MonkeyPatch) -> list[OpenPage]:
    """Keep what is read of the open sessions from here on."""
    pages: list[OpenPage] = []
    read = session_sweeps.open_by_deadline

    def note(*args: object, **more: object) -> OpenPage:
        pages.append(read(*args, **more))  # type: ignore[arg-type]
        return pages[-1]

    monkeypatch.setattr(session_sweeps, "open_by_deadline", note)
    return pages
