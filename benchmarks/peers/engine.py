"""What an engine must be able to do to be compared: hold timers, reset them, stamp what is due."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

from benchmarks.peers.timers import calls_per_s
from benchmarks.rig import Rig

BATCH = 500


class Engine(ABC):
    """One engine on a server of its own. It starts its handler when it is made."""

    label: ClassVar[str]
    survives: ClassVar[bool]
    """Whether its timers fire on time although its process was killed and started again."""
    note: ClassVar[str]
    in_python: ClassVar[bool] = True
    """Whether its client is; another language's may be faster or slower for that alone."""
    most_live: ClassVar[int] = 1_000_000
    """How many timers it can be given in reasonable time."""
    batches: ClassVar[bool] = True
    """Whether it has a way to reset many at once."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig

    @abstractmethod
    def load(self, deadlines: Mapping[int, float]) -> None:
        """Make timers, in the way that is fastest here."""

    @abstractmethod
    def reset(self, numbers: Sequence[int], in_s: float) -> None:
        """Let timers be due ``in_s`` from now: one in its usual way, several in the best."""

    def resets_per_s(
        self, numbers: Sequence[int], in_s: float, batch: int, seconds: float
    ) -> float:
        """Reset these again and again, from one client."""
        return calls_per_s(lambda some: self.reset(some, in_s), numbers, batch, seconds)

    def settle(self) -> None:  # noqa: B027 - most have nothing to wait for
        """Wait until what was asked for has arrived."""

    def held(self, asked: Mapping[int, float]) -> Mapping[int, float]:
        """Return the deadlines as the engine holds them, where it counts from the call."""
        return asked

    def close(self) -> None:  # noqa: B027 - most end with the rig
        """End what does not end with the rig."""


def redis_url() -> str:
    """Return the server's URL, in a handler's process."""
    return os.environ["TIMER_REDIS_URL"]
