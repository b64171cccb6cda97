"""The only reader of the wall clock and of the monotonic clock.

Deadlines are decided by Redis's and Postgres's own clocks; this one dates what neither of them
sees (log lines, token lifetimes) and measures how long things took.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

_STEADY_CLOCK: int | None = getattr(time, "CLOCK_BOOTTIME", None)


def utc_now() -> datetime:
    """Return the present instant as an aware UTC datetime."""
    return datetime.now(UTC)


def epoch_s() -> float:
    """Return seconds since the Unix epoch by the wall clock."""
    return time.time()


def monotonic_s() -> float:
    """Return seconds on a clock that never steps; only differences mean anything.

    Counts on while the machine sleeps where the system can (Linux), so that waking up does not
    look like a step of Postgres's clock.
    """
    return time.clock_gettime(_STEADY_CLOCK) if _STEADY_CLOCK is not None else time.monotonic()
