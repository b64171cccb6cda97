"""Every return code of every script, and each trap the scripts exist for, on a real server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis import Redis

from tests.support.live_sessions import (
    SHARD,
    Held,
    arm_of,
    everything,
    new_member,
    redis_now_ms,
    trust,
)
from tests.support.waiting import wait_until
from timer_service import keys
from timer_service.ids import BusinessId, new_id, shorten
from timer_service.keys import Member
from timer_service.live_chats import ActivePage, ArmOutcome, ClaimResult, LiveChats, Pace
from timer_service.redis_clients import open_pubsub, worker_client

LEASE_MS = 5_000
GRACE_MS = 250
NEVER_MS = 3_600_000


@pytest.fixture
def client(redis_url: str) -> Iterator[Redis]:
    with worker_client(redis_url) as client:
        yield client


@pytest.fixture
def live_chats(client: Redis) -> LiveChats:
    return LiveChats(client, 1)


def claim(live_chats: LiveChats, member: Member) -> ClaimResult:
    return live_chats.claim([member], LEASE_MS)[0].result


def pace(
    live_chats: LiveChats, *, grace_ms: int = GRACE_MS, lease_ms: int = LEASE_MS, limit: int = 1000
) -> Pace:
    (one,) = live_chats.pace([SHARD], grace_ms=grace_ms, lease_ms=lease_ms, limit=limit)
    return one


def wait_for_ms(client: Redis, at_ms: float) -> None:
    wait_until(lambda: redis_now_ms(client) >= at_ms, every_s=0.001, what="Redis's clock")


def assert_index_follows_key(held: Held) -> None:
    """Never later than the key ends, or a claim would take it for deleted; 1 ms early on 7.0."""
    assert held.deadline_ms is not None
    assert 0 <= held.ends_at_ms - held.deadline_ms <= 1
    assert held.next_look_ms is not None
    assert held.next_look_ms <= held.deadline_ms


class TestArm:
    def test_key_and_index_end_at_the_same_millisecond(
        self, client: Redis, live_chats: LiveChats
    ) -> None:
        member = new_member()
        before_ms = redis_now_ms(client)
        assert live_chats.arm([arm_of(member, version=1, remaining_ms=60_000)]) == [
            ArmOutcome.ARMED
        ]
        held = Held(client, member)
        assert held.version == "1"
        assert held.ends_at_ms == held.deadline_ms == held.next_look_ms
        assert before_ms + 60_000 <= held.ends_at_ms <= redis_now_ms(client) + 60_000

    def test_a_later_version_of_what_is_not_there_is_armed_and_told(
        self, client: Redis, live_chats: LiveChats
    ) -> None:
        member = new_member()
        assert live_chats.arm([arm_of(member, version=2)]) == [ArmOutcome.ANEW]
        held = Held(client, member)
        assert held.version == "2"
        assert held.ends_at_ms == held.deadline_ms
        live_chats.forget([member])
        assert live_chats.arm([arm_of(member, version=3)]) == [ArmOutcome.ANEW]

    def test_a_claimed_session_that_is_extended_is_not_taken_for_lost(
        self, client: Redis, live_chats: LiveChats
    ) -> None:
        member = new_member()
        client.zadd(keys.claimed_key(SHARD), {keys.member_text(member): 1})
        assert live_chats.arm([arm_of(member, version=2)]) == [ArmOutcome.ARMED]

    def test_a_lower_version_changes_nothing(self, client: Redis, live_chats: LiveChats) -> None:
        member = new_member()
        live_chats.arm([arm_of(member, version=7)])
        before = everything(client)
        outcome = live_chats.arm([arm_of(member, version=6, remaining_ms=5)])
        assert outcome == [ArmOutcome.STALE]
        assert everything(client) == before

    def test_the_same_version_puts_a_lost_index_entry_back(
        self, client: Redis, live_chats: LiveChats
    ) -> None:
        member = new_member()
        live_chats.arm([arm_of(member, version=7)])
        held = Held(client, member)
        ends_at_ms = held.ends_at_ms
        client.delete(held.active_key, keys.agenda_key(SHARD))
        outcome = live_chats.arm([arm_of(member, version=7, remaining_ms=5)])
        assert outcome == [ArmOutcome.REPAIRED]
        assert (held.version, held.ends_at_ms) == ("7", ends_at_ms)
        assert_index_follows_key(held)

    def test_the_same_version_settles_a_claim_left_behind(
        self, client: Redis, live_chats: LiveChats
    ) -> None:
        member = new_member()
        live_chats.arm([arm_of(member)])
        client.zadd(keys.claimed_key(SHARD), {keys.member_text(member): 1})
        live_chats.arm([arm_of(member)])
        assert Held(client, member).lease_end_ms is None

    @pytest.mark.parametrize("remaining_ms", [30_000, 90_000], ids=["earlier", "later"])
    def test_a_higher_version_moves_the_deadline_either_way(
        self, client: Redis, live_chats: LiveChats, remaining_ms: int
    ) -> None:
        member = new_member()
        live_chats.arm([arm_of(member, version=9, remaining_ms=60_000)])
        first_ms = Held(client, member).deadline_ms
        outcome = live_chats.arm([arm_of(member, version=10, remaining_ms=remaining_ms)])
        held = Held(client, member)
        assert outcome == [ArmOutcome.ARMED]
        assert held.version == "10"
        assert held.deadline_ms == held.ends_at_ms
        assert held.deadline_ms - first_ms == pytest.approx(remaining_ms - 60_000, abs=2_000)
        assert held.next_look_ms <= held.deadline_ms

    @pytest.mark.parametrize("value", ["99", "somebody else's"])
    def test_a_key_overwritten_without_ttl_is_armed_anew(
        self, client: Redis, live_chats: LiveChats, value: str
    ) -> None:
        member = new_member()
        live_chats.arm([arm_of(member, version=7)])
        held = Held(client, member)
        client.set(held.live_key, value)
        assert live_chats.arm([arm_of(member, version=7)]) == [ArmOutcome.ARMED]
        assert held.version == "7"
        assert held.ends_at_ms == held.deadline_ms

    def test_a_key_overwritten_with_another_type_is_armed_anew(
        self, client: Redis, live_chats: LiveChats
    ) -> None:
        member = new_member()
        held = Held(client, member)
        client.rpush(held.live_key, "a", "b")
        client.pexpire(held.live_key, 60_000)
        assert live_chats.arm([arm_of(member)]) == [ArmOutcome.ARMED]
        assert held.version == "1"

    def test_a_value_that_is_no_version_is_armed_anew(
        self, client: Redis, live_chats: LiveChats
    ) -> None:
        member = new_member()
        held = Held(client, member)
        client.set(held.live_key, "not a version", px=60_000)
        assert live_chats.arm([arm_of(member)]) == [ArmOutcome.ARMED]
        assert held.version == "1"

    def test_arming_a_claimed_session_takes_the_claim_back(
        self, client: Redis, live_chats: LiveChats
    ) -> None:
        member = new_member()
        held = Held(client, member)
        held.make_due()
        assert claim(live_chats, member) is ClaimResult.WON
        assert live_chats.arm([arm_of(member)]) == [ArmOutcome.ARMED]
        assert held.lease_end_ms is None
        assert held.deadline_ms == held.ends_at_ms

    def test_a_rebuild_arms_only_under_its_own_token(
        self, client: Redis, live_chats: LiveChats
    ) -> None:
        member = new_member()
        nothing_there = live_chats.arm([arm_of(member)], token="mine")
        live_chats.begin_rebuild(SHARD, "mine")
        allowed = live_chats.arm([arm_of(member)], token="mine")
        live_chats.begin_rebuild(SHARD, "mine-too")
        client.delete(Held(client, member).live_key)
        superseded = live_chats.arm([arm_of(member)], token="mine")
        assert (nothing_there, allowed, superseded) == (
            [ArmOutcome.FENCED],
            [ArmOutcome.ARMED],
            [ArmOutcome.FENCED],
        )
        assert Held(client, member).version is None
        assert Held(client, member).deadline_ms is None


class TestClaim:
    def test_the_winner_learns_the_deadline_and_holds_the_lease(
        self, client: Redis, live_chats: LiveChats
    ) -> None:
        member = new_member()
        held = Held(client, member)
        deadline_ms = held.make_due(late_ms=40)
        (outcome,) = live_chats.claim([member], LEASE_MS)
        assert outcome.result is ClaimResult.WON
        assert outcome.deadline_ms == deadline_ms
        assert outcome.late_ms == pytest.approx(45, abs=1_000)
        assert outcome.late_ms >= 40
        assert held.lease_end_ms == deadline_ms + outcome.late_ms + LEASE_MS
        assert (held.deadline_ms, held.next_look_ms) == (None, None)

    def test_a_second_claim_is_lost_and_changes_nothing(
        self, client: Redis, live_chats: LiveChats
    ) -> None:
        member = new_member()
        Held(client, member).make_due()
        assert claim(live_chats, member) is ClaimResult.WON
        before = everything(client)
        assert claim(live_chats, member) is ClaimResult.LOST
        assert everything(client) == before

    def test_a_session_touched_meanwhile_is_alive_and_the_index_follows_its_key(
        self, client: Redis, live_chats: LiveChats
    ) -> None:
        member = new_member()
        live_chats.arm([arm_of(member)])
        held = Held(client, member)
        held.put_into_index(redis_now_ms(client) - 500)
        assert claim(live_chats, member) is ClaimResult.ALIVE
        assert_index_follows_key(held)
        assert held.lease_end_ms is None

    def test_a_key_deleted_early_is_put_back_for_the_rest_of_its_time(
        self, client: Redis, live_chats: LiveChats
    ) -> None:
        member = new_member()
        live_chats.arm([arm_of(member, version=7)])
        held = Held(client, member)
        deadline_ms = held.deadline_ms
        client.delete(held.live_key)
        assert claim(live_chats, member) is ClaimResult.RESTORED
        assert held.ends_at_ms == held.deadline_ms == deadline_ms
        assert held.lease_end_ms is None

    def test_a_restored_key_gives_way_to_any_real_version(
        self, client: Redis, live_chats: LiveChats
    ) -> None:
        member = new_member()
        live_chats.arm([arm_of(member, version=1)])
        client.delete(Held(client, member).live_key)
        claim(live_chats, member)
        assert live_chats.arm([arm_of(member, version=1)]) == [ArmOutcome.ARMED]

    def test_an_overwritten_key_without_ttl_is_left_to_the_pacer(
        self, client: Redis, live_chats: LiveChats
    ) -> None:
        member = new_member()
        held = Held(client, member)
        deadline_ms = held.make_due(late_ms=500)
        client.set(held.live_key, "overwritten")
        assert claim(live_chats, member) is ClaimResult.ALIVE
        assert held.deadline_ms == deadline_ms

    def test_the_others_of_the_business_stay(self, client: Redis, live_chats: LiveChats) -> None:
        due = new_member()
        other = new_member(due.business_id)
        live_chats.arm([arm_of(other)])
        Held(client, due).make_due()
        assert claim(live_chats, due) is ClaimResult.WON
        held = Held(client, other)
        assert held.deadline_ms == held.ends_at_ms
        assert held.next_look_ms is not None


class TestForget:
    def test_nothing_stays_of_a_live_a_due_or_a_claimed_session(
        self, client: Redis, live_chats: LiveChats
    ) -> None:
        live, due, claimed = new_member(), new_member(), new_member()
        live_chats.arm([arm_of(live)])
        Held(client, due).make_due()
        Held(client, claimed).make_due()
        claim(live_chats, claimed)
        live_chats.forget([live, due, claimed])
        assert everything(client) == {}

    def test_the_reply_counts_what_was_removed(self, client: Redis, live_chats: LiveChats) -> None:
        member = new_member()
        live_chats.arm([arm_of(member)])
        client.zadd(keys.claimed_key(SHARD), {keys.member_text(member): 1})
        call = live_chats._forget_call(SHARD, [member])
        replies = [client.eval(call.script.source, 2, *call.keys, *call.args) for _ in range(2)]
        assert replies == [[3], [0]]

    def test_the_others_of_the_business_stay(self, client: Redis, live_chats: LiveChats) -> None:
        kept = new_member()
        gone = new_member(kept.business_id)
        live_chats.arm([arm_of(kept), arm_of(gone)])
        live_chats.forget([gone])
        assert Held(client, kept).deadline_ms == Held(client, kept).ends_at_ms
        assert Held(client, kept).next_look_ms is not None


class TestCount:
    def test_sessions_past_their_deadline_are_not_counted(
        self, client: Redis, live_chats: LiveChats
    ) -> None:
        trust(live_chats)
        first = new_member()
        live_chats.arm([arm_of(first), arm_of(new_member(first.business_id))])
        assert live_chats.count(first.business_id) == 2
        Held(client, new_member(first.business_id)).make_due()
        assert live_chats.count(first.business_id) == 2

    def test_a_page_lists_the_latest_deadlines_first_and_no_overdue_one(
        self, client: Redis, live_chats: LiveChats
    ) -> None:
        trust(live_chats)
        business = BusinessId(new_id())
        members = [new_member(business) for _ in range(4)]
        for minutes, member in enumerate(members, start=1):
            live_chats.arm([arm_of(member, remaining_ms=minutes * 60_000)])
        Held(client, new_member(business)).make_due()
        latest_first = [
            (member.session_id, Held(client, member).deadline_ms) for member in reversed(members)
        ]
        whole, part = live_chats.list_active(business, 10), live_chats.list_active(business, 3)
        assert whole == ActivePage(4, latest_first)
        assert part == ActivePage(4, latest_first[:3])

    def test_a_business_without_sessions_counts_none(self, live_chats: LiveChats) -> None:
        trust(live_chats)
        assert live_chats.count(BusinessId(new_id())) == 0

    def test_no_epoch_a_building_one_or_another_run_is_not_trusted(
        self, client: Redis, live_chats: LiveChats
    ) -> None:
        business = BusinessId(new_id())
        epoch = keys.epoch_key(SHARD)
        answers = []
        for value in (None, "building:t:" + live_chats.run_id(), "0" * 40):
            client.delete(epoch) if value is None else client.set(epoch, value)
            answers.append(live_chats.list_active(business, 5))
        client.set(epoch, live_chats.run_id())
        assert answers == [None, None, None]
        assert live_chats.count(business) == 0


class TestPaceTouch:
    def test_touching_makes_redis_publish_what_is_due(
        self, client: Redis, live_chats: LiveChats
    ) -> None:
        client.config_set("notify-keyspace-events", "Ex")
        # Among so many others Redis's own cycle would come to this key after minutes.
        client.eval("for i = 1, 50000 do redis.call('SET', i, '', 'PX', 3600000) end", 0)
        member = new_member()
        held = Held(client, member)
        with open_pubsub(client) as pubsub:
            pubsub.subscribe(keys.expired_channel(0))
            assert pubsub.get_message(timeout=5)["type"] == "subscribe"
            live_chats.arm([arm_of(member, remaining_ms=5)])
            wait_for_ms(client, held.deadline_ms + 1)
            assert pubsub.get_message(timeout=0.02) is None
            assert pace(live_chats).touched == 1
            assert pubsub.get_message(timeout=5)["data"] == held.live_key

    def test_what_was_touched_is_not_touched_again(
        self, client: Redis, live_chats: LiveChats
    ) -> None:
        held = Held(client, new_member())
        held.make_due()
        assert [pace(live_chats, grace_ms=NEVER_MS).touched for _ in range(3)] == [1, 0, 0]

    def test_an_alive_member_is_never_removed_but_follows_its_key(
        self, client: Redis, live_chats: LiveChats
    ) -> None:
        member = new_member()
        live_chats.arm([arm_of(member)])
        held = Held(client, member)
        for grace_ms in (GRACE_MS, 0):
            held.put_into_index(redis_now_ms(client) - 10_000)
            one = pace(live_chats, grace_ms=grace_ms)
            assert one.taken_over == []
            assert_index_follows_key(held)
            assert held.next_look_ms == held.deadline_ms

    def test_nothing_is_taken_at_or_before_its_deadline_and_everything_right_after(
        self, client: Redis, live_chats: LiveChats
    ) -> None:
        members = {new_member(): 0.0 for _ in range(300)}
        live_chats.arm(
            [arm_of(member, remaining_ms=20 + i % 100) for i, member in enumerate(members)]
        )
        for member in members:
            members[member] = Held(client, member).deadline_ms or 0.0
        taken: dict[Member, int] = {}

        def all_taken() -> bool:
            one = pace(live_chats, grace_ms=0)
            for member in one.taken_over:
                assert member not in taken
                taken[member] = one.now_ms
            return len(taken) == len(members)

        wait_until(all_taken, every_s=0, what="all sessions fell due")
        assert all(at_ms > members[member] for member, at_ms in taken.items())

    def test_a_page_ends_where_a_millisecond_ends(
        self, client: Redis, live_chats: LiveChats
    ) -> None:
        business = BusinessId(new_id())
        now_ms = redis_now_ms(client)
        for i in range(35):
            Held(client, new_member(business)).put_into_index(now_ms - 100 + i // 7)
        touched = [pace(live_chats, grace_ms=NEVER_MS, limit=10).touched for _ in range(4)]
        assert touched == [14, 14, 7, 0]

    def test_three_thousand_members_of_one_millisecond_do_not_stop_what_follows(
        self, client: Redis, live_chats: LiveChats
    ) -> None:
        business = BusinessId(new_id())
        at_ms = redis_now_ms(client) - 50
        crowd = {shorten(new_member().session_id): at_ms for _ in range(3000)}
        client.zadd(keys.active_key(SHARD, business), crowd)
        Held(client, new_member(business)).put_into_index(at_ms + 1)
        client.zadd(keys.agenda_key(SHARD), {shorten(business): at_ms})
        touched = [pace(live_chats, grace_ms=NEVER_MS, limit=100).touched for _ in range(3)]
        assert touched == [3000, 1, 0]

    def test_a_crowd_of_one_millisecond_does_not_lift_the_limit_for_others(
        self, client: Redis, live_chats: LiveChats
    ) -> None:
        crowded, backlogged = BusinessId(new_id()), BusinessId(new_id())
        Held(client, new_member(crowded)).make_due(late_ms=6_000)
        at_ms = redis_now_ms(client) - 50
        for _ in range(20):
            Held(client, new_member(crowded)).put_into_index(at_ms)
        for _ in range(30):
            Held(client, new_member(backlogged)).make_due(late_ms=5_000)
        passes = [pace(live_chats, grace_ms=3_000, limit=10) for _ in range(4)]
        assert [one.touched for one in passes] == [21, 10, 10, 10]
        assert [len(one.taken_over) for one in passes] == [1, 10, 10, 10]

    def test_what_is_just_due_is_touched_right_after_a_backlog_that_filled_the_limit(
        self, client: Redis, live_chats: LiveChats
    ) -> None:
        business = BusinessId(new_id())
        for i in range(10):
            Held(client, new_member(business)).make_due(late_ms=5_000 + i)
        Held(client, new_member(business)).make_due(late_ms=5)
        first = pace(live_chats, grace_ms=3_000, limit=10)
        assert (len(first.taken_over), first.wake_at_ms) == (10, first.now_ms)
        second = pace(live_chats, grace_ms=3_000, limit=10)
        assert (second.touched, second.taken_over) == (1, [])

    def test_gone_members_nobody_claims_do_not_stand_in_the_way(
        self, client: Redis, live_chats: LiveChats
    ) -> None:
        business = BusinessId(new_id())
        now_ms = redis_now_ms(client)
        for i in range(300):
            Held(client, new_member(business)).put_into_index(now_ms - 1000 + i)
        crowded = new_member(business)
        stuck = [Held(client, new_member()) for _ in range(30)]
        for held in stuck:
            held.put_into_index(now_ms - 1000)
        while pace(live_chats, grace_ms=NEVER_MS, limit=20).touched:
            pass
        live_chats.arm([arm_of(crowded, remaining_ms=1), arm_of(new_member(), remaining_ms=1)])
        wait_for_ms(client, Held(client, crowded).deadline_ms + 2)
        assert pace(live_chats, grace_ms=NEVER_MS, limit=20).touched == 2

    def test_the_oldest_deadline_goes_first_when_many_businesses_are_due(
        self, client: Redis, live_chats: LiveChats
    ) -> None:
        now_ms = redis_now_ms(client)
        members = [new_member() for _ in range(30)]
        for i, member in enumerate(members):
            Held(client, member).put_into_index(now_ms - 1000 + i)
        taken = []
        for _ in range(3):
            one = pace(live_chats, limit=10)
            assert one.touched == 10
            taken += one.taken_over
        assert taken == members


class TestPaceTakeOver:
    def test_a_gone_member_is_taken_over_after_the_grace_time_and_not_before(
        self, client: Redis, live_chats: LiveChats
    ) -> None:
        member = new_member()
        held = Held(client, member)
        deadline_ms = held.make_due()
        early = pace(live_chats, grace_ms=150)
        assert early.taken_over == []
        assert early.wake_at_ms == deadline_ms + 150 + 1

        def taken_over() -> Pace | None:
            one = pace(live_chats, grace_ms=150)
            return one if one.taken_over else None

        one = wait_until(taken_over, every_s=0.001)
        assert one.taken_over == [member]
        assert one.now_ms > deadline_ms + 150
        assert held.lease_end_ms == one.now_ms + LEASE_MS
        assert (held.deadline_ms, held.next_look_ms) == (None, None)
        assert claim(live_chats, member) is ClaimResult.LOST

    def test_without_grace_it_is_taken_over_at_once(
        self, client: Redis, live_chats: LiveChats
    ) -> None:
        member = new_member()
        Held(client, member).make_due()
        assert pace(live_chats, grace_ms=0).taken_over == [member]

    def test_a_key_overwritten_without_ttl_is_due_when_its_deadline_has_passed(
        self, client: Redis, live_chats: LiveChats
    ) -> None:
        due, not_yet = new_member(), new_member()
        live_chats.arm([arm_of(not_yet)])
        Held(client, due).make_due()
        for member in (due, not_yet):
            client.set(Held(client, member).live_key, "overwritten")
        assert pace(live_chats).taken_over == [due]
        assert Held(client, due).version is None
        assert Held(client, not_yet).version == "overwritten"

    def test_a_key_deleted_early_is_taken_over_only_when_it_is_due(
        self, client: Redis, live_chats: LiveChats
    ) -> None:
        member = new_member()
        live_chats.arm([arm_of(member)])
        client.delete(Held(client, member).live_key)
        assert pace(live_chats, grace_ms=0).taken_over == []
        assert Held(client, member).deadline_ms is not None

    def test_taking_over_goes_on_where_the_limit_cut_it_short(
        self, client: Redis, live_chats: LiveChats
    ) -> None:
        business = BusinessId(new_id())
        members = [new_member(business) for _ in range(25)]
        for i, member in enumerate(members):
            Held(client, member).make_due(late_ms=2000 - i)
        taken: list[Member] = []

        def none_left() -> bool:
            taken.extend(pace(live_chats, limit=10).taken_over)
            return len(taken) >= 25

        wait_until(none_left, every_s=0.001)
        assert sorted(taken) == sorted(members)
        assert everything(client).keys() == {keys.claimed_key(SHARD)}


class TestPaceLease:
    def test_a_claim_whose_lease_ended_is_offered_again_and_only_then(
        self, client: Redis, live_chats: LiveChats
    ) -> None:
        member = new_member()
        held = Held(client, member)
        held.make_due()
        live_chats.claim([member], 60)
        lease_end_ms = held.lease_end_ms
        first = pace(live_chats)
        assert (first.lent_again, first.wake_at_ms) == ([], lease_end_ms)
        wait_for_ms(client, lease_end_ms)
        second = pace(live_chats)
        assert (second.taken_over, second.lent_again) == ([], [member])
        assert held.lease_end_ms == second.now_ms + LEASE_MS
        assert pace(live_chats).lent_again == []


class TestPaceAnswer:
    def test_it_says_when_the_next_deadline_has_passed(
        self, client: Redis, live_chats: LiveChats
    ) -> None:
        assert pace(live_chats).wake_at_ms is None
        member = new_member()
        live_chats.arm([arm_of(member, remaining_ms=30_000), arm_of(new_member())])
        assert pace(live_chats).wake_at_ms == Held(client, member).deadline_ms + 1

    def test_it_sees_past_a_gone_member_to_the_next_deadline_of_the_business(
        self, client: Redis, live_chats: LiveChats
    ) -> None:
        gone = new_member()
        coming = new_member(gone.business_id)
        live_chats.arm([arm_of(coming, remaining_ms=30_000)])
        Held(client, gone).make_due()
        assert pace(live_chats, grace_ms=NEVER_MS).wake_at_ms == (
            Held(client, coming).deadline_ms + 1
        )

    def test_it_asks_to_come_back_at_once_where_more_is_due(
        self, client: Redis, live_chats: LiveChats
    ) -> None:
        for i in range(5):
            Held(client, new_member()).make_due(late_ms=50 + i)
        one = pace(live_chats, limit=2)
        assert one.wake_at_ms == one.now_ms

    def test_an_agenda_entry_that_is_too_early_is_put_right(
        self, client: Redis, live_chats: LiveChats
    ) -> None:
        member, emptied = new_member(), new_member()
        live_chats.arm([arm_of(member, version=1, remaining_ms=1)])
        live_chats.arm([arm_of(member, version=2)])
        client.zadd(keys.agenda_key(SHARD), {shorten(emptied.business_id): 1})
        held = Held(client, member)
        wait_for_ms(client, held.next_look_ms + 1)
        assert pace(live_chats).touched == 0
        assert held.next_look_ms == held.deadline_ms
        assert Held(client, emptied).next_look_ms is None

    def test_it_trusts_only_the_servers_own_run(self, client: Redis, live_chats: LiveChats) -> None:
        trusted = [pace(live_chats).trusted]
        live_chats.begin_rebuild(SHARD, "t")
        trusted.append(pace(live_chats).trusted)
        live_chats.finish_rebuild(SHARD, "t")
        trusted.append(pace(live_chats).trusted)
        client.flushall()
        trusted.append(pace(live_chats).trusted)
        assert trusted == [False, False, True, False]


class TestRebuild:
    def test_it_empties_the_indexes_and_keeps_the_live_keys(
        self, client: Redis, live_chats: LiveChats
    ) -> None:
        live, claimed = new_member(), new_member()
        live_chats.arm([arm_of(live)])
        Held(client, claimed).make_due()
        claim(live_chats, claimed)
        client.hset(keys.swept_key(SHARD), "opened", "2026-11-01T00:00:00+00:00")
        ends_at_ms = Held(client, live).ends_at_ms
        live_chats.begin_rebuild(SHARD, "t")
        assert everything(client) == {
            keys.epoch_key(SHARD): (f"building:t:{live_chats.run_id()}", -1),
            Held(client, live).live_key: ("1", ends_at_ms),
        }

    def test_arming_again_brings_the_same_indexes_back(
        self, client: Redis, live_chats: LiveChats
    ) -> None:
        trust(live_chats)
        members = [new_member() for _ in range(20)]
        live_chats.arm([arm_of(member) for member in members])
        deadlines = [Held(client, member).deadline_ms for member in members]
        live_chats.begin_rebuild(SHARD, "t")
        outcomes = live_chats.arm([arm_of(member) for member in members], token="t")
        assert live_chats.finish_rebuild(SHARD, "t") is True
        assert set(outcomes) == {ArmOutcome.REPAIRED}
        assert [Held(client, one).deadline_ms for one in members] == pytest.approx(deadlines, abs=1)
        assert live_chats.count_all() == 20

    def test_it_finishes_once_and_only_under_the_last_token(
        self, client: Redis, live_chats: LiveChats
    ) -> None:
        live_chats.begin_rebuild(SHARD, "first")
        live_chats.begin_rebuild(SHARD, "second")
        finished = [live_chats.finish_rebuild(SHARD, "first")]
        before = everything(client)
        finished.append(live_chats.finish_rebuild(SHARD, "second"))
        finished.append(live_chats.finish_rebuild(SHARD, "second"))
        assert finished == [False, True, False]
        assert before == {keys.epoch_key(SHARD): (f"building:second:{live_chats.run_id()}", -1)}
        assert live_chats.epoch(SHARD) == live_chats.run_id()
