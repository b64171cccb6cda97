from __future__ import annotations

from collections.abc import Sequence
from threading import Barrier, Event, Thread

import pytest

from tests.support.live_sessions import new_member
from tests.support.waiting import wait_until
from timer_service import metrics
from timer_service.closing_queue import ClosingQueue
from timer_service.errors import DatabaseUnavailable
from timer_service.keys import Member


class NotingCloser:
    """Notes its batches; raises what it is told to, once each."""

    def __init__(self, *faults: Exception) -> None:
        self.batches: list[list[Member]] = []
        self.faults = list(faults)

    def close_claimed(self, members: Sequence[Member]) -> None:
        if self.faults:
            raise self.faults.pop(0)
        self.batches.append(list(members))


def test_batches_keep_the_order_and_their_size() -> None:
    closer = NotingCloser()
    queue = ClosingQueue(closer, batch_max=2)
    members = [new_member() for _ in range(5)]
    queue.put(members[:3])
    queue.put(members[3:])
    assert [queue.close_once(0) for _ in range(4)] == [2, 2, 1, 0]
    assert closer.batches == [members[:2], members[2:4], members[4:]]


def test_a_member_lent_again_while_it_waits_is_closed_once() -> None:
    closer = NotingCloser()
    queue = ClosingQueue(closer, capacity=2)
    first, second = new_member(), new_member()
    before = metrics.CLAIMS_DROPPED._value.get()
    queue.put([first, second])
    queue.put([second, first])
    queue.close_once(0)
    assert closer.batches == [[first, second]]
    assert metrics.CLAIMS_DROPPED._value.get() == before


def test_what_does_not_fit_is_left_to_its_lease_and_counted() -> None:
    closer = NotingCloser()
    queue = ClosingQueue(closer, capacity=3)
    members = [new_member() for _ in range(5)]
    before = metrics.CLAIMS_DROPPED._value.get()
    queue.put(members)
    queue.close_once(0)
    assert closer.batches == [members[:3]]
    assert metrics.CLAIMS_DROPPED._value.get() - before == 2


def test_a_failed_batch_is_let_go_of_and_the_error_reaches_the_caller() -> None:
    closer = NotingCloser(DatabaseUnavailable("away"))
    queue = ClosingQueue(closer)
    queue.put([new_member()])
    with pytest.raises(DatabaseUnavailable):
        queue.close_once(0)
    assert queue.close_once(0) == 0


@pytest.mark.parametrize("fault", [DatabaseUnavailable("away"), ZeroDivisionError("a defect")])
def test_the_loop_outlives_a_batch_that_fails(fault: Exception) -> None:
    closer = NotingCloser(fault)
    queue = ClosingQueue(closer)
    before = metrics.CLOSE_BATCHES_FAILED._value.get()
    stop = Event()
    thread = Thread(target=queue.run, args=(stop,))
    thread.start()
    queue.put([new_member()])
    wait_until(lambda: not closer.faults, what="the failing batch")
    member = new_member()
    queue.put([member])
    wait_until(lambda: closer.batches, what="the next batch")
    stop.set()
    thread.join(5)
    assert closer.batches == [[member]]
    assert metrics.CLOSE_BATCHES_FAILED._value.get() - before == 1


def test_what_waits_when_it_is_told_to_stop_is_still_closed() -> None:
    closer = NotingCloser()
    queue = ClosingQueue(closer, batch_max=2)
    members = [new_member() for _ in range(5)]
    queue.put(members)
    stop = Event()
    stop.set()
    queue.run(stop)
    assert [member for batch in closer.batches for member in batch] == members


def test_two_threads_share_what_waits_and_neither_sleeps_on_it() -> None:
    at_once = Barrier(2)

    class MeetingCloser(NotingCloser):
        def close_claimed(self, members: Sequence[Member]) -> None:
            at_once.wait(5)  # breaks unless the other thread closes at the same time
            super().close_claimed(members)

    closer = MeetingCloser()
    queue = ClosingQueue(closer, batch_max=2)
    stop = Event()
    threads = [Thread(target=queue.run, args=(stop,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    members = [new_member() for _ in range(4)]
    queue.put(members)
    wait_until(lambda: len(closer.batches) == 2, what="both batches")
    stop.set()
    for thread in threads:
        thread.join(5)
    assert sorted(closer.batches) == sorted([members[:2], members[2:]])


def test_stopping_does_not_wait_for_a_database_that_is_away() -> None:
    closer = NotingCloser(*(DatabaseUnavailable("away") for _ in range(100)))
    queue = ClosingQueue(closer, batch_max=1)
    queue.put([new_member() for _ in range(100)])
    stop = Event()
    stop.set()
    queue.run(stop)
    assert len(closer.faults) == 99
