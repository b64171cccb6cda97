"""Shrinks the pauses of real conversations to the demo's pace, without changing how they split.

In life a quarter of an hour of silence ends a conversation; the demo's idle gap is a few seconds,
so pauses shrink too, though less, or nobody could read along. A silence that ends a session becomes
one a little longer than the demo's gap, however long it was. `story` and `traffic` call this; it
reads no clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from timer_service.demo.conversations import Turn
from timer_service.replay import opens_session

LIFE_IDLE_GAP_S = 900
"""The silence that ends a conversation in life: the service's default."""
_EASE = 3.0
"""How much less pauses shrink than the idle gap; they never become longer than in life."""
_LONGEST_SILENCE = 0.8
"""The share of the idle gap a silence within a session may last; the rest is for slow machines."""
_CLOSING_SHARE = 0.3
_CLOSING_AT_LEAST_S = 0.7


@dataclass(frozen=True, slots=True)
class Cue:
    """When a turn is due: ``pause_s`` after the one before it was delivered.

    ``is_shortened`` marks a silence that ended a session and was cut to what that needs.
    """

    turn: Turn
    pause_s: float
    opens_session: bool
    is_shortened: bool = False


def pace(
    turns: Sequence[Turn], *, idle_gap_s: float, speed: float = 1.0, starts_after_s: float = 0.0
) -> tuple[Cue, ...]:
    """Plan one conversation, whose first turn comes ``starts_after_s`` of life into the demo.

    ``speed`` 2 talks twice as fast; the idle gap stays what it is.
    """
    shrink = min(1.0, _EASE * idle_gap_s / LIFE_IDLE_GAP_S) / speed
    lived_s = 0.0
    moments: list[tuple[float, bool]] = []
    for turn in turns:
        lived_s += turn.after_s
        moments.append((lived_s, turn.is_customers))
    cues: list[Cue] = []
    silence_s = 0.0  # since what last moved the deadline
    for turn, opens in zip(turns, opens_session(moments, LIFE_IDLE_GAP_S), strict=True):
        is_return = opens and bool(cues)
        if not cues:
            pause_s = starts_after_s * shrink
        elif is_return:
            enough_s = idle_gap_s + max(_CLOSING_AT_LEAST_S, _CLOSING_SHARE * idle_gap_s)
            pause_s = enough_s - silence_s
        else:
            room_s = max(0.0, _LONGEST_SILENCE * idle_gap_s - silence_s)
            pause_s = min(turn.after_s * shrink, room_s)
        cues.append(Cue(turn, pause_s, opens, is_return))
        silence_s = 0.0 if opens or turn.is_customers else silence_s + pause_s
    return tuple(cues)
