"""The safety net: each pass finds in Postgres what was missed, and puts it right."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest
from rq import Queue
from rq.serializers import JSONSerializer

from tests.support.builders import DANA, NOAM, World
from tests.support.kill_scenarios import SCENARIOS
from tests.support.live_sessions import Held
from tests.support.waiting import wait_until
from timer_service.clock import utc_now
from timer_service.errors import RedisUnavailable
from timer_service.job_queue import SUMMARIES_QUEUE
from timer_service.live_chats import LiveChats
from timer_service.messages import ContactIds
from timer_service.records import session_sweeps, summaries
from timer_service.sweeper import OVERDUE_BY, OVERLAP, PAGE, Sweeper

SETTLED = session_sweeps.SETTLED_AFTER.total_seconds()
MINUTE = timedelta(minutes=1)
PASSES = [
    "rebuild", "overdue", "opened", "closed", "summaries", "callbacks", "early_changes",
    "settled_sends", "sends", "contact_pulls", "silent_connections", "audit",
]  # fmt: skip
ELSEWHERE = {"settled_sends", "sends", "contact_pulls", "silent_connections"}
"""Passes whose findings are in tests of their own."""


def people(count: int) -> list[ContactIds]:
    return [ContactIds(phone=f"97250{i:07}") for i in range(count)]


def attempt_of(world: World, session_id: object) -> int:
    return int(
        world.read("SELECT summary_attempt AS n FROM sessions WHERE id = :id", id=session_id)[0][
            "n"
        ]
    )


def test_where_nothing_is_wrong_nothing_is_done(world: World) -> None:
    world.hear(contact=DANA)
    world.service.complete(world.hear(contact=NOAM).session_id)
    assert world.sweeper.sweep_once() == dict.fromkeys(PASSES, 0)


def test_every_pass_finds_its_own(world: World) -> None:
    """No pass is called by its name here: what none of them does stays undone.

    Those of messages to be sent and of connections have tests of their own.
    """
    SCENARIOS["sweep"].prepare(world)
    repaired = world.sweeper.sweep_once()
    assert [name for name in PASSES if repaired.get(name)] == [
        name for name in PASSES[1:] if name not in ELSEWHERE
    ]
    world.redis.flushall()
    assert world.sweeper.sweep_once().get("rebuild") == world.counted_by_redis() == 2


def test_a_pass_that_fails_does_not_stop_the_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Sweeper) -> int:
        raise ZeroDivisionError

    world.hear()
    world.let_pass(901)
    monkeypatch.setattr(Sweeper, "rebuild_once", fail)
    monkeypatch.setattr(Sweeper, "arm_opened_once", fail)
    repaired = world.sweeper.sweep_once()
    assert repaired["overdue"] == 1
    assert list(repaired) == [one for one in PASSES if one not in {"rebuild", "opened"}]


class TestOverdue:
    def test_what_nobody_closed_is_closed(self, world: World) -> None:
        session_id = world.hear().session_id
        world.let_pass(901)
        assert world.sweeper.close_overdue_once() == 1
        assert world.session(session_id).close_reason == "idle"
        assert world.queued() == [f"summarize_{session_id}_1"]
        assert world.counted_by_redis() == 0

    def test_what_fell_due_just_now_is_left_to_the_listener(self, world: World) -> None:
        world.hear()
        world.let_pass(900 + OVERDUE_BY.total_seconds() / 2)
        assert world.sweeper.close_overdue_once() == 0
        world.let_pass(OVERDUE_BY.total_seconds())
        assert world.sweeper.close_overdue_once() == 1

    def test_more_than_a_page_is_closed_in_one_sweep(self, world: World) -> None:
        world.record(*[world.heard(contact=one) for one in people(2 * PAGE + 1)])
        world.let_pass(901)
        assert world.sweeper.close_overdue_once() == 2 * PAGE + 1
        assert world.read("SELECT 1 FROM sessions WHERE state = 'open'") == []

    def test_a_touched_chat_is_looked_at_when_it_may_be_due_and_closed_when_it_is(
        self, world: World
    ) -> None:
        session_id = world.hear().session_id
        world.let_pass(600)
        world.hear()
        world.let_pass(600)
        assert self.look(world) == (0, 1)
        assert self.look(world) == (0, 0)
        assert world.session(session_id).is_open
        world.let_pass(301)
        assert world.sweeper.close_overdue_once() == 1
        assert world.session(session_id).close_reason == "idle"

    def test_a_shorter_gap_is_kept_from_the_next_touch_on(self, world: World) -> None:
        session_id = world.hear().session_id
        world.set_rules(idle_gap_s=60)
        world.hear()
        world.let_pass(61)
        assert world.sweeper.close_overdue_once() == 1
        assert world.session(session_id).close_reason == "idle"

    def test_more_than_a_page_of_touched_chats_hides_no_overdue_one(self, world: World) -> None:
        world.record(*[world.heard(contact=one) for one in people(PAGE + 1)])
        world.let_pass(600)
        world.record(*[world.heard(contact=one) for one in people(PAGE)])
        world.let_pass(600)
        assert world.sweeper.close_overdue_once() == 1
        assert len(world.read("SELECT 1 FROM sessions WHERE state = 'open'")) == PAGE

    @staticmethod
    def look(world: World) -> tuple[int, int]:
        with world.database.transaction() as db:
            found = session_sweeps.look_for_overdue(db, by=OVERDUE_BY, limit=PAGE)
        return len(found.overdue), found.moved

    def test_two_sweepers_at_once_close_each_once(self, world: World) -> None:
        world.record(*[world.heard(contact=one) for one in people(PAGE + 100)])
        world.let_pass(901)
        barrier = Barrier(2)

        def sweep(sweeper: Sweeper) -> int:
            barrier.wait()
            return sweeper.close_overdue_once()

        sweepers = [world.sweeper, world.make_sweeper()]
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(sweep, sweepers))
        sweepers[0].close_overdue_once()
        rows = world.read("SELECT DISTINCT state, version, summary_attempt FROM sessions")
        assert [tuple(row.values()) for row in rows] == [("closed", 2, 1)]
        assert len(world.queued()) == len(set(world.queued())) == PAGE + 100


class TestWatermarks:
    def test_what_was_opened_and_never_armed_is_armed(self, world: World) -> None:
        session_id = world.hear().session_id
        world.live_chats.forget([world.member(session_id)])
        assert world.sweeper.arm_opened_once() == 0  # whoever opened it may be about to arm it
        world.let_pass(SETTLED)
        assert world.sweeper.arm_opened_once() == 1
        assert world.counted_by_redis() == 1
        assert world.sweeper.arm_opened_once() == 0

    def test_what_is_armed_is_not_moved(self, world: World) -> None:
        session_id = world.hear().session_id
        world.let_pass(SETTLED)
        held = Held(world.redis, world.member(session_id))
        before = (held.version, held.ends_at_ms, held.deadline_ms)
        world.sweeper.arm_opened_once()
        assert (held.version, held.ends_at_ms, held.deadline_ms) == before

    def test_what_was_closed_and_not_forgotten_is_forgotten(self, world: World) -> None:
        session_id = world.hear().session_id
        world.run(
            "UPDATE sessions SET state = 'closed', close_reason = 'completed', "
            "closed_at = clock_timestamp()"
        )
        assert world.counted_by_redis() == 1
        assert world.sweeper.forget_closed_once() == 0
        world.let_pass(SETTLED)
        assert world.sweeper.forget_closed_once() == 1
        assert world.counted_by_redis() == 0
        assert Held(world.redis, world.member(session_id)).version is None
        assert world.sweeper.forget_closed_once() == 0

    def test_what_closed_as_idle_and_was_not_forgotten_is_the_pacers(self, world: World) -> None:
        session_id = world.hear().session_id
        world.let_pass(901)
        member = world.member(session_id)
        Held(world.redis, member).make_due()
        world.run(
            "UPDATE sessions SET state = 'closed', close_reason = 'idle', "
            "closed_at = clock_timestamp() - interval '2 s'"
        )
        assert world.counted_by_redis() == 0  # its deadline has passed, so it counts no more
        assert world.sweeper.forget_closed_once() == 0
        (paced,) = world.live_chats.pace([0], grace_ms=0, lease_ms=60_000, limit=10)
        assert paced.taken_over == [member]
        assert world.closer.close_claimed(paced.taken_over) == 0
        assert world.live_chats.not_held([member]) == [member]

    @pytest.mark.parametrize("name", ["opened", "closed"])
    def test_it_advances_to_the_time_of_the_sweep_and_reads_back_over_it(
        self, world: World, name: str
    ) -> None:
        world.live_chats.save_swept(0, {name: utc_now() - timedelta(hours=1)})
        before_at = utc_now()
        world.sweeper.sweep_once()
        kept_at = world.live_chats.read_swept(0)[name]
        assert before_at <= kept_at <= utc_now()
        assert timedelta(seconds=60) == OVERLAP

    def test_it_reads_from_where_it_stood_and_no_earlier(self, world: World) -> None:
        forgotten = world.hear(contact=DANA).session_id
        world.live_chats.forget([world.member(forgotten)])
        world.let_pass(120)
        # It stands at the present, so what is two minutes old counts as read.
        world.live_chats.save_swept(0, {"opened": utc_now()})
        assert world.sweeper.arm_opened_once() == 0
        world.live_chats.save_swept(0, {"opened": utc_now() - timedelta(seconds=90)})
        assert world.sweeper.arm_opened_once() == 1

    @pytest.mark.parametrize("name", ["opened", "closed"])
    def test_it_stays_where_it_was_when_the_pass_fails(
        self, world: World, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        stood_at = utc_now() - timedelta(hours=1)
        world.live_chats.save_swept(0, {name: stood_at})
        session_id = world.hear().session_id
        world.service.complete(session_id)
        world.hear()
        world.let_pass(SETTLED)

        def away(*_: object, **__: object) -> None:
            raise RedisUnavailable("away")

        monkeypatch.setattr(LiveChats, "arm", away)
        monkeypatch.setattr(LiveChats, "forget", away)
        assert name not in world.sweeper.sweep_once()
        assert world.live_chats.read_swept(0)[name] == stood_at

    def test_more_than_a_page_is_read_in_one_sweep(self, world: World) -> None:
        recorded = world.record(*[world.heard(contact=one) for one in people(2 * PAGE + 3)])
        world.live_chats.forget([world.member(one.session_id) for one in recorded])
        world.let_pass(SETTLED)
        assert world.sweeper.arm_opened_once() == 2 * PAGE + 3
        assert world.counted_by_redis() == 2 * PAGE + 3


class TestSummaries:
    def lose(self, world: World) -> None:
        world.queue_redis.flushdb()

    def test_a_lost_job_is_made_again_as_the_next_attempt(self, world: World) -> None:
        session_id = world.hear().session_id
        world.service.complete(session_id)
        self.lose(world)
        assert world.sweeper.restart_summaries_once() == 0  # its time has not come
        world.let_pass(31)
        assert world.sweeper.restart_summaries_once() == 1
        assert world.queued() == [f"summarize_{session_id}_2"]
        assert attempt_of(world, session_id) == 2
        assert world.sweeper.restart_summaries_once() == 0

    def test_one_that_still_waits_is_looked_at_again_later(self, world: World) -> None:
        session_id = world.hear().session_id
        world.service.complete(session_id)
        world.let_pass(31)
        assert world.sweeper.restart_summaries_once() == 0
        assert attempt_of(world, session_id) == 1
        assert world.queued() == [f"summarize_{session_id}_1"]
        check = world.read("SELECT next_check_at > clock_timestamp() AS later FROM sessions")[0]
        assert check["later"]

    def test_a_worker_that_died_is_noticed_when_its_lease_ends(self, world: World) -> None:
        session_id = world.hear().session_id
        world.service.complete(session_id)
        self.lose(world)
        world.run(
            "UPDATE sessions SET summary_status = 'running', "
            "next_check_at = clock_timestamp() + interval '100 s'"
        )
        world.let_pass(99)
        assert world.sweeper.restart_summaries_once() == 0
        world.let_pass(2)
        assert world.sweeper.restart_summaries_once() == 1
        assert world.session(session_id).summary.status == "pending"

    def test_one_that_is_done_is_left_alone(self, world: World) -> None:
        session_id = world.hear().session_id
        world.service.complete(session_id)
        self.lose(world)
        world.run("UPDATE sessions SET summary_status = 'done', next_check_at = NULL")
        world.let_pass(3600)
        assert world.sweeper.restart_summaries_once() == 0
        assert attempt_of(world, session_id) == 1

    def test_two_sweepers_at_once_make_one_attempt(self, world: World) -> None:
        for one in people(50):
            world.service.complete(world.hear(contact=one).session_id)
        self.lose(world)
        world.let_pass(31)
        barrier = Barrier(2)

        def sweep(sweeper: Sweeper) -> int:
            barrier.wait()
            return sweeper.restart_summaries_once()

        with ThreadPoolExecutor(2) as pool:
            assert sum(pool.map(sweep, [world.sweeper, world.make_sweeper()])) == 50
        rows = world.read("SELECT DISTINCT summary_attempt AS n FROM sessions")
        assert [row["n"] for row in rows] == [2]
        assert len(world.queued()) == 50

    def test_one_whose_worker_began_meanwhile_is_left_alone(self, world: World) -> None:
        session_id = world.hear().session_id
        world.service.complete(session_id)
        world.let_pass(31)
        with world.database.transaction() as db:
            found = summaries.unfinished(db, limit=10)
            assert summaries.start(db, session_id, 1, lease=timedelta(seconds=100))
            assert summaries.begin_again(db, found, MINUTE, most_deaths=3) == []
        assert attempt_of(world, session_id) == 1

    def test_one_that_moved_meanwhile_is_left_alone(self, world: World) -> None:
        session_id = world.hear().session_id
        world.service.complete(session_id)
        world.let_pass(31)
        with world.database.transaction() as db:
            found = summaries.unfinished(db, limit=10)
        world.service.summarize(world.business_id, session_id)
        world.let_pass(31)
        with world.database.transaction() as db:
            assert summaries.begin_again(db, found, MINUTE, most_deaths=3) == []

    def test_a_queue_that_is_away_leaves_the_rows_as_they_are(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        session_id = world.hear().session_id
        world.service.complete(session_id)
        world.let_pass(31)

        def away(_: object) -> set[str]:
            raise RedisUnavailable("away")

        monkeypatch.setattr(world.jobs, "still_waiting", away)
        assert "summaries" not in world.sweeper.sweep_once()
        assert attempt_of(world, session_id) == 1

    def test_a_job_waiting_for_its_next_try_counts_as_waiting(self, world: World) -> None:
        session_id = world.hear().session_id
        world.service.complete(session_id)
        self.lose(world)
        queue = Queue(SUMMARIES_QUEUE, connection=world.queue_redis, serializer=JSONSerializer)
        queue.enqueue_in(
            timedelta(seconds=60),
            "timer_service.summarize_job.summarize_session",
            str(session_id),
            1,
            job_id=f"summarize_{session_id}_1",
        )
        world.let_pass(31)
        assert world.sweeper.restart_summaries_once() == 0
        assert attempt_of(world, session_id) == 1


class TestTheLoop:
    def test_it_sweeps_at_once_when_woken_and_stops_when_told(self, world: World) -> None:
        stop = threading.Event()
        thread = threading.Thread(target=world.sweeper.run, args=(stop,))
        thread.start()
        try:
            wait_until(lambda: "opened" in world.live_chats.read_swept(0), what="swept at start")
            session_id = world.hear().session_id
            world.let_pass(901)
            world.sweeper.wake()
            wait_until(
                lambda: not world.session(session_id).is_open, within_s=3, what="swept when woken"
            )
        finally:
            stop.set()
            world.sweeper.wake()
            thread.join(5)
        assert not thread.is_alive()
