"""A step of Postgres's clock stops the closing; a slow answer does not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from timer_service import metrics
from timer_service.clock_guard import STEP, ClockGuard, ClockStepped

START_AT = datetime(2026, 3, 9, 12, 0, tzinfo=UTC)


class Clocks:
    """Both clocks, moved by hand."""

    def __init__(self) -> None:
        self.steady_s = 5_000.0
        self.database_at = START_AT
        self.guard = ClockGuard(lambda: self.steady_s)

    def let_pass(self, seconds: float) -> None:
        self.steady_s += seconds
        self.database_at += timedelta(seconds=seconds)

    def step(self, seconds: float) -> None:
        self.database_at += timedelta(seconds=seconds)

    def read_slowly(self, seconds: float) -> Callable[[], datetime]:
        """The answer is made at once and arrives so much later."""

        def read() -> datetime:
            read_at = self.database_at
            self.let_pass(seconds)
            return read_at

        return read

    def check(self, *, slow_s: float = 0) -> None:
        self.guard.check(self.read_slowly(slow_s))


def test_it_knows_which_instants_the_clock_can_show_once_it_was_read() -> None:
    clocks = Clocks()
    assert clocks.guard.plausible() is None
    clocks.check()
    clocks.let_pass(60)
    now = clocks.database_at
    assert clocks.guard.plausible() == (now - STEP, now + STEP)


def test_after_a_slow_answer_more_instants_are_plausible() -> None:
    clocks = Clocks()
    clocks.check(slow_s=3)
    now = clocks.database_at
    assert clocks.guard.plausible() == (now - STEP - timedelta(seconds=3), now + STEP)


def test_clocks_that_run_together_may_be_checked_for_ever() -> None:
    clocks = Clocks()
    for _ in range(100):
        clocks.check()
        clocks.let_pass(3600)


@pytest.mark.parametrize("seconds", [3600, 2.1, -2.1, -3600])
def test_a_step_either_way_stops_the_closing_until_it_is_undone(seconds: float) -> None:
    clocks = Clocks()
    clocks.check()
    clocks.step(seconds)
    before = metrics.CLOCK_STEPS._value.get()
    for _ in range(3):
        clocks.let_pass(1)
        with pytest.raises(ClockStepped, match=str(seconds)) as caught:
            clocks.check()
    assert caught.value.retryable
    assert metrics.CLOCK_STEPS._value.get() == before + 3
    clocks.step(-seconds)
    clocks.check()


@pytest.mark.parametrize("seconds", [1.9, -1.9])
def test_what_a_clock_is_slewed_by_is_followed(seconds: float) -> None:
    clocks = Clocks()
    for _ in range(20):
        clocks.check()
        clocks.step(seconds)


def test_an_answer_that_took_long_is_not_taken_for_a_step() -> None:
    clocks = Clocks()
    for slow_s in (30, 0, 30, 30, 0, 5, 0):
        clocks.check(slow_s=slow_s)
        clocks.let_pass(1)


def test_a_step_is_seen_through_a_slow_answer() -> None:
    clocks = Clocks()
    clocks.check()
    clocks.step(10)
    with pytest.raises(ClockStepped):
        clocks.check(slow_s=5)


def test_what_runs_while_the_machine_sleeps_makes_no_step() -> None:
    clocks = Clocks()
    clocks.check()
    clocks.let_pass(12 * 3600)
    clocks.check()
