"""Too little CPU, and processes that stand still again and again: late, but exact (H3, C4)."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event, Thread

import pytest

from tests.support.builders import World
from tests.support.crowd import Crowd
from tests.support.deployment import Process
from tests.support.invariants import watch_closings
from tests.support.two_listeners import two_listeners
from tests.support.waiting import wait_until
from timer_service.pacer import LEASE_MS

GAP_S = 1
STALL_S = 0.2
BURNERS = 4


@pytest.fixture
def listeners(world: World, tmp_path: Path) -> Iterator[list[Process]]:
    watch_closings(world)
    with two_listeners(world, tmp_path, sweep_period_s=1) as processes:
        yield processes


@contextmanager
def burning() -> Iterator[None]:
    """Let as many processes as there are burn CPU."""
    with ExitStack() as stack:
        for _ in range(BURNERS):
            one = stack.enter_context(subprocess.Popen([sys.executable, "-c", "while True: pass"]))
            stack.callback(one.kill)
        yield


@contextmanager
def stalling(processes: list[Process]) -> Iterator[None]:
    """Stop each process in turn for a fifth of a second, over and over."""
    over = Event()

    def stall() -> None:
        while not over.is_set():
            for one in processes:
                one.send(signal.SIGSTOP)
                over.wait(STALL_S)
                one.send(signal.SIGCONT)

    thread = Thread(target=stall)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def check_each_closed_once(world: World, crowd: Crowd, customers: int) -> list[float]:
    """Return by how many ms each was late, sorted."""
    wait_until(lambda: not crowd.count_open(), within_s=60, what="all closed")
    rows = world.read(
        "SELECT close_reason, extract(epoch FROM closed_at - deadline_at) * 1000 AS late_ms, "
        "(SELECT count(*) FROM noted_closings WHERE session_id = id) AS times FROM sessions"
    )
    assert len(rows) == customers
    assert {(row["close_reason"], row["times"]) for row in rows} == {("idle", 1)}
    late_ms = sorted(float(row["late_ms"]) for row in rows)
    assert late_ms[0] >= 0, "none early"
    return late_ms


@pytest.mark.slow
def test_without_cpu_and_in_fits_closes_are_late_but_exact(
    world: World, listeners: list[Process], record_property: Callable[[str, object], None]
) -> None:
    crowd = Crowd(world, idle_gap_s=GAP_S)
    beat, customers = Event(), 150
    with burning(), stalling(listeners):
        for customer in range(customers):
            crowd.hear(world.intake, customer)
            beat.wait(0.02)
        late_ms = check_each_closed_once(world, crowd, customers)
    record_property("p50_late_ms", round(late_ms[len(late_ms) // 2]))
    record_property("latest_ms", round(late_ms[-1]))
    assert late_ms[-1] < LEASE_MS, "no claim was lost to its lease"


@pytest.mark.slow
def test_a_listener_stopped_past_its_lease_does_nothing_twice_when_it_goes_on(
    world: World, listeners: list[Process]
) -> None:
    crowd = Crowd(world, idle_gap_s=GAP_S)
    beat, customers = Event(), 400
    for customer in range(customers):
        crowd.hear(world.intake, customer)
        if customer == customers // 2:
            listeners[0].send(signal.SIGSTOP)
        beat.wait(0.005)
    try:
        check_each_closed_once(world, crowd, customers)
        beat.wait(LEASE_MS / 1000 + 1)
    finally:
        listeners[0].send(signal.SIGCONT)
    crowd.hear(world.intake, customers)
    check_each_closed_once(world, crowd, customers + 1)
    beat.wait(2)
    check_each_closed_once(world, crowd, customers + 1)
