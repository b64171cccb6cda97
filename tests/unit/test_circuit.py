"""A circuit: one caller finds out for all, and one tries again for all."""

from __future__ import annotations

import pytest

from timer_service.circuit import Circuit


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def circuit(clock: Clock) -> Circuit:
    return Circuit(1.0, clock)


def test_after_a_failure_one_caller_in_a_pause_tries_and_an_answer_lets_all_in(
    circuit: Circuit, clock: Clock
) -> None:
    assert [circuit.may_call() for _ in range(2)] == [True, True]
    circuit.failed()
    assert [circuit.may_call() for _ in range(2)] == [False, False]
    clock.now_s += 1
    assert [circuit.may_call() for _ in range(3)] == [True, False, False]
    clock.now_s += 1
    assert [circuit.may_call() for _ in range(2)] == [True, False]
    circuit.answered()
    assert [circuit.may_call() for _ in range(2)] == [True, True]


def test_it_knows_whether_anybody_was_answered(circuit: Circuit, clock: Clock) -> None:
    clock.now_s += 1
    asked_at_s = clock.now_s
    clock.now_s += 1
    circuit.failed()
    assert not circuit.has_answered_since(asked_at_s)
    circuit.answered()
    assert circuit.has_answered_since(asked_at_s)
