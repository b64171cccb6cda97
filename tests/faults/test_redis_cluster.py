"""A Redis Cluster keeps the live keys: every primary is listened to, and followed as it moves."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from threading import Event, Lock, Thread

import pytest

from tests.support.builders import World
from tests.support.crowd import Crowd, answering, listening, note
from tests.support.live_sessions import arm_of, new_member, trust
from tests.support.redis_topologies import RedisCluster, ask
from tests.support.servers import RedisServer
from tests.support.waiting import wait_until
from timer_service import keys
from timer_service.doctor import look_at_redis
from timer_service.errors import RedisUnavailable
from timer_service.expiry_listener import ExpiryListener
from timer_service.ids import BusinessId, new_id
from timer_service.keys import Member, shard_of
from timer_service.live_chats import ArmOutcome, ClaimResult, LiveChats
from timer_service.primaries import primaries_of
from timer_service.redis_clients import live_request_client, live_worker_client
from timer_service.redis_cluster import ClusterClient, slot_of
from timer_service.settings import load_settings

SHARDS = 16
SHOPS = 6
GAP_S = 2
NEVER_MS = 3_600_000


@pytest.fixture(scope="module")
def shared_cluster() -> Iterator[RedisCluster]:
    """Serve this file's tests."""
    cluster = RedisCluster()
    yield cluster
    cluster.destroy()


@pytest.fixture
def cluster(shared_cluster: RedisCluster) -> RedisCluster:
    """Give a whole and empty cluster, whatever the test before did to it."""
    shared_cluster.make_whole()
    return shared_cluster


@pytest.fixture
def live_chats(cluster: RedisCluster) -> Iterator[LiveChats]:
    client = live_worker_client(cluster.url)
    yield LiveChats(client, SHARDS)
    client.close()


@pytest.fixture
def world(cluster: RedisCluster, database_url: str, redis_url: str) -> Iterator[World]:
    """Give a world whose live keys are in the cluster, and whose queue is in one server."""
    with World(database_url, cluster.url, shards=SHOPS, queue_redis_url=redis_url) as world:
        yield world


def members_of_every_shard(each: int = 1) -> list[Member]:
    businesses: dict[int, BusinessId] = {}
    while len(businesses) < SHARDS:
        business_id = BusinessId(new_id())
        businesses.setdefault(shard_of(business_id, SHARDS), business_id)
    return [new_member(one) for one in businesses.values() for _ in range(each)]


class Settler:
    """Closes nothing and settles everything."""

    def __init__(self, live_chats: LiveChats) -> None:
        self._live_chats = live_chats
        self._lock = Lock()
        self.times: Counter[Member] = Counter()

    def close_claimed(self, members: Sequence[Member]) -> None:
        with self._lock:
            self.times.update(members)
        self._live_chats.forget(members)


def test_every_call_finds_the_servers_of_its_shards(
    cluster: RedisCluster, live_chats: LiveChats
) -> None:
    members = members_of_every_shard(each=3)
    assert live_chats.untrusted() == list(range(SHARDS))
    trust(live_chats)
    assert live_chats.untrusted() == []
    assert live_chats.arm([arm_of(one) for one in members]) == [ArmOutcome.ARMED] * len(members)
    holders = {cluster.primary_of(slot_of(keys.epoch_key(shard))) for shard in range(SHARDS)}
    assert len(holders) == 3, "the shards are spread over all primaries"
    for shard in range(SHARDS):
        holder = cluster.primary_of(slot_of(keys.epoch_key(shard)))
        assert ask(holder, "EXISTS", keys.agenda_key(shard)) == 1
        assert live_chats.run_id(shard) in ask(holder, "INFO", "server", as_text=True)
    assert live_chats.count_all() == len(members)
    assert {live_chats.count(one.business_id) for one in members} == {3}
    assert live_chats.not_held([*members, new_member()]) != []
    assert live_chats.not_held(members) == []
    assert sorted(one for page in live_chats.walk_index(10) for one in page.members) == sorted(
        members
    )
    outcomes = live_chats.claim(members, 1000)
    assert {one.result for one in outcomes} == {ClaimResult.ALIVE}
    assert live_chats.forget(members) == len(members)
    assert live_chats.count_all() == 0


def test_expired_events_of_every_primary_are_heard(
    cluster: RedisCluster, live_chats: LiveChats
) -> None:
    for node in cluster.nodes:
        ask(node, "CONFIG", "SET", "notify-keyspace-events", "")
    trust(live_chats)
    closer, stop = Settler(live_chats), Event()
    listener = ExpiryListener(
        live_chats,
        closer,
        primaries=primaries_of(cluster.url, SHARDS),
        database=0,
        on_resubscribed=lambda: None,
        on_untrusted=lambda shard: None,
        grace_ms=NEVER_MS,  # so that nothing but an event can bring a session to its close
    )
    thread = Thread(target=listener.run, args=(stop,))
    thread.start()
    try:
        wait_until(lambda: _subscribed(cluster) == 3, what="three subscriptions")
        members = members_of_every_shard(each=5)
        live_chats.arm([arm_of(one, remaining_ms=50) for one in members])
        wait_until(lambda: len(closer.times) == len(members), what="all closed")
    finally:
        stop.set()
        thread.join()
    assert set(closer.times.values()) == {1}


@pytest.mark.slow
@pytest.mark.parametrize("at_once", [False, True], ids=["key by key", "at once"])
def test_a_slot_moved_while_its_chats_go_on_is_followed(
    cluster: RedisCluster,
    world: World,
    at_once: bool,
    record_property: Callable[[str, object], None],
) -> None:
    crowd = Crowd(world, idle_gap_s=GAP_S)
    with listening(world), answering(world) as web:
        for customer in range(5):
            crowd.hear(web.intake, customer)
        shard = 3
        slot = slot_of(keys.epoch_key(shard))
        source = cluster.primary_of(slot)
        target = cluster.other_primary(source)
        assert ask(source, "CLUSTER", "COUNTKEYSINSLOT", slot) >= 5
        slowest_s = [
            crowd.hear(web.intake, moved % 10)
            for moved in cluster.move_slot(slot, target, at_once=at_once)
        ]
        assert max(slowest_s) < 1
        assert cluster.primary_of(slot) is target
        began_s = time.monotonic()
        wait_until(crowd.are_counted, what="the moved shard is rebuilt and counts right")
        record_property("healed_s", round(time.monotonic() - began_s, 2))
        assert live_run_id(target) == world.live_chats.epoch(shard)
        late_ms = crowd.wait_until_closed()
        note(record_property, late_ms, max(slowest_s))
        wait_until(crowd.are_counted, what="nobody is active any more")


def test_a_primary_killed_while_chats_go_on_is_replaced_and_its_shards_rebuilt(
    cluster: RedisCluster, world: World, record_property: Callable[[str, object], None]
) -> None:
    crowd = Crowd(world, idle_gap_s=GAP_S)
    victim = cluster.primary_of(slot_of(keys.epoch_key(0)))
    with listening(world), answering(world) as web:
        talk = crowd.talk_through(web.intake, victim.kill)
        late_ms = crowd.wait_until_closed()
        wait_until(crowd.are_counted, what="nobody is active any more")
        record_property("healed_s", round(talk.healed_s, 2))
        note(record_property, late_ms, talk.slowest_s)
        assert talk.slowest_s < 1
        assert talk.healed_s < 15
        assert cluster.primary_of(slot_of(keys.epoch_key(0))) is not victim


def test_the_doctor_looks_at_every_primary(cluster: RedisCluster, redis_url: str) -> None:
    settings = load_settings(redis_url=cluster.url, queue_redis_url=redis_url, shards=SHARDS)
    found = look_at_redis(settings)
    texts = [one.text for one in found]
    assert sum("version" in text for text in texts) == 3
    assert sum("expired events" in text for text in texts) == 3
    assert texts[-1].startswith("no listener is alive")


def test_a_silent_primary_costs_its_own_shards_callers_only(
    cluster: RedisCluster, live_chats: LiveChats
) -> None:
    trust(live_chats)
    client = live_request_client(cluster.url)
    asking = LiveChats(client, SHARDS)
    members = members_of_every_shard()
    by_shard = {shard_of(one.business_id, SHARDS): one for one in members}
    victim = cluster.primary_of(slot_of(keys.epoch_key(0)))
    other = next(
        shard
        for shard in by_shard
        if cluster.primary_of(slot_of(keys.epoch_key(shard))) is not victim
    )
    assert asking.count(by_shard[0].business_id) == 0
    os.kill(victim.pid, signal.SIGSTOP)
    try:
        slowest_s = dict.fromkeys((0, other), 0.0)
        for shard in (0, other, 0, other):
            began_s = time.monotonic()
            if shard == 0:
                with pytest.raises(RedisUnavailable):
                    asking.count(by_shard[0].business_id)
            else:
                assert asking.count(by_shard[other].business_id) == 0
            slowest_s[shard] = max(slowest_s[shard], time.monotonic() - began_s)
        # One that met the silence, and looked around, at most; the next ones not at all.
        assert slowest_s[0] < 0.45
        assert slowest_s[other] < 0.3
    finally:
        os.kill(victim.pid, signal.SIGCONT)
        client.close()


def test_nothing_is_connected_to_before_it_is_needed() -> None:
    client = live_request_client("redis+cluster://127.0.0.1:1,127.0.0.1:2")
    assert isinstance(client, ClusterClient)
    began_s = time.monotonic()
    with pytest.raises(RedisUnavailable):
        LiveChats(client, SHARDS).count(BusinessId(new_id()))
    assert time.monotonic() - began_s < 0.5


def live_run_id(server: RedisServer) -> str:
    told = ask(server, "INFO", "server", as_text=True)
    return next(line[7:] for line in told.splitlines() if line.startswith("run_id:"))


def _subscribed(cluster: RedisCluster) -> int:
    channel = keys.expired_channel(0)
    return sum(channel in ask(node, "PUBSUB", "CHANNELS", channel) for node in cluster.nodes)
