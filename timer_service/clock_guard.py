"""Notices when Postgres's clock steps, so that a step forward does not close everything.

Compares Postgres's clock with this process's steady one. While they disagree by more than two
seconds from what they did before, nothing may be closed; when the step is undone, closing goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import structlog

from timer_service import metrics
from timer_service.clock import monotonic_s
from timer_service.errors import TimerServiceError

log = structlog.get_logger(__name__)

STEP = timedelta(seconds=2)


class ClockStepped(TimerServiceError):
    """Postgres's clock jumped against ours; closing waits until an operator has looked."""

    retryable = True


class ClockGuard:
    """Remembers how far apart the two clocks were."""

    def __init__(self, steady_s: Callable[[], float] = monotonic_s) -> None:
        self._steady_s = steady_s
        self._known: tuple[timedelta, timedelta] | None = None

    def plausible(self) -> tuple[datetime, datetime] | None:
        """Return between which instants Postgres's clock must be in the next statement.

        None before the first check.
        """
        if self._known is None:
            return None
        least, most = self._known
        now = self._steady_instant()
        return now + least - STEP, now + most + STEP

    def check(self, read_clock: Callable[[], datetime]) -> None:
        """Read Postgres's clock and compare it with what is known.

        The answer was made somewhere between asking and having it, so the distance between the
        clocks is known to lie between two bounds: a slow answer is not mistaken for a step.

        Raises:
            ClockStepped: it moved more than two seconds against the steady clock.
        """
        asked_at = self._steady_instant()
        database_now = read_clock()
        least, most = database_now - self._steady_instant(), database_now - asked_at
        if self._known is not None:
            known_least, known_most = self._known
            moved = max(least - known_most, known_least - most)
            if moved > STEP:
                metrics.CLOCK_STEPS.inc()
                moved_s = round(moved.total_seconds() * (1 if least > known_most else -1), 1)
                log.error("database_clock_stepped", moved_s=moved_s)
                raise ClockStepped(
                    f"Postgres's clock moved by {moved_s} s against this host's steady clock: "
                    "nothing is closed until it is set right, or this process restarted"
                )
        self._known = (least, most)

    def _steady_instant(self) -> datetime:
        return datetime.fromtimestamp(self._steady_s(), UTC)
