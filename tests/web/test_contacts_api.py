"""What a business keeps about its customers: notes, tasks, attributes, and all of it as a file."""

from __future__ import annotations

import csv
import io
from typing import Any
from uuid import UUID

import pytest

from tests.web.shop import Shop
from timer_service.indexer import Indexer
from timer_service.summarize_job import SummaryWorker
from timer_service.summarizers import build_summarizers
from timer_service.wiring import WebServices

FORMULA = '=HYPERLINK("https://example.invalid";"a prize")'


@pytest.fixture
def dana(shop: Shop) -> dict[str, Any]:
    """A customer with one conversation that goes on."""
    shop.record(shop.connect(), "is the blue one in stock?", customer_name="Dana Levi")
    contact: dict[str, Any] = shop.get("/api/contacts").json["items"][0]
    return contact


def close_with_summary(services: WebServices, shop: Shop, **fields: str) -> str:
    """Close the shop's newest conversation; its summary says so, whatever else it says."""
    session_id: str = shop.sessions[0]["id"]
    shop.post(f"/api/sessions/{session_id}/complete")
    _, extractive = build_summarizers(services.settings)
    SummaryWorker(services.database, None, extractive).summarize(UUID(session_id), 1, 0)
    with services.database.transaction() as db:
        for name, value in fields.items():
            db.exec_driver_sql(
                f"UPDATE summaries SET {name} = %s WHERE session_id = %s", (value, session_id)
            )
    return session_id


def test_notes_are_kept_newest_first_with_who_wrote_them(shop: Shop, dana: dict[str, Any]) -> None:
    address = f"/api/contacts/{dana['id']}/notes"
    session_id = shop.sessions[0]["id"]
    named = shop.post("/api/keys", {"role": "agent", "name": "Maya"}).json["api_key"]
    shop.keys["agent"] = named
    first = shop.post(address, {"text": " likes blue ", "session_id": session_id}, role="agent")
    assert first.status_code == 201
    assert first.json["text"] == "likes blue"
    assert first.json["author"] == "Maya"
    assert first.json["session_id"] == session_id
    second = shop.post(address, {"text": "moved to Haifa"}).json
    assert [one["text"] for one in shop.get(address).json["items"]] == [
        "moved to Haifa",
        "likes blue",
    ]
    page = shop.get(f"{address}?limit=1").json
    rest = shop.get(f"{address}?limit=1&cursor={page['next_cursor']}").json
    assert [one["id"] for one in rest["items"]] == [first.json["id"]]
    changed = shop.patch(f"/api/notes/{second['id']}", {"text": "moved to Akko"}).json
    assert changed["text"] == "moved to Akko"
    assert changed["edited_at"] is not None
    assert shop.delete(f"/api/notes/{second['id']}").status_code == 204
    assert shop.delete(f"/api/notes/{second['id']}").status_code == 404


def test_a_note_on_another_customers_conversation_is_refused(
    shop: Shop, dana: dict[str, Any]
) -> None:
    (other,) = shop.record(shop.connect(), "hello", customer_wa_id="972500000002")
    answer = shop.post(
        f"/api/contacts/{dana['id']}/notes", {"text": "x", "session_id": other["session_id"]}
    )
    assert answer.status_code == 404


@pytest.mark.parametrize("text", ["", "   ", "\x00", "x" * 10_001])
def test_a_note_without_words_or_of_a_book_is_refused(
    shop: Shop, dana: dict[str, Any], text: str
) -> None:
    answer = shop.post(f"/api/contacts/{dana['id']}/notes", {"text": text})
    assert answer.status_code == 422
    assert answer.json["errors"][0]["field"] == "text"


def test_open_tasks_come_by_when_they_are_due_and_done_ones_last_done_first(
    shop: Shop, dana: dict[str, Any]
) -> None:
    address = f"/api/contacts/{dana['id']}/tasks"
    made = {
        text: shop.post(address, {"text": text, "due_at": due, "assignee": "Maya"}).json["id"]
        for text, due in (
            ("some day", None),
            ("second", "2026-03-02T10:00:00Z"),
            ("first", "2026-03-01T10:00:00Z"),
            ("some other day", None),
        )
    }
    found: list[str] = []
    cursor = ""
    while cursor is not None:
        page = shop.get(f"/api/tasks?limit=1{cursor and f'&cursor={cursor}'}").json
        found += [one["text"] for one in page["items"]]
        cursor = page["next_cursor"]
    assert found == ["first", "second", "some day", "some other day"]
    due = shop.get("/api/tasks?due=2026-03-02T00:00:00Z").json["items"]
    assert [one["text"] for one in due] == ["first"]
    assert due[0]["customer_name"] == "Dana Levi"
    assert due[0]["customer_wa_id"] == "972500000001"
    for text in ("first", "some day"):
        done = shop.patch(f"/api/tasks/{made[text]}", {"is_done": True}).json
        again = shop.patch(f"/api/tasks/{made[text]}", {"is_done": True}).json
        assert done["done_at"] == again["done_at"] is not None
    done = shop.get(f"{address}?state=done").json["items"]
    assert [one["text"] for one in done] == ["some day", "first"]
    assert shop.patch(f"/api/tasks/{made['first']}", {"is_done": False}).json["done_at"] is None
    moved = shop.patch(f"/api/tasks/{made['first']}", {"due_at": None, "assignee": None}).json
    assert moved["due_at"] is moved["assignee"] is None
    assert shop.delete(f"/api/tasks/{made['second']}").status_code == 204
    assert len(shop.get(address).json["items"]) == 2


@pytest.mark.parametrize("due", ["9999-12-31T23:59:59-12:00", "1999-01-01T00:00:00Z", "x"])
def test_a_task_is_due_in_this_century(shop: Shop, dana: dict[str, Any], due: str) -> None:
    answer = shop.post(f"/api/contacts/{dana['id']}/tasks", {"text": "x", "due_at": due})
    assert answer.status_code == 422


def test_a_follow_up_becomes_a_task_once(
    services: WebServices, shop: Shop, dana: dict[str, Any]
) -> None:
    address = f"/api/contacts/{dana['id']}/tasks"
    session_id = shop.sessions[0]["id"]
    assert shop.post(address, {"session_id": session_id}).status_code == 409
    close_with_summary(services, shop, follow_up="call about the blue one")
    first = shop.post(address, {"session_id": session_id}).json
    again = shop.post(address, {"session_id": session_id})
    assert again.status_code == 201
    assert again.json == first
    assert first["text"] == "call about the blue one"
    assert first["is_follow_up"] is True
    assert shop.get(f"/api/contacts/{dana['id']}").json["open_task_count"] == 1


def test_attributes_are_merged_and_a_null_takes_one_away(shop: Shop, dana: dict[str, Any]) -> None:
    address = f"/api/contacts/{dana['id']}"
    shop.patch(address, {"attributes": {"size": 38, "vip": True, "city": "Haifa"}})
    changed = shop.patch(address, {"attributes": {"size": 39, "city": None}})
    assert changed.status_code == 200
    assert changed.json["attributes"] == {"size": 39, "vip": True}
    assert shop.patch(address, {}).json["attributes"] == {"size": 39, "vip": True}


def test_attributes_are_bounded(shop: Shop, dana: dict[str, Any]) -> None:
    address = f"/api/contacts/{dana['id']}"
    many = {f"k{number}": "x" for number in range(50)}
    assert shop.patch(address, {"attributes": many}).status_code == 200
    answer = shop.patch(address, {"attributes": {"one more": "x"}})
    assert answer.status_code == 422
    assert answer.json["errors"][0]["field"] == "attributes"
    for wrong in ({"": "x"}, {"k": "x" * 501}, {"k": {"deep": 1}}, {"k": [1]}, {"k" * 65: "x"}):
        assert shop.patch(address, {"attributes": wrong}).status_code == 422
    assert len(shop.get(address).json["attributes"]) == 50


def test_contacts_are_found_by_name_and_by_any_form_of_their_number(
    shop: Shop, dana: dict[str, Any]
) -> None:
    line = shop.connect()
    shop.record(line, "shalom", customer_wa_id="972500000002", customer_name="נועם כהן")
    for typed, name in (
        ("dan", "Dana Levi"),
        ("LEVI dana", "Dana Levi"),
        ("נועם", "נועם כהן"),
        ("כה", "נועם כהן"),
        ("+972 50-000-0001", "Dana Levi"),
        ("050 000 0002", "נועם כהן"),
        ("0002", "נועם כהן"),
        ("00972500000001", "Dana Levi"),
    ):
        found = shop.get("/api/contacts", query_string={"q": typed}).json["items"]
        assert [one["name"] for one in found] == [name], typed
    for typed in ("noam", "ana", "9999", "' | x:* & !", "\\", "!"):
        assert shop.get("/api/contacts", query_string={"q": typed}).json["items"] == []
    both = shop.get("/api/contacts?q=97250&limit=1").json
    assert both["items"] == []
    last = shop.get(f"/api/contacts/{dana['id']}").json["last_session"]
    assert last["provider"] == "baileys"


def test_searching_contacts_goes_on_from_page_to_page(shop: Shop) -> None:
    line = shop.connect()
    for number in range(5):
        shop.record(line, "x", customer_wa_id=f"97250000000{number}", customer_name="Dana L")
    found: list[str] = []
    cursor = ""
    while cursor is not None:
        page = shop.get(f"/api/contacts?q=dana&limit=2{cursor and f'&cursor={cursor}'}").json
        found += [one["customer_wa_id"] for one in page["items"]]
        cursor = page["next_cursor"]
    assert found == [f"97250000000{number}" for number in (4, 3, 2, 1, 0)]


def read_csv(text: str) -> list[dict[str, str]]:
    assert text.startswith("\ufeff")
    return list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"))))


def test_all_contacts_are_exported_with_their_last_conversation(
    services: WebServices, shop: Shop, dana: dict[str, Any]
) -> None:
    close_with_summary(services, shop, title="The blue one", follow_up='call, "soon"\nplease')
    shop.patch(f"/api/contacts/{dana['id']}", {"attributes": {"עיר": "חיפה"}})
    shop.record(shop.connect(), "hi", customer_wa_id="972500000002", customer_name=FORMULA)
    answer = shop.get("/api/contacts.csv", role="viewer")
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert "attachment" in answer.headers["Content-Disposition"]
    newest, oldest = read_csv(answer.text)
    assert newest["name"] == f"'{FORMULA}"
    assert oldest["number"] == "972500000001"
    assert oldest["conversations"] == "1"
    assert oldest["summary_title"] == "The blue one"
    assert oldest["follow_up"] == 'call, "soon"\nplease'
    assert oldest["attributes"] == '{"עיר": "חיפה"}'
    assert oldest["last_ended"].endswith("Z")


def test_an_export_reads_page_after_page(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("timer_service.contact_book.EXPORTED_AT_ONCE", 2)
    line = shop.connect()
    for number in range(5):
        shop.record(line, "x", customer_wa_id=f"97250000000{number}")
    rows = read_csv(shop.get("/api/contacts.csv").text)
    assert [one["number"][-1] for one in rows] == ["4", "3", "2", "1", "0"]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_is_a_formula(shop: Shop, start: str) -> None:
    shop.record(shop.connect(), "hi", customer_name=f"{start}1")
    (row,) = read_csv(shop.get("/api/contacts.csv").text)
    assert row["name"].lstrip("'") in {f"{start}1", "1"}
    assert not row["name"].startswith(("=", "+", "-", "@", "\t", "\r"))


def test_conversations_are_found_by_what_was_said_and_summarised(
    services: WebServices, shop: Shop
) -> None:
    line = shop.connect("meta")
    shop.record(line, "יש לכם סנדלים במידה 38?", "בכחול", customer_name="דנה לוי")
    close_with_summary(services, shop, follow_up="להתקשר על הסנדלים")
    Indexer(services.database).index_once()
    (goes_on,) = shop.record(
        shop.connect(), "Halo kak, sepatu merah ada?", customer_wa_id="6281234567890"
    )
    closed = shop.sessions[1]["id"]
    for query, expected in (
        ({"q": "סנדל"}, [closed]),
        ({"q": "כחול"}, []),
        ({"q": "בכחול דנה"}, [closed]),
        ({"q": "להתקשר"}, [closed]),
        ({"q": "SEPATU mer"}, [goes_on["session_id"]]),
        ({"q": "081234567890"}, [goes_on["session_id"]]),
        ({"q": "38"}, [closed]),
        ({"follow_up": "true"}, [closed]),
        ({"follow_up": "false"}, [goes_on["session_id"]]),
        ({"q": "סנדל", "provider": "baileys"}, []),
        ({"q": "סנדל", "state": "open"}, []),
        ({"q": "סנדל", "provider": "meta", "follow_up": "true"}, [closed]),
        ({"summary": "failed"}, []),
        ({"summary": "waiting"}, []),
    ):
        found = shop.get("/api/sessions", query_string=query).json["items"]
        assert [one["id"] for one in found] == expected, query


def test_summaries_that_wait_or_failed_are_listed(services: WebServices, shop: Shop) -> None:
    shop.record(shop.connect(), "is the blue one in stock?")
    session_id = shop.sessions[0]["id"]
    shop.post(f"/api/sessions/{session_id}/complete")
    (waiting,) = shop.get("/api/sessions?summary=waiting").json["items"]
    assert waiting["id"] == session_id
    with services.database.transaction() as db:
        db.exec_driver_sql("UPDATE sessions SET summary_status = 'failed'")
    assert shop.get("/api/sessions?summary=waiting").json["items"] == []
    (failed,) = shop.get("/api/sessions?summary=failed&q=blue").json["items"]
    assert failed["id"] == session_id


def test_what_goes_with_a_business_goes_whole(
    services: WebServices, shop: Shop, dana: dict[str, Any]
) -> None:
    from tests.web.shop import ADMIN_KEY, bearer  # noqa: PLC0415

    shop.post(f"/api/contacts/{dana['id']}/notes", {"text": "likes blue"})
    shop.post(f"/api/contacts/{dana['id']}/tasks", {"text": "call"})
    close_with_summary(services, shop)
    Indexer(services.database).index_once()
    answer = shop.client.delete(f"/api/businesses/{shop.id}", headers=bearer(ADMIN_KEY))
    assert answer.status_code == 204
    with services.database.transaction() as db:
        for table in ("notes", "tasks", "session_words", "stale_words", "contacts"):
            count = db.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one()
            assert count == 0, table
