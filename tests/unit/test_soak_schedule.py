"""A soak's schedule: the same for the same seed, and as rough as it should be."""

from __future__ import annotations

import itertools
from collections import defaultdict
from dataclasses import replace

from benchmarks.soak.faults import DONE_BY
from benchmarks.soak.schedule import KINDS, Plan, make_schedule

PLAN = Plan(seed=7, seconds=120, faults=40, sessions_per_s=20, customers=500)


def test_the_same_seed_plans_the_same_and_another_something_else() -> None:
    assert make_schedule(PLAN) == make_schedule(PLAN)
    other = make_schedule(replace(PLAN, seed=8))
    assert other.messages != make_schedule(PLAN).messages
    assert other.faults != make_schedule(PLAN).faults


def test_every_fault_can_be_done_and_every_kind_is() -> None:
    schedule = make_schedule(PLAN)
    assert len(schedule.faults) == PLAN.faults
    assert {one.kind for one in schedule.faults} == {kind.name for kind in KINDS} == set(DONE_BY)


def test_faults_of_one_target_come_one_after_the_other_and_leave_the_end_calm() -> None:
    of_target = defaultdict(list)
    for one in make_schedule(PLAN).faults:
        of_target[one.target].append(one)
        assert one.at_s >= 0
        assert one.at_s + one.length_s <= PLAN.seconds - PLAN.calm_s
    for theirs in of_target.values():
        for one, following in itertools.pairwise(theirs):
            assert one.at_s + one.length_s < following.at_s


def test_messages_are_in_order_numbered_and_within_the_time() -> None:
    messages = make_schedule(PLAN).messages
    assert [one.number for one in messages] == list(range(1, len(messages) + 1))
    assert [one.at_s for one in messages] == sorted(one.at_s for one in messages)
    assert messages[0].at_s >= 0
    assert messages[-1].at_s < PLAN.seconds


def test_some_messages_race_the_close_come_late_twice_or_again() -> None:
    messages = make_schedule(PLAN).messages
    said = defaultdict(list)
    for one in messages:
        said[one.customer].append(one.at_s)
    pauses = [
        later - earlier for theirs in said.values() for earlier, later in itertools.pairwise(theirs)
    ]
    assert sum(abs(pause - PLAN.gap_s) < 0.06 for pause in pauses) > len(pauses) / 20
    for share in (
        sum(one.late_s > 60 for one in messages),
        sum(one.twin for one in messages),
        sum(one.again_after_s is not None for one in messages),
        sum(not one.is_customers for one in messages),
    ):
        assert 0 < share < len(messages) / 4


def test_about_as_many_sessions_begin_as_asked_for() -> None:
    messages = make_schedule(PLAN).messages
    last: dict[int, float] = {}
    sessions = 0
    for one in messages:
        sessions += one.at_s - last.get(one.customer, -100) > PLAN.gap_s
        last[one.customer] = one.at_s
    assert 0.7 < sessions / (PLAN.seconds * PLAN.sessions_per_s) < 1.4
