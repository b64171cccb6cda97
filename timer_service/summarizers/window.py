"""Fits a conversation of any length to a reader of limited size.

Both summarizers use it. The beginning says what the customer wants and the end how it turned out,
so what has to go goes from the middle, as whole messages, and the count is told.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from timer_service.summarizers.base import Transcript, Turn
from timer_service.summarizers.cleaning import cut_middle

TURN_OVERHEAD_CHARS = 60
"""What a message costs besides its text: its number, author and time."""

MIN_WINDOW_CHARS = 600
"""Below this even two messages and a marker say nothing."""

_HEAD_SHARE = 0.4
"""The end gets more: it holds the outcome."""

_LONGEST_TURN_SHARE = 0.3
"""No single message may crowd out all others; first and last always fit together."""


@dataclass(frozen=True, slots=True)
class Window:
    """What was kept: ``head``, then ``dropped`` messages left out, then ``tail``."""

    head: tuple[Turn, ...]
    tail: tuple[Turn, ...] = ()
    dropped: int = 0

    @property
    def turns(self) -> tuple[Turn, ...]:
        """Everything kept, in order."""
        return self.head + self.tail


def size_chars(turns: Iterable[Turn]) -> int:
    """Return roughly how many characters the turns take once written out."""
    return sum(len(turn.text) + TURN_OVERHEAD_CHARS for turn in turns)


def fit(transcript: Transcript, max_chars: int) -> Window:
    """Keep what fits into ``max_chars``: all of it, or the beginning and the end.

    First and last message are always kept; a giant one is cut in its own middle. Less than
    ``MIN_WINDOW_CHARS`` counts as that.
    """
    turns = transcript.turns
    if size_chars(turns) <= max_chars:
        return Window(head=turns)
    max_chars = max(max_chars, MIN_WINDOW_CHARS)
    longest = int(max_chars * _LONGEST_TURN_SHARE) - TURN_OVERHEAD_CHARS
    turns = tuple(replace(turn, text=cut_middle(turn.text, longest)) for turn in turns)
    if size_chars(turns) <= max_chars:
        return Window(head=turns)
    room = max_chars - TURN_OVERHEAD_CHARS  # the marker for what is left out
    head = max(_count_fitting(turns, int(room * _HEAD_SHARE)), 1)
    tail = _count_fitting(turns[: head - 1 : -1], room - size_chars(turns[:head]))
    return Window(turns[:head], turns[len(turns) - tail :], len(turns) - head - tail)


def _count_fitting(turns: Iterable[Turn], max_chars: int) -> int:
    used = 0
    count = 0
    for turn in turns:
        used += size_chars((turn,))
        if used > max_chars:
            break
        count += 1
    return count
