"""What programs are answered: the shapes and words of the interface."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import uuid4

import pytest

from timer_service.messages import CloseReason
from timer_service.resources import Contact, Session, Summary, format_instant

AT = datetime(2026, 3, 9, 12, 0, 0, 123_456, tzinfo=UTC)

SESSION_FIELDS = [
    "id",
    "business_id",
    "connection_id",
    "provider",
    "contact_id",
    "customer_wa_id",
    "customer_name",
    "number",
    "is_open",
    "state",
    "status",
    "started_at",
    "last_message_at",
    "last_customer_message_at",
    "deadline_at",
    "closed_at",
    "close_reason",
    "close_lateness_ms",
    "message_count",
    "summary_created",
    "summary",
    "context",
    "order_details",
    "service_window",
]
SUMMARY_FIELDS = [
    "status",
    "reason",
    "text",
    "title",
    "customer",
    "asked_for",
    "provided",
    "next_steps",
    "follow_up",
    "language",
    "sentiment",
    "summarizer",
    "model",
    "message_ids",
    "tokens",
    "created_at",
]


def row(**changes: Any) -> Any:
    empty = dict.fromkeys(
        ("customer_name", "last_message_at", "last_customer_message_at", "closed_at",
         "close_reason", "summary_status", "summary_reason", "summary_text", "title", "customer",
         "asked_for", "provided", "next_steps", "follow_up", "language", "sentiment", "summarizer",
         "model", "message_ids", "dropped_messages", "tokens", "summarised_at")
    )  # fmt: skip
    ids = {name: uuid4() for name in ("id", "business_id", "connection_id", "contact_id")}
    return {
        **empty, **ids, "provider": "meta", "customer_wa_id": "972500000001", "number": 1,
        "state": "open", "started_at": AT, "deadline_at": AT + timedelta(seconds=900),
        "message_count": 1, "context": {}, "order_details": {},
        "window_began_at": AT, "read_at": AT, **changes,
    }  # fmt: skip


def closed(reason: CloseReason, late: timedelta = timedelta(0)) -> Session:
    return Session.of(
        row(
            state="closed",
            close_reason=reason.value,
            closed_at=AT + timedelta(seconds=900) + late,
            summary_status="pending",
        )
    )


def test_instants_are_utc_with_milliseconds() -> None:
    assert format_instant(AT) == "2026-03-09T12:00:00.123Z"
    here = AT.astimezone(timezone(timedelta(hours=2)))
    assert format_instant(here) == "2026-03-09T12:00:00.123Z"


def test_a_session_has_the_fields_of_the_interface_in_its_order() -> None:
    assert list(Session.model_fields) == SESSION_FIELDS
    assert [name for name in Summary.model_fields if name != "dropped_messages"] == SUMMARY_FIELDS


def test_an_open_session_is_active_and_has_no_summary() -> None:
    session = Session.of(row())
    assert (session.is_open, session.status) == (True, "active")
    assert (session.summary, session.summary_created) == (None, False)
    assert (session.close_reason, session.close_lateness_ms) == (None, None)
    assert session.model_dump(mode="json")["started_at"] == "2026-03-09T12:00:00.123Z"


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        (CloseReason.IDLE, "expired"),
        (CloseReason.COMPLETED, "completed"),
        (CloseReason.RECOVERED, "expired"),
        (CloseReason.REPLACED, "expired"),
    ],
)
def test_only_what_somebody_completed_is_completed(reason: CloseReason, status: str) -> None:
    assert closed(reason).status == status


def test_the_lateness_is_of_silence_only() -> None:
    late = timedelta(milliseconds=4, microseconds=600)
    assert closed(CloseReason.IDLE, late).close_lateness_ms == 5
    assert closed(CloseReason.COMPLETED, late).close_lateness_ms is None
    assert closed(CloseReason.RECOVERED, late).close_lateness_ms is None


def test_a_pending_summary_is_not_created_and_one_being_replaced_is() -> None:
    assert not closed(CloseReason.IDLE).summary_created
    again = row(
        state="closed", close_reason="idle", closed_at=AT + timedelta(seconds=901),
        summary_status="pending", summary_text="said before", summarised_at=AT,
    )  # fmt: skip
    session = Session.of(again)
    assert session.summary_created
    assert session.summary is not None
    assert (session.summary.status, session.summary.text) == ("pending", "said before")


@pytest.mark.parametrize(
    ("ids", "shown"),
    [
        ([["lid", "111"], ["phone", "972500000001"]], "972500000001"),
        ([["bsuid", "IL.1"], ["lid", "111"]], "lid:111"),
        ([["bsuid", "IL.1"]], "bsuid:IL.1"),
        (None, ""),
    ],
)
def test_a_contact_shows_its_best_id(ids: list[list[str]] | None, shown: str) -> None:
    contact = Contact.of(
        {
            "id": uuid4(),
            "business_id": uuid4(),
            "name": None,
            "session_count": 1,
            "attributes": {},
            "open_task_count": 0,
            "session_id": None,
            "created_at": AT,
            "ids": ids,
            "windows": None,
            "read_at": AT,
        }
    )
    assert contact.customer_wa_id == shown


@pytest.mark.parametrize(
    ("ago", "window"),
    [
        (timedelta(0), (True, "customer_wrote")),
        (timedelta(hours=23, minutes=59), (True, "customer_wrote")),
        (timedelta(hours=24), (False, "expired")),
        (None, (False, "never_wrote")),
    ],
)
@pytest.mark.parametrize("provider", ["meta", "twilio"])
def test_the_service_window_is_open_for_a_day_after_the_customers_last_message(
    provider: str, ago: timedelta | None, window: tuple[bool, str]
) -> None:
    began_at = None if ago is None else AT - ago
    told = Session.of(row(provider=provider, window_began_at=began_at)).service_window
    assert told is not None
    assert (told.is_open, told.reason) == window
    assert told.closes_at == (None if began_at is None else began_at + timedelta(hours=24))


@pytest.mark.parametrize("provider", ["waha", "baileys"])
def test_where_whatsapps_own_api_is_not_used_there_is_no_window(provider: str) -> None:
    assert Session.of(row(provider=provider, window_began_at=None)).service_window is None
