"""One business's ids mean nothing to another: they are answered like ids of nothing."""

from __future__ import annotations

from uuid import uuid4

import pytest

from tests.web.shop import Shop


@pytest.fixture
def foreign(other_shop: Shop) -> dict[str, str]:
    """Ids of the other shop."""
    connection = other_shop.connect()
    session_id = other_shop.record(connection, "secret words")[0]["session_id"]
    key = other_shop.get("/api/keys").json["items"][0]
    contact = other_shop.get("/api/contacts").json["items"][0]
    of_contact = f"/api/contacts/{contact['id']}"
    return {
        "business": other_shop.id,
        "connection": connection["id"],
        "session": session_id,
        "contact": contact["id"],
        "note": other_shop.post(f"{of_contact}/notes", {"text": "secret words"}).json["id"],
        "task": other_shop.post(f"{of_contact}/tasks", {"text": "secret words"}).json["id"],
        "key": key["id"],
    }


def calls(ids: dict[str, str]) -> list[tuple[str, str, object]]:
    message = {"provider_message_id": "m1", "customer_wa_id": "972500000001", "direction": "in"}
    connection, session = ids["connection"], ids["session"]
    return [
        ("GET", f"/api/businesses/{ids['business']}", None),
        ("PATCH", f"/api/businesses/{ids['business']}", {"name": "mine"}),
        ("GET", f"/api/connections/{connection}", None),
        ("PATCH", f"/api/connections/{connection}", {"secrets": {"token": "mine"}}),
        ("DELETE", f"/api/connections/{connection}", None),
        *(
            ("POST", f"/api/connections/{connection}/{action}", None)
            for action in ("create", "start", "log-out", "remove", "refresh", "check")
        ),
        ("POST", f"/api/connections/{connection}/pull-contacts", None),
        ("GET", f"/api/connections/{connection}/pull-contacts", None),
        ("GET", f"/api/connections/{connection}/qr", None),
        ("DELETE", f"/api/keys/{ids['key']}", None),
        ("POST", "/api/messages/record", {"connection_id": connection, "messages": [message]}),
        ("POST", "/api/sessions", {"connection_id": connection, "customer_wa_id": "972500000001"}),
        ("GET", f"/api/sessions/{session}", None),
        ("PATCH", f"/api/sessions/{session}", {"context": {"mine": True}}),
        ("GET", f"/api/sessions/{session}/messages", None),
        ("POST", f"/api/sessions/{session}/complete", None),
        ("POST", f"/api/sessions/{session}/summarize", None),
        ("POST", f"/session/{session}/complete", None),
        ("GET", f"/api/contacts/{ids['contact']}", None),
        ("GET", f"/api/contacts/{ids['contact']}/sessions", None),
        ("PATCH", f"/api/contacts/{ids['contact']}", {"attributes": {"mine": True}}),
        ("GET", f"/api/contacts/{ids['contact']}/notes", None),
        ("POST", f"/api/contacts/{ids['contact']}/notes", {"text": "mine"}),
        ("PATCH", f"/api/notes/{ids['note']}", {"text": "mine"}),
        ("DELETE", f"/api/notes/{ids['note']}", None),
        ("GET", f"/api/contacts/{ids['contact']}/tasks", None),
        ("POST", f"/api/contacts/{ids['contact']}/tasks", {"text": "mine"}),
        ("PATCH", f"/api/tasks/{ids['task']}", {"is_done": True}),
        ("DELETE", f"/api/tasks/{ids['task']}", None),
        ("GET", "/session/972500000001", None),
    ]


def test_anothers_ids_are_404_everywhere_and_nothing_changes(
    shop: Shop, other_shop: Shop, foreign: dict[str, str]
) -> None:
    before = other_shop.sessions
    for method, path, body in calls(foreign):
        answer = shop.request(method, path, body)
        assert answer.status_code == 404, (method, path, answer.json)
        assert "secret words" not in answer.text
    assert other_shop.sessions == before
    assert other_shop.active_count == 1
    assert shop.sessions == []


def test_anothers_id_is_answered_exactly_like_one_of_nothing(
    shop: Shop, foreign: dict[str, str]
) -> None:
    nothing = {name: str(uuid4()) for name in foreign}
    for theirs, none in zip(calls(foreign), calls(nothing), strict=True):
        answers = [shop.request(*call).text for call in (theirs, none)]
        for ids, index in ((foreign, 0), (nothing, 1)):
            for one in ids.values():
                answers[index] = answers[index].replace(one, "ID")
        assert answers[0] == answers[1]


def test_lists_hold_own_rows_only(shop: Shop, foreign: dict[str, str]) -> None:
    for path in (
        "/api/connections",
        "/api/sessions",
        "/api/contacts",
        "/api/sessions?customer_wa_id=972500000001",
    ):
        assert shop.get(path).json["items"] == []
    assert shop.active_count == 0
    assert shop.get("/sessions/active").json == {"active_sessions": [], "total_active": 0}


def test_a_cursor_of_another_business_leads_to_own_rows_only(shop: Shop, other_shop: Shop) -> None:
    connection = other_shop.connect()
    for number in range(3):
        other_shop.record(connection, "hi", customer_wa_id=f"97250000000{number}")
    cursor = other_shop.get("/api/sessions?limit=1").json["next_cursor"]
    assert cursor is not None
    answer = shop.get("/api/sessions", query_string={"cursor": cursor})
    assert answer.json == {"items": [], "next_cursor": None}


@pytest.mark.parametrize("bad", ["x", "1", "%00", "..", "%F0%9F%92%A9", "a" * 3000])
def test_a_malformed_id_is_404_like_any_other(shop: Shop, bad: str) -> None:
    for path in (f"/api/sessions/{bad}", f"/api/contacts/{bad}", f"/api/connections/{bad}"):
        answer = shop.get(path)
        assert answer.status_code == 404
        assert answer.mimetype == "application/problem+json"
