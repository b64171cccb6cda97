"""Work of concurrent callers is carried out together, each caller with its own answer."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from tests.support.waiting import wait_until
from timer_service.group_commit import Alone, GroupCommit, TooBusy


class Gate:
    """Carries out groups, each only once it is let through; answers a word with its capitals."""

    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.open = Event()

    def carry_out(self, works: Sequence[str]) -> list[str | BaseException | Alone]:
        self.groups.append(list(works))
        assert self.open.wait(10)
        if "poison" in works:
            raise ValueError("poison")
        return [self._answer(work) for work in works]

    @staticmethod
    def _answer(work: str) -> str | BaseException | Alone:
        if work == "wrong":
            return KeyError(work)
        return Alone.ALONE if work == "special" else work.upper()


def make(gate: Gate, *, groups: int = 1, works: int = 10, patience_s: float = 10.0) -> GroupCommit:
    return GroupCommit(gate.carry_out, most_groups=groups, most_works=works, patience_s=patience_s)


def gather(group_commit: GroupCommit, pool: ThreadPoolExecutor, gate: Gate, *works: str) -> list:
    """Have one piece of work carried out, and these asked for meanwhile, in this order."""
    first = pool.submit(group_commit.do, "first")
    wait_until(lambda: gate.groups == [["first"]], what="the first is begun at once")
    asked = [first]
    for number, work in enumerate(works, 1):
        asked.append(pool.submit(group_commit.do, work))
        wait_until(lambda n=number: len(group_commit._waiting) == n, what="it waits")
    return asked


def test_what_comes_meanwhile_is_carried_out_together_in_order() -> None:
    gate = Gate()
    with ThreadPoolExecutor(4) as pool:
        asked = gather(make(gate), pool, gate, "a", "b", "c")
        gate.open.set()
        assert [one.result(10) for one in asked] == ["FIRST", "A", "B", "C"]
    assert gate.groups == [["first"], ["a", "b", "c"]]


def test_a_group_is_no_larger_than_it_may_be() -> None:
    gate = Gate()
    with ThreadPoolExecutor(6) as pool:
        asked = gather(make(gate, works=2), pool, gate, *"abcde")
        gate.open.set()
        assert [one.result(10) for one in asked] == ["FIRST", *"ABCDE"]
    assert gate.groups == [["first"], ["a", "b"], ["c", "d"], ["e"]]


def test_as_many_groups_run_at_one_time_as_may() -> None:
    gate = Gate()
    group_commit = make(gate, groups=2)
    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(group_commit.do, work) for work in "ab"]
        wait_until(lambda: len(gate.groups) == 2, what="both are begun")
        asked.append(pool.submit(group_commit.do, "c"))
        wait_until(lambda: len(group_commit._waiting) == 1, what="the third waits")
        gate.open.set()
        assert [one.result(10) for one in asked] == ["A", "B", "C"]
    assert sorted(gate.groups) == [["a"], ["b"], ["c"]]


def test_each_caller_has_its_own_answer_error_or_task() -> None:
    gate = Gate()
    with ThreadPoolExecutor(4) as pool:
        asked = gather(make(gate), pool, gate, "wrong", "special", "good")
        gate.open.set()
        with pytest.raises(KeyError):
            asked[1].result(10)
        assert asked[2].result(10) is Alone.ALONE
        assert asked[3].result(10) == "GOOD"


def test_an_error_of_the_group_is_everybodys_and_ends_nothing() -> None:
    gate = Gate()
    group_commit = make(gate)
    with ThreadPoolExecutor(4) as pool:
        asked = gather(group_commit, pool, gate, "poison", "victim")
        gate.open.set()
        for one in asked[1:]:
            with pytest.raises(ValueError, match="poison"):
                one.result(10)
    assert group_commit.do("next") == "NEXT"


def test_who_finds_no_turn_in_time_is_told_so_and_nothing_was_begun() -> None:
    gate = Gate()
    group_commit = make(gate, patience_s=0.05)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(group_commit.do, "first")
        wait_until(lambda: gate.groups, what="the first is begun")
        with pytest.raises(TooBusy):
            group_commit.do("late")
        gate.open.set()
        assert first.result(10) == "FIRST"
    assert gate.groups == [["first"]]
    assert group_commit.do("next") == "NEXT"


def test_work_that_is_begun_is_waited_for_however_long() -> None:
    gate = Gate()
    group_commit = make(gate, patience_s=0.05)
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(group_commit.do, "first")]
        wait_until(lambda: len(gate.groups) == 1, what="the first is begun")
        group_commit._most_groups = 2
        asked.append(pool.submit(group_commit.do, "second"))
        wait_until(lambda: len(gate.groups) == 2, what="the second is begun")
        assert not gate.open.wait(0.1)
        gate.open.set()
        assert [one.result(10) for one in asked] == ["FIRST", "SECOND"]


def test_hundreds_of_callers_are_all_answered() -> None:
    gate = Gate()
    gate.open.set()
    group_commit = make(gate, groups=2, works=7)
    words = [f"w{number}" for number in range(400)]
    with ThreadPoolExecutor(32) as pool:
        assert list(pool.map(group_commit.do, words)) == [word.upper() for word in words]
    assert sorted(work for group in gate.groups for work in group) == sorted(words)
    assert group_commit._groups == 0
