from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from threading import Barrier

import pytest
from redis import Redis

from tests.support.live_sessions import (
    SHARD,
    Held,
    arm_of,
    everything,
    new_member,
    trust,
)
from timer_service import keys
from timer_service.errors import RedisUnavailable
from timer_service.ids import BusinessId, new_id
from timer_service.live_chats import ArmOutcome, ClaimResult, LiveChats
from timer_service.lua_scripts import run_calls
from timer_service.redis_clients import request_client, worker_client


@pytest.fixture
def client(redis_url: str) -> Iterator[Redis]:
    with worker_client(redis_url) as client:
        yield client


@pytest.fixture
def live_chats(client: Redis) -> LiveChats:
    return LiveChats(client, 1)


def test_arming_and_forgetting_take_one_round_trip(client: Redis, live_chats: LiveChats) -> None:
    closed, opened = new_member(), new_member()
    live_chats.arm([arm_of(closed)], forget=[new_member()])  # the server learns both scripts
    before = client.info("stats")["total_reads_processed"]
    outcomes = live_chats.arm([arm_of(opened), arm_of(opened)], forget=[closed])
    reads = client.info("stats")["total_reads_processed"] - before
    assert outcomes == [ArmOutcome.ARMED, ArmOutcome.REPAIRED]
    assert Held(client, closed).version is None
    assert reads == 2  # the pipeline, and the INFO that asks


def test_hundreds_of_sessions_of_several_shards_are_answered_in_the_order_asked(
    client: Redis,
) -> None:
    live_chats = LiveChats(client, 3)
    trust(live_chats)
    businesses = [BusinessId(new_id()) for _ in range(7)]
    members = [new_member(businesses[number % 7]) for number in range(700)]
    arms = [arm_of(one, version=1 + number % 2) for number, one in enumerate(members)]
    outcomes = live_chats.arm(arms)
    assert outcomes == [ArmOutcome.ARMED, ArmOutcome.ANEW] * 350
    held = members[::2]
    live_chats.forget(members[1::2])
    assert live_chats.not_held(members) == members[1::2]
    claims = live_chats.claim(members, 1_000)
    assert [one.result for one in claims] == [ClaimResult.ALIVE, ClaimResult.LOST] * 350
    assert live_chats.count_all() == len(held)
    assert live_chats.forget(members) == len(held)


def test_what_remains_counts_from_the_instant_given(client: Redis, live_chats: LiveChats) -> None:
    member, overdue = new_member(), new_member()
    at_ms = live_chats.clock_ms() - 40_000
    live_chats.arm([arm_of(member, remaining_ms=60_000.75)], at_ms={SHARD: at_ms})
    assert Held(client, member).ends_at_ms == int(at_ms + 60_000.75)
    live_chats.arm([arm_of(overdue, remaining_ms=1_000)], at_ms={SHARD: at_ms})
    assert at_ms + 40_000 < Held(client, overdue).deadline_ms <= live_chats.clock_ms() + 1


def test_scripts_are_loaded_again_after_a_flush(client: Redis, live_chats: LiveChats) -> None:
    member = new_member()
    live_chats.arm([arm_of(member)])
    client.script_flush()
    assert live_chats.arm([arm_of(member)]) == [ArmOutcome.REPAIRED]


def test_a_claim_carried_out_before_a_script_was_missing_is_not_repeated(
    client: Redis, live_chats: LiveChats
) -> None:
    trust(live_chats)
    due, opened = new_member(), new_member()
    Held(client, due).make_due()
    live_chats.claim([new_member()], 1)  # makes the server load all scripts
    client.script_flush()
    client.script_load(live_chats._claim_call(0, [due], 1).script.source)
    calls = [live_chats._claim_call(0, [due], 5_000), live_chats._count_call(opened.business_id, 0)]
    claimed, counted = run_calls(client, calls)
    assert (claimed[0][0], counted) == (ClaimResult.WON, [0])


def test_nothing_to_do_is_nothing_asked(live_chats: LiveChats) -> None:
    assert live_chats.arm([]) == []
    assert live_chats.claim([], 1000) == []
    live_chats.forget([])


def test_of_eight_threads_one_wins_each_claim(client: Redis, redis_url: str) -> None:
    members = [new_member() for _ in range(50)]
    for member in members:
        Held(client, member).make_due()
    barrier = Barrier(8)

    def claim_all() -> list[ClaimResult]:
        with worker_client(redis_url) as own:
            live_chats = LiveChats(own, 1)
            live_chats.epoch(SHARD)
            barrier.wait()
            return [live_chats.claim([member], 5_000)[0].result for member in members]

    with ThreadPoolExecutor(8) as pool:
        answers = [future.result() for future in [pool.submit(claim_all) for _ in range(8)]]
    for of_one_member in zip(*answers, strict=True):
        assert Counter(of_one_member) == {ClaimResult.WON: 1, ClaimResult.LOST: 7}


def test_counts_add_up_over_businesses_and_shards(client: Redis) -> None:
    live_chats = LiveChats(client, 4)
    trust(live_chats)
    members = [new_member() for _ in range(40)]
    live_chats.arm([arm_of(member) for member in members])
    assert {keys.shard_of(member.business_id, 4) for member in members} == {0, 1, 2, 3}
    assert live_chats.count_all() == 40
    client.delete(keys.epoch_key(2))
    assert live_chats.count_all() is None


def test_a_lost_shard_is_distrusted_even_when_its_agenda_is_lost_too(client: Redis) -> None:
    live_chats = LiveChats(client, 2)
    assert live_chats.count_all() is None
    trust(live_chats)
    assert live_chats.count_all() == 0


def test_trust_ends_with_the_data(client: Redis, live_chats: LiveChats) -> None:
    assert live_chats.epoch(SHARD) is None
    assert not live_chats.is_trusted(SHARD)
    trust(live_chats)
    assert live_chats.is_trusted(SHARD)
    assert live_chats.epoch(SHARD) == live_chats.run_id()
    client.flushall()
    assert not live_chats.is_trusted(SHARD)


def test_watermarks_are_kept_until_a_rebuild_begins(live_chats: LiveChats) -> None:
    opened_at = datetime(2026, 11, 1, 12, 30, 15, 123456, tzinfo=UTC)
    assert live_chats.read_swept(SHARD) == {}
    live_chats.save_swept(SHARD, {"opened": opened_at})
    live_chats.save_swept(SHARD, {"closed": opened_at.replace(year=2025)})
    live_chats.save_swept(SHARD, {})
    assert live_chats.read_swept(SHARD) == {
        "opened": opened_at,
        "closed": opened_at.replace(year=2025),
    }
    live_chats.begin_rebuild(SHARD, "t")
    assert live_chats.read_swept(SHARD) == {}


def test_walking_the_index_meets_every_session_of_every_shard_and_none_that_was_claimed(
    client: Redis,
) -> None:
    live_chats = LiveChats(client, 4)
    businesses = [BusinessId(new_id()) for _ in range(12)]
    members = {new_member(business) for business in businesses for _ in range(200)}
    live_chats.arm([arm_of(member) for member in members])
    pages = list(live_chats.walk_index(50))
    assert {member for page in pages for member in page.members} == members
    assert max(len(page.members) for page in pages) < 200
    live_chats.forget(list(members))
    assert list(live_chats.walk_index(50)) == []


def test_a_session_is_held_while_it_is_in_the_index_or_claimed(
    client: Redis, live_chats: LiveChats
) -> None:
    live, claimed, unknown, forgotten = (new_member() for _ in range(4))
    live_chats.arm([arm_of(live), arm_of(forgotten)])
    Held(client, claimed).make_due()
    live_chats.claim([claimed], 5_000)
    live_chats.forget([forgotten])
    assert live_chats.not_held([live, unknown, claimed, forgotten]) == [unknown, forgotten]


def test_forgetting_counts_the_sessions_that_had_left_a_trace(
    client: Redis, live_chats: LiveChats
) -> None:
    live, claimed, unknown = (new_member() for _ in range(3))
    live_chats.arm([arm_of(live)])
    Held(client, claimed).make_due()
    live_chats.claim([claimed], 5_000)
    assert live_chats.forget([live, claimed, unknown]) == 2
    assert live_chats.forget([live, claimed, unknown]) == 0


def test_foreign_entries_in_our_sets_do_not_hold_up_the_others(
    client: Redis, live_chats: LiveChats
) -> None:
    member = new_member()
    Held(client, member).make_due()
    client.zadd(keys.claimed_key(SHARD), {"not a member": 1})
    (one,) = live_chats.pace([SHARD], grace_ms=0, lease_ms=5_000, limit=10)
    assert (one.taken_over, one.lent_again) == ([member], [])


class TestFaults:
    def test_a_server_that_is_away_is_our_error(self) -> None:
        with request_client("redis://127.0.0.1:1/0") as away:
            live_chats = LiveChats(away, 1)
            for ask in (
                lambda: live_chats.arm([arm_of(new_member())]),
                lambda: live_chats.count(BusinessId(new_id())),
                lambda: live_chats.pace([SHARD], grace_ms=1, lease_ms=1, limit=1),
                lambda: live_chats.epoch(SHARD),
                live_chats.run_id,
                live_chats.count_all,
                lambda: live_chats.read_swept(SHARD),
            ):
                with pytest.raises(RedisUnavailable):
                    ask()

    def test_a_silent_server_costs_the_request_path_less_than_half_a_second(self) -> None:
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            url = f"redis://127.0.0.1:{silent.getsockname()[1]}/1"
            with request_client(url) as client:
                began_s = time.monotonic()
                with pytest.raises(RedisUnavailable):
                    LiveChats(client, 1).arm([arm_of(new_member())])
                assert time.monotonic() - began_s < 0.5

    def test_a_connection_the_server_closed_is_replaced_without_an_error(
        self, client: Redis, redis_url: str
    ) -> None:
        with request_client(redis_url) as other:
            live_chats = LiveChats(other, 1)
            live_chats.arm([arm_of(new_member())])
            client.client_kill_filter(_type="normal", skipme=True)
            assert live_chats.arm([arm_of(new_member())]) == [ArmOutcome.ARMED]

    def test_a_write_that_is_refused_is_our_error_and_loses_no_session(
        self, client: Redis, live_chats: LiveChats
    ) -> None:
        member = new_member()
        held = Held(client, member)
        deadline_ms = held.make_due()
        before = everything(client)
        client.config_set("maxmemory", "1")
        try:
            with pytest.raises(RedisUnavailable, match="OutOfMemory"):
                live_chats.arm([arm_of(new_member())])
            with pytest.raises(RedisUnavailable, match="OutOfMemory"):
                live_chats.claim([member], 5_000)
        finally:
            client.config_set("maxmemory", "0")
        assert everything(client) == before
        assert held.deadline_ms == deadline_ms
