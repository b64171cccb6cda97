from __future__ import annotations

from collections.abc import Iterator, Sequence
from threading import Event, Thread
from typing import Any

import pytest
from redis import Redis

from tests.support.live_sessions import SHARD, Held, arm_of, new_member, trust
from tests.support.servers import RedisServer
from tests.support.waiting import wait_until
from timer_service import keys, metrics, pacer
from timer_service.errors import RedisUnavailable
from timer_service.keys import Member
from timer_service.live_chats import LiveChats
from timer_service.notifications import NotificationMode
from timer_service.pacer import Pacer
from timer_service.redis_clients import worker_client


class Notes:
    """What a pacer handed on and reported."""

    def __init__(self) -> None:
        self.claimed: list[Member] = []
        self.untrusted: list[int] = []

    def on_claimed(self, members: Sequence[Member]) -> None:
        self.claimed.extend(members)


@pytest.fixture
def client(redis_url: str) -> Iterator[Redis]:
    with worker_client(redis_url) as client:
        yield client


@pytest.fixture
def live_chats(client: Redis) -> LiveChats:
    live_chats = LiveChats(client, 1)
    trust(live_chats)
    return live_chats


@pytest.fixture
def notes() -> Notes:
    return Notes()


def pacer_of(live_chats: LiveChats, notes: Notes, **given: Any) -> Pacer:
    return Pacer(
        live_chats, on_claimed=notes.on_claimed, on_untrusted=notes.untrusted.append, **given
    )


def test_a_pass_hands_on_what_it_took_over_and_what_was_lent_again(
    client: Redis, live_chats: LiveChats, notes: Notes
) -> None:
    taken_over, lent_again = new_member(), new_member()
    Held(client, lent_again).make_due()
    live_chats.claim([lent_again], 0)
    Held(client, taken_over).make_due(late_ms=5_000)
    before = metrics.CLAIMS.labels("taken_over")._value.get()
    one = pacer_of(live_chats, notes).pace_once()
    assert (one.touched, one.taken_over, one.lent_again) == (1, 1, 1)
    assert notes.claimed == [taken_over, lent_again]
    assert metrics.CLAIMS.labels("taken_over")._value.get() - before == 1


def test_only_the_direct_mode_claims_what_is_just_due(
    client: Redis, live_chats: LiveChats, notes: Notes
) -> None:
    left_to_its_event, taken = new_member(), new_member()
    Held(client, left_to_its_event).make_due()
    pacer = pacer_of(live_chats, notes, grace_ms=60_000)
    assert (pacer.pace_once().touched, notes.claimed) == (1, [])
    pacer.mode = NotificationMode.DIRECT
    Held(client, taken).make_due()
    assert pacer.pace_once().taken_over == 1
    assert notes.claimed == [taken]


def test_it_sleeps_until_the_next_deadline_but_never_longer_than_ten_milliseconds(
    client: Redis, live_chats: LiveChats, notes: Notes
) -> None:
    pacer = pacer_of(live_chats, notes)
    assert pacer.pace_once().sleep_s == 0.010
    live_chats.arm([arm_of(new_member(), remaining_ms=60_000)])
    assert pacer.pace_once().sleep_s == 0.010
    live_chats.arm([arm_of(new_member(), remaining_ms=6)])
    assert 0.0002 <= pacer.pace_once().sleep_s <= 0.008
    Held(client, new_member()).make_due(late_ms=5_000)
    Held(client, new_member()).make_due(late_ms=5_000)
    assert pacer_of(live_chats, notes, limit=1).pace_once().sleep_s == 0.0002


def test_the_nearest_deadline_of_all_shards_counts(redis_url: str, notes: Notes) -> None:
    with worker_client(redis_url) as client:
        live_chats = LiveChats(client, 16)
        trust(live_chats)
        members = [new_member() for _ in range(64)]
        live_chats.arm([arm_of(member) for member in members])
        pacer = pacer_of(live_chats, notes)
        assert pacer.pace_once().sleep_s == 0.010
        live_chats.arm([arm_of(members[0], version=2, remaining_ms=5)])
        assert pacer.pace_once().sleep_s <= 0.007


def test_lost_data_is_reported_at_the_next_pass_and_then_once_a_second(
    client: Redis, live_chats: LiveChats, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = [100.0]
    monkeypatch.setattr(pacer, "monotonic_s", lambda: now_s[0])
    one = pacer_of(live_chats, notes)
    one.pace_once()
    assert notes.untrusted == []
    client.flushall()
    for _ in range(3):
        one.pace_once()
    assert notes.untrusted == [SHARD]
    now_s[0] += 1.0
    one.pace_once()
    assert notes.untrusted == [SHARD, SHARD]


def test_a_restart_is_noticed_even_where_redis_kept_everything(
    own_redis_server: RedisServer, notes: Notes
) -> None:
    with worker_client(own_redis_server.url) as client:
        live_chats = LiveChats(client, 1)
        trust(live_chats)
        live_chats.begin_rebuild(SHARD, "cut-short")
        interrupted = live_chats.epoch(SHARD)
        own_redis_server.restart()
        assert live_chats.epoch(SHARD) == interrupted
        assert live_chats.finish_rebuild(SHARD, "cut-short") is False
        trust(live_chats)
        trusted = live_chats.epoch(SHARD)
        own_redis_server.restart()
        assert live_chats.epoch(SHARD) == trusted
        pacer_of(live_chats, notes).pace_once()
        assert notes.untrusted == [SHARD]
        assert live_chats.count_all() is None


def test_pacing_goes_on_while_a_shard_is_rebuilt(
    client: Redis, live_chats: LiveChats, notes: Notes
) -> None:
    live_chats.begin_rebuild(SHARD, "t")
    member = new_member()
    Held(client, member).make_due(late_ms=5_000)
    pacer_of(live_chats, notes).pace_once()
    assert notes.claimed == [member]


def test_two_pacers_share_the_work(client: Redis, live_chats: LiveChats) -> None:
    for i in range(400):
        Held(client, new_member()).make_due(late_ms=5_000 + i)
    both = Notes(), Notes()
    pacers = [pacer_of(live_chats, notes, limit=50) for notes in both]
    while sum(pacer.pace_once().taken_over for pacer in pacers):
        pass
    assert [len(notes.claimed) for notes in both] == [200, 200]
    assert len({*both[0].claimed, *both[1].claimed}) == 400


def test_the_loop_waits_an_outage_out(own_redis_server: RedisServer, notes: Notes) -> None:
    with worker_client(own_redis_server.url) as client:
        live_chats = LiveChats(client, 1)
        member = new_member()
        errors = metrics.PACER_ERRORS._value.get()
        stop = Event()
        thread = Thread(target=pacer_of(live_chats, notes).run, args=(stop,))
        thread.start()
        try:
            own_redis_server.kill()
            wait_until(lambda: metrics.PACER_ERRORS._value.get() > errors, what="the outage")
            own_redis_server.start()
            Held(client, member).make_due(late_ms=5_000)
            wait_until(lambda: notes.claimed, what="a claim after the outage")
        finally:
            stop.set()
            thread.join()
        assert notes.claimed == [member]


def test_the_loop_outlives_a_defect_of_those_it_calls(
    client: Redis, live_chats: LiveChats, notes: Notes
) -> None:
    class Clumsy(Notes):
        def on_claimed(self, members: Sequence[Member]) -> None:
            super().on_claimed(members)
            raise ZeroDivisionError

    clumsy = Clumsy()
    stop = Event()
    thread = Thread(target=pacer_of(live_chats, clumsy).run, args=(stop,))
    thread.start()
    try:
        for number in (1, 2):
            Held(client, new_member()).make_due(late_ms=5_000)
            wait_until(lambda number=number: len(clumsy.claimed) == number, what="the next claim")
    finally:
        stop.set()
        thread.join()


def test_one_pass_without_redis_is_an_error(notes: Notes) -> None:
    with worker_client("redis://127.0.0.1:1/0") as away, pytest.raises(RedisUnavailable):
        pacer_of(LiveChats(away, 1), notes).pace_once()


class TestOthersShards:
    def test_they_are_left_to_their_own_listener_for_a_while(
        self, client: Redis, live_chats: LiveChats, notes: Notes
    ) -> None:
        fresh, lying = new_member(), new_member()
        Held(client, fresh).make_due(late_ms=1)
        Held(client, lying).make_due(late_ms=pacer.OTHERS_GRACE_MS + 5_001)
        one = pacer_of(live_chats, notes, grace_ms=5_000, others_shards=lambda: frozenset({SHARD}))
        assert one.pace_once().taken_over == 1
        assert notes.claimed == [lying]

    def test_they_are_looked_at_less_often(
        self, live_chats: LiveChats, notes: Notes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now_s = 1000.0
        monkeypatch.setattr(pacer, "monotonic_s", lambda: now_s)
        looks: list[Sequence[int]] = []
        pace = live_chats.pace

        def note(shards: Sequence[int], **how: int) -> object:
            looks.append(shards)
            return pace(shards, **how)

        monkeypatch.setattr(live_chats, "pace", note)
        one = pacer_of(live_chats, notes, others_shards=lambda: frozenset({SHARD}))
        for _ in range(3):
            one.pace_once()
        assert looks == [[SHARD]]
        now_s += 0.1
        one.pace_once()
        assert looks == [[SHARD], [SHARD]]

    def test_a_shard_that_cannot_be_paced_does_not_hold_up_the_others(
        self, client: Redis, notes: Notes
    ) -> None:
        live_chats = LiveChats(client, 2)
        trust(live_chats)
        member = new_member()
        while keys.shard_of(member.business_id, 2) != SHARD:
            member = new_member()
        Held(client, member).make_due(late_ms=5_000)
        client.set(keys.agenda_key(1), "of the wrong type")
        errors = metrics.PACER_ERRORS._value.get()
        assert pacer_of(live_chats, notes).pace_once().taken_over == 1
        assert notes.claimed == [member]
        assert metrics.PACER_ERRORS._value.get() == errors + 1
        client.set(keys.claimed_key(0), "of the wrong type")
        client.delete(keys.agenda_key(0))
        client.set(keys.agenda_key(0), "of the wrong type")
        with pytest.raises(RedisUnavailable):
            pacer_of(live_chats, notes).pace_once()
