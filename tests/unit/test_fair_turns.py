"""Turns are free for all while there are some, and go round the businesses once there are none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest

from tests.support.waiting import wait_until
from timer_http.admission import AT_ONCE
from timer_http.fair_turns import FairTurns
from timer_service.intake import MOST_IN_GROUP

ROOM = 100


@dataclass
class Crowd:
    """Callers on threads of their own, who come one after the other."""

    pool: ThreadPoolExecutor
    turns: FairTurns
    served: list[str] = field(default_factory=list)
    came: int = 0

    def comes(self, who: str, within_s: float = 30.0) -> Future[bool]:
        """Have one come, and return once it waits, or knows what it gets."""

        def take() -> bool:
            has_turn = self.turns.take(who, within_s)
            if has_turn:
                self.served.append(who)
            return has_turn

        before = waiting_in(self.turns, who)
        asked = self.pool.submit(take)
        wait_until(lambda: asked.done() or waiting_in(self.turns, who) > before, every_s=0.001)
        return asked

    def come(self, names: str) -> list[Future[bool]]:
        return [self.comes(who) for who in names]

    def serve(self, count: int) -> str:
        """Have so many turns end, one after the other; return who had the next ones."""
        begin = len(self.served)
        for nth in range(begin, begin + count):
            self.turns.give_back()
            wait_until(lambda n=nth: len(self.served) > n, every_s=0.001)
        return "".join(self.served[begin:])


def waiting_in(turns: FairTurns, who: str) -> int:
    return len(turns._queues.get(who, ()))


def waiting(turns: FairTurns) -> dict[str, int]:
    return {who: len(queue) for who, queue in turns._queues.items()}


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(40) as pool:
        yield pool


def crowd(pool: ThreadPoolExecutor, *, at_once: int = 1, room: int = ROOM) -> Crowd:
    """Make a crowd whose turns are all taken, by nobody in particular."""
    turns = FairTurns(at_once=at_once, waiting=room)
    for _ in range(at_once):
        assert turns.take("somebody", 0)
    return Crowd(pool, turns)


def test_one_business_may_have_every_turn_while_nobody_else_wants_one() -> None:
    turns = FairTurns(at_once=3, waiting=0)
    assert [turns.take("a", 0) for _ in range(4)] == [True, True, True, False]
    turns.give_back()
    assert turns.take("a", 0)


def test_who_has_come_for_few_is_served_before_the_rest_of_who_came_first_for_many(
    pool: ThreadPoolExecutor,
) -> None:
    them = crowd(pool)
    them.come("aaaaaabbc")
    assert them.serve(9) == "abcabaaaa"


def test_who_comes_again_is_served_once_a_round_however_many_wait_elsewhere(
    pool: ThreadPoolExecutor,
) -> None:
    them = crowd(pool)
    them.come("aaaaaaaaaa")
    served = ""
    for _ in range(4):
        them.comes("b")
        served += them.serve(2)
    assert served == "abababab"
    assert them.serve(6) == "aaaaaa"


def test_nobody_is_forgotten_while_others_come_again_and_again(pool: ThreadPoolExecutor) -> None:
    them = crowd(pool)
    them.come("bcda")
    served = ""
    for _ in range(3):
        served += them.serve(4)
        them.come("bcda")
    assert Counter(served) == {"a": 3, "b": 3, "c": 3, "d": 3}
    them.serve(4)


def test_within_a_business_who_came_first_is_first(pool: ThreadPoolExecutor) -> None:
    them = crowd(pool)
    asked = them.come("aaa")
    for nth in range(3):
        them.serve(1)
        assert [one.done() for one in asked] == [n <= nth for n in range(3)]


def test_a_full_room_refuses_the_newest_of_the_longest_queue_for_another_business(
    pool: ThreadPoolExecutor,
) -> None:
    them = crowd(pool, room=4)
    asked = them.come("aaab")
    other = them.comes("b")
    assert not asked[2].result(10)
    assert waiting(them.turns) == {"a": 2, "b": 2}
    assert them.serve(4) == "abab"
    assert other.result(10)


def test_who_has_the_longest_queue_itself_is_refused_and_so_is_who_would_only_swap(
    pool: ThreadPoolExecutor,
) -> None:
    them = crowd(pool, room=4)
    them.come("aabc")
    assert not them.comes("a").result(10)
    assert not them.comes("b").result(10)
    assert waiting(them.turns) == {"a": 2, "b": 1, "c": 1}
    assert not them.turns._room
    them.comes("d")
    assert waiting(them.turns) == {"a": 1, "b": 1, "c": 1, "d": 1}
    assert not them.comes("e").result(10)
    assert them.serve(4) == "abcd"


def test_who_gets_no_turn_in_time_leaves_its_place_to_others(pool: ThreadPoolExecutor) -> None:
    them = crowd(pool, room=1)
    assert not them.turns.take("a", 0.01)
    assert waiting(them.turns) == {}
    them.comes("b")
    assert them.serve(1) == "b"


def test_hundreds_of_callers_all_have_their_turn_and_no_turn_is_lost() -> None:
    turns = FairTurns(at_once=3, waiting=400)
    working: set[int] = set()

    def work(nth: int) -> bool:
        if not turns.take(nth % 7, 30):
            return False
        working.add(nth)
        few_enough = len(working) <= 3
        working.discard(nth)
        turns.give_back()
        return few_enough

    with ThreadPoolExecutor(40) as pool:
        assert all(pool.map(work, range(600)))
    assert (turns._free, turns._room, waiting(turns)) == (3, 400, {})


def test_all_who_have_a_turn_fit_one_transaction_so_none_waits_behind_others_again() -> None:
    assert AT_ONCE <= MOST_IN_GROUP
