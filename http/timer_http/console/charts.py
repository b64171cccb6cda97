"""Where the lines and bars of a small plot lie. Pure; ``_chart.html`` draws them as SVG.

Sizes are per cent of the plot, so it stretches to any width; words stand beside the drawing, where
they keep their size. Time runs from left to right in every language.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_ROUND = (1, 2, 5, 10)
_BAR_SHARE = 0.7


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar: its place from the left, its width, its height, all in per cent."""

    x: float
    width: float
    height: float


def top_of(values: Sequence[int]) -> int:
    """Return the round number a plot of these values ends at, at least 2."""
    most = max(values, default=0)
    size = 1
    while size * _ROUND[-1] < most:
        size *= 10
    return max(2, next(size * step for step in _ROUND if size * step >= most))


def steps(values: Sequence[int]) -> str:
    """Return the path of a line that keeps each value until the next, the last one at the edge."""
    if len(values) < 2:  # noqa: PLR2004 - a line has two ends
        return ""
    top, width = top_of(values), 100 / (len(values) - 1)
    path = [f"M0 {_height(values[0], top)}"]
    for place, value in enumerate(values[1:], start=1):
        path.append(f"H{place * width:.2f}")
        path.append(f"V{_height(value, top)}")
    return "".join(path)


def bars(values: Sequence[int]) -> list[Bar]:
    """Return a bar for each value; one of nothing has no height."""
    if not values:
        return []
    top, width = top_of(values), 100 / len(values)
    gap = width * (1 - _BAR_SHARE) / 2
    return [
        Bar(round(place * width + gap, 2), round(width - 2 * gap, 2), round(100 * value / top, 2))
        for place, value in enumerate(values)
    ]


def _height(value: int, top: int) -> str:
    return f"{100 - 100 * value / top:.2f}"
