"""The older session API: shapes that existing clients read."""

from __future__ import annotations

from uuid import uuid4

from tests.web.shop import Shop


def test_a_numbers_active_session_comes_with_its_conversation(shop: Shop) -> None:
    connection = shop.connect()
    session_id = shop.record(connection, "do you ship?")[0]["session_id"]
    shop.record(connection, "yes", direction="out", author="bot")
    shop.patch(f"/api/sessions/{session_id}", {"order_details": {"total": 9}})
    for number in ("972500000001", "+972500000001", "%2B972500000001"):
        answer = shop.get(f"/session/{number}")
        assert answer.status_code == 200, number
    session = answer.json["session"]
    assert set(session) == {
        "session_id", "phone_number", "status", "created_at", "last_activity", "message_count",
        "order_details", "context",
    }  # fmt: skip
    assert (session["session_id"], session["phone_number"]) == (session_id, "972500000001")
    assert (session["status"], session["order_details"]) == ("active", {"total": 9})
    assert answer.json["message_count"] == session["message_count"] == 2
    history = [(one["role"], one["content"]) for one in answer.json["conversation_history"]]
    assert history == [("user", "do you ship?"), ("assistant", "yes")]
    assert all(one["timestamp"].endswith("Z") for one in answer.json["conversation_history"])


def test_the_most_recently_active_of_several_connections_is_answered(shop: Shop) -> None:
    first, second = shop.connect(), shop.connect("meta")
    older = shop.record(first, "hi")[0]["session_id"]
    newer = shop.record(second, "hi")[0]["session_id"]
    assert shop.get("/session/972500000001").json["session"]["session_id"] == newer
    shop.record(first, "again")
    assert shop.get("/session/972500000001").json["session"]["session_id"] == older


def test_a_number_without_an_active_session_is_404(shop: Shop) -> None:
    session_id = shop.record(shop.connect(), "hi")[0]["session_id"]
    assert shop.post(f"/session/{session_id}/complete").status_code == 200
    for number in ("972500000001", "972500000002", "Dana", "%00", "0", "lid:1"):
        assert shop.get(f"/session/{number}").status_code == 404, number


def test_active_sessions_are_listed_with_their_exact_number(shop: Shop) -> None:
    connection = shop.connect()
    for number in range(3):
        shop.record(connection, "hi", customer_wa_id=f"97250000000{number}")
    answer = shop.get("/sessions/active?limit=2").json
    assert answer["total_active"] == 3
    assert [one["phone_number"] for one in answer["active_sessions"]] == [
        "972500000002",
        "972500000001",
    ]


def test_completing_answers_a_sentence_again_and_again(shop: Shop) -> None:
    session_id = shop.record(shop.connect(), "hi")[0]["session_id"]
    for _ in range(2):
        answer = shop.post(f"/session/{session_id}/complete")
        assert (answer.status_code, answer.json) == (200, {"message": "Session completed"})
    assert shop.get(f"/api/sessions/{session_id}").json["close_reason"] == "completed"
    assert shop.post(f"/session/{uuid4()}/complete").status_code == 404
