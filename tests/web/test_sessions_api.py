"""Messages, sessions, contacts and the number of active chats, as programs use them."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest
from flask.testing import FlaskClient

from tests.web.shop import Shop
from timer_service.errors import DatabaseUnavailable, InvalidInput
from timer_service.ids import BusinessId
from timer_service.job_queue import SUMMARIES_QUEUE
from timer_service.records import session_views, sessions
from timer_service.service import NewMessage
from timer_service.wiring import WebServices

SESSION_FIELDS = {
    "id", "business_id", "connection_id", "provider", "contact_id", "customer_wa_id",
    "customer_name", "number", "is_open", "state", "status", "started_at", "last_message_at",
    "last_customer_message_at", "deadline_at", "closed_at", "close_reason", "close_lateness_ms",
    "message_count", "summary_created", "summary", "context", "order_details", "service_window",
}  # fmt: skip
MESSAGE_FIELDS = {
    "id", "session_id", "provider_message_id", "direction", "author", "type", "text", "media",
    "sent_at", "received_at", "status",
}  # fmt: skip


def message(number: int = 1, **values: Any) -> dict[str, Any]:
    return {
        "provider_message_id": f"m{number}",
        "customer_wa_id": "972500000001",
        "direction": "in",
        "text": f"message {number}",
        **values,
    }


def post_messages(shop: Shop, connection: dict[str, Any], *messages: dict[str, Any]) -> Any:
    body = {"connection_id": connection["id"], "messages": messages}
    return shop.post("/api/messages/record", body)


def test_recorded_messages_open_a_session_and_are_read_back_in_order(shop: Shop) -> None:
    connection = shop.connect()
    media = {"mime_type": "image/jpeg", "size_bytes": 12}
    answer = post_messages(
        shop,
        connection,
        message(1, customer_name="Dana"),
        message(2, direction="out", author="agent"),
        message(3, type="image", media=media, text=None),
        message(1),
    )
    assert answer.status_code == 200
    results = answer.json["results"]
    assert [one["opened"] for one in results] == [True, False, False, False]
    assert [one["duplicate"] for one in results] == [False, False, False, True]
    (session,) = shop.sessions
    assert set(session) == SESSION_FIELDS
    assert {one["session_id"] for one in results} == {session["id"]}
    assert (session["customer_name"], session["message_count"]) == ("Dana", 3)
    assert (session["is_open"], session["state"], session["status"]) == (True, "open", "active")
    found = shop.get(f"/api/sessions/{session['id']}/messages").json["items"]
    assert set(found[0]) >= MESSAGE_FIELDS
    assert [one["author"] for one in found] == ["customer", "agent", "customer"]
    assert (found[2]["text"], found[2]["media"]) == ("", media)


def test_at_most_a_thousand_messages_are_recorded_at_once(shop: Shop) -> None:
    connection = shop.connect()
    thousand = [message(number) for number in range(1000)]
    answer = post_messages(shop, connection, *thousand, message(1000))
    assert answer.status_code == 422
    assert [one["field"] for one in answer.json["errors"]] == ["messages"]
    assert post_messages(shop, connection).json == {"results": []}
    assert len(post_messages(shop, connection, *thousand[:300]).json["results"]) == 300


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"customer_wa_id": "Dana"}, "messages.1.customer_wa_id"),
        ({"direction": "up"}, "messages.1.direction"),
        ({"author": "agent"}, "messages.1.author"),
        ({"direction": "out", "author": "customer"}, "messages.1.author"),
        ({"provider_message_id": ""}, "messages.1.provider_message_id"),
        ({"sent_at": "2026-01-01T10:00:00"}, "messages.1.sent_at"),
        ({"sent_at": "0001-01-01T00:00:00+14:00"}, "messages.1.sent_at"),
        ({"sent_at": "9999-12-31T23:59:59-14:00"}, "messages.1.sent_at"),
        ({"text": "x" * 65_537}, "messages.1.text"),
        ({"media": {"url": 5}}, "messages.1.media.url"),
        ({"session_id": str(uuid4())}, "messages.1.session_id"),
    ],
)
def test_one_wrong_message_refuses_the_batch_naming_its_place(
    shop: Shop, change: dict[str, Any], field: str
) -> None:
    answer = post_messages(shop, shop.connect(), message(1), message(2, **change))
    assert answer.status_code == 422
    assert [one["field"] for one in answer.json["errors"]] == [field]
    assert shop.sessions == []


@pytest.mark.parametrize("text", ["a\x00b", "\x00", "a\ud800b", "\udfff", "\\u0000", "\\"])
def test_text_that_postgres_does_not_take_is_cleaned_everywhere(shop: Shop, text: str) -> None:
    connection = shop.connect()
    values = {
        "provider_message_id": f"id{text}",
        "text": text,
        "type": f"t{text}",
        "customer_name": f"Dana{text}",
        "media": {"file_name": text, "url": text},
    }
    answer = post_messages(shop, connection, message(1, **values))
    assert answer.status_code == 200, answer.json
    (session,) = shop.sessions
    document = {text: [text, {text: text}]}
    path = f"/api/sessions/{session['id']}"
    for name in ("context", "order_details"):
        changed = shop.patch(path, {name: document})
        assert changed.status_code == 200, changed.json
        assert changed.json[name]
    for other, body in (
        (f"/api/businesses/{shop.id}", {"name": f"x{text}"}),
        (f"/api/connections/{connection['id']}", {"name": text, "secrets": {"k": f"x{text}"}}),
    ):
        assert shop.patch(other, body).status_code == 200
    assert shop.post("/api/keys", {"role": "viewer", "name": text}).status_code == 201


def test_a_local_number_is_read_by_the_businesss_country(client: FlaskClient) -> None:
    shop = Shop.make(client, "Toko", country="ID")
    shop.record(shop.connect(), "halo", customer_wa_id="0812-3456-7890")
    assert [one["customer_wa_id"] for one in shop.sessions] == ["6281234567890"]
    for written in ("081234567890", "+62 812-3456-7890", "6281234567890@s.whatsapp.net"):
        found = shop.get("/api/sessions", query_string={"customer_wa_id": written}).json["items"]
        assert len(found) == 1, written
    assert shop.get("/session/081234567890").status_code == 200


def test_a_session_is_opened_before_anybody_wrote_and_then_found(shop: Shop) -> None:
    body = {
        "connection_id": shop.connect()["id"],
        "customer_wa_id": "+972 50-000-0001",
        "context": {"basket": 3},
    }
    first, second = (shop.post("/api/sessions", body) for _ in range(2))
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json["id"] == second.json["id"]
    assert first.json["context"] == {"basket": 3}
    assert shop.active_count == 1


def test_context_and_order_details_are_merged(shop: Shop) -> None:
    session_id = shop.record(shop.connect(), "hello")[0]["session_id"]
    path = f"/api/sessions/{session_id}"
    shop.patch(path, {"context": {"a": 1, "b": {"c": 2}}})
    answer = shop.patch(path, {"context": {"b": None}, "order_details": {"total": 9.5}}).json
    assert (answer["context"], answer["order_details"]) == ({"a": 1, "b": None}, {"total": 9.5})
    for wrong in ({"context": []}, {"context": "x"}, {"state": "closed"}, {"message_count": 9}):
        assert shop.patch(path, wrong).status_code == 422
    assert shop.get(path).json["state"] == "open"


def test_completing_twice_changes_nothing_the_second_time(
    shop: Shop, services: WebServices
) -> None:
    session_id = shop.record(shop.connect(), "hello")[0]["session_id"]
    first, second = (shop.post(f"/api/sessions/{session_id}/complete") for _ in range(2))
    assert first.status_code == second.status_code == 200
    assert first.json == second.json
    assert (first.json["close_reason"], first.json["status"]) == ("completed", "completed")
    assert first.json["close_lateness_ms"] is None
    assert shop.active_count == 0
    assert services.jobs.depths()[SUMMARIES_QUEUE] == 1


def test_only_a_closed_session_is_summarised(shop: Shop) -> None:
    session_id = shop.record(shop.connect(), "hello")[0]["session_id"]
    path = f"/api/sessions/{session_id}"
    assert shop.post(f"{path}/summarize").status_code == 409
    shop.post(f"{path}/complete")
    answer = shop.post(f"{path}/summarize")
    assert answer.status_code == 202
    assert answer.json["summary"]["status"] == "pending"


def test_sessions_are_filtered(shop: Shop) -> None:
    baileys, meta = shop.connect("baileys"), shop.connect("meta")
    first = shop.record(baileys, "a", customer_wa_id="972500000001")[0]["session_id"]
    second = shop.record(meta, "b", customer_wa_id="972500000002")[0]["session_id"]
    shop.post(f"/api/sessions/{first}/complete")

    def found(**query: str) -> list[str]:
        answer = shop.get("/api/sessions", query_string=query)
        assert answer.status_code == 200, answer.json
        return [one["id"] for one in answer.json["items"]]

    assert found() == [second, first]
    assert found(state="open") == [second]
    assert found(state="closed") == [first]
    assert found(provider="baileys") == [first]
    assert found(provider="waha") == []
    assert found(customer_wa_id="+972500000002") == [second]
    assert found(customer_wa_id="972500000003") == []
    began = {one["id"]: one["started_at"] for one in shop.sessions}
    assert found(since="2999-01-01T00:00:00Z") == []
    assert found(since="2001-01-01T00:00:00+02:00", until="2999-01-01t00:00:00z") == [second, first]
    assert found(until=began[first]) == []
    unescaped = shop.get("/api/sessions?since=2001-01-01T00:00:00+02:00")
    assert len(unescaped.json["items"]) == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("state", "ajar"),
        ("provider", "signal"),
        ("customer_wa_id", "Dana"),
        ("customer_wa_id", "\x00"),
        ("since", "yesterday"),
        ("since", "2026-01-01"),
        ("since", "2026-01-01T10:00:00"),
        ("since", "1767261600"),
        ("until", "2026-13-01T10:00:00Z"),
        ("limit", "0"),
        ("limit", "101"),
        ("limit", "many"),
        ("cursor", "x"),
        ("cursor", "W10"),
        ("cursor", "bnVsbA"),
        ("cursor", "WyIxIiwiMiJd"),
        ("cursor", "é"),
        ("cursor", "a" * 501),
    ],
)
def test_a_wrong_filter_is_422_naming_it(shop: Shop, name: str, value: str) -> None:
    answer = shop.get("/api/sessions", query_string={name: value})
    assert answer.status_code == 422
    assert [one["field"] for one in answer.json["errors"]] == [name]


def test_every_list_is_walked_whole_by_its_cursor(client: FlaskClient, shop: Shop) -> None:
    connection = shop.connect()
    for number in range(7):
        shop.record(connection, "hi", customer_wa_id=f"97250000000{number}")
        shop.connect("meta")
    dana = {"customer_wa_id": "972500000000"}
    session_id = shop.record(connection, *"abcdefg", **dana)[0]["session_id"]
    contact_id = shop.get(f"/api/sessions/{session_id}").json["contact_id"]
    latest = session_id
    for _ in range(3):
        shop.post(f"/api/sessions/{latest}/complete")
        latest = shop.record(connection, "again", **dana)[0]["session_id"]
    for path, key in (
        ("/api/sessions", "started_at"),
        ("/api/contacts", "id"),
        ("/api/connections", "id"),
        (f"/api/sessions/{session_id}/messages", "received_at"),
        (f"/api/contacts/{contact_id}/sessions", "started_at"),
    ):
        whole = shop.get(f"{path}?limit=100").json["items"]
        assert len(whole) > 1, path
        walked: list[Any] = []
        cursor = None
        while True:
            query = {"limit": 2} if cursor is None else {"limit": 2, "cursor": cursor}
            page = shop.get(path, query_string=query).json
            assert 1 <= len(page["items"]) <= 2
            walked += page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert walked == whole, path
        in_order = [one[key] for one in whole]
        assert in_order == sorted(in_order, reverse="messages" not in path), path


def test_a_page_that_holds_the_last_row_has_no_next(shop: Shop) -> None:
    connection = shop.connect()
    for number in range(2):
        shop.record(connection, "hi", customer_wa_id=f"97250000000{number}")
    assert shop.get("/api/sessions?limit=2").json["next_cursor"] is None
    assert shop.get("/api/sessions?limit=1").json["next_cursor"] is not None


def test_another_lists_cursor_is_refused(shop: Shop) -> None:
    connection = shop.connect()
    for number in range(2):
        shop.record(connection, "hi", customer_wa_id=f"97250000000{number}")
    cursor = shop.get("/api/sessions?limit=1").json["next_cursor"]
    assert shop.get("/api/contacts", query_string={"cursor": cursor}).status_code == 422


def test_the_number_of_active_chats_is_exact_whatever_the_page(shop: Shop) -> None:
    connection = shop.connect()
    for number in range(3):
        shop.record(connection, "hi", customer_wa_id=f"97250000000{number}")
    answer = shop.get("/api/whatsapp/active-chats?limit=2").json
    assert answer["active_chats_count"] == 3
    assert len(answer["chats"]) == 2
    assert set(answer["chats"][0]) == {
        "customer_wa_id", "last_message_at", "provider", "session_id", "deadline_at",
    }  # fmt: skip
    assert shop.get("/api/whatsapp/active-chats?limit=0").status_code == 422


def test_without_redis_the_number_comes_from_postgres_and_without_both_it_is_503(
    shop: Shop, services: WebServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.record(shop.connect(), "hi")
    services.live_chats._client.flushall()
    assert shop.active_count == 1

    def fail(*_: object, **__: object) -> None:
        raise DatabaseUnavailable("away")

    monkeypatch.setattr(sessions, "count_active", fail)
    monkeypatch.setattr(session_views, "list_active", fail)
    answer = shop.get("/api/whatsapp/active-chats")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert answer.json["detail"] == "try again in a moment"


def test_a_contact_shows_its_past_conversations(shop: Shop) -> None:
    connection = shop.connect()
    first = shop.record(connection, "hi", customer_name="Dana")[0]["session_id"]
    shop.post(f"/api/sessions/{first}/complete")
    second = shop.record(connection, "again")[0]["session_id"]
    (contact,) = shop.get("/api/contacts").json["items"]
    assert (contact["name"], contact["customer_wa_id"]) == ("Dana", "972500000001")
    assert contact["session_count"] == 2
    assert shop.get(f"/api/contacts/{contact['id']}").json == contact
    past = shop.get(f"/api/contacts/{contact['id']}/sessions").json["items"]
    assert [(one["id"], one["number"]) for one in past] == [(second, 2), (first, 1)]
    assert shop.get(f"/api/contacts/{uuid4()}/sessions").status_code == 404


def test_what_a_program_hands_over_in_process_is_cleaned_too(
    shop: Shop, services: WebServices
) -> None:
    connection = shop.connect()
    session = shop.record(connection, "hello")[0]["session_id"]
    business_id, session_id = BusinessId(UUID(shop.id)), UUID(session)
    new = message(1, type="a\x00b", text="\x00", media={"url": "a\x00b"}, customer_name="\x00")
    services.service.record_messages(
        business_id, UUID(connection["id"]), [NewMessage.model_validate(new)]
    )
    stored = services.service.transcript(business_id, session_id)[-1]
    assert (stored.type, stored.text, stored.media) == ("ab", "", {"url": "ab"})
    for text in ("\x00", "\ud800", "\\u0000"):
        services.service.change_session(business_id, session_id, context={text: [text]})
    assert services.service.session(business_id, session_id).context["\\u0000"] == ["\\u0000"]
    for wrong in ({"a": float("nan")}, {"a": object()}):
        with pytest.raises(InvalidInput):
            services.service.change_session(business_id, session_id, context=wrong)
