"""The page of one conversation: its transcript, its summary, and what an agent may do."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from sqlalchemy import text

from tests.web.reader import Reader, page_of, page_of_session, words_of
from tests.web.shop import Shop
from timer_service.ids import ConnectionId, SessionId
from timer_service.messages import (
    Author,
    ChangeKind,
    ContactIds,
    Delivery,
    DeliveryStatus,
    Direction,
    Event,
    InboundMessage,
    Media,
    MessageChange,
    OwnMessage,
)
from timer_service.summarize_job import SummaryWorker
from timer_service.summarizers import build_summarizers
from timer_service.wiring import WebServices

DANA = ContactIds(phone="972500000001")


@pytest.fixture
def agent(app: Flask, shop: Shop) -> Reader:
    return Reader.signed_in(app, shop.keys["agent"])


@pytest.fixture
def viewer(app: Flask, shop: Shop) -> Reader:
    return Reader.signed_in(app, shop.keys["viewer"])


def heard(name: str, words: str = "", **more: Any) -> InboundMessage:
    return InboundMessage(provider_message_id=name, contact=DANA, text=words, **more)


def said(name: str, words: str = "", **more: Any) -> OwnMessage:
    return OwnMessage(provider_message_id=name, contact=DANA, text=words, **more)


def converse(services: WebServices, shop: Shop, *events: Event) -> str:
    """Take events in on a new connection; return the address of the conversation."""
    connection_id = ConnectionId(UUID(shop.connect("meta")["id"]))
    recorded = services.intake.record(connection_id, list(events))
    return page_of_session(shop, str(recorded[0].session_id))


def session_id_in(address: str) -> str:
    return address.rsplit("/", 1)[1]


def bubble_of(source: str, number: int) -> str:
    """Return the source of the message at this place, from 0."""
    return re.findall(r'<li id="message-[^>]*>.*?</li>', source, re.DOTALL)[number]


def set_summary(services: WebServices, address: str, status: str, reason: str | None) -> None:
    with services.database.transaction() as db:
        db.execute(
            text("""
                UPDATE sessions SET summary_status = :status, summary_reason = :reason
                WHERE id = :id"""),
            {"status": status, "reason": reason, "id": session_id_in(address)},
        )


def test_a_transcript_reads_as_a_chat(services: WebServices, shop: Shop, viewer: Reader) -> None:
    address = converse(
        services,
        shop,
        heard("m1", "is the blue one in stock?", customer_name="Dana Levi"),
        heard("m2", "size 38"),
        said("m3", "Welcome to the shop", author=Author.BOT),
        said("m4", "yes, two are left", reply_to="m1"),
        heard("m5", type="voice", reply_to="gone"),
        heard(
            "m6",
            "like this",
            type="image",
            media=Media(file_name="blue.jpg", size_bytes=181_500, mime_type="image/jpeg"),
        ),
    )
    source = viewer.read(address)
    bubbles = [words_of(bubble_of(source, number)) for number in range(6)]
    assert bubbles[0].startswith("Customer is the blue one in stock?")
    assert 'class="for-readers">Customer<' in bubble_of(source, 1)
    assert bubbles[2].startswith("Bot Welcome to the shop")
    assert bubbles[3].startswith("Agent Customer is the blue one in stock? yes, two are left")
    assert 'href="#message-' in bubble_of(source, 3)
    assert "A reply to an earlier message Voice message" in bubbles[4]
    assert "Photo · blue.jpg · 182 kB" in bubbles[5]
    assert 'class="words" dir="auto">like this<' in bubble_of(source, 5)
    assert "bubble-in" in bubble_of(source, 0)
    assert "bubble-out" in bubble_of(source, 3)
    assert "<h1><bdi>Dana Levi</bdi></h1>" in source
    assert '<bdi dir="ltr" class="number">+972 50-000-0001</bdi>' in source


def test_what_happened_to_a_message_later_is_told_in_words(
    services: WebServices, shop: Shop, viewer: Reader
) -> None:
    customer, business = Direction.IN, Direction.OUT
    address = converse(
        services,
        shop,
        heard("m1", "two pleas"),
        heard("m2", "my card number is secret"),
        said("m3", "done"),
        said("m4", "see you"),
        said("m5", "tomorrow"),
        MessageChange(kind=ChangeKind.EDIT, direction=customer, target="m1", text="two please"),
        MessageChange(kind=ChangeKind.REVOKE, direction=customer, target="m2"),
        MessageChange(kind=ChangeKind.REACTION, direction=customer, target="m3", text="👍"),
        MessageChange(kind=ChangeKind.REACTION, direction=business, target="m1", text="🙏"),
        DeliveryStatus(provider_message_id="m3", status=Delivery.READ),
        DeliveryStatus(provider_message_id="m4", status=Delivery.DELIVERED),
        DeliveryStatus(provider_message_id="m5", status=Delivery.FAILED),
    )
    source = viewer.read(address)
    first, second, third, fourth, fifth = (
        words_of(bubble_of(source, number)) for number in range(5)
    )
    assert "two please Edited" in first
    assert "🙏 Reaction, Agent" in first
    assert "This message was deleted" in second
    assert "secret" not in source
    assert "✓✓Read" in third
    assert "👍 Reaction, Customer" in third
    assert "✓✓Delivered" in fourth
    assert "✕Not delivered" in fifth


def test_times_and_days_are_those_of_the_business(
    services: WebServices, shop: Shop, viewer: Reader
) -> None:
    shop.patch(f"/api/businesses/{shop.id}", {"timezone": "Asia/Jakarta", "locale": "en-GB"})
    evening = datetime(2026, 3, 9, 16, 59, tzinfo=UTC)
    address = converse(
        services,
        shop,
        heard("m1", "before midnight", sent_at=evening),
        heard("m2", "after midnight", sent_at=evening.replace(hour=17, minute=1)),
    )
    source = viewer.read(address)
    assert re.findall(r'class="chat-day"><time[^>]*>([^<]*)<', source) == [
        "9 March 2026",
        "10 March 2026",
    ]
    assert "23:59" in words_of(bubble_of(source, 0))
    assert "00:01" in words_of(bubble_of(source, 1))


def test_a_very_long_conversation_goes_on_over_pages(
    monkeypatch: pytest.MonkeyPatch, services: WebServices, shop: Shop, viewer: Reader
) -> None:
    monkeypatch.setattr("timer_http.console.session_pages.PAGE_LENGTH", 2)
    address = converse(services, shop, *(heard(f"m{number}", f"no. {number}") for number in "123"))
    first = viewer.read(address)
    assert ("no. 2" in first, "no. 3" in first) == (True, False)
    more = re.search(r'href="([^"]+\?after=[^"]+)">More messages', first)
    assert more is not None
    second = viewer.read(more[1])
    assert ("no. 2" in second, "no. 3" in second) == (False, True)
    assert "More messages" not in second


def test_a_viewer_sees_no_buttons_and_is_refused_by_the_server(
    services: WebServices, shop: Shop, viewer: Reader
) -> None:
    address = converse(services, shop, heard("m1", "hello"))
    assert "Close now" not in viewer.read(address)
    for action in ("close", "summarize"):
        answer = viewer.press(f"{address}/{action}")
        assert answer.status_code == 403
        assert "Your role does not allow this" in words_of(answer.text)
    assert shop.active_count == 1


def test_an_agent_closes_a_conversation_after_confirming(
    services: WebServices, shop: Shop, agent: Reader
) -> None:
    address = converse(services, shop, heard("m1", "hello", customer_name="Dana Levi"))
    source = agent.read(address)
    assert "Close the conversation with Dana Levi?" in words_of(source)
    assert "<details" in source.split("Close now", maxsplit=1)[0]
    assert agent.open(f"{address}/close").status_code == 404
    assert shop.active_count == 1
    answer = agent.press(f"{address}/close", headers={"Sec-Fetch-Site": "same-origin"})
    assert (answer.status_code, answer.headers["Location"]) == (303, address)
    closed = words_of(agent.read(address))
    assert "Closed by an agent" in closed
    assert "Close now" not in closed
    assert "The summary is being written…" in closed
    assert shop.active_count == 0
    assert agent.press(f"{address}/close").status_code == 303


def test_silence_as_the_reason_comes_with_its_lateness(
    services: WebServices, shop: Shop, viewer: Reader
) -> None:
    address = converse(services, shop, heard("m1", "hello"))
    with services.database.transaction() as db:
        db.execute(
            text("""
                UPDATE sessions SET state = 'closed', close_reason = 'idle',
                  closed_at = deadline_at + interval '12 milliseconds'"""),
        )
    words = words_of(viewer.read(address))
    assert "Closed: customer went quiet" in words
    assert "Closed 12 ms after its deadline" in words


def test_a_summary_reads_like_a_note_and_leads_to_its_messages(
    services: WebServices, shop: Shop, agent: Reader
) -> None:
    address = converse(
        services,
        shop,
        heard("m1", "Do you have the glass kettle in stock, and what does it cost?"),
        said("m2", "Yes, it costs £34.90 and we can ship it tomorrow morning."),
        heard("m3", "Great, please send one to Leeds."),
    )
    agent.press(f"{address}/close")
    _, fallback = build_summarizers(services.settings)
    SummaryWorker(services.database, None, fallback).summarize(
        SessionId(UUID(session_id_in(address))), 1, 0
    )
    source = agent.read(address)
    words = words_of(source)
    for part in ("Summary", "Asked for", "Provided", "kettle", "Summarise again"):
        assert part in words
    assert "Written without a language model" in words
    link = re.search(r'href="#(message-[^"]+)">Messages it was made from: 3<', source)
    assert link is not None
    assert f'<li id="{link[1]}"' in source
    assert "every 3s" not in source
    set_summary(services, address, "done", "rate_limited")
    assert "The model failed. rate_limited" in words_of(agent.read(address))


@pytest.mark.parametrize(
    ("status", "reason", "words", "may_ask_again", "is_fetched_again"),
    [
        ("pending", None, "The summary is being written…", False, True),
        ("running", None, "The summary is being written…", False, True),
        ("failed", "timeout", "It is tried again by itself. Reason: timeout", True, True),
        ("failed", "worker_died", "It is not tried again by itself.", True, False),
        ("skipped", "too_short", "Nothing was said that needs a summary.", True, False),
    ],
)
def test_a_missing_summary_says_why(
    *,
    services: WebServices,
    shop: Shop,
    agent: Reader,
    status: str,
    reason: str | None,
    words: str,
    may_ask_again: bool,
    is_fetched_again: bool,
) -> None:
    address = converse(services, shop, heard("m1", "hello"))
    agent.press(f"{address}/close")
    set_summary(services, address, status, reason)
    source = agent.read(address)
    assert words in words_of(source)
    assert ("Summarise again" in source) is may_ask_again
    assert ("every 3s" in source) is is_fetched_again
    assert words in words_of(agent.read(f"{address}/live"))


def test_asking_for_a_new_summary_starts_one(
    services: WebServices, shop: Shop, agent: Reader
) -> None:
    address = converse(services, shop, heard("m1", "hello"))
    refused = agent.press(f"{address}/summarize")
    assert refused.status_code == 409
    assert "That is not possible now" in words_of(refused.text)
    agent.press(f"{address}/close")
    set_summary(services, address, "skipped", "too_short")
    assert agent.press(f"{address}/summarize").status_code == 303
    assert "The summary is being written…" in words_of(agent.read(address))


def test_a_customer_without_a_number_is_shown_by_id(
    services: WebServices, shop: Shop, viewer: Reader
) -> None:
    hidden = InboundMessage(provider_message_id="m1", contact=ContactIds(lid="111111111111111"))
    address = converse(services, shop, hidden)
    assert "lid:111111111111111" in words_of(viewer.read(page_of(shop)))
    assert "lid:111111111111111" in words_of(viewer.read(address))
