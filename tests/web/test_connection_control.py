"""Connections at their gateways over HTTP: who may do what, what is stored and told, and bounds.

What each gateway is asked, and how its answers are read, is in ``tests/contract/test_control.py``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.support.fake_control_gateway import OWN_NUMBER, FakeControlGateway
from tests.support.fake_model import Reply
from tests.web.shop import Shop, evolution_body, path_of, waha_body, waha_signature
from tests.web.test_operation import metrics_of
from timer_service import connection_control, slow_senders
from timer_service.clock import monotonic_s, utc_now
from timer_service.wiring import WebServices

DEVICES = ("waha", "baileys")
KEY = "control-key"


@pytest.fixture
def gateway() -> Iterator[FakeControlGateway]:
    with FakeControlGateway() as gateway:
        yield gateway


def connect(
    shop: Shop, gateway: FakeControlGateway, provider: str, key: str = KEY, **values: Any
) -> dict[str, Any]:
    secrets = {
        "waha": {"hmac_key": "very-secret-hmac", "api_key": key},
        "baileys": {"token": "very-secret-token", "api_key": key},
        "meta": {"app_secret": "very-secret-app", "access_token": key},
        "twilio": {"auth_token": "very-secret-auth"},
    }[provider]
    account = {"meta": "100000000000001", "twilio": f"AC{uuid4().hex}:+15550009999"}
    values.setdefault("external_id", account.get(provider, f"{provider} desk"))
    values.setdefault("base_url", gateway.url)
    return shop.connect(provider, **{"secrets": secrets, **values})


def act(shop: Shop, connection: dict[str, Any], action: str, **options: Any) -> Any:
    return shop.post(f"/api/connections/{connection['id']}/{action}", **options)


def qr_of(shop: Shop, connection: dict[str, Any], accept: str = "*/*") -> Any:
    headers = {"Authorization": f"Bearer {shop.keys['manager']}", "Accept": accept}
    return shop.client.get(f"/api/connections/{connection['id']}/qr", headers=headers)


def status_of(shop: Shop, connection: dict[str, Any]) -> tuple[str, str | None]:
    found = shop.get(f"/api/connections/{connection['id']}").json
    return found["status"], found["status_reason_code"]


@pytest.mark.parametrize("provider", DEVICES)
def test_a_device_is_created_linked_by_qr_and_goes_through_its_life(
    shop: Shop, gateway: FakeControlGateway, provider: str
) -> None:
    connection = connect(shop, gateway, provider)
    assert gateway.asked == []  # adding it called no gateway
    made = act(shop, connection, "create")
    assert made.status_code == 200, made.json
    assert (made.json["status"], made.json["status_reason_code"]) == ("waiting_qr", "qr_to_scan")
    assert made.json["status_reason"] == "Waiting for somebody to scan the QR code with WhatsApp."

    first = qr_of(shop, connection)
    assert (first.status_code, first.mimetype) == (200, "image/png")
    assert first.data.startswith(b"\x89PNG\r\n")
    assert first.headers["Cache-Control"] == "no-store"
    left_s = (parsedate_to_datetime(first.headers["Expires"]) - utc_now()).total_seconds()
    assert 0 < left_s <= connection_control.QR_LIVES_S
    assert int(first.headers["Refresh-After"]) < connection_control.QR_LIVES_S
    assert qr_of(shop, connection).data == first.data
    gateway.api.renew(f"{provider} desk")
    assert qr_of(shop, connection).data != first.data
    code = qr_of(shop, connection, "application/json").json
    assert (code["status"], code["text"]) == (
        "waiting_qr", gateway.api.devices[f"{provider} desk"].code,
    )  # fmt: skip

    gateway.api.scan(f"{provider} desk")
    done = qr_of(shop, connection, "application/json")
    assert (done.json["status"], done.json["text"]) == ("connected", None)
    assert done.headers["Cache-Control"] == "no-store"
    refused = qr_of(shop, connection)
    assert (refused.status_code, refused.mimetype) == (409, "application/problem+json")
    assert "connected" in refused.json["detail"]
    linked = act(shop, connection, "refresh", role="viewer").json
    assert (linked["status"], linked["status_reason"]) == ("connected", None)
    assert linked["status_at"] > made.json["status_at"]
    again = act(shop, connection, "refresh").json
    assert again["status_at"] == linked["status_at"]
    assert again["updated_at"] > linked["updated_at"]

    assert act(shop, connection, "restart").json["status"] == "connected"
    assert act(shop, connection, "log-out").json["status"] in {"waiting_qr", "logged_out"}
    assert act(shop, connection, "start").json["status"] == "waiting_qr"
    assert act(shop, connection, "remove").json["status"] == "removed"
    assert gateway.api.devices == {}
    assert status_of(shop, connection) == ("removed", None)


@pytest.mark.parametrize("provider", DEVICES)
def test_the_webhook_is_set_up_so_that_we_believe_what_comes_by_it(
    shop: Shop, gateway: FakeControlGateway, provider: str
) -> None:
    connection = connect(shop, gateway, provider, secrets={})
    shop.patch(f"/api/connections/{connection['id']}", {"secrets": {"api_key": KEY}})
    name = f"{provider} desk"
    device = gateway.api.add(name, "working")
    made = act(shop, connection, "set-up-webhook")
    proof = {"waha": "hmac_key", "baileys": "token"}[provider]
    assert (made.json["proof"], made.json["made_secret"]) == (proof, True)
    assert made.json["webhook_url"].endswith(f"/webhooks/{provider}/{connection['id']}")
    assert act(shop, connection, "set-up-webhook").json["made_secret"] is False
    if provider == "waha":
        key = device.config["webhooks"][0]["hmac"]["key"]
        assert key not in made.text
        body = waha_body(name, "session.status", status="WORKING")
        headers = waha_signature(body, key)
    else:
        assert device.webhook["headers"]["authorization"].partition(" ")[2] not in made.text
        body = json.dumps(evolution_body(name)).encode()
        headers = device.webhook["headers"]
    headers["Content-Type"] = "application/json"
    answer = shop.client.post(path_of(made.json["webhook_url"]), data=body, headers=headers)
    assert answer.status_code == 200
    assert status_of(shop, connection) == ("connected", None)
    assert act(shop, connection, "check").json == {"ok": True, "findings": [], "facts": {}} | (
        {"facts": {"engine": "NOWEB"}} if provider == "waha" else {}
    )


def test_what_a_gateway_refuses_is_502_in_plain_words_and_stays_with_the_connection(
    shop: Shop, gateway: FakeControlGateway
) -> None:
    connection = connect(shop, gateway, "waha", key="wrong")
    shop.record(connection, "hello")
    for action in ("create", "start", "restart", "log-out", "remove", "set-up-webhook"):
        answer = act(shop, connection, action)
        assert answer.status_code == 502, (action, answer.json)
        assert answer.json["detail"].startswith("The key is not accepted")
    # What was told last stands: that we cannot ask says nothing of the link.
    assert status_of(shop, connection) == ("connected", "key_refused")
    checked = act(shop, connection, "check").json
    assert checked["ok"] is False
    assert [one["code"] for one in checked["findings"]] == ["key_refused"]
    gateway.will(Reply(404, b"{}"))
    assert act(shop, connection, "start").status_code == 502
    assert status_of(shop, connection) == ("removed", "not_there")


def test_a_gateway_that_cannot_be_reached_leaves_the_status_and_says_so(
    shop: Shop, gateway: FakeControlGateway
) -> None:
    connection = connect(shop, gateway, "baileys", base_url="http://127.0.0.1:9")
    shop.record(connection, "hello")
    found = act(shop, connection, "refresh")
    assert found.status_code == 200
    assert found.json["status"] == "connected"
    assert "cannot be reached" in found.json["status_reason"]
    assert act(shop, connection, "start").status_code == 502


def test_a_gateways_fault_is_logged_as_such_and_a_set_up_ends_before_web_gives_the_caller_up(
    shop: Shop, gateway: FakeControlGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    connection = connect(shop, gateway, "waha")
    gateway.will(Reply(500, b"{}"))
    assert act(shop, connection, "start").status_code == 502
    said = capsys.readouterr().out
    assert "gateway_failed" in said
    assert "request_failed" not in said
    assert connection_control.ACT_WITHIN_S + 1 < slow_senders.CUT_AFTER_S


def test_redirects_are_not_followed(shop: Shop, gateway: FakeControlGateway) -> None:
    connection = connect(shop, gateway, "waha")
    gateway.will(Reply(302, b"", {"Location": f"{gateway.url}/elsewhere"}))
    assert act(shop, connection, "refresh").json["status_reason_code"] == "redirected"
    assert len(gateway.asked) == 1


@pytest.mark.parametrize("kind", ["hang", "drip"])
def test_a_gateway_that_hangs_or_drips_is_given_up_in_time(
    shop: Shop, gateway: FakeControlGateway, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_control, "ASK_WITHIN_S", 0.4)
    connection = connect(shop, gateway, "waha")
    gateway.will(Reply(kind=kind))
    began_at_s = monotonic_s()
    assert act(shop, connection, "refresh").json["status_reason_code"] == "no_answer"
    assert monotonic_s() - began_at_s < 10


def test_few_gateways_are_asked_at_one_time_and_fewer_of_one_business(
    shop: Shop, other_shop: Shop, gateway: FakeControlGateway, services: WebServices
) -> None:
    connection = connect(shop, gateway, "waha")
    others = connect(other_shop, gateway, "waha")
    gateway.api.add("waha desk", "working")
    room = services.control._talks.room
    business = services.control.business_of(UUID(connection["id"]))
    with room.place(business), room.place(business):
        answer = act(shop, connection, "refresh")
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert act(other_shop, others, "refresh").status_code == 200
    assert act(shop, connection, "refresh").status_code == 200


def test_secrets_never_come_back_nor_stand_in_the_log(
    shop: Shop, gateway: FakeControlGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = []
    for provider in DEVICES:
        connection = connect(shop, gateway, provider)
        gateway.will(Reply(500, b'{"request": {"key": "control-key"}}'))
        texts += [
            act(shop, connection, action, role=role).text
            for action, role in (
                ("start", "manager"), ("create", "manager"), ("set-up-webhook", "manager"),
                ("check", "manager"), ("refresh", "viewer"),
            )
        ]  # fmt: skip
    texts += capsys.readouterr()
    for text in texts:
        assert "control-key" not in text
        assert "very-secret-hmac" not in text
    assert not any("very-secret-token" in text for text in texts if '"webhook_url"' not in text)
    assert "very-secret-token" not in texts[-3]  # a viewer's


def test_a_phone_is_linked_by_its_number_read_by_the_businesss_country(
    shop: Shop, gateway: FakeControlGateway
) -> None:
    shop.patch(f"/api/businesses/{shop.id}", {"country": "ID"})
    connection = connect(shop, gateway, "waha")
    gateway.api.add("waha desk", "waiting")
    answer = act(shop, connection, "pairing-code", body={"phone_number": "0812-3456-7890"})
    assert (answer.status_code, answer.json) == (200, {"code": "ABCD-1234"})
    assert answer.headers["Cache-Control"] == "no-store"
    assert gateway.api.asked[-1].body == {"phoneNumber": "6281234567890"}
    for bad in ("", "Dana", "lid:123456", "0"):
        refused = act(shop, connection, "pairing-code", body={"phone_number": bad})
        assert refused.status_code == 422
        assert refused.json["errors"][0]["field"] == "phone_number"
    gateway.api.scan("waha desk")
    assert act(shop, connection, "pairing-code", body={"phone_number": "62811"}).status_code == 502


def test_what_a_kind_or_its_settings_do_not_allow_is_409_and_asks_nobody(
    shop: Shop, gateway: FakeControlGateway
) -> None:
    for provider in ("meta", "twilio"):
        connection = connect(shop, gateway, provider)
        for action in ("create", "start", "stop", "refresh", "set-up-webhook", "pull-contacts"):
            assert act(shop, connection, action).status_code == 409
        assert qr_of(shop, connection).status_code == 409
    assert act(shop, connect(shop, gateway, "baileys"), "stop").status_code == 409
    for provider in DEVICES:
        assert act(shop, shop.connect(provider), "refresh").status_code == 409
    assert gateway.asked == []


def test_checks_of_meta_and_twilio_say_what_is_wrong_and_how_the_connection_is(
    shop: Shop, gateway: FakeControlGateway
) -> None:
    number = connect(shop, gateway, "meta")
    works = act(shop, number, "check").json
    assert (works["ok"], works["findings"]) == (True, [])
    assert works["facts"]["verified_name"] == "Demo Shop"
    assert status_of(shop, number) == ("connected", None)
    expired = {"error": {"code": 190, "error_subcode": 463, "message": "control-key"}}
    gateway.will(Reply(401, json.dumps(expired).encode()))
    (finding,) = act(shop, number, "check").json["findings"]
    assert (finding["code"], finding["severity"]) == ("token_expired", "error")
    assert finding["message"].startswith("The access token has expired")
    assert status_of(shop, number) == ("failed", "token_expired")

    sender = connect(shop, gateway, "twilio")
    gateway.api.twilio_account = {"status": "suspended"}
    (finding,) = act(shop, sender, "check").json["findings"]
    assert finding["code"] == "account_suspended"
    shop.connect("meta", secrets={"app_secret": "x"}, external_id="2", base_url=gateway.url)
    tokenless = shop.get("/api/connections").json["items"][0]
    (finding,) = act(shop, tokenless, "check").json["findings"]
    assert finding["code"] == "secret_missing"


def test_reconnect_problems_a_webhook_tells_are_seen_with_their_reason(
    shop: Shop, gateway: FakeControlGateway
) -> None:
    connection = connect(shop, gateway, "baileys")
    for data, told in (
        ({"state": "close", "statusReason": 440}, ("failed", "replaced")),
        ({"state": "connecting", "statusReason": 515}, ("connecting", "restart_required")),
        ({"state": "open", "statusReason": 200}, ("connected", None)),
        ({"state": "close", "statusReason": 401}, ("logged_out", "unlinked")),
    ):
        body = {"event": "connection.update", "instance": "baileys desk", "data": data}
        assert shop.client.post(path_of(connection["webhook_url"]), json=body).status_code == 200
        assert status_of(shop, connection) == told
    found = shop.get(f"/api/connections/{connection['id']}").json
    assert found["status_reason"].startswith("Logged out, or unlinked on the phone")


def test_the_metric_counts_connections_by_how_they_are(
    shop: Shop, gateway: FakeControlGateway
) -> None:
    connection = connect(shop, gateway, "waha")
    gateway.api.add("waha desk", "working")
    assert act(shop, connection, "refresh").json["own_number"] == OWN_NUMBER
    gateway.api.drop("waha desk", 440)
    act(shop, connection, "refresh")
    gone = connect(shop, gateway, "waha", external_id="gone")
    shop.delete(f"/api/connections/{gone['id']}")
    assert metrics_of(shop.client)["timer_connections"] == {"waha,link_failed,failed": 1.0}


def test_anothers_connection_is_not_there(
    shop: Shop, other_shop: Shop, gateway: FakeControlGateway
) -> None:
    connection = connect(other_shop, gateway, "waha")
    body = {"phone_number": "972500000001"}
    assert act(shop, connection, "pairing-code", body=body).status_code == 404
    for action in (
        *("create", "start", "stop", "restart", "log-out", "remove", "refresh"),
        *("check", "set-up-webhook", "pull-contacts"),
    ):
        assert act(shop, connection, action).status_code == 404
    for name in ("qr", "pull-contacts"):
        assert shop.get(f"/api/connections/{connection['id']}/{name}").status_code == 404
    assert gateway.asked == []
