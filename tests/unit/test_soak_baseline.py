"""How the soak's baseline is judged: by the same history, more leniently than ours."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.soak.baseline import Losses, judge
from benchmarks.soak.history import Sent

S = 1_000_000
GAP = 3 * S
T0 = 1_800_000_000 * S


def sent(number: int, at_s: float, **changes: object) -> Sent:
    at_us = T0 + int(at_s * S)
    one = Sent(number, f"id-{number}", "line", "9725", True, at_us, first_invoked_us=at_us)
    return replace(one, acknowledged_us=at_us + 5_000, **changes)


def judged(*messages: Sent, stored: set[int], closes: list[tuple[list[int], float]]) -> Losses:
    return judge(
        {one.message_id: one for one in messages},
        stored,
        [(numbers, T0 + int(at_s * S)) for numbers, at_s in closes],
        GAP,
    )


def test_a_conversation_closed_once_after_the_gap_loses_nothing() -> None:
    losses = judged(sent(1, 0), sent(2, 1), stored={1, 2}, closes=[([1, 2], 4.1)])
    assert losses == Losses(messages=2, closes=1, lost=0, never_closed=0, early=0, empty=0)


def test_what_is_not_stored_or_not_closed_or_closed_too_soon_counts() -> None:
    losses = judged(
        sent(1, 0), sent(2, 1), sent(3, 9), stored={2, 3}, closes=[([2], 3.9), ([], 4.5)]
    )
    assert losses == Losses(messages=3, closes=2, lost=1, never_closed=1, early=1, empty=1)


def test_an_agents_message_and_one_nobody_acknowledged_do_not_count() -> None:
    agents = sent(1, 3, is_customers=False)
    refused = replace(sent(2, 3), acknowledged_us=None)
    losses = judged(agents, refused, stored={1}, closes=[([1], 3.5)])
    assert losses == Losses(messages=1, closes=1, lost=0, never_closed=0, early=0, empty=0)
