"""What waited in a spool is judged at its receipt, in order, once, and overtaken by no closer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from threading import Event, Thread

import pytest

from tests.support.builders import DANA, NOAM, World
from tests.support.live_sessions import Held
from tests.support.spool_host import Host, texts_by_session
from tests.support.waiting import wait_until
from timer_service.clock_guard import ClockGuard
from timer_service.closing import Closer
from timer_service.errors import DatabaseUnavailable
from timer_service.intake import Intake
from timer_service.intake_batch import Bundle, Recorded
from timer_service.messages import ContactIds, IdentityLink
from timer_service.records import spool_file
from timer_service.resources import Session
from timer_service.spool import Spool
from timer_service.spool_announcements import SILENT_AFTER, SpoolAnnouncements
from timer_service.spool_replay import MOST_TRIES

GAP_S = 60


@pytest.fixture
def host(world: World, tmp_path: Path) -> Iterator[Host]:
    world.set_rules(idle_gap_s=GAP_S)
    host = Host(world, tmp_path / "spool")
    yield host
    host.spool.close()


def near(actual: datetime | None, expected: datetime) -> bool:
    assert actual is not None
    return abs((actual - expected).total_seconds()) < 0.001


def test_a_chat_that_went_on_while_postgres_was_away_is_one_session(
    world: World, host: Host
) -> None:
    world.hear("one")
    world.let_pass(150)
    host.hear("two", 100)
    host.hear("three", 50)
    last_at = host.hear("four", 20)
    assert host.replay() == 3
    assert host.keeper._announcements.known_held_after() is None
    assert texts_by_session(world) == [["one", "two", "three", "four"]]
    (session,) = world.sessions()
    assert session.is_open
    assert near(session.last_customer_message_at, last_at)
    assert near(session.deadline_at, last_at + timedelta(seconds=GAP_S))
    rows = world.read("SELECT received_at FROM messages ORDER BY received_at DESC LIMIT 1")
    assert near(rows[0]["received_at"], last_at)
    assert world.counted() == 1


def test_chats_that_ended_meanwhile_end_when_they_did(world: World, host: Host) -> None:
    world.hear("one")
    world.let_pass(600)
    second_at = host.hear("two", 400)
    third_at = host.hear("three", 100)
    assert host.replay() == 2
    assert texts_by_session(world) == [["one"], ["two"], ["three"]]
    assert world.sweeper.close_overdue_once() == 1
    _, second, third = world.sessions()
    for session, last_at in ((second, second_at), (third, third_at)):
        assert session.close_reason == "idle"
        assert near(session.last_customer_message_at, last_at)
        assert near(session.deadline_at, last_at + timedelta(seconds=GAP_S))


def test_a_new_customers_two_visits_are_two_sessions_though_they_come_in_one_batch(
    world: World, host: Host
) -> None:
    host.hear("first visit", 500)
    host.hear("somebody else", 490, NOAM)
    host.hear("still there", 470)
    host.hear("second visit", 30)
    assert host.replay() == 4
    assert texts_by_session(world) == [
        ["first visit", "still there"],
        ["somebody else"],
        ["second visit"],
    ]
    assert [one.is_open for one in world.sessions()].count(True) == 2  # and one is overdue


def test_a_backlog_inside_the_spool_counts_at_its_sending(world: World, host: Host) -> None:
    host.receive(50, world.heard("old news", sent_ago_s=5_000))
    host.hear("now", 40)
    host.replay()
    old, new = world.sessions()
    assert (old.close_reason, new.is_open) == ("recovered", True)


def test_a_message_older_than_the_open_session_makes_one_of_its_own(
    world: World, host: Host
) -> None:
    host.hear("before", 500)
    world.hear("now")
    host.replay()
    assert sorted(texts_by_session(world)) == [["before"], ["now"]]
    assert {one.close_reason for one in world.sessions()} == {"recovered", None}


def test_one_that_comes_too_late_joins_its_session_which_is_summarised_again(
    world: World, host: Host
) -> None:
    session_id = world.hear("one").session_id
    world.let_pass(100)
    world.sweeper.close_overdue_once()
    host.hear("two", 70)
    host.replay()
    assert texts_by_session(world) == [["one", "two"]]
    assert f"summarize_{session_id}_2" in world.queued()


def test_merging_two_contacts_closes_nothing_that_the_spool_continues(
    world: World, host: Host
) -> None:
    lid = ContactIds(lid="111111111111111")
    world.hear("by phone")
    world.hear("by lid", contact=lid)
    world.let_pass(100)
    host.receive(50, IdentityLink(contact=ContactIds(phone=DANA.phone, lid=lid.lid)))
    host.hear("both", 45, lid)
    host.replay()
    open_ones = [one for one in world.sessions() if one.is_open]
    assert [world.texts_of(one.id) for one in open_ones] == [["by phone", "by lid", "both"]]


def test_what_is_due_after_the_oldest_receipt_is_left_alone_until_it_is_replayed(
    world: World, host: Host
) -> None:
    ended, goes_on = world.hear("bye", contact=NOAM).session_id, world.hear("hello").session_id
    world.run(
        "UPDATE sessions SET deadline_at = deadline_at - interval '30 s', "
        "due_not_before = 'epoch' WHERE id = :id",
        id=ended,
    )
    world.let_pass(100)  # due 70 s ago, and 40 s ago
    last_at = host.hear("still there", 55)
    host.announce()
    members = [world.member(ended), world.member(goes_on)]
    held = [Held(world.redis, member) for member in members]
    for one in held:
        one.make_due()
    world.live_chats.claim(members, 60_000)
    assert world.closer.close_claimed(members) == 1
    assert [one.is_open for one in world.sessions()] == [False, True]
    assert [one.lease_end_ms is None for one in held] == [True, False]
    assert world.counted_by_redis() == 0
    assert world.sweeper.close_overdue_once() == 0
    host.replay()
    assert world.sweeper.close_overdue_once() == 0  # its deadline is in five seconds
    world.let_pass(6)
    wait_for_announcements(world)
    assert world.sweeper.close_overdue_once() == 1
    session = world.session(goes_on)
    assert session.close_reason == "idle"
    assert session.deadline_at > last_at - timedelta(seconds=6)
    assert len(texts_by_session(world)) == 2


def wait_for_announcements(world: World) -> None:
    """Let the closer ask anew: what it knows may be a moment old."""
    world.spools._read_at_s = None


def test_what_waits_is_announced_while_postgres_is_still_away(
    world: World, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    received_at = host.hear("waits", 30)
    monkeypatch.setattr(host.keeper, "_answers", lambda: False)
    assert host.replay() == 0
    assert near(world.spools.read()[host.spool.id], received_at)


def test_what_comes_while_the_empty_spool_is_withdrawn_stays_announced(
    world: World, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes look after one spool: one has found it empty when the other keeps a message."""
    announcements = host.keeper._announcements
    withdraw = announcements.withdraw
    came: list[datetime] = []

    def withdraw_late(spool_id: str, said: str | None) -> bool:
        if not came:
            came.append(host.accept("just now", 1))
        return withdraw(spool_id, said)

    monkeypatch.setattr(announcements, "withdraw", withdraw_late)
    host.announce()
    assert near(world.spools.read()[host.spool.id], came[0])
    host.announce()
    host.spool.settle(done=[1])
    host.announce()
    assert world.spools.read() == {}


def test_what_is_kept_is_announced_before_it_is_acknowledged(world: World, host: Host) -> None:
    received_at = host.accept("waits", 30)
    assert near(world.spools.read()[host.spool.id], received_at)
    host.accept("waits too", 0)
    assert near(world.spools.read()[host.spool.id], received_at)


@pytest.mark.parametrize("place", ["redis", "postgres"])
def test_either_place_is_enough_to_announce_in(world: World, host: Host, place: str) -> None:
    session_id = world.hear().session_id
    host.hear("waits", 30)
    host.announce()
    if place == "postgres":
        world.redis.flushall()
    else:
        world.run("DELETE FROM spool_announcements")
    world.let_pass(GAP_S + 1)  # due a second ago
    world.run("UPDATE spool_announcements SET oldest_at = oldest_at - interval '1 s'")
    assert world.closer.close_claimed([world.member(session_id)]) == 0
    host.spool.settle(done=[1])
    host.announce()
    wait_for_announcements(world)
    assert world.closer.close_claimed([world.member(session_id)]) == 1


def test_closers_need_not_read_what_is_kept_fresh(world: World, host: Host) -> None:
    announcements = SpoolAnnouncements(world.database, world.redis)
    stop = Event()
    reader = Thread(target=announcements.keep_fresh, args=(stop,))
    reader.start()
    try:
        world.redis.sadd("ts:{spools}:all", "elsewhere", "nonsense")
        world.redis.set("ts:{spools}:oldest:nonsense", "tomorrow, perhaps")
        host.hear("waits", 30)
        host.announce()
        wait_until(announcements.known_held_after, what="it is known to who asks nobody")
        host.spool.settle(done=[1])
        host.announce()
        wait_until(lambda: announcements.known_held_after() is None, what="so is its end")
    finally:
        stop.set()
        reader.join()


def test_a_host_that_fell_silent_is_not_waited_for(world: World, host: Host) -> None:
    session_id = world.hear().session_id
    host.hear("waits", 30)
    host.announce()
    (key,) = world.redis.keys("ts:{spools}:oldest:*")
    assert 0 < world.redis.pttl(key) <= SILENT_AFTER / timedelta(milliseconds=1)
    world.redis.delete(key)
    world.run("UPDATE spool_announcements SET announced_at = announced_at - interval '61 s'")
    world.let_pass(GAP_S + 1)
    assert world.closer.close_claimed([world.member(session_id)]) == 1


def test_intake_closes_nothing_that_another_hosts_spool_may_continue(
    world: World, host: Host
) -> None:
    world.hear("one")
    world.let_pass(GAP_S + 20)
    host.hear("two", 50)
    host.announce()
    others = Intake(world.database, world.follow_up, held_after=world.spools.held_after)
    others.record(world.connection_id, [world.heard("three")])
    host.replay()
    assert texts_by_session(world) == [["one", "two", "three"]]


def test_after_postgres_was_away_closers_wait_for_announcements(world: World) -> None:
    now_s = 1_000.0
    spools = SpoolAnnouncements(world.database, world.redis, steady_s=lambda: now_s)
    closer = Closer(world.database, world.follow_up, ClockGuard(), spools)
    session_id = world.hear().session_id
    world.let_pass(901)
    spools.postgres_was_away()
    assert closer.close_claimed([world.member(session_id)]) == 0
    assert world.counted_by_redis() == 1  # it is armed for a moment, and comes again
    now_s += 2.1
    assert closer.close_claimed([world.member(session_id)]) == 1


def test_what_breaks_is_tried_three_times_and_set_aside_and_nothing_waits_for_it(
    world: World, host: Host
) -> None:
    host.hear("before", 30)
    host.receive(29, world.heard("poison", id="nul\0"))
    host.hear("after", 28)
    assert host.replay() == 2
    assert texts_by_session(world) == [["before", "after"]]
    state = host.spool.state()
    assert (state.waiting, state.parked, state.oldest_at) == (0, 1, None)
    assert host.replay() == 0


def test_what_kills_whoever_replays_it_is_set_aside_without_another_death(
    world: World, host: Host, tmp_path: Path
) -> None:
    host.hear("deadly", 30)
    host.hear("after", 28)
    for death in range(MOST_TRIES):
        died = Spool(tmp_path / "spool")
        assert len(died.take(10)) == (2 if death == 0 else 1)  # it comes alone once suspect
        died.close()
    assert host.replay() == 1
    assert (texts_by_session(world), host.spool.state().parked) == ([["after"]], 1)


def test_what_cannot_be_read_is_set_aside(world: World, host: Host) -> None:
    host.hear("x", 30)
    host.spool._write(
        lambda db: spool_file.add(
            db, [spool_file.NewRow(1, str(world.connection_id), '{"form": 99}', [])]
        )
    )
    assert host.replay() == 1
    assert host.spool.state().parked == 1


def test_a_replayer_that_dies_between_commit_and_delete_stores_nothing_twice(
    world: World, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.hear("one", 40)
    host.hear("two", 30)
    with monkeypatch.context() as patch:
        patch.setattr(host.spool, "settle", _die)
        with pytest.raises(KeyboardInterrupt):
            host.replay()
    assert texts_by_session(world) == [["one", "two"]]
    assert host.spool.state().waiting == 2
    before = world.sessions()
    assert host.replay() == 2
    assert texts_by_session(world) == [["one", "two"]]
    assert [changeable(one) for one in world.sessions()] == [changeable(one) for one in before]


def _die(**_: object) -> None:
    raise KeyboardInterrupt


def changeable(session: Session) -> tuple[object, ...]:
    return session.message_count, session.deadline_at, session.last_message_at


def test_while_postgres_goes_away_again_nothing_counts_as_tried(
    world: World, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.hear("one", 40)

    def is_away(bundles: list[object]) -> list[DatabaseUnavailable]:
        return [DatabaseUnavailable("away") for _ in bundles]

    answers = iter([True, False] * MOST_TRIES * 2)
    monkeypatch.setattr(host.keeper._intake, "replay", is_away)
    monkeypatch.setattr(host.keeper, "_answers", lambda: next(answers))
    for _ in range(MOST_TRIES * 2):
        assert host.replay() == 0
    monkeypatch.undo()
    assert host.replay() == 1


def test_what_is_not_stored_in_time_is_set_aside_only_after_long(
    world: World, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Locked(Intake):
        def replay(self, bundles: Sequence[Bundle]) -> list[list[Recorded] | BaseException]:
            return [DatabaseUnavailable("somebody holds a lock") for _ in bundles]

    host.keeper._intake = Locked(world.database, world.follow_up)
    host.hear("held up", 30)
    for _ in range(2 * MOST_TRIES):
        assert host.replay() == 0
    assert (host.spool.state().waiting, host.spool.state().parked) == (1, 0)
    monkeypatch.setattr("timer_service.spool_replay.SLOW_FOR_S", 0.0)
    for _ in range(MOST_TRIES):
        host.replay()
    assert (host.spool.state().waiting, host.spool.state().parked) == (0, 1)


def test_the_messages_of_a_connection_that_is_gone_go_with_it(world: World, host: Host) -> None:
    host.hear("one", 40)
    world.administration.delete_connection(world.business_id, world.connection_id)
    assert host.replay() == 1
    assert host.spool.state().waiting == host.spool.state().parked == 0


def test_one_process_of_a_host_replays(world: World, host: Host, tmp_path: Path) -> None:
    host.hear("one", 40)
    beside = Host(world, tmp_path / "spool")
    with beside.spool.sole_replayer() as is_mine:
        assert is_mine
        assert host.replay() == 0
    assert host.replay() == 1
    beside.spool.close()
