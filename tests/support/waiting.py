"""Waiting without sleeping blindly: poll a condition until a deadline, then fail with a reason."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(
    probe: Callable[[], T],
    *,
    within_s: float = 10.0,
    every_s: float = 0.01,
    what: str = "condition",
) -> T:
    """Call ``probe`` until it answers something true, and return that.

    Raises:
        AssertionError: the time ran out; names ``what`` and the last answer.
    """
    deadline_s = time.monotonic() + within_s
    while True:
        answer = probe()
        if answer:
            return answer
        if time.monotonic() >= deadline_s:
            raise AssertionError(f"{what} was not met within {within_s} s; last answer: {answer!r}")
        time.sleep(every_s)
