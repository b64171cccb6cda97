"""Messages delivered long after they were sent: where they go, and what is summarised again."""

from __future__ import annotations

from datetime import timedelta

from tests.support.builders import World
from tests.support.live_sessions import Held
from timer_service.messages import SummaryStatus


def summarised(world: World, session_id: object) -> None:
    """Let a session's summary have been made, so that asking again shows."""
    world.run(
        "UPDATE sessions SET summary_status = 'done', next_check_at = NULL WHERE id = :id",
        id=session_id,
    )


def attempt_of(world: World, session_id: object) -> int:
    rows = world.read("SELECT summary_attempt FROM sessions WHERE id = :id", id=session_id)
    return int(rows[0]["summary_attempt"])


def test_one_sent_within_a_closed_session_joins_it_and_it_is_summarised_again(
    world: World,
) -> None:
    session_id = world.hear("one").session_id
    world.let_pass(3600)
    world.sweeper.close_overdue_once()
    summarised(world, session_id)
    before = world.session(session_id)
    late = world.hear("two", sent_ago_s=3600 - 300)
    assert (late.session_id, late.opened) == (session_id, False)
    after = world.session(session_id)
    assert world.texts_of(session_id) == ["one", "two"]
    assert after.message_count == 2
    assert (after.closed_at, after.deadline_at) == (before.closed_at, before.deadline_at)
    assert after.close_reason == "idle"
    assert after.summary.status == SummaryStatus.PENDING
    assert attempt_of(world, session_id) == 2
    assert world.queued()[-1] == f"summarize_{session_id}_2"
    assert world.counted() == 0


def test_a_batch_of_late_ones_asks_for_one_summary(world: World) -> None:
    session_id = world.hear().session_id
    world.let_pass(3600)
    world.sweeper.close_overdue_once()
    world.record(*[world.heard(sent_ago_s=3600 - 10 * i) for i in range(1, 20)])
    assert attempt_of(world, session_id) == 2
    assert world.session(session_id).message_count == 20


def test_one_that_closes_the_overdue_session_it_belongs_to_joins_it(world: World) -> None:
    session_id = world.hear("one").session_id
    world.let_pass(3600)
    late = world.hear("two", sent_ago_s=3600 - 300)
    assert late.session_id == session_id
    session = world.session(session_id)
    assert (session.close_reason, session.message_count) == ("idle", 2)
    # The attempt of the closing is superseded before it was ever queued.
    assert world.queued() == [f"summarize_{session_id}_2"]
    assert world.counted() == world.counted_by_redis() == 0


def test_a_backlog_of_a_stranger_becomes_recovered_conversations(world: World) -> None:
    answers = world.record(
        *[world.heard(f"{ago}", sent_ago_s=ago) for ago in (9000, 8900, 5000, 4900)]
    )
    assert [one.opened for one in answers] == [True, False, True, False]
    first, second = world.sessions()
    for session, last_ago in ((first, 8900), (second, 4900)):
        assert (session.close_reason, session.status) == ("recovered", "expired")
        assert session.message_count == 2
        assert session.close_lateness_ms is None
        assert session.summary.status == "pending"
        assert session.deadline_at <= session.closed_at
        silence = session.closed_at - session.last_customer_message_at
        assert abs(silence - timedelta(seconds=last_ago)) < timedelta(seconds=5)
    assert (first.number, second.number) == (1, 2)
    assert sorted(world.queued()) == sorted(f"summarize_{one.id}_1" for one in (first, second))
    assert world.counted() == world.counted_by_redis() == 0
    assert world.redis.keys("ts:*:live:*") == []


def test_a_backlog_that_reaches_the_present_leaves_one_open_session(world: World) -> None:
    world.record(*[world.heard(sent_ago_s=ago) for ago in (9000, 700, 100)], world.heard())
    recovered, alive = world.sessions()
    assert recovered.close_reason == "recovered"
    assert (alive.is_open, alive.message_count) == (True, 3)
    assert world.counted_by_redis() == 1


def test_a_late_one_keeps_the_chat_alive_only_until_its_own_deadline(world: World) -> None:
    session = world.session(world.hear(sent_ago_s=600).session_id)
    assert session.is_open
    assert session.deadline_at - session.last_customer_message_at == timedelta(seconds=900)
    left_ms = world.redis.pttl(Held(world.redis, world.member(session.id)).live_key)
    assert 290_000 < left_ms <= 300_000


def test_a_late_one_of_the_time_before_the_open_session_leaves_its_deadline_alone(
    world: World,
) -> None:
    session_id = world.hear().session_id
    before = world.session(session_id)
    old = world.hear(sent_ago_s=7200)
    assert old.opened
    assert world.session(old.session_id).close_reason == "recovered"
    assert world.session(session_id) == before


def test_one_that_belongs_to_the_completed_session_is_not_taken_by_the_next(
    world: World,
) -> None:
    completed = world.hear("one").session_id
    world.let_pass(300)
    world.completion.complete(world.business_id, completed)
    world.let_pass(60)
    following = world.hear("something else").session_id
    late = world.hear("two", sent_ago_s=200)
    assert late.session_id == completed != following
    assert world.texts_of(following) == ["something else"]
    assert attempt_of(world, completed) == 2


def test_a_replaced_session_takes_nothing(world: World) -> None:
    session_id = world.hear().session_id
    world.let_pass(3600)
    world.run(
        "UPDATE sessions SET state = 'closed', close_reason = 'replaced', "
        "closed_at = clock_timestamp() WHERE id = :id",
        id=session_id,
    )
    assert world.hear(sent_ago_s=3600).session_id != session_id


def test_a_late_redelivery_does_not_ask_for_another_summary(world: World) -> None:
    message = world.heard(id="a", sent_ago_s=9000)
    session_id = world.record(message)[0].session_id
    world.record(message)
    assert attempt_of(world, session_id) == 1
    assert world.session(session_id).message_count == 1
