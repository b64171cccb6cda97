"""The whole listener against a real server: events, pacer, claims and what breaks them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from threading import Event, Lock, Thread

import pytest
from redis import Redis

from tests.support.live_sessions import Held, arm_of, new_member, redis_now_ms, trust
from tests.support.servers import RedisServer
from tests.support.waiting import wait_until
from timer_service import expired_events, keys, metrics
from timer_service.errors import DatabaseUnavailable
from timer_service.expiry_listener import PROCESS, ExpiryListener, ListenerBroken
from timer_service.ids import BusinessId, SessionId, lengthen, new_id
from timer_service.keys import Member, shard_of
from timer_service.live_chats import LiveChats
from timer_service.notifications import NotificationMode
from timer_service.pacer import Pacer
from timer_service.primaries import OneServer
from timer_service.redis_clients import database_of, pubsub_client, worker_client

NEVER_MS = 3_600_000


class Settler:
    """Notes what it is to close, when by Redis's clock, and settles it; fails when told to."""

    def __init__(self, client: Redis, *faults: Exception) -> None:
        self._client = client
        self._live_chats = LiveChats(client, 1)
        self._lock = Lock()
        self.faults = list(faults)
        self.closed_at_ms: dict[Member, int] = {}
        self.times: Counter[Member] = Counter()

    def close_claimed(self, members: Sequence[Member]) -> None:
        with self._lock:
            if self.faults:
                raise self.faults.pop(0)
            now_ms = redis_now_ms(self._client)
            self.times.update(members)
            self.closed_at_ms.update(dict.fromkeys(members, now_ms))
        self._live_chats.forget(members)


class Listening:
    """A listener in its thread, with what it reported."""

    def __init__(self, listener: ExpiryListener, resubscribed: Event) -> None:
        self.listener = listener
        self.resubscribed = resubscribed


@contextmanager
def listening(
    url: str,
    closer: Settler,
    *,
    grace_ms: int = NEVER_MS,
    lease_ms: int = 60_000,
    shards: int = 1,
) -> Iterator[Listening]:
    resubscribed, stop = Event(), Event()
    with worker_client(url) as client, pubsub_client(url) as events_client:
        listener = make_listener(
            url,
            client,
            events_client,
            closer,
            on_resubscribed=resubscribed.set,
            grace_ms=grace_ms,
            lease_ms=lease_ms,
            shards=shards,
        )
        thread = Thread(target=listener.run, args=(stop,))
        thread.start()
        try:
            wait_until(lambda: subscribers(client, url) > 0, what="the subscription")
            yield Listening(listener, resubscribed)
        finally:
            stop.set()
            thread.join()


def make_listener(
    url: str,
    client: Redis,
    events_client: Redis,
    closer: Settler,
    *,
    on_resubscribed: Callable[[], object] = lambda: None,
    grace_ms: int = NEVER_MS,
    lease_ms: int = 60_000,
    shards: int = 1,
) -> ExpiryListener:
    return ExpiryListener(
        LiveChats(client, shards),
        closer,
        primaries=OneServer(client, events_client, shards),
        database=database_of(url),
        on_resubscribed=on_resubscribed,
        on_untrusted=lambda shard: None,
        grace_ms=grace_ms,
        lease_ms=lease_ms,
    )


def subscribers(client: Redis, url: str) -> int:
    channel = keys.expired_channel(database_of(url))
    return int(channel in client.pubsub_channels(channel))


def flags_of(client: Redis) -> set[str]:
    return set(client.config_get("notify-keyspace-events")["notify-keyspace-events"])


@pytest.fixture
def client(redis_url: str) -> Iterator[Redis]:
    with worker_client(redis_url) as client:
        client.config_set("notify-keyspace-events", "")
        trust(LiveChats(client, 1))
        yield client


@pytest.fixture
def live_chats(client: Redis) -> LiveChats:
    return LiveChats(client, 1)


def test_an_expired_session_is_closed_once_after_its_deadline(
    client: Redis, live_chats: LiveChats, redis_url: str
) -> None:
    closer = Settler(client)
    with listening(redis_url, closer):
        wait_until(lambda: flags_of(client) >= {"E", "x"}, what="notifications switched on")
        members = [new_member() for _ in range(50)]
        before_ms = redis_now_ms(client)
        live_chats.arm([arm_of(member, remaining_ms=50 + i) for i, member in enumerate(members)])
        wait_until(lambda: len(closer.times) == 50, what="all closed")
    assert set(closer.times.values()) == {1}
    for i, member in enumerate(members):
        assert closer.closed_at_ms[member] > before_ms + 50 + i
    assert live_chats.count_all() == 0


def test_a_touched_session_is_not_closed_when_its_first_deadline_passes(
    client: Redis, live_chats: LiveChats, redis_url: str
) -> None:
    closer = Settler(client)
    touched, silent = new_member(), new_member()
    with listening(redis_url, closer):
        live_chats.arm([arm_of(touched, remaining_ms=100), arm_of(silent, remaining_ms=130)])
        live_chats.arm([arm_of(touched, version=2, remaining_ms=60_000)])
        wait_until(lambda: silent in closer.times, what="the silent one closed")
    assert touched not in closer.times
    assert live_chats.count_all() == 1


def test_foreign_keys_that_expire_disturb_nobody(
    client: Redis, live_chats: LiveChats, redis_url: str
) -> None:
    closer = Settler(client)
    member = new_member()
    with listening(redis_url, closer):
        for foreign in (b"foreign", b"\xff\xfe}:live:", b"ts:{0}:live:broken", b"rq:job:1"):
            client.set(foreign, "", px=1)
            wait_until(lambda foreign=foreign: not client.exists(foreign), what="it expired")
        live_chats.arm([arm_of(member, remaining_ms=1)])
        wait_until(lambda: closer.times, what="ours closed")
    assert closer.times == {member: 1}


def test_a_key_deleted_early_is_not_closed_early(
    client: Redis, live_chats: LiveChats, redis_url: str
) -> None:
    closer = Settler(client)
    member = new_member()
    live_chats.arm([arm_of(member, remaining_ms=300)])
    held = Held(client, member)
    deadline_ms = held.deadline_ms
    client.delete(held.live_key)
    with listening(redis_url, closer, grace_ms=0):
        wait_until(lambda: closer.times, what="it closed")
    assert closer.closed_at_ms[member] > deadline_ms


def test_what_expires_of_another_listeners_shard_is_left_to_that_one(
    client: Redis, redis_url: str
) -> None:
    live_chats, closer = LiveChats(client, 2), Settler(client)
    trust(live_chats)
    by_shard = {}
    while len(by_shard) < 2:
        member = new_member()
        by_shard.setdefault(shard_of(member.business_id, 2), member)
    with listening(redis_url, closer, shards=2) as one:
        wait_until(lambda: one.listener._sharing._listeners, what="it met nobody")
        one.listener._sharing.others_shards = frozenset({1})
        # Events keep their order: when ours is closed, theirs was heard.
        for member in (by_shard[1], by_shard[0]):
            live_chats.arm([arm_of(member, remaining_ms=1)])
            key = keys.live_key(shard_of(member.business_id, 2), *member)
            wait_until(lambda key=key: not client.exists(key), what="it expired")
        wait_until(lambda: by_shard[0] in closer.times, what="ours closed")
        assert closer.times == {by_shard[0]: 1}


class TestMissedEvents:
    def test_a_subscription_remade_behind_our_back_is_noticed(
        self, client: Redis, live_chats: LiveChats, redis_url: str
    ) -> None:
        closer = Settler(client)
        before = metrics.PUBSUB_RESUBSCRIBED._value.get()
        with listening(redis_url, closer) as one:
            assert not one.resubscribed.is_set()
            client.config_set("notify-keyspace-events", "")
            client.client_kill_filter(_type="pubsub")
            assert one.resubscribed.wait(10)
            member = new_member()
            live_chats.arm([arm_of(member, remaining_ms=1)])
            wait_until(lambda: closer.times, what="closed by an event, as the grace never ends")
        assert metrics.PUBSUB_RESUBSCRIBED._value.get() - before >= 1

    def test_notifications_switched_off_are_switched_on_again(
        self, client: Redis, live_chats: LiveChats, redis_url: str
    ) -> None:
        closer = Settler(client)
        with listening(redis_url, closer, grace_ms=100):
            wait_until(lambda: flags_of(client), what="notifications on")
            client.config_set("notify-keyspace-events", "")
            missed = new_member()
            live_chats.arm([arm_of(missed, remaining_ms=1)])
            wait_until(lambda: missed in closer.times, what="taken over by the pacer")
            wait_until(lambda: flags_of(client) >= {"E", "x"}, what="notifications repaired")
        assert closer.times == {missed: 1}

    def test_what_expired_while_nobody_listened_is_taken_over(
        self, client: Redis, live_chats: LiveChats, redis_url: str
    ) -> None:
        member = new_member()
        live_chats.arm([arm_of(member, remaining_ms=1)])
        held = Held(client, member)
        wait_until(lambda: not client.exists(held.live_key), what="it expired unheard")
        closer = Settler(client)
        with listening(redis_url, closer, grace_ms=250):
            wait_until(lambda: closer.times, what="it closed")
        assert closer.times == {member: 1}

    def test_a_connection_that_falls_silent_is_given_up(
        self, client: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(expired_events, "_PING_EVERY_S", 0.05)
        monkeypatch.setattr(expired_events, "_SILENT_AFTER_S", 0.5)
        closer = Settler(client)
        with listening(redis_url, closer) as one:
            # Longer than the silence it bears: answers to its own asking keep it up.
            assert not one.resubscribed.wait(1.5)
            monkeypatch.setattr(expired_events, "_PING_EVERY_S", 3600)
            assert one.resubscribed.wait(10)

    def test_where_config_is_refused_the_pacer_claims_directly(
        self, client: Redis, live_chats: LiveChats, redis_server: RedisServer
    ) -> None:
        client.execute_command(
            "ACL", "SETUSER", "tenant", "on", "nopass", "~*", "&*", "+@all", "-config"
        )
        closer = Settler(client)
        url = f"redis://tenant:any@127.0.0.1:{redis_server.port}/0"
        try:
            with listening(url, closer) as one:
                wait_until(lambda: one.listener.mode is NotificationMode.DIRECT, what="direct mode")
                live_chats.arm([arm_of(member := new_member(), remaining_ms=1)])
                wait_until(lambda: closer.times, what="closed without any event")
            assert closer.times == {member: 1}
        finally:
            client.execute_command("ACL", "DELUSER", "tenant")


class TestFaults:
    def test_what_postgres_could_not_close_is_offered_again_after_the_lease(
        self, client: Redis, live_chats: LiveChats, redis_url: str
    ) -> None:
        closer = Settler(client, DatabaseUnavailable("away"), ZeroDivisionError("a defect"))
        member = new_member()
        before = metrics.CLAIMS.labels("lent_again")._value.get()
        with listening(redis_url, closer, lease_ms=50):
            live_chats.arm([arm_of(member, remaining_ms=1)])
            wait_until(lambda: closer.times, what="closed in the end")
        assert closer.times == {member: 1}
        assert metrics.CLAIMS.labels("lent_again")._value.get() - before >= 2

    def test_a_claim_that_fails_does_not_end_the_listening(
        self, client: Redis, live_chats: LiveChats, redis_url: str
    ) -> None:
        closer = Settler(client)
        spoiled, sound = new_member(), new_member()
        client.sadd(keys.claimed_key(0), "of the wrong type")
        errors = metrics.LISTENER_ERRORS.labels("events")._value.get()
        with listening(redis_url, closer, grace_ms=100) as one:
            client.zadd(Held(client, spoiled).active_key, {Held(client, spoiled).short_session: 1})
            client.set(Held(client, spoiled).live_key, 1, px=1)
            wait_until(lambda: not client.exists(Held(client, spoiled).live_key), what="it expired")
            wait_until(
                lambda: metrics.LISTENER_ERRORS.labels("events")._value.get() > errors,
                what="the failing claim",
            )
            client.delete(keys.claimed_key(0))
            assert one.resubscribed.wait(10)
            live_chats.arm([arm_of(sound, remaining_ms=1)])
            wait_until(lambda: sound in closer.times, what="the next one closed")

    def test_a_restart_of_redis_is_lived_through(self, own_redis_server: RedisServer) -> None:
        url = own_redis_server.url
        with worker_client(url) as client:
            live_chats = LiveChats(client, 1)
            trust(live_chats)
            closer = Settler(client)
            before, after = new_member(), new_member()
            with listening(url, closer) as one:
                live_chats.arm([arm_of(before, remaining_ms=1)])
                wait_until(lambda: before in closer.times, what="closed before")
                own_redis_server.restart()
                assert one.resubscribed.wait(20)
                wait_until(lambda: flags_of(client) >= {"E", "x"}, what="notifications on again")
                live_chats.arm([arm_of(after, remaining_ms=1)])
                wait_until(lambda: after in closer.times, what="closed after")
            assert closer.times == {before: 1, after: 1}

    def test_stopping_closes_what_was_claimed(
        self, client: Redis, live_chats: LiveChats, redis_url: str
    ) -> None:
        closer = Settler(client)
        members = [new_member() for _ in range(600)]
        with listening(redis_url, closer) as one, closer._lock:
            for member in members:
                Held(client, member).make_due()
            one.listener.claim(members)
            assert client.zcard(keys.claimed_key(0)) == 600
        assert closer.times == dict.fromkeys(members, 1)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_ends_by_itself_ends_the_process_to_be_started_anew(
    client: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(_pacer: Pacer) -> None:
        raise SystemExit  # what no loop catches

    failures: list[BaseException] = []
    stop = Event()
    with worker_client(redis_url) as own, pubsub_client(redis_url) as events_client:
        listener = make_listener(redis_url, own, events_client, Settler(client))

        def run() -> None:
            try:
                listener.run(stop)
            except ListenerBroken as failure:
                failures.append(failure)

        thread = Thread(target=run)
        thread.start()
        wait_until(lambda: client.get(keys.heartbeat_key(PROCESS)), what="it runs")
        monkeypatch.setattr(Pacer, "pace_once", die)
        thread.join(10)
    assert not thread.is_alive()
    assert stop.is_set()
    assert "pacer ended" in str(failures[0])


def test_the_heartbeat_names_the_mode_and_ends_with_the_process(
    client: Redis, redis_url: str
) -> None:
    with listening(redis_url, Settler(client)):
        wait_until(lambda: client.get(keys.heartbeat_key(PROCESS)) == "events", what="a beat")
        assert 0 < client.pttl(keys.heartbeat_key(PROCESS)) <= 5_000


def test_a_listener_that_ends_leaves_its_shards_to_the_others_at_once(
    client: Redis, redis_url: str
) -> None:
    with listening(redis_url, Settler(client)):
        wait_until(lambda: client.zcard(keys.listeners_key()) == 1, what="it showed itself")
    assert client.zcard(keys.listeners_key()) == 0


def test_twenty_thousand_due_at_once_are_each_claimed_by_one_of_two_listeners_and_none_early(
    client: Redis, live_chats: LiveChats, redis_url: str
) -> None:
    businesses = [BusinessId(new_id()) for _ in range(5)]
    members = [new_member(businesses[i % 5]) for i in range(20_000)]
    closer = Settler(client)
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(listening(redis_url, closer, grace_ms=250))
        for at in range(0, 20_000, 1000):
            live_chats.arm(
                [arm_of(member, remaining_ms=1500 - at // 20) for member in members[at : at + 1000]]
            )
        deadlines = deadlines_of(client, businesses)
        assert len(deadlines) > 10_000
        wait_until(lambda: len(closer.times) == 20_000, within_s=60, what="all closed")
    assert set(closer.times.values()) == {1}
    assert [one for one in deadlines if closer.closed_at_ms[one] <= deadlines[one]] == []
    assert live_chats.count_all() == 0


def deadlines_of(client: Redis, businesses: list[BusinessId]) -> dict[Member, float]:
    return {
        Member(business, SessionId(lengthen(session))): deadline_ms
        for business in businesses
        for session, deadline_ms in client.zrange(
            keys.active_key(0, business), 0, -1, withscores=True
        )
    }
