"""The work every engine is given, and how what it did is judged. Pure, but for the file of stamps.

A timer is a number. A handler, in whatever process and language, stamps it by adding a line
``<number> <µs since the epoch>`` to one file. Instants are seconds since the epoch by the
machine's wall clock, which servers, clients and handlers share.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from random import Random

from timer_service.clock import epoch_s, monotonic_s

STAMPS_FILE = "TIMER_BENCH_STAMPS"
"""The environment variable that tells handlers where the file of stamps is."""


@dataclass(frozen=True, slots=True)
class Work:
    """``live`` timers, as many of them due in ``seconds`` as an idle gap of ``gap_s`` makes."""

    live: int
    gap_s: float
    seconds: float

    @property
    def due(self) -> range:
        """The timers that fall due while it is watched, one at least; the highest numbers."""
        count = max(1, round(self.live * self.seconds / self.gap_s))
        return range(self.live - count, self.live)

    @property
    def later(self) -> range:
        """The timers that are only there, and are reset."""
        return range(self.due.start)

    def due_deadlines(self, from_s: float, rng: Random) -> dict[int, float]:
        """Spread what falls due evenly over the watched time."""
        return _spread(self.due, from_s, self.seconds, rng)

    def later_deadlines(self, from_s: float, rng: Random) -> dict[int, float]:
        """Spread the others over an idle gap."""
        return _spread(self.later, from_s, self.gap_s, rng)


def _spread(numbers: range, from_s: float, over_s: float, rng: Random) -> dict[int, float]:
    # whole milliseconds: what every engine can state
    return {one: round(from_s + rng.uniform(0, over_s), 3) for one in numbers}


@dataclass(frozen=True, slots=True)
class Fired:
    """How punctual an engine was.

    ``lateness_ms`` has an entry for every timer that was due; of one that was missing when the
    watch ended, it is how late it was by then, which is less than it is going to be.
    """

    lateness_ms: list[float]
    early: int
    missing: int
    twice: int


def judge(
    deadlines: Mapping[int, float], stamps: Iterable[tuple[int, float]], ended_s: float
) -> Fired:
    """Compare stamps with deadlines; a timer stamped twice counts by its first."""
    first: dict[int, float] = {}
    times: Counter[int] = Counter()
    for number, at_s in stamps:
        if number in deadlines:
            first[number] = min(at_s, first.get(number, at_s))
            times[number] += 1
    lateness_ms = [
        (first.get(number, ended_s) - deadline_s) * 1000 for number, deadline_s in deadlines.items()
    ]
    return Fired(
        lateness_ms=lateness_ms,
        early=sum(value < 0 for value in lateness_ms),
        missing=len(deadlines) - len(first),
        twice=sum(count > 1 for count in times.values()),
    )


class Stamper:
    """Writes stamps, each at once: a handler may be ended at any moment."""

    def __init__(self, path: str | None = None) -> None:
        where = path or os.environ[STAMPS_FILE]
        self._file = os.open(where, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def stamp(self, numbers: Sequence[int]) -> None:
        """Note that these fired now."""
        at_us = int(epoch_s() * 1_000_000)
        os.write(self._file, "".join(f"{number} {at_us}\n" for number in numbers).encode())


def read_stamps(path: Path) -> list[tuple[int, float]]:
    """Read all stamps written so far, as number and instant."""
    if not path.exists():
        return []
    pairs = (line.split() for line in path.read_text().splitlines(keepends=True) if "\n" in line)
    return [(int(number), int(at_us) / 1_000_000) for number, at_us in pairs]


def calls_per_s(
    act: Callable[[Sequence[int]], object], numbers: Sequence[int], batch: int, seconds: float
) -> float:
    """Call ``act`` with batches of numbers, again and again; return numbers a second."""
    batches = [numbers[i : i + batch] for i in range(0, len(numbers), batch)]
    began_s = monotonic_s()
    done = 0
    for one in cycle(batches):
        act(one)
        done += len(one)
        spent_s = monotonic_s() - began_s
        if spent_s >= seconds:
            break
    return done / spent_s
