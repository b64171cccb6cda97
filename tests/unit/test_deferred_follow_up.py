"""What the listener's closer leaves to a thread is done: all of it, and also when it must stop."""

from __future__ import annotations

from threading import Event, Thread
from typing import cast

import pytest

from tests.support.live_sessions import new_member
from tests.support.waiting import wait_until
from timer_service import follow_up
from timer_service.follow_up import DeferredFollowUp, FollowUp, Outcome
from timer_service.job_queue import SummaryJob
from timer_service.keys import Member
from timer_service.messages import CloseReason
from timer_service.records.sessions import Armable, ClosedSession


class NotingFollowUp:
    """Notes what it is to do; the first time it may fail or wait."""

    def __init__(self, *, fails: int = 0, may_go_on: Event | None = None) -> None:
        self.outcomes: list[Outcome] = []
        self._fails = fails
        self._may_go_on = may_go_on

    def run(self, outcome: Outcome) -> None:
        if self._may_go_on is not None:
            self._may_go_on.wait(5)
        self.outcomes.append(outcome)
        if len(self.outcomes) <= self._fails:
            raise RuntimeError("broken")

    @property
    def forgotten(self) -> list[Member]:
        return [member for one in self.outcomes for member in one.forgotten]


def closed(member: Member, attempt: int = 1) -> Outcome:
    outcome = Outcome()
    outcome.close([ClosedSession(*member, CloseReason.IDLE, attempt, 0.001)])
    return outcome


def deferred(noting: NotingFollowUp) -> DeferredFollowUp:
    return DeferredFollowUp(cast("FollowUp", noting))


def test_outcomes_are_done_together_and_in_order() -> None:
    noting = NotingFollowUp()
    later = deferred(noting)
    members = [new_member() for _ in range(3)]
    for member in members:
        later.run(closed(member))
    stop = Event()
    stop.set()
    later.run_thread(stop)
    (outcome,) = noting.outcomes
    assert outcome.forgotten == members
    assert [one.session_id for one in outcome.closed] == [one.session_id for one in members]
    assert list(outcome.jobs.values()) == [SummaryJob(one.session_id, 1) for one in members]


def test_what_closed_after_it_was_armed_is_forgotten_only() -> None:
    member = new_member()
    armed = Outcome()
    armed.arm(Armable(*member, 7, 1_000))
    armed.absorb(closed(member))
    assert armed.armed == {}
    assert armed.forgotten == [member]


def test_the_thread_outlives_a_batch_that_fails() -> None:
    noting = NotingFollowUp(fails=1)
    later = deferred(noting)
    stop = Event()
    thread = Thread(target=later.run_thread, args=(stop,))
    thread.start()
    first, second = new_member(), new_member()
    later.run(closed(first))
    wait_until(lambda: noting.forgotten == [first], what="the failing batch")
    later.run(closed(second))
    wait_until(lambda: noting.forgotten == [first, second], what="the next batch")
    stop.set()
    thread.join(5)
    assert not thread.is_alive()


def test_who_closes_waits_where_too_much_is_left_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow_up, "DEFERRED_MAX", 1)
    may_go_on, stop = Event(), Event()
    noting = NotingFollowUp(may_go_on=may_go_on)
    later = deferred(noting)
    following = Thread(target=later.run_thread, args=(stop,))
    later.run(closed(new_member()))
    later.run(closed(new_member()))
    closing = Thread(target=later.run, args=(closed(new_member()),))
    closing.start()
    closing.join(0.05)
    assert closing.is_alive()
    following.start()
    closing.join(5)
    assert not closing.is_alive()
    may_go_on.set()
    stop.set()
    following.join(5)
    assert len(noting.forgotten) == 3
