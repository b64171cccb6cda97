"""Sending messages over HTTP: who may, what is refused, and what comes back of it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from tests.support.twilio_requests import twilio_headers, twilio_status
from tests.web.shop import Shop
from timer_service.clock import utc_now
from timer_service.job_queue import SENDS_QUEUE, SendJob
from timer_service.wiring import WebServices

DANA = "972500000001"


def linked(shop: Shop, provider: str = "meta", **values: Any) -> dict[str, Any]:
    """Connect an account whose customer wrote a moment ago."""
    if provider in {"waha", "baileys"}:
        values.setdefault("base_url", "http://gateway.internal:3000")
    connection = shop.connect(provider, **values)
    shop.record(connection, "is the blue one in stock?")
    return connection


def send(shop: Shop, connection: dict[str, Any], role: str = "agent", **values: Any) -> Any:
    body = {"connection_id": connection["id"], "to": DANA, "text": "Yes.", **values}
    return shop.post("/api/messages", {k: v for k, v in body.items() if v is not None}, role=role)


def test_a_message_is_accepted_queued_and_read_back(shop: Shop, services: WebServices) -> None:
    connection = linked(shop)
    answer = send(shop, connection, client_ref="order-1")
    assert answer.status_code == 202, answer.json
    made = answer.json
    assert (made["status"], made["direction"], made["text"]) == ("queued", "out", "Yes.")
    assert made["provider_message_id"] is None
    assert shop.get(f"/api/messages/{made['id']}", role="viewer").json == made
    assert services.jobs.depths()[SENDS_QUEUE] == 1
    (session,) = shop.sessions
    listed = shop.get(f"/api/sessions/{session['id']}/messages").json["items"]
    assert [one["id"] for one in listed if one["direction"] == "out"] == [made["id"]]
    assert session["last_message_at"] == made["received_at"]
    assert services.jobs.still_waiting([SendJob(made["id"], 1)]) == {f"send_{made['id']}_1"}


def test_a_session_names_whom_to_send_to(shop: Shop) -> None:
    connection = linked(shop)
    (session,) = shop.sessions
    answer = send(shop, connection, connection_id=None, to=None, session_id=session["id"])
    assert answer.status_code == 202, answer.json
    assert answer.json["session_id"] == session["id"]


def test_the_same_reference_is_one_message_and_other_words_are_a_conflict(shop: Shop) -> None:
    connection = linked(shop)
    first = send(shop, connection, client_ref="order-1")
    again = send(shop, connection, client_ref="order-1")
    assert (again.status_code, again.json["id"]) == (202, first.json["id"])
    for other in ({"text": "No."}, {"to": "972500000002"}):
        shop.record(connection, "hello", customer_wa_id="972500000002")
        assert send(shop, connection, client_ref="order-1", **other).status_code == 409


def test_a_reference_belongs_to_one_business(shop: Shop, other_shop: Shop) -> None:
    first = send(shop, linked(shop), client_ref="order-1")
    second = send(other_shop, linked(other_shop), client_ref="order-1")
    assert second.status_code == 202
    assert second.json["id"] != first.json["id"]


def test_what_is_anothers_is_not_there(shop: Shop, other_shop: Shop) -> None:
    connection = linked(other_shop)
    (session,) = other_shop.sessions
    theirs = send(other_shop, connection).json
    assert send(shop, connection).status_code == 404
    assert send(shop, {"id": str(uuid4())}).status_code == 404
    by_session = send(shop, connection, connection_id=None, to=None, session_id=session["id"])
    assert by_session.status_code == 404
    assert shop.get(f"/api/messages/{theirs['id']}").status_code == 404
    decided = shop.post(f"/api/messages/{theirs['id']}/decide", {"decision": "sent"})
    assert decided.status_code == 404
    assert shop.get("/api/messages/no-uuid").status_code == 404


def test_viewers_only_read(shop: Shop) -> None:
    connection = linked(shop)
    made = send(shop, connection).json
    assert send(shop, connection, role="viewer").status_code == 403
    path = f"/api/messages/{made['id']}/decide"
    assert shop.post(path, {"decision": "sent"}, role="viewer").status_code == 403


@pytest.mark.parametrize(
    "values",
    [
        {"text": None},
        {"template": {"name": "a", "language": "en"}},
        {"to": None},
        {"session_id": str(uuid4())},
        {"to": "not a number"},
        {"to": "0501234567"},
        {"text": ""},
        {"text": "\u0000 \n"},
        {"text": None, "media": {"type": "image", "url": "file:///etc/passwd"}},
        {"unknown": 1},
        {"text": "x" * 5000},
    ],
)
def test_what_is_not_one_whole_message_is_refused(shop: Shop, values: dict[str, Any]) -> None:
    connection = linked(shop)
    answer = send(shop, connection, **values)
    assert answer.status_code == 422, answer.json
    assert answer.content_type == "application/problem+json"


def test_local_numbers_are_read_by_the_businesss_country(shop: Shop) -> None:
    shop.patch(f"/api/businesses/{shop.id}", {"country": "IL"})
    connection = linked(shop)
    answer = send(shop, connection, to="050-000-0001")
    assert answer.status_code == 202
    (session,) = shop.sessions
    assert answer.json["session_id"] == session["id"]


@pytest.mark.parametrize("provider", ["meta", "twilio"])
def test_free_text_outside_the_window_is_refused_and_a_template_is_not(
    shop: Shop, provider: str
) -> None:
    account = {"external_id": f"AC{uuid4().hex}:+15550009999"} if provider == "twilio" else {}
    connection = linked(shop, provider, **account)
    template: dict[str, Any] = {"name": "order_update", "language": "en_US"}
    if provider == "twilio":
        template = {"content_sid": "HX00000000000000000000000000000001", "variables": {"1": "D"}}
    refused = send(shop, connection, to="972500000009")
    assert refused.status_code == 422
    (error,) = refused.json["errors"]
    assert error["field"] == "text"
    assert "template" in error["message"]
    taken = send(shop, connection, to="972500000009", text=None, template=template)
    assert taken.status_code == 202, taken.json
    assert (taken.json["type"], taken.json["extra"]) == ("template", {"template": template})


def test_the_window_is_the_customers_in_whatever_form_the_number_is_written(shop: Shop) -> None:
    connection = shop.connect("meta")
    shop.record(connection, "olá", customer_wa_id="551187654321")
    assert send(shop, connection, to="5511987654321").status_code == 202


@pytest.mark.parametrize("provider", ["meta", "twilio"])
def test_the_window_is_shown_with_the_session_and_the_contact(shop: Shop, provider: str) -> None:
    account = {"external_id": f"AC{uuid4().hex}:+15550009999"} if provider == "twilio" else {}
    connection = linked(shop, provider, **account)
    (session,) = shop.sessions
    window = session["service_window"]
    assert (window["is_open"], window["reason"]) == (True, "customer_wrote")
    closes_at = datetime.fromisoformat(window["closes_at"])
    wrote_at = datetime.fromisoformat(session["last_customer_message_at"])
    assert closes_at - wrote_at == timedelta(hours=24)
    contact = shop.get(f"/api/contacts/{session['contact_id']}").json
    named = {"connection_id": connection["id"], "provider": provider, "service_window": window}
    assert contact["service_windows"] == [named]
    assert shop.get("/api/contacts").json["items"][0]["service_windows"] == [named]


@pytest.mark.parametrize("provider", ["meta", "twilio"])
def test_a_window_that_has_closed_says_so_and_refuses_free_text_by_naming_templates(
    shop: Shop, provider: str
) -> None:
    account = {"external_id": f"AC{uuid4().hex}:+15550009999"} if provider == "twilio" else {}
    connection = shop.connect(provider, **account)
    sent_at = (utc_now() - timedelta(hours=30)).isoformat()
    shop.record(connection, "hi", sent_at=sent_at)
    (session,) = shop.sessions
    assert session["service_window"]["is_open"] is False
    assert session["service_window"]["reason"] == "expired"
    refused = send(shop, connection, connection_id=None, to=None, session_id=session["id"])
    assert refused.status_code == 422
    assert "template" in refused.json["errors"][0]["message"]


def test_a_chat_the_business_began_says_that_the_customer_never_wrote(shop: Shop) -> None:
    connection = shop.connect("meta")
    shop.record(connection, "hello", direction="out")
    (session,) = shop.sessions
    never = {"is_open": False, "closes_at": None, "reason": "never_wrote"}
    assert session["service_window"] == never


@pytest.mark.parametrize("provider", ["waha", "baileys"])
def test_no_window_is_shown_where_there_is_none(shop: Shop, provider: str) -> None:
    linked(shop, provider)
    (session,) = shop.sessions
    assert session["service_window"] is None
    contact = shop.get(f"/api/contacts/{session['contact_id']}").json
    assert contact["service_windows"] == []


@pytest.mark.parametrize("provider", ["waha", "baileys"])
def test_others_know_no_window_and_no_templates(shop: Shop, provider: str) -> None:
    connection = linked(shop, provider)
    assert send(shop, connection, to="972500000009").status_code == 202
    template = {"name": "order_update", "language": "en_US"}
    refused = send(shop, connection, text=None, template=template)
    assert (refused.status_code, refused.json["errors"][0]["field"]) == (422, "template")
    assert send(shop, shop.connect(provider)).status_code == 409  # it has no base_url


def test_only_what_nobody_knows_of_is_decided_on(shop: Shop) -> None:
    made = send(shop, linked(shop)).json
    for decision in ("sent", "failed", "send_again"):
        answer = shop.post(f"/api/messages/{made['id']}/decide", {"decision": decision})
        assert answer.status_code == 409
    assert shop.post(f"/api/messages/{made['id']}/decide", {"decision": "x"}).status_code == 422


def test_a_queued_message_says_nothing_of_whether_the_link_works(shop: Shop) -> None:
    connection = shop.connect("waha", base_url="http://gateway.internal:3000")
    assert send(shop, connection).status_code == 202
    assert shop.get(f"/api/connections/{connection['id']}").json["status"] == "new"


def test_a_status_at_twilio_finds_the_message_by_the_address_it_was_given(shop: Shop) -> None:
    sid = f"AC{uuid4().hex}"
    connection = linked(shop, "twilio", external_id=f"{sid}:+15550009999")
    made = send(shop, connection).json
    path = f"/webhooks/twilio/{connection['id']}?message_id={made['id']}"
    body = twilio_status(connection["external_id"], "SM0001", "delivered")
    headers = twilio_headers(
        f"https://timer.example{path}", body, connection["secrets"]["auth_token"]
    )
    answer = shop.client.post(path, data=body, headers=headers)
    assert answer.status_code == 200
    known = shop.get(f"/api/messages/{made['id']}").json
    assert (known["status"], known["provider_message_id"]) == ("delivered", "SM0001")
