"""Remembers that a server is away, so that not every caller finds out by waiting for it.

Used by `database` and `redis_clients` on the request path. After one failure everybody is refused
at once; every ``pause_s`` one caller tries again, and its success lets all in. It knows nothing of
what is called, and starts no thread.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

from timer_service.clock import monotonic_s


class Circuit:
    """One server's state, as its callers in this process found it."""

    def __init__(self, pause_s: float, steady_s: Callable[[], float] = monotonic_s) -> None:
        self._pause_s = pause_s
        self._steady_s = steady_s
        self._lock = Lock()
        self._refused_until_s: float | None = None
        self._answered_at_s = float("-inf")

    def may_call(self) -> bool:
        """Tell whether to call at all; the one who may after a pause stands for all others."""
        if self._refused_until_s is None:
            return True
        with self._lock:
            now_s = self._steady_s()
            if self._refused_until_s is None:
                return True
            if now_s < self._refused_until_s:
                return False
            self._refused_until_s = now_s + self._pause_s
            return True

    def failed(self) -> None:
        """Note that the server could not be reached, or said nothing."""
        with self._lock:
            self._refused_until_s = self._steady_s() + self._pause_s

    def answered(self) -> None:
        """Note an answer, whatever it said."""
        self._answered_at_s = self._steady_s()
        if self._refused_until_s is not None:
            with self._lock:
                self._refused_until_s = None

    def has_answered_since(self, instant_s: float) -> bool:
        """Tell whether anybody got an answer after an instant of the steady clock."""
        return self._answered_at_s > instant_s
