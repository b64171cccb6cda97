"""Closing: what is due, what somebody completed, and everything of a connection taken away."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from uuid import uuid4

import pytest
from sqlalchemy import text

from tests.support.builders import DANA, NOAM, World
from tests.support.live_sessions import Held, new_member
from tests.support.waiting import wait_until
from timer_service import metrics
from timer_service.clock import monotonic_s
from timer_service.clock_guard import ClockStepped
from timer_service.errors import NotFound
from timer_service.ids import BusinessId
from timer_service.keys import claimed_key
from timer_service.messages import CloseReason, ContactIds
from timer_service.records import sessions


def claim(world: World, session_id: object) -> Held:
    """Let a session's live key have expired and its claim have been won, as a listener does."""
    member = world.member(session_id)
    held = Held(world.redis, member)
    held.make_due()
    assert world.live_chats.claim([member], 60_000)[0].result == 1
    assert held.lease_end_ms is not None
    return held


class TestClosingWhatIsDue:
    def test_a_due_session_is_closed_forgotten_and_to_be_summarised(self, world: World) -> None:
        session_id = world.hear().session_id
        world.let_pass(901)
        held = claim(world, session_id)
        assert world.closer.close_claimed([world.member(session_id)]) == 1
        session = world.session(session_id)
        assert (session.state, session.status) == ("closed", "expired")
        assert session.close_reason == "idle"
        assert session.closed_at >= session.deadline_at
        lateness = session.closed_at - session.deadline_at
        assert session.close_lateness_ms == round(lateness.total_seconds() * 1000)
        assert session.summary.status == "pending"
        assert (held.version, held.deadline_ms, held.lease_end_ms) == (None, None, None)
        assert world.counted_by_redis() == 0
        assert world.queued() == [f"summarize_{session_id}_1"]

    def test_closing_again_does_nothing(self, world: World) -> None:
        session_id = world.hear().session_id
        world.let_pass(901)
        members = [world.member(session_id)]
        world.closer.close_claimed(members)
        before = world.read("SELECT * FROM sessions")
        assert world.closer.close_claimed(members) == 0
        assert world.read("SELECT * FROM sessions") == before
        assert len(world.queued()) == 1

    def test_one_that_is_not_due_is_armed_again_for_what_is_left(self, world: World) -> None:
        session_id = world.hear().session_id
        held = claim(world, session_id)
        assert world.closer.close_claimed([world.member(session_id)]) == 0
        assert world.session(session_id).is_open
        assert held.lease_end_ms is None
        assert 895_000 < world.redis.pttl(held.live_key) <= 900_000
        assert world.counted_by_redis() == 1
        assert world.queued() == []

    def test_one_closed_by_somebody_else_is_forgotten(self, world: World) -> None:
        session_id = world.hear().session_id
        world.run(
            "UPDATE sessions SET state = 'closed', close_reason = 'completed', "
            "closed_at = clock_timestamp()"
        )
        held = claim(world, session_id)
        assert world.closer.close_claimed([world.member(session_id)]) == 0
        assert (held.version, held.deadline_ms, held.lease_end_ms) == (None, None, None)

    def test_one_that_is_gone_is_forgotten(self, world: World) -> None:
        member = new_member()
        held = Held(world.redis, member)
        held.make_due()
        world.live_chats.claim([member], 60_000)
        assert world.closer.close_claimed([member]) == 0
        assert (held.version, held.deadline_ms, held.lease_end_ms) == (None, None, None)

    def test_a_batch_is_sorted_into_closed_rearmed_and_forgotten(self, world: World) -> None:
        due = world.hear(contact=DANA).session_id
        world.let_pass(901)
        early = world.hear(contact=NOAM).session_id
        gone = new_member()
        members = [gone, world.member(early), world.member(due)]
        assert world.closer.close_claimed(members) == 1
        assert world.session(due).close_reason == "idle"
        assert world.session(early).is_open
        assert world.counted_by_redis() == 1

    def test_nothing_to_close_asks_nobody(self, world: World) -> None:
        world.database.close()
        assert world.closer.close_claimed([]) == 0

    def test_the_lateness_is_measured(self, world: World) -> None:
        session_id = world.hear().session_id
        world.let_pass(905)
        before = metrics.CLOSE_LATENESS._sum.get()
        world.closer.close_claimed([world.member(session_id)])
        assert 5 <= metrics.CLOSE_LATENESS._sum.get() - before < 10

    def test_two_closers_at_once_close_each_session_once(self, world: World) -> None:
        people = [ContactIds(phone=f"97250{i:07}") for i in range(300)]
        recorded = world.record(*[world.heard(contact=one) for one in people])
        members = [world.member(one.session_id) for one in recorded]
        world.let_pass(901)
        barrier = Barrier(4)

        def close(number: int) -> int:
            barrier.wait()
            return world.closer.close_claimed(members if number % 2 else members[::-1])

        with ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(close, range(4))) == 300
        attempts = world.read("SELECT DISTINCT summary_attempt, version FROM sessions")
        assert [tuple(row.values()) for row in attempts] == [(1, 2)]
        assert len(world.queued()) == len(set(world.queued())) == 300
        world.let_pass(2)
        world.sweeper.forget_closed_once()
        assert world.counted_by_redis() == 0


class TestAgainstIntake:
    def test_one_that_intake_holds_is_left_alone_and_closed_later_if_due(
        self, world: World
    ) -> None:
        session_id = world.hear().session_id
        world.let_pass(901)
        held = claim(world, session_id)
        with world.database.transaction() as db:
            db.execute(text("SELECT 1 FROM sessions FOR NO KEY UPDATE"))
            assert world.closer.close_claimed([world.member(session_id)]) == 0
        assert world.session(session_id).is_open
        # Armed for the least there is, so the pacer brings it back at once.
        assert held.lease_end_ms is None
        assert held.deadline_ms is not None
        assert world.closer.close_claimed([world.member(session_id)]) == 1

    def test_a_message_that_meets_a_closing_waits_and_opens_another_session(
        self, world: World
    ) -> None:
        first = world.hear("one").session_id
        with ThreadPoolExecutor(1) as pool:
            with world.database.transaction() as db:
                sessions.lock_for_close(db, world.business_id, session_id=first)
                hearing = pool.submit(world.hear, "two")
                wait_until(lambda: world.waiting_for_locks() == 1, what="the message waits")
                sessions.close_locked(db, [first], CloseReason.COMPLETED)
            second = hearing.result()
        assert second.opened
        assert world.texts_of(first) == ["one"]
        assert world.texts_of(second.session_id) == ["two"]

    def test_a_message_committed_while_the_closing_begins_is_not_lost(self, world: World) -> None:
        """The closer's statement sees the old deadline and meets the new one at the row."""
        session_id = world.hear().session_id
        world.let_pass(890)
        barrier = Barrier(2)

        def touch() -> object:
            barrier.wait()
            return world.hear().session_id

        def close() -> int:
            barrier.wait()
            return world.closer.close_claimed([world.member(session_id)])

        for _ in range(20):
            world.run(
                "UPDATE sessions SET due_not_before = 'epoch', "
                "deadline_at = clock_timestamp() + interval '4 ms' "
                "WHERE state = 'open'"
            )
            with ThreadPoolExecutor(2) as pool:
                touched, closed = pool.submit(touch), pool.submit(close)
                landed_in, was_closed = touched.result(), closed.result()
            session = world.session(landed_in)
            assert session.is_open
            assert session.deadline_at - session.last_customer_message_at == timedelta(seconds=900)
            assert (landed_in != session_id) is not world.session(session_id).is_open
            assert was_closed <= (landed_in != session_id)
            session_id = landed_in
        assert sum(one.message_count for one in world.sessions()) == 21
        world.let_pass(2)
        world.sweeper.forget_closed_once()
        assert world.counted_by_redis() == world.counted() == 1


class TestTheClock:
    @pytest.fixture
    def stepped(self, database_url: str, redis_url: str) -> Iterator[tuple[World, list[float]]]:
        """Give a world whose Postgres clock is ahead by what stands in the list."""
        ahead_s = [0.0]
        with World(database_url, redis_url, steady_s=lambda: monotonic_s() - ahead_s[0]) as world:
            world.trust()
            yield world, ahead_s

    def test_a_step_of_postgres_clock_closes_nothing_until_it_is_undone(
        self, stepped: tuple[World, list[float]]
    ) -> None:
        world, ahead_s = stepped
        first = world.hear(contact=DANA).session_id
        world.let_pass(901)
        assert world.closer.close_claimed([world.member(first)]) == 1
        second = world.hear(contact=NOAM).session_id
        world.let_pass(901)
        ahead_s[0] = 10
        with pytest.raises(ClockStepped):
            world.closer.close_claimed([world.member(second)])
        assert "overdue" not in world.sweeper.sweep_once()
        assert world.session(second).is_open
        ahead_s[0] = 0
        assert world.closer.close_claimed([world.member(second)]) == 1

    def test_a_step_between_the_reading_and_the_closing_closes_nothing(self, world: World) -> None:
        session_id = world.hear().session_id
        world.let_pass(901)
        with world.database.transaction() as db:
            now = sessions.read_clock(db)
            for away_s in (-10, 10):
                between = (now + timedelta(seconds=away_s - 2), now + timedelta(seconds=away_s + 2))
                closing = sessions.close_due(db, [session_id], clock_between=between)
                assert closing.closed == []
                assert closing.now > now
        assert world.session(session_id).is_open


class TestCompleting:
    def test_a_session_is_completed_at_once(self, world: World) -> None:
        session_id = world.hear().session_id
        session = world.service.complete(session_id)
        assert (session.close_reason, session.status) == ("completed", "completed")
        assert session.close_lateness_ms is None
        assert session.closed_at < session.deadline_at
        assert world.counted_by_redis() == 0
        assert world.queued() == [f"summarize_{session_id}_1"]

    def test_again_nothing_changes(self, world: World) -> None:
        session_id = world.hear().session_id
        first = world.service.complete(session_id)
        assert world.service.complete(session_id) == first
        assert len(world.queued()) == 1

    def test_one_that_is_overdue_ended_by_silence(self, world: World) -> None:
        session_id = world.hear().session_id
        world.let_pass(901)
        session = world.service.complete(session_id)
        assert (session.close_reason, session.status) == ("idle", "expired")
        assert session.close_lateness_ms >= 1000

    def test_the_next_message_opens_another(self, world: World) -> None:
        first = world.hear().session_id
        world.service.complete(first)
        second = world.hear()
        assert second.opened
        assert world.session(second.session_id).number == 2

    def test_twenty_completions_at_once_close_once(self, world: World) -> None:
        session_id = world.hear().session_id
        barrier = Barrier(20)

        def complete(_: int) -> bool:
            barrier.wait()
            return world.completion.complete(world.business_id, session_id)

        with ThreadPoolExecutor(20) as pool:
            assert sum(pool.map(complete, range(20))) == 1
        assert world.queued() == [f"summarize_{session_id}_1"]

    def test_another_businesss_session_is_not_found_and_stays_open(self, world: World) -> None:
        session_id = world.hear().session_id
        other, _ = world.administration.add_business({"name": "Other"})
        with pytest.raises(NotFound):
            world.service.complete(session_id, BusinessId(other.id))
        with pytest.raises(NotFound):
            world.service.complete(uuid4())
        assert world.session(session_id).is_open


class TestTakingAway:
    def test_deleting_a_connection_completes_its_open_sessions_and_keeps_the_rows(
        self, world: World
    ) -> None:
        other = world.add_connection("2000")
        here = [world.hear(contact=DANA).session_id, world.hear(contact=NOAM).session_id]
        there = world.record(world.heard(), connection_id=other)[0].session_id
        world.let_pass(100)
        world.administration.delete_connection(world.business_id, world.connection_id)
        assert {world.session(one).close_reason for one in here} == {"completed"}
        assert world.session(there).is_open
        assert world.counted_by_redis() == 1
        assert sorted(world.queued()) == sorted(f"summarize_{one}_1" for one in here)
        assert len(world.texts_of(here[0])) == 1
        with pytest.raises(NotFound):
            world.administration.delete_connection(world.business_id, world.connection_id)

    def test_erasing_a_business_leaves_nothing_of_it_anywhere(self, world: World) -> None:
        session_id = world.hear().session_id
        done = world.hear(contact=NOAM).session_id
        world.service.complete(done)
        world.administration.erase_business(world.business_id)
        for table in ("businesses", "connections", "contacts", "contact_ids", "sessions",
                      "messages", "api_keys"):  # fmt: skip
            assert world.read(f"SELECT 1 FROM {table}") == []
        held = Held(world.redis, world.member(session_id))
        assert (held.version, held.deadline_ms) == (None, None)
        assert not world.redis.exists(claimed_key(0))
        with pytest.raises(NotFound):
            world.hear()


def test_a_session_whose_claim_ended_while_postgres_held_it_is_offered_again(
    world: World,
) -> None:
    session_id = world.hear().session_id
    world.let_pass(901)
    member = world.member(session_id)
    Held(world.redis, member).make_due()
    world.live_chats.claim([member], 1)
    lent = wait_until(
        lambda: world.live_chats.pace([0], grace_ms=0, lease_ms=60_000, limit=10)[0].lent_again,
        what="the lease ended",
    )
    assert world.closer.close_claimed(lent) == 1
