"""WAHA's webhooks as a WAHA server sends them: proof, sessions, both message events, changes."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.web.shop import Shop, path_of, waha_body, waha_signature
from tests.web.test_webhooks import LIMIT, Counted

CUSTOMER = "972500000001@c.us"
OURS = {"fromMe": True, "from": "15550009999@c.us", "to": CUSTOMER}


@pytest.fixture
def line(shop: Shop) -> dict[str, Any]:
    return shop.connect("waha", external_id="carmel")


def post(
    client: FlaskClient, line: dict[str, Any], body: bytes, key: str | None = None
) -> TestResponse:
    headers = waha_signature(body, key or line["secrets"]["hmac_key"])
    return client.post(path_of(line["webhook_url"]), data=body, headers=headers)


def messages_of(shop: Shop) -> list[Any]:
    (session,) = shop.sessions
    items: list[Any] = shop.get(f"/api/sessions/{session['id']}/messages").json["items"]
    return items


def test_a_signed_message_opens_a_session(
    client: FlaskClient, shop: Shop, line: dict[str, Any]
) -> None:
    counted = Counted()
    assert path_of(line["webhook_url"]) == f"/webhooks/waha/{line['id']}"
    answer = post(client, line, waha_body("carmel"))
    assert (answer.status_code, answer.json) == (200, {"status": "ok"})
    (session,) = shop.sessions
    assert (session["provider"], session["customer_wa_id"]) == ("waha", "972500000001")
    (message,) = messages_of(shop)
    assert (message["provider_message_id"], message["text"]) == ("AC01", "hello")
    assert counted.since() == {("waha", "accepted"): 1}


def test_without_proof_is_401_and_stores_nothing(
    client: FlaskClient, shop: Shop, other_shop: Shop, line: dict[str, Any]
) -> None:
    body = waha_body("carmel")
    key = line["secrets"]["hmac_key"]
    good = waha_signature(body, key)["X-Webhook-Hmac"]
    others = other_shop.connect("waha", external_id="carmel")["secrets"]["hmac_key"]
    path = path_of(line["webhook_url"])
    for headers in (
        {},
        {"X-Webhook-Hmac": ""},
        {"X-Webhook-Hmac": good.upper()},
        {"X-Webhook-Hmac": good[:-1]},
        {"X-Webhook-Hmac": f"sha512={good}"},
        {"X-Webhook-Hmac": "é"},
        {"X-Hub-Signature-256": good},
        {"X-Api-Key": key},
        waha_signature(body, others),
        waha_signature(body, ""),
    ):
        assert client.post(path, data=body, headers=headers).status_code == 401, headers
    headers = {"X-Webhook-Hmac": good}
    tampered = body.replace(b"hello", b"hallo")
    assert client.post(path, data=tampered, headers=headers).status_code == 401
    assert shop.sessions == other_shop.sessions == []


def test_a_connection_without_a_key_believes_nobody(client: FlaskClient, shop: Shop) -> None:
    line = shop.connect("waha", secrets={})
    body = waha_body(line["external_id"])
    for key in ("", "None", "null"):
        headers = waha_signature(body, key)
        answer = client.post(path_of(line["webhook_url"]), data=body, headers=headers)
        assert answer.status_code == 401
    assert shop.sessions == []


@pytest.mark.parametrize("is_known", [True, False])
def test_another_session_of_the_same_server_and_key_does_nothing_here(
    client: FlaskClient, shop: Shop, other_shop: Shop, line: dict[str, Any], *, is_known: bool
) -> None:
    counted = Counted()
    if is_known:
        other_shop.connect("waha", external_id="parang", secrets=line["secrets"])
    assert post(client, line, waha_body("parang")).status_code == 200
    assert shop.sessions == other_shop.sessions == []
    assert counted.since() == {("waha", "foreign"): 1}
    assert post(client, line, waha_body(None)).status_code == 200
    assert len(shop.sessions) == 1


def test_two_shops_sessions_of_one_name_are_kept_apart(
    client: FlaskClient, shop: Shop, other_shop: Shop, line: dict[str, Any]
) -> None:
    theirs = other_shop.connect("waha", external_id="carmel")
    assert post(client, theirs, waha_body("carmel")).status_code == 200
    assert (len(shop.sessions), len(other_shop.sessions)) == (0, 1)


def test_both_message_events_and_every_retry_store_a_message_once(
    client: FlaskClient, shop: Shop, line: dict[str, Any]
) -> None:
    for event in ("message", "message.any", "message", "message.any", "message.any"):
        assert post(client, line, waha_body("carmel", event)).status_code == 200
    assert [one["text"] for one in messages_of(shop)] == ["hello"]


def test_an_answer_from_the_phone_is_the_agents_and_a_programs_is_the_bots(
    client: FlaskClient, shop: Shop, line: dict[str, Any]
) -> None:
    assert post(client, line, waha_body("carmel")).status_code == 200
    deadline = shop.sessions[0]["deadline_at"]
    for source, name in (("app", "3A01"), ("api", "3EB0")):
        body = waha_body("carmel", **OURS, source=source, id=f"true_{CUSTOMER}_{name}", ack=1)
        assert post(client, line, body).status_code == 200
    told = [(one["direction"], one["author"], one["status"]) for one in messages_of(shop)]
    assert told == [("in", "customer", None), ("out", "agent", "sent"), ("out", "bot", "sent")]
    assert shop.sessions[0]["deadline_at"] == deadline
    ack = waha_body("carmel", "message.ack", **OURS, id=f"true_{CUSTOMER}_3A01", ack=3)
    assert post(client, line, ack).status_code == 200
    assert [one["status"] for one in messages_of(shop)] == [None, "read", "sent"]


def test_edits_reactions_and_revocations_change_the_message_and_touch_nothing(
    client: FlaskClient, shop: Shop, line: dict[str, Any]
) -> None:
    assert post(client, line, waha_body("carmel")).status_code == 200
    (before,) = shop.sessions
    target = f"false_{CUSTOMER}_AC01"
    edit = {"id": f"false_{CUSTOMER}_AC02", "editedMessageId": "AC01", "body": "hello there"}
    reaction = {"id": f"true_{CUSTOMER}_3A02", "reaction": {"text": "👍", "messageId": target}}
    revoked = {"after": {"id": f"false_{CUSTOMER}_AC03", "fromMe": False}, "before": None}
    assert post(client, line, waha_body("carmel", "message.edited", **edit)).status_code == 200
    assert [one["text"] for one in messages_of(shop)] == ["hello there"]
    body = waha_body("carmel", "message.reaction", **OURS, **reaction)
    assert post(client, line, body).status_code == 200
    forged = {**OURS, **edit, "body": "not theirs to change"}
    assert post(client, line, waha_body("carmel", "message.edited", **forged)).status_code == 200
    assert [one["text"] for one in messages_of(shop)] == ["hello there"]
    body = waha_body("carmel", "message.revoked", **revoked, revokedMessageId="AC01")
    assert post(client, line, body).status_code == 200
    assert [one["text"] for one in messages_of(shop)] == [""]
    assert shop.sessions == [before]


def test_other_chats_open_nothing(client: FlaskClient, shop: Shop, line: dict[str, Any]) -> None:
    counted = Counted()
    chats = ("120363000000000001@g.us", "status@broadcast", "1@newsletter", "1@broadcast")
    for chat in chats:
        body = waha_body("carmel", **{"id": f"false_{chat}_AC01_{CUSTOMER}", "from": chat})
        assert post(client, line, body).status_code == 200
    assert shop.sessions == []
    assert counted.since() == {("waha", "skipped"): len(chats)}


@pytest.mark.parametrize(
    ("status", "shown"),
    [
        ("STARTING", "connecting"),
        ("SCAN_QR_CODE", "waiting_qr"),
        ("PASSKEY_REQUIRED", "action_required"),
        ("WORKING", "connected"),
        ("STOPPED", "stopped"),
        ("FAILED", "failed"),
    ],
)
def test_a_sessions_status_is_shown_as_the_connections(
    client: FlaskClient, shop: Shop, line: dict[str, Any], status: str, shown: str
) -> None:
    body = waha_body("carmel", "session.status", status=status)
    assert post(client, line, body).status_code == 200
    assert shop.get(f"/api/connections/{line['id']}").json["status"] == shown


def test_a_body_over_4_mb_is_413(client: FlaskClient, line: dict[str, Any]) -> None:
    assert post(client, line, b" " * (LIMIT + 1)).status_code == 413
    assert post(client, line, waha_body("carmel").ljust(LIMIT)).status_code == 200
