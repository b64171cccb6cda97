"""Two listeners beside each other, and then one."""

from __future__ import annotations

import signal

from tests.support.callers import (
    Business,
    Caller,
    Line,
    assert_closed_by_silence,
    customer,
)
from tests.support.deployment import Parts
from timer_service.messages import ProviderName

GAP_S = 2
SESSIONS = 100
PUNCTUAL_WITHIN_MS = 1000


def test_two_listeners_close_each_session_once_and_one_goes_on_without_the_other(
    parts: Parts, parts_caller: Caller
) -> None:
    parts.make_ready(listeners=2)
    shop = parts_caller.add_business("Shop", idle_gap_s=GAP_S)
    line = shop.connect(ProviderName.META)

    def close_some(first: int) -> None:
        before = _counts(parts_caller)
        line.record([customer(first + number) for number in range(SESSIONS)], "is it in stock?")
        _assert_closed(shop, line, first + SESSIONS)
        closed, claimed = (
            now - then for now, then in zip(_counts(parts_caller), before, strict=True)
        )
        assert closed == SESSIONS
        assert claimed == SESSIONS, "one listener only wins each"

    close_some(0)
    assert parts.listeners[0].end(signal.SIGKILL) == -signal.SIGKILL
    close_some(SESSIONS)
    assert parts.listeners[1].is_running


def _counts(caller: Caller) -> tuple[float, float]:
    """Return how often a session was closed, and claimed by its event or by the pacer."""
    claims = (caller.metric("timer_claims_total", outcome=one) for one in ("won", "taken_over"))
    return caller.metric("timer_sessions_closed_total", reason="idle"), sum(claims)


def _assert_closed(shop: Business, line: Line, sessions: int) -> None:
    closed = shop.wait_until_closed()
    assert len(closed) == sessions
    for session in closed:
        assert session["connection_id"] == line.connection_id
        assert_closed_by_silence(session, idle_gap_s=GAP_S)
        assert session["close_lateness_ms"] < PUNCTUAL_WITHIN_MS
