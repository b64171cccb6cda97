"""The demo's verdict: each way the service could fail it is seen, and all is well says nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from timer_service.demo.api import SessionSeen
from timer_service.demo.report import Expected, find_problems, is_settled, lateness_line
from timer_service.messages import ProviderName

START_AT = datetime(2026, 3, 9, 9, 0, tzinfo=UTC)
PHONE = "972500001001"
GAP_S = 4


def session(**changes: Any) -> SessionSeen:
    """Build a session closed 5 ms after its deadline, with its summary."""
    deadline_at = START_AT + timedelta(seconds=GAP_S)
    values: dict[str, Any] = {
        "id": UUID(int=1),
        "provider": "meta",
        "customer_wa_id": PHONE,
        "customer_name": "Noa",
        "number": 1,
        "is_open": False,
        "message_count": 3,
        "last_customer_message_at": START_AT,
        "deadline_at": deadline_at,
        "closed_at": deadline_at + timedelta(milliseconds=5),
        "close_reason": "idle",
        "close_lateness_ms": 5,
        "summary": {"status": "done", "title": "A cake", "text": "She wants a cake."},
    }
    return SessionSeen.model_validate(values | changes)


def problems(
    *sessions: SessionSeen, counts: tuple[int, ...] = (3,), active_count: int = 0
) -> list[str]:
    expected = [Expected(ProviderName.META, PHONE, counts)]
    return find_problems(sessions, expected, active_count, GAP_S)


def test_a_session_closed_by_silence_and_summarised_is_no_problem() -> None:
    assert problems(session()) == []


def test_two_sessions_are_compared_in_their_order() -> None:
    second = session(id=UUID(int=2), number=2, message_count=1)
    assert problems(second, session(), counts=(3, 1)) == []
    assert problems(second, session(), counts=(1, 3)) == [
        "conversation 1 (meta): expected sessions of 1 + 3 messages, found 3 + 1"
    ]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"is_open": True, "closed_at": None, "close_reason": None}, "is still open"),
        ({"close_reason": "completed"}, "closed as completed"),
        ({"closed_at": START_AT + timedelta(seconds=3.999)}, "before its deadline"),
        (
            {"last_customer_message_at": START_AT + timedelta(milliseconds=6)},
            "before its deadline",
        ),
        ({"summary": {"status": "pending"}}, "is pending"),
        ({"summary": {"status": "failed", "reason": "timeout"}}, "is failed (timeout)"),
        ({"summary": None}, "is missing"),
        ({"message_count": 4}, "expected sessions of 3 messages, found 4"),
        ({"customer_wa_id": "972500001002"}, "found none"),
    ],
)
def test_whatever_is_not_as_promised_is_named(changes: dict[str, Any], words: str) -> None:
    (problem,) = problems(session(**changes))
    assert words in problem
    assert PHONE not in problem


def test_a_chat_that_stays_active_is_a_problem() -> None:
    assert problems(session(), active_count=1) == ["expected 0 active chats at the end, found 1"]


def test_a_conversation_with_nothing_to_summarise_is_settled() -> None:
    assert is_settled(session(summary={"status": "skipped", "reason": "too_short"}))
    assert not is_settled(session(summary={"status": "running"}))


def test_the_lateness_line_gives_percentiles_by_nearest_rank() -> None:
    sessions = [session(close_lateness_ms=ms) for ms in (9, 1, 3, 7)]
    assert lateness_line(sessions, GAP_S) == "close lateness p50 3 p99 9 max 9 ms, early 0"
    early = session(closed_at=START_AT + timedelta(seconds=3))
    assert lateness_line([early], GAP_S).endswith("early 1")
    assert "nothing closed by silence" in lateness_line([session(close_lateness_ms=None)], GAP_S)
