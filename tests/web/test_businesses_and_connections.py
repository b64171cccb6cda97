"""Administration over HTTP: what is accepted, what is refused and how, and what is never shown."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from flask.testing import FlaskClient

from tests.web.shop import ADMIN_KEY, Shop, bearer
from timer_service.wiring import WebServices

ADMIN = bearer(ADMIN_KEY)


def fields(answer: Any) -> list[str]:
    return [one["field"] for one in answer.json["errors"]]


def test_a_business_is_made_with_defaults_and_a_manager_key(client: FlaskClient) -> None:
    answer = client.post("/api/businesses", json={"name": " Shop "}, headers=ADMIN)
    assert answer.status_code == 201
    made = answer.json
    assert made["name"] == "Shop"
    assert (made["idle_gap_s"], made["touch_on"]) == (900, "customer")
    assert (made["country"], made["locale"], made["timezone"]) == (None, "en", "UTC")
    own = client.get(f"/api/businesses/{made['id']}", headers=bearer(made["api_key"]))
    assert own.json == {name: value for name, value in made.items() if name != "api_key"}


def test_settings_are_changed_one_by_one(shop: Shop) -> None:
    path = f"/api/businesses/{shop.id}"
    change = {
        "name": "חנות",
        "idle_gap_s": 2_592_000,
        "touch_on": "any",
        "country": "ID",
        "locale": "pt-BR",
        "timezone": "Asia/Jakarta",
    }
    for name, value in change.items():
        answer = shop.patch(path, {name: value})
        assert (answer.status_code, answer.json[name]) == (200, value)
    assert {name: shop.get(path).json[name] for name in change} == change
    assert shop.patch(path, {"country": None}).json["country"] is None
    assert shop.patch(path, {}).json["name"] == "חנות"


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("name", ["", "  ", None, 5, "x" * 201, []]),
        ("idle_gap_s", [0, -1, 2_592_001, "soon", None, 1.5, 10**19]),
        ("touch_on", ["agent", "", None]),
        ("country", ["il", "XX", "ISR", "", 5, "\u0130L"]),
        ("locale", ["hebrew", "HE", "he_IL", "", None, "he-il"]),
        (
            "timezone",
            ["Mars/Base", "", "../../etc/passwd", "/etc/passwd", "America", None, "a" * 99],
        ),
        ("id", [str(uuid4())]),
        ("created_at", ["2020-01-01T00:00:00Z"]),
        ("api_key", ["tsk_mine"]),
    ],
)
def test_wrong_settings_are_422_naming_the_field_and_never_the_value(
    client: FlaskClient, shop: Shop, field: str, values: list[Any]
) -> None:
    before = shop.get(f"/api/businesses/{shop.id}").json
    for value in values:
        changed = shop.patch(f"/api/businesses/{shop.id}", {field: value})
        made = client.post("/api/businesses", json={"name": "x", field: value}, headers=ADMIN)
        for answer in (changed, made):
            assert answer.status_code == 422, (field, value)
            assert answer.mimetype == "application/problem+json"
            assert fields(answer) == [field]
            assert len(str(value)) < 4 or str(value) not in answer.json["errors"][0]["message"]
    assert shop.get(f"/api/businesses/{shop.id}").json == before


def test_an_erased_business_is_gone_with_its_keys_and_chats(
    client: FlaskClient, shop: Shop, services: WebServices
) -> None:
    shop.record(shop.connect(), "hello")
    assert services.live_chats.count_all() == 1
    assert client.delete(f"/api/businesses/{shop.id}", headers=ADMIN).status_code == 204
    assert shop.get("/api/sessions").status_code == 401
    assert client.get(f"/api/businesses/{shop.id}", headers=ADMIN).status_code == 404
    assert client.delete(f"/api/businesses/{shop.id}", headers=ADMIN).status_code == 404
    assert services.live_chats.count_all() == 0


@pytest.mark.parametrize(
    ("provider", "external_id", "secrets"),
    [
        ("meta", "100000000000001", {"app_secret": "s", "verify_token": "v", "access_token": "a"}),
        ("baileys", "my instance", {"token": "s", "api_key": "k", "of their own": "x"}),
        ("twilio", "AC00000000000000000000000000000000:+15550009999", {"auth_token": "s"}),
        ("waha", "default", {"hmac_key": "s", "api_key": "k"}),
    ],
)
def test_each_provider_connects_and_its_secrets_never_come_back(
    shop: Shop, provider: str, external_id: str, secrets: dict[str, str]
) -> None:
    secrets = {name.replace(" ", "_"): f"very-{value}-secret" for name, value in secrets.items()}
    del secrets[next(iter(secrets))]
    proving = {
        "meta": "app_secret",
        "baileys": "jwt_key",
        "twilio": "auth_token",
        "waha": "hmac_key",
    }
    secrets[proving[provider]] = "very-secret-proof"
    made = shop.post(
        "/api/connections",
        {
            "provider": provider,
            "external_id": external_id,
            "name": "front desk",
            "base_url": "http://gateway.example:8080/",
            "secrets": secrets,
        },
    )
    assert made.status_code == 201, made.json
    path = f"/api/connections/{made.json['id']}"
    assert (made.json["external_id"], made.json["status"]) == (external_id, "new")
    assert made.json["base_url"] == "http://gateway.example:8080"
    assert made.json["webhook_url"].startswith(f"https://timer.example/webhooks/{provider}")
    changed = shop.patch(path, {"name": "till", "secrets": {"more": "very-more-secret"}})
    assert changed.json["name"] == "till"
    for answer in (made, changed, shop.get(path), shop.get("/api/connections")):
        assert "very-" not in answer.text


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"provider": "signal"}, "provider"),
        ({"external_id": ""}, "external_id"),
        ({"external_id": " "}, "external_id"),
        ({"external_id": "x" * 256}, "external_id"),
        ({"provider": "twilio", "secrets": {"auth_token": "x"}}, "external_id"),
        ({"secrets": {"api_key": "only for sending"}}, "secrets"),
        ({"secrets": {"token": ""}}, "secrets.token"),
        ({"secrets": {"token": "x" * 4097}}, "secrets.token"),
        ({"secrets": {"token": "x", "a b": "y"}}, "secrets.a b.[key]"),
        ({"secrets": {"token": 5}}, "secrets.token"),
        ({"secrets": {f"n{number}": "x" for number in range(21)}}, "secrets"),
        ({"base_url": "ftp://gateway"}, "base_url"),
        ({"base_url": "http://"}, "base_url"),
        ({"base_url": "http://user:pass@gateway"}, "base_url"),
        ({"base_url": "http://[gateway"}, "base_url"),
        ({"base_url": "http://gateway:99999"}, "base_url"),
        ({"base_url": "javascript:alert(1)"}, "base_url"),
        ({"name": "x" * 201}, "name"),
        ({"business_id": str(uuid4())}, "business_id"),
        ({"status": "connected"}, "status"),
    ],
)
def test_a_wrong_connection_is_422_naming_the_field(
    shop: Shop, change: dict[str, Any], field: str
) -> None:
    good = {"provider": "baileys", "external_id": "a", "secrets": {"token": "t"}}
    answer = shop.post("/api/connections", {**good, **change})
    assert answer.status_code == 422
    assert fields(answer) == [field]
    assert shop.get("/api/connections").json["items"] == []


def test_a_connection_without_secrets_is_for_recording_and_believes_no_webhook(shop: Shop) -> None:
    made = shop.post("/api/connections", {"provider": "baileys", "external_id": "a", "secrets": {}})
    assert made.status_code == 201
    body = {"event": "messages.upsert", "instance": "a", "data": {}}
    webhook = shop.client.post(f"/webhooks/baileys/{made.json['id']}", json=body)
    assert webhook.status_code == 401
    messages = [{"provider_message_id": "1", "customer_wa_id": "972500000001", "direction": "in"}]
    recorded = shop.post(
        "/api/messages/record", {"connection_id": made.json["id"], "messages": messages}
    )
    assert recorded.json["results"][0]["opened"] is True


def test_an_account_is_connected_once(shop: Shop, other_shop: Shop) -> None:
    def status(shop: Shop, provider: str, external_id: str, base_url: str | None = None) -> int:
        secrets = {"token": "t", "app_secret": "t", "auth_token": "t", "hmac_key": "t"}
        body = {"provider": provider, "external_id": external_id, "secrets": secrets}
        return shop.post("/api/connections", {**body, "base_url": base_url}).status_code

    for provider, account in (("meta", "1"), ("twilio", "AC1:+15550009999")):
        assert status(shop, provider, account) == 201
        assert status(other_shop, provider, account) == 409
    for provider in ("baileys", "waha"):
        assert status(shop, provider, "default") == 201
        assert status(shop, provider, "default") == 409
        assert status(shop, provider, "default", "http://two") == 201
        assert status(other_shop, provider, "default") == 201


def test_a_change_that_takes_anothers_place_is_409(shop: Shop) -> None:
    shop.connect(external_id="a", base_url="http://one")
    second = shop.connect(external_id="a", base_url="http://two")
    path = f"/api/connections/{second['id']}"
    assert shop.patch(path, {"base_url": "http://one/"}).status_code == 409
    assert shop.get(path).json["base_url"] == "http://two"


def test_a_deleted_connections_sessions_close_and_its_rows_stay(shop: Shop) -> None:
    connection = shop.connect()
    shop.record(connection, "hello")
    path = f"/api/connections/{connection['id']}"
    assert shop.delete(path).status_code == 204
    assert shop.get(path).status_code == shop.delete(path).status_code == 404
    (session,) = shop.sessions
    assert (session["close_reason"], session["message_count"]) == ("completed", 1)
    assert shop.active_count == 0
    shop.connect(external_id=connection["external_id"])


@pytest.mark.parametrize("token", ["with/slash", "with space", "q?x=1", "%2F", "..", "é", "a#b"])
def test_a_token_that_no_path_can_hold_stays_out_of_the_address(shop: Shop, token: str) -> None:
    connection = shop.connect(secrets={"token": token})
    assert connection["webhook_url"].endswith(f"/webhooks/baileys/{connection['id']}")
