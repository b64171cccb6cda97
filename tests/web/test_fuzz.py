"""Whatever is sent, the answer is never a 5xx."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contract.sample_files import form_of
from tests.support.twilio_requests import ACCOUNT, twilio_body, twilio_headers
from tests.web.shop import ADMIN_KEY, Shop, meta_signature, path_of, waha_signature
from tests.web.test_api_keys_and_roles import CALLS, fill
from timer_http.twiml import EMPTY

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(codec=None), max_size=40)
    | st.sampled_from(
        ["\x00", "\ud800", "\\u0000", "972500000001", "lid:1", "2026-01-01T00:00:00Z"]
    )
    | st.uuids().map(str)
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(codec=None), max_size=10), inner, max_size=4)
    ),
    max_leaves=12,
)
FIELDS = {
    "name": SCALARS, "idle_gap_s": SCALARS, "touch_on": SCALARS, "country": SCALARS,
    "locale": SCALARS, "timezone": SCALARS, "provider": st.sampled_from(["meta", "baileys", "x"]),
    "summarizer": st.sampled_from(["auto", "magic"]) | SCALARS,
    "summary_model": st.sampled_from(["gpt-5", "a b", ""]) | SCALARS,
    "summary_language": st.sampled_from(["he", "xx", "he-IL"]) | SCALARS,
    "summary_instructions": st.text(st.characters(codec=None), max_size=20) | SCALARS,
    "external_id": SCALARS, "base_url": SCALARS, "role": st.sampled_from(["viewer", "x"]),
    "customer_wa_id": SCALARS, "context": ANYTHING, "order_details": ANYTHING,
    "secrets": st.dictionaries(st.sampled_from(["token", "app_secret", "x y"]), SCALARS),
    "session_id": SCALARS, "to": SCALARS, "text": SCALARS, "media": ANYTHING, "template": ANYTHING,
    "default_connection_id": SCALARS, "phone_number": SCALARS,
    "attributes": ANYTHING, "assignee": SCALARS, "due_at": SCALARS, "is_done": SCALARS,
    "lasts_s": SCALARS, "origins": st.lists(st.sampled_from(["https://a.example"]) | SCALARS),
    "client_ref": SCALARS, "author": SCALARS, "decision": st.sampled_from(["sent", "x"]) | SCALARS,
}  # fmt: skip
TO_SEND = st.fixed_dictionaries(
    {"to": st.sampled_from(["972500000001", "111@lid", "bsuid:IL.1"]) | SCALARS}
    | {"provider": st.sampled_from(["meta", "twilio"])},
    optional={"client_ref": st.text(st.characters(codec=None), min_size=1, max_size=3)},
).flatmap(
    lambda known: st.one_of(
        st.fixed_dictionaries({"text": st.text(st.characters(codec=None), min_size=1)}),
        st.fixed_dictionaries({"template": st.fixed_dictionaries({
            "name": st.text(st.characters(codec=None), min_size=1, max_size=5),
            "language": st.just("en"),
            "content_sid": st.just("HX1"),
            "components": st.lists(st.dictionaries(st.text(max_size=3), ANYTHING, max_size=3)),
        })}),
        st.fixed_dictionaries({"media": st.fixed_dictionaries({
            "type": st.sampled_from(["image", "audio"]),
            "url": st.sampled_from(["https://example.com/a.jpg", "https://[", "ftp://x"]),
            "caption": st.text(st.characters(codec=None), max_size=5),
        })}),
    ).map(lambda content: {**known, **content})
)  # fmt: skip
MESSAGE = st.fixed_dictionaries(
    {
        "provider_message_id": st.text(st.characters(codec=None), min_size=1, max_size=20),
        "customer_wa_id": st.sampled_from(["972500000001", "111@lid", "bsuid:IL.1", "x"]) | SCALARS,
        "direction": st.sampled_from(["in", "out"]),
    },
    optional={
        "author": st.sampled_from(["customer", "agent", "bot", "system"]),
        "type": st.text(st.characters(codec=None), max_size=10),
        "text": SCALARS,
        "media": st.fixed_dictionaries(
            {}, optional={"url": SCALARS, "size_bytes": SCALARS, "file_name": SCALARS}
        ),
        "customer_name": SCALARS,
        "sent_at": st.datetimes().map(lambda one: f"{one.isoformat()}Z") | SCALARS,
    },
)
TWILIO_NAMES = st.sampled_from(
    [
        "MessageSid", "AccountSid", "From", "To", "Body", "MessageType", "MessageStatus",
        "SmsStatus", "NumMedia", "MediaUrl0", "MediaContentType0", "Latitude", "ErrorCode",
        "ChannelMetadata", "ButtonPayload", "ListId", "OriginalRepliedMessageSid", "WaId",
        "ExternalUserId",
    ]
)  # fmt: skip
TWILIO_VALUES = st.text(max_size=20) | st.sampled_from(
    ["whatsapp:+972500000001", "whatsapp:US.1", "failed", "reaction", "1", "\x00", "9" * 300, "{}"]
)
FUZZ = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
BODIES = [(method, rule) for method, rule in CALLS if method in {"POST", "PATCH"}]


@pytest.fixture
def busy_shop(shop: Shop) -> Shop:
    shop.connections["baileys"] = shop.connect("baileys")
    shop.connections["meta"] = shop.connect("meta")
    shop.connections["waha"] = shop.connect("waha")
    shop.connections["twilio"] = shop.connect("twilio", external_id=ACCOUNT)
    for provider in ("meta", "twilio", "baileys"):
        shop.record(shop.connections[provider], "hello")
    return shop


def send(shop: Shop, method: str, rule: str, body: bytes) -> None:
    """Send with the shop's own ids in the path, so that the body is looked at."""
    session_id = shop.sessions[-1]["id"] if "<session_id>" in rule else ""
    connection_id = shop.connections["baileys"]["id"]
    path = rule.replace("<session_id>", session_id).replace("<connection_id>", connection_id)
    key = "admin" if rule == "/api/businesses" else "manager"
    answer = shop.request(
        method, fill(path, shop.id), data=body, content_type="application/json", role=key
    )
    assert answer.status_code < 500, (method, rule, body, answer.text)
    if answer.status_code >= 400:
        assert answer.mimetype == "application/problem+json"


@pytest.fixture
def admin_too(busy_shop: Shop) -> Shop:
    busy_shop.keys["admin"] = ADMIN_KEY
    return busy_shop


@pytest.mark.parametrize(("method", "rule"), BODIES)
@FUZZ
@given(data=st.data())
def test_no_body_of_any_call_is_a_5xx(
    admin_too: Shop, app: Flask, method: str, rule: str, data: st.DataObject
) -> None:
    own_id = admin_too.connections["baileys"]["id"]
    known = {
        **FIELDS,
        "connection_id": st.just(own_id) | SCALARS,
        "messages": st.lists(MESSAGE, max_size=3) | ANYTHING,
    }
    names = fields_of(app, method, rule)
    body = data.draw(
        st.fixed_dictionaries({}, optional={name: known[name] for name in names})
        | st.fixed_dictionaries({name: known[name] for name in names})
        | ANYTHING
    )
    send(admin_too, method, rule, json.dumps(body).encode())


def fields_of(app: Flask, method: str, rule: str) -> list[str]:
    """Return the names a call's body may have, by the OpenAPI document."""
    document = app.api_doc
    path = rule.replace("<", "{").replace(">", "}")
    content = document["paths"][path][method.lower()].get("requestBody", {}).get("content", {})
    if "application/json" not in content:
        return []
    name = content["application/json"]["schema"]["$ref"].rpartition("/")[2]
    return list(document["components"]["schemas"][name]["properties"])


@FUZZ
@given(messages=st.lists(MESSAGE, min_size=1, max_size=3))
def test_what_was_recorded_can_always_be_read_back(busy_shop: Shop, messages: list[Any]) -> None:
    body = {"connection_id": busy_shop.connections["baileys"]["id"], "messages": messages}
    answer = busy_shop.post(
        "/api/messages/record", data=json.dumps(body), content_type="application/json"
    )
    assert answer.status_code in {200, 400, 422}, answer.text
    for session in busy_shop.get("/api/sessions?limit=100").json["items"][:3]:
        assert busy_shop.get(f"/api/sessions/{session['id']}/messages").status_code == 200
    assert busy_shop.get("/api/contacts").status_code == 200
    assert busy_shop.get("/sessions/active").status_code == 200


@FUZZ
@given(message=TO_SEND)
def test_any_message_is_queued_or_refused(busy_shop: Shop, message: dict[str, Any]) -> None:
    connection = busy_shop.connections[message.pop("provider")]
    body = json.dumps({**message, "connection_id": connection["id"]}).encode()
    answer = busy_shop.post("/api/messages", data=body, content_type="application/json")
    assert answer.status_code in {202, 400, 409, 422}, (body, answer.text)
    if answer.status_code == 202:
        assert busy_shop.get(f"/api/messages/{answer.json['id']}").json == answer.json


@FUZZ
@given(context=st.dictionaries(st.text(st.characters(codec=None), max_size=5), ANYTHING))
def test_any_context_is_kept_or_refused(busy_shop: Shop, context: dict[str, Any]) -> None:
    path = f"/api/sessions/{busy_shop.sessions[-1]['id']}"
    body = json.dumps({"context": context}).encode()
    answer = busy_shop.patch(path, data=body, content_type="application/json")
    assert answer.status_code in {200, 400, 422}
    assert busy_shop.get(path).status_code == 200


@FUZZ
@given(body=st.binary(max_size=200) | ANYTHING.map(lambda one: json.dumps(one).encode()))
def test_no_authentic_webhook_is_a_5xx(busy_shop: Shop, app: Flask, body: bytes) -> None:
    client = app.test_client()
    meta, baileys = busy_shop.connections["meta"], busy_shop.connections["baileys"]
    waha = busy_shop.connections["waha"]
    headers = meta_signature(body, meta["secrets"]["app_secret"])
    waha_headers = waha_signature(body, waha["secrets"]["hmac_key"])
    for answer in (
        client.post("/webhooks/meta", data=body, headers=headers),
        client.post(f"/webhooks/meta/{meta['id']}", data=body, headers=headers),
        client.post(path_of(waha["webhook_url"]), data=body, headers=waha_headers),
        client.post(path_of(baileys["webhook_url"]), data=body),
        client.post(f"{path_of(baileys['webhook_url'])}/messages-upsert", data=body),
    ):
        assert answer.status_code in {200, 400}, (body, answer.text)


@FUZZ
@given(fields=st.dictionaries(TWILIO_NAMES, TWILIO_VALUES, max_size=12), is_whole=st.booleans())
def test_no_authentic_twilio_webhook_is_a_5xx(
    busy_shop: Shop, app: Flask, fields: dict[str, Any], *, is_whole: bool
) -> None:
    client = app.test_client()
    twilio = busy_shop.connections["twilio"]
    body = twilio_body(**fields) if is_whole else form_of(fields)
    for path in ("/twilio-webhook-opt", f"/webhooks/twilio/{twilio['id']}"):
        headers = twilio_headers(
            f"https://timer.example{path}", body, twilio["secrets"]["auth_token"]
        )
        answer = client.post(path, data=body, headers=headers)
        assert answer.status_code in {200, 401}, (body, answer.text)
        assert answer.text == EMPTY
    for path in ("/twilio-webhook-opt", f"/webhooks/twilio/{twilio['id']}"):
        answer = client.post(path, data=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 401


@FUZZ
@given(
    name=st.sampled_from(
        ["limit", "cursor", "state", "provider", "customer_wa_id", "since", "until", "business_id"]
    ),
    value=st.text(max_size=60),
    path=st.sampled_from(
        ["/api/sessions", "/api/contacts", "/api/connections", "/api/whatsapp/active-chats"]
    ),
)
def test_no_query_is_a_5xx(busy_shop: Shop, name: str, value: str, path: str) -> None:
    assert busy_shop.get(path, query_string={name: value}).status_code < 500


@FUZZ
@given(part=st.text(max_size=40))
def test_no_path_is_a_5xx(busy_shop: Shop, part: str) -> None:
    for path in ("/session/", "/api/sessions/", "/api/businesses/", "/webhooks/baileys/"):
        assert busy_shop.get(f"{path}{part}").status_code < 500
        assert busy_shop.post(f"{path}{part}").status_code < 500
