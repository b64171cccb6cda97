"""Connections at their gateways over HTTP: linked, started, stopped, checked; what goes wrong."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Any
from uuid import uuid4

import pytest

from tests.support.fake_control_gateway import OWN_NUMBER, FakeControlGateway, meta_error
from tests.support.fake_model import Reply
from tests.web.shop import Shop, evolution_body, path_of, waha_body, waha_signature
from tests.web.test_operation import metrics_of
from timer_service import connection_control
from timer_service.clock import monotonic_s, utc_now
from timer_service.providers import baileys_control, waha_control
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
    values.setdefault("external_id", account.get(provider, "front desk"))
    values.setdefault("base_url", gateway.url)
    return shop.connect(provider, **{"secrets": secrets, **values})


def act(shop: Shop, connection: dict[str, Any], action: str, **options: Any) -> Any:
    return shop.post(f"/api/connections/{connection['id']}/{action}", **options)


def status_of(shop: Shop, connection: dict[str, Any]) -> tuple[str, str | None]:
    found = shop.get(f"/api/connections/{connection['id']}").json
    return found["status"], found["status_reason_code"]


@pytest.mark.parametrize("provider", DEVICES)
class TestADevice:
    def test_it_is_created_linked_by_qr_and_found_connected(
        self, shop: Shop, gateway: FakeControlGateway, provider: str
    ) -> None:
        connection = connect(shop, gateway, provider)
        assert status_of(shop, connection) == ("new", None)
        assert gateway.asked == []
        made = act(shop, connection, "create")
        assert made.status_code == 200, made.json
        assert (made.json["status"], made.json["status_reason_code"]) == (
            "waiting_qr", "qr_to_scan",
        )  # fmt: skip
        assert (
            made.json["status_reason"] == "Waiting for somebody to scan the QR code with WhatsApp."
        )
        path = f"/api/connections/{connection['id']}/qr"
        assert shop.get(path).status_code == 200
        gateway.api.scan("front desk")
        found = act(shop, connection, "refresh").json
        assert (found["status"], found["status_reason"]) == ("connected", None)
        assert found["status_at"] > made.json["status_at"]

    def test_creating_it_again_changes_nothing_and_sets_the_webhook(
        self, shop: Shop, gateway: FakeControlGateway, provider: str
    ) -> None:
        connection = connect(shop, gateway, provider)
        gateway.api.add("front desk", "working")
        for _ in range(2):
            made = act(shop, connection, "create")
            assert (made.status_code, made.json["status"]) == (200, "connected"), made.json
        assert gateway.api.devices["front desk"].is_linked
        assert act(shop, connection, "check").json["ok"] is True

    def test_it_is_started_restarted_logged_out_and_removed(
        self, shop: Shop, gateway: FakeControlGateway, provider: str
    ) -> None:
        connection = connect(shop, gateway, provider)
        device = gateway.api.add("front desk")
        assert act(shop, connection, "start").json["status"] == "waiting_qr"
        gateway.api.scan("front desk")
        assert act(shop, connection, "restart").json["status"] == "connected"
        assert device.restarts == 1
        logged_out = act(shop, connection, "log-out").json["status"]
        assert logged_out == {"waha": "waiting_qr", "baileys": "logged_out"}[provider]
        assert not device.is_linked
        removed = act(shop, connection, "remove")
        assert (removed.status_code, removed.json["status"]) == (200, "removed")
        assert gateway.api.devices == {}
        assert act(shop, connection, "remove").json["status"] == "removed"

    def test_a_linked_one_is_removed_too(
        self, shop: Shop, gateway: FakeControlGateway, provider: str
    ) -> None:
        connection = connect(shop, gateway, provider)
        gateway.api.add("front desk", "working")
        assert act(shop, connection, "remove").json["status"] == "removed"
        assert gateway.api.devices == {}

    def test_no_name_leads_out_of_the_path_it_belongs_in(
        self, shop: Shop, gateway: FakeControlGateway, provider: str
    ) -> None:
        for name in ("..", "a/../b?x=1#y", "."):
            act(shop, connect(shop, gateway, provider, external_id=name), "remove")
        last = {"waha": "/api/sessions/", "baileys": "/instance/delete/"}[provider]
        paths = [one.path for one in gateway.api.asked if last in one.path]
        assert paths == [
            f"{last}%2E%2E", f"{last}a%2F..%2Fb%3Fx%3D1%23y", f"{last}%2E",
        ]  # fmt: skip

    def test_the_key_is_checked_where_it_says_that_it_is_wrong(
        self, shop: Shop, gateway: FakeControlGateway, provider: str
    ) -> None:
        connection = connect(shop, gateway, provider, key="wrong")
        for action in ("create", "start", "restart", "log-out", "remove", "set-up-webhook"):
            answer = act(shop, connection, action)
            assert answer.status_code == 502, (action, answer.json)
            assert answer.json["detail"].startswith("The key is not accepted")
        assert status_of(shop, connection) == ("new", "key_refused")
        checked = act(shop, connection, "check").json
        assert (checked["ok"], [one["code"] for one in checked["findings"]]) == (
            False, ["key_refused"],
        )  # fmt: skip

    def test_an_unknown_device_is_told_as_such(
        self, shop: Shop, gateway: FakeControlGateway, provider: str
    ) -> None:
        connection = connect(shop, gateway, provider)
        assert act(shop, connection, "start").status_code == 502
        assert status_of(shop, connection) == ("removed", "not_there")
        checked = act(shop, connection, "check").json
        assert [one["code"] for one in checked["findings"]] == ["not_there"]

    def test_a_gateway_that_is_not_there_says_nothing_of_the_link(
        self, shop: Shop, gateway: FakeControlGateway, provider: str
    ) -> None:
        connection = connect(shop, gateway, provider, base_url="http://127.0.0.1:9")
        shop.record(connection, "hello")
        found = act(shop, connection, "refresh")
        assert found.status_code == 200
        assert (found.json["status"], found.json["status_reason_code"]) == (
            "connected", "unreachable",
        )  # fmt: skip
        assert act(shop, connection, "start").status_code == 502

    def test_redirects_are_not_followed(
        self, shop: Shop, gateway: FakeControlGateway, provider: str
    ) -> None:
        connection = connect(shop, gateway, provider)
        gateway.will(Reply(302, b"", {"Location": f"{gateway.url}/elsewhere"}))
        found = act(shop, connection, "refresh").json
        assert found["status_reason_code"] == "redirected"
        assert len(gateway.asked) == 1

    @pytest.mark.parametrize("kind", ["hang", "drip"])
    def test_a_gateway_that_hangs_or_drips_is_given_up_in_time(
        self,
        shop: Shop,
        gateway: FakeControlGateway,
        provider: str,
        kind: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(connection_control, "ASK_WITHIN_S", 0.4)
        connection = connect(shop, gateway, provider)
        gateway.will(Reply(kind=kind))
        began_at_s = monotonic_s()
        found = act(shop, connection, "refresh").json
        assert found["status_reason_code"] == "no_answer"
        assert monotonic_s() - began_at_s < 5

    def test_whatever_a_gateway_answers_is_no_fault_of_ours(
        self, shop: Shop, gateway: FakeControlGateway, provider: str
    ) -> None:
        connection = connect(shop, gateway, provider)
        bodies = (b"", b"null", b"[]", b"<html>", b'{"status": 5, "instance": []}', b"[" * 9999)
        for body in bodies:
            for status in (200, 204, 404, 422, 500, 599, 999):
                for action in ("create", "start", "refresh", "set-up-webhook", "check"):
                    gateway.will(Reply(status, body))
                    answer = act(shop, connection, action)
                    assert answer.status_code in {200, 502}, (action, status, body)
                gateway.will(Reply(status, body))
                path = f"/api/connections/{connection['id']}/qr"
                assert shop.get(path).status_code in {200, 409, 502}

    def test_secrets_never_come_back_nor_stand_in_the_log(
        self,
        shop: Shop,
        gateway: FakeControlGateway,
        provider: str,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        connection = connect(shop, gateway, provider)
        answers = [
            act(shop, connection, action).text
            for action in ("create", "set-up-webhook", "check", "restart", "log-out", "start")
        ]
        gateway.will(Reply(500, b'{"request": {"key": "control-key", "hmac": "very-secret"}}'))
        answers.append(act(shop, connection, "start").text)
        printed = capsys.readouterr()
        for text in (*answers, printed.out, printed.err):
            assert "control-key" not in text
            assert "very-secret-hmac" not in text
        assert all("very-secret-token" not in text for text in answers[1:2])

    def test_few_gateways_are_asked_at_one_time_and_fewer_of_one_business(
        self, shop: Shop, gateway: FakeControlGateway, provider: str, services: WebServices
    ) -> None:
        connection = connect(shop, gateway, provider)
        gateway.api.add("front desk", "working")
        room = services.control._room
        business = services.control.business_of(connection["id"])
        with room.place(business), room.place(business):
            answer = act(shop, connection, "refresh")
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert act(shop, connection, "refresh").status_code == 200


class TestTheWebhook:
    def test_waha_gets_events_key_and_exponential_retries_and_its_other_webhooks_stay(
        self, shop: Shop, gateway: FakeControlGateway
    ) -> None:
        connection = connect(shop, gateway, "waha")
        device = gateway.api.add("front desk", "working")
        other = {"url": "https://crm.example", "events": ["message"], "hmac": None}
        device.config = {"proxy": {"server": "localhost:3128"}, "webhooks": [other]}
        made = act(shop, connection, "set-up-webhook").json
        assert made == {
            "webhook_url": connection["webhook_url"],
            "events": list(waha_control.EVENTS),
            "retries": {"policy": "exponential", "delaySeconds": 2, "attempts": 15},
            "proof": "hmac_key",
            "made_secret": False,
            "changed": True,
        }
        assert "poll.vote" in made["events"]
        assert device.config["proxy"] == {"server": "localhost:3128"}
        assert device.config["webhooks"] == [
            other,
            {
                "url": connection["webhook_url"],
                "events": made["events"],
                "hmac": {"key": "very-secret-hmac"},
                "retries": made["retries"],
            },
        ]
        assert device.restarts == 1
        assert act(shop, connection, "set-up-webhook").json["changed"] is False
        assert device.restarts == 1
        device.config["webhooks"][1]["retries"] = None
        assert act(shop, connection, "set-up-webhook").json["changed"] is True
        assert len(device.config["webhooks"]) == 2

    def test_a_new_session_at_waha_has_all_it_needs(
        self, shop: Shop, gateway: FakeControlGateway
    ) -> None:
        connection = connect(shop, gateway, "waha")
        act(shop, connection, "create")
        config = gateway.api.devices["front desk"].config
        assert config["ignore"] == dict.fromkeys(
            ("status", "groups", "channels", "broadcast"), True
        )
        assert config["noweb"]["store"]["enabled"] is True
        (webhook,) = config["webhooks"]
        body = waha_body("front desk", "session.status", status="WORKING")
        headers = waha_signature(body, webhook["hmac"]["key"])
        answer = shop.client.post(
            path_of(webhook["url"]), data=body, headers=headers, content_type="application/json"
        )
        assert answer.status_code == 200
        found = shop.get(f"/api/connections/{connection['id']}").json
        assert (found["status"], found["own_number"]) == ("connected", "15550009999")

    @pytest.mark.parametrize("kind", ["token", "jwt_key"])
    def test_evolution_gets_events_and_a_header_that_we_believe(
        self, shop: Shop, gateway: FakeControlGateway, kind: str
    ) -> None:
        secrets = {kind: "very-secret", "api_key": KEY}
        connection = connect(shop, gateway, "baileys", secrets=secrets)
        act(shop, connection, "create")
        webhook = gateway.api.devices["front desk"].webhook
        assert webhook["events"] == list(baileys_control.EVENTS)
        assert (webhook["byEvents"], webhook["base64"]) == (False, False)
        assert "very-secret" not in webhook["url"]
        if kind == "jwt_key":
            assert webhook["headers"] == {"jwt_key": "very-secret"}
            return
        body = evolution_body("front desk")
        answer = shop.client.post(path_of(webhook["url"]), json=body, headers=webhook["headers"])
        assert answer.status_code == 200
        assert len(shop.sessions) == 1

    @pytest.mark.parametrize(("provider", "kind"), [("waha", "hmac_key"), ("baileys", "token")])
    def test_a_secret_is_made_where_there_is_none(
        self, shop: Shop, gateway: FakeControlGateway, provider: str, kind: str
    ) -> None:
        connection = connect(shop, gateway, provider, secrets={})
        shop.patch(f"/api/connections/{connection['id']}", {"secrets": {"api_key": KEY}})
        gateway.api.add("front desk", "working")
        made = act(shop, connection, "set-up-webhook").json
        assert (made["proof"], made["made_secret"]) == (kind, True)
        again = act(shop, connection, "set-up-webhook").json
        assert again["made_secret"] is False
        device = gateway.api.devices["front desk"]
        text = json.dumps([device.webhook, device.config])
        assert len(text) > 100
        body = waha_body("front desk")
        if provider == "waha":
            key = device.config["webhooks"][0]["hmac"]["key"]
            headers = {**waha_signature(body, key), "Content-Type": "application/json"}
        else:
            body = json.dumps(evolution_body("front desk")).encode()
            headers = {**device.webhook["headers"], "Content-Type": "application/json"}
        answer = shop.client.post(path_of(made["webhook_url"]), data=body, headers=headers)
        assert answer.status_code == 200

    def test_a_check_notices_a_webhook_that_leads_elsewhere(
        self, shop: Shop, gateway: FakeControlGateway
    ) -> None:
        for provider in DEVICES:
            connection = connect(shop, gateway, provider)
            device = gateway.api.add("front desk", "working")
            device.webhook = {"url": "https://elsewhere.example", "enabled": True}
            checked = act(shop, connection, "check").json
            assert [(one["code"], one["severity"]) for one in checked["findings"]] == [
                ("webhook_not_set", "warning")
            ]
            assert checked["ok"] is True


@pytest.mark.parametrize("provider", DEVICES)
class TestTheQrCode:
    def test_it_is_a_picture_that_says_when_it_expires(
        self, shop: Shop, gateway: FakeControlGateway, provider: str
    ) -> None:
        connection = connect(shop, gateway, provider)
        act(shop, connection, "create")
        path = f"/api/connections/{connection['id']}/qr"
        first = shop.get(path)
        assert (first.status_code, first.mimetype) == (200, "image/png")
        assert first.data.startswith(b"\x89PNG\r\n")
        assert first.headers["Cache-Control"] == "no-store"
        left_s = (parsedate_to_datetime(first.headers["Expires"]) - utc_now()).total_seconds()
        assert 0 < left_s <= connection_control.QR_LIVES_S
        assert first.headers["Expires-At"].endswith("Z")
        assert int(first.headers["Refresh-After"]) < connection_control.QR_LIVES_S
        assert shop.get(path).data == first.data
        gateway.api.renew("front desk")
        assert hashlib.sha256(shop.get(path).data).digest() != hashlib.sha256(first.data).digest()

    def test_programs_read_what_it_says_and_follow_it_to_the_end(
        self, shop: Shop, gateway: FakeControlGateway, provider: str
    ) -> None:
        connection = connect(shop, gateway, provider)
        device = gateway.api.add("front desk", "stopped")
        path = f"/api/connections/{connection['id']}/qr"
        if provider == "waha":
            waiting = ask_qr(shop, path)
            assert (waiting["status"], waiting["text"], waiting["expires_at"]) == (
                "stopped", None, None,
            )  # fmt: skip
            assert shop.get(path).status_code == 409
        act(shop, connection, "start")
        code = ask_qr(shop, path)
        assert (code["status"], code["text"]) == ("waiting_qr", device.code)
        gateway.api.scan("front desk")
        done = ask_qr(shop, path)
        assert (done["status"], done["text"]) == ("connected", None)
        refused = shop.get(path)
        assert refused.status_code == 409
        assert "connected" in refused.json["detail"]
        assert status_of(shop, connection) == ("connected", None)

    def test_a_code_no_qr_code_can_hold_is_no_fault_of_ours(
        self, shop: Shop, gateway: FakeControlGateway, provider: str
    ) -> None:
        connection = connect(shop, gateway, provider)
        for text in ("x" * 9_999, "\x00", "שלום" * 700):
            gateway.will(Reply(200, json.dumps({"value": text, "code": text}).encode()))
            answer = shop.get(f"/api/connections/{connection['id']}/qr")
            assert answer.status_code in {200, 409, 502}

    def test_the_phone_may_be_linked_by_its_number_instead(
        self, shop: Shop, gateway: FakeControlGateway, provider: str
    ) -> None:
        shop.patch(f"/api/businesses/{shop.id}", {"country": "ID"})
        connection = connect(shop, gateway, provider)
        gateway.api.add("front desk", "waiting")
        answer = act(shop, connection, "pairing-code", body={"phone_number": "0812-3456-7890"})
        assert answer.status_code == 200, answer.json
        assert answer.json["code"] in {"ABCD-1234", "WXYZ1234"}
        assert answer.headers["Cache-Control"] == "no-store"
        asked = gateway.api.asked[-1]
        assert (asked.body or asked.query) in (
            {"phoneNumber": "6281234567890"}, {"number": "6281234567890"},
        )  # fmt: skip
        for bad in ("", "Dana", "lid:123456", "0"):
            refused = act(shop, connection, "pairing-code", body={"phone_number": bad})
            assert refused.status_code == 422


def ask_qr(shop: Shop, path: str) -> Any:
    headers = {"Authorization": f"Bearer {shop.keys['manager']}", "Accept": "application/json"}
    answer = shop.client.get(path, headers=headers)
    assert (answer.status_code, answer.mimetype) == (200, "application/json"), answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    return answer.json


class TestReasons:
    @pytest.mark.parametrize(
        ("code", "status", "reason"),
        [
            (401, "logged_out", "unlinked"),
            (402, "failed", "temporarily_banned"),
            (403, "failed", "number_refused"),
            (406, "failed", "number_refused"),
            (428, "connecting", "connection_lost"),
            (440, "failed", "replaced"),
            (500, "failed", "link_damaged"),
            (515, "connecting", "restart_required"),
            (999, "failed", "link_failed"),
            (None, "logged_out", "not_linked"),
        ],
    )
    def test_evolution_tells_why_whether_it_calls_or_is_asked(
        self,
        shop: Shop,
        gateway: FakeControlGateway,
        code: int | None,
        status: str,
        reason: str,
    ) -> None:
        asked = connect(shop, gateway, "baileys")
        gateway.api.add("front desk", "failed").closed_with = code
        found = act(shop, asked, "refresh").json
        assert (found["status"], found["status_reason_code"]) == (status, reason)
        assert found["status_reason"]
        if code is None:
            return
        told = connect(shop, gateway, "baileys", external_id="till")
        body = {
            "event": "connection.update",
            "instance": "till",
            "data": {"instance": "till", "state": "close", "statusReason": code},
        }
        assert shop.client.post(path_of(told["webhook_url"]), json=body).status_code == 200
        assert status_of(shop, told) == (status, reason)

    @pytest.mark.parametrize(
        ("word", "status", "reason"),
        [
            ("FAILED", "failed", "link_failed"),
            ("SCAN_QR_CODE", "waiting_qr", "qr_to_scan"),
            ("PASSKEY_REQUIRED", "action_required", "passkey"),
            ("STOPPED", "stopped", "stopped"),
            ("STARTING", "connecting", None),
            ("WORKING", "connected", None),
        ],
    )
    def test_waha_tells_why_whether_it_calls_or_is_asked(
        self, shop: Shop, gateway: FakeControlGateway, word: str, status: str, reason: str | None
    ) -> None:
        asked = connect(shop, gateway, "waha")
        gateway.will(Reply(200, json.dumps({"status": word, "me": None}).encode()))
        found = act(shop, asked, "refresh").json
        assert (found["status"], found["status_reason_code"]) == (status, reason)
        told = connect(shop, gateway, "waha", external_id="till")
        body = waha_body("till", "session.status", status=word)
        headers = {**waha_signature(body, "very-secret-hmac"), "Content-Type": "application/json"}
        shop.client.post(path_of(told["webhook_url"]), data=body, headers=headers)
        assert status_of(shop, told) == (status, reason)

    def test_a_qr_code_nobody_scanned_is_told(
        self, shop: Shop, gateway: FakeControlGateway
    ) -> None:
        connection = connect(shop, gateway, "baileys")
        data = {"message": "QR code limit reached, please login again", "statusCode": 500}
        body = {"event": "qrcode.updated", "instance": "front desk", "data": data}
        shop.client.post(path_of(connection["webhook_url"]), json=body)
        assert status_of(shop, connection) == ("failed", "qr_not_scanned")

    def test_a_licence_that_is_not_activated_is_told(
        self, shop: Shop, gateway: FakeControlGateway
    ) -> None:
        connection = connect(shop, gateway, "baileys")
        body = {"error": "service not activated", "code": "LICENSE_REQUIRED"}
        gateway.will(Reply(503, json.dumps(body).encode()))
        answer = act(shop, connection, "start")
        assert answer.status_code == 502
        assert "licence" in answer.json["detail"]
        assert status_of(shop, connection) == ("failed", "licence")

    def test_evolution_cannot_stop_and_meta_links_no_device(
        self, shop: Shop, gateway: FakeControlGateway
    ) -> None:
        assert act(shop, connect(shop, gateway, "baileys"), "stop").status_code == 409
        for provider in ("meta", "twilio"):
            connection = connect(shop, gateway, provider)
            for action in ("create", "start", "stop", "refresh", "set-up-webhook", "pull-contacts"):
                assert act(shop, connection, action).status_code == 409
            assert shop.get(f"/api/connections/{connection['id']}/qr").status_code == 409
        assert gateway.asked == []

    def test_waha_stops_without_losing_the_link(
        self, shop: Shop, gateway: FakeControlGateway
    ) -> None:
        connection = connect(shop, gateway, "waha")
        gateway.api.add("front desk", "working")
        found = act(shop, connection, "stop").json
        assert (found["status"], found["status_reason_code"]) == ("stopped", "stopped")
        assert "POST /api/sessions/front%20desk/logout" not in gateway.asked

    def test_a_connection_without_an_address_is_409(self, shop: Shop) -> None:
        for provider in DEVICES:
            connection = shop.connect(provider)
            assert act(shop, connection, "refresh").status_code == 409

    def test_the_metric_counts_connections_by_how_they_are(
        self, shop: Shop, gateway: FakeControlGateway
    ) -> None:
        connection = connect(shop, gateway, "waha")
        gateway.api.add("front desk", "failed")
        act(shop, connection, "refresh")
        gone = connect(shop, gateway, "waha", external_id="gone")
        shop.delete(f"/api/connections/{gone['id']}")
        assert metrics_of(shop.client)["timer_connections"] == {"waha,link_failed,failed": 1.0}

    def test_status_at_is_since_when_it_is_so(
        self, shop: Shop, gateway: FakeControlGateway
    ) -> None:
        connection = connect(shop, gateway, "waha")
        gateway.api.add("front desk", "working")
        first = act(shop, connection, "refresh").json
        again = act(shop, connection, "refresh").json
        assert again["status_at"] == first["status_at"]
        assert again["updated_at"] > first["updated_at"]
        assert first["own_number"] == OWN_NUMBER


class TestChecks:
    def findings(self, shop: Shop, connection: dict[str, Any]) -> list[tuple[str, str]]:
        answer = act(shop, connection, "check")
        assert answer.status_code == 200, answer.json
        assert all(one["message"] for one in answer.json["findings"])
        return [(one["code"], one["severity"]) for one in answer.json["findings"]]

    def test_a_number_at_meta_that_works(self, shop: Shop, gateway: FakeControlGateway) -> None:
        connection = connect(shop, gateway, "meta")
        answer = act(shop, connection, "check").json
        assert (answer["ok"], answer["findings"]) == (True, [])
        assert answer["facts"]["verified_name"] == "Demo Shop"
        assert status_of(shop, connection) == ("connected", None)

    @pytest.mark.parametrize(
        ("code", "subcode", "found"),
        [
            (190, 463, "token_expired"),
            (190, 467, "token_invalid"),
            (190, None, "token_invalid"),
            (0, None, "token_invalid"),
            (10, None, "permission_missing"),
            (200, None, "permission_missing"),
            (3, None, "permission_missing"),
            (100, 33, "number_unknown"),
            (368, None, "account_suspended"),
            (4, None, "rate_limited"),
            (80008, None, "rate_limited"),
            (1, None, "gateway_refused"),
        ],
    )
    def test_what_meta_refuses_is_said_in_plain_words(
        self,
        shop: Shop,
        gateway: FakeControlGateway,
        code: int,
        subcode: int | None,
        found: str,
    ) -> None:
        connection = connect(shop, gateway, "meta")
        status, document = meta_error(code, subcode, "…", 400)
        gateway.will(Reply(status, json.dumps(document).encode()))
        assert self.findings(shop, connection) == [(found, "error")]
        assert status_of(shop, connection)[1] == found

    @pytest.mark.parametrize(
        ("changes", "found"),
        [
            ({"platform_type": "NOT_APPLICABLE"}, ("number_not_registered", "error")),
            ({"status": "PENDING"}, ("number_not_registered", "error")),
            ({"name_status": "DECLINED"}, ("name_not_approved", "warning")),
            ({"quality_rating": "RED"}, ("quality_low", "warning")),
            (
                {"webhook_configuration": {"application": "https://other.example"}},
                ("webhook_elsewhere", "warning"),
            ),
        ],
    )
    def test_what_is_wrong_with_a_number_at_meta(
        self,
        shop: Shop,
        gateway: FakeControlGateway,
        changes: dict[str, Any],
        found: tuple[str, str],
    ) -> None:
        gateway.api.meta_number |= changes
        assert self.findings(shop, connect(shop, gateway, "meta")) == [found]

    def test_a_number_that_may_not_send_and_an_app_nobody_subscribed(
        self, shop: Shop, gateway: FakeControlGateway
    ) -> None:
        gateway.api.meta_number["health_status"]["can_send_message"] = "BLOCKED"
        gateway.api.meta_apps = []
        found = self.findings(shop, connect(shop, gateway, "meta"))
        assert found == [("sending_blocked", "error"), ("app_not_subscribed", "error")]

    def test_without_a_token_the_check_says_what_is_missing(
        self, shop: Shop, gateway: FakeControlGateway
    ) -> None:
        connection = connect(shop, gateway, "meta", secrets={"app_secret": "x"})
        assert self.findings(shop, connection) == [("secret_missing", "error")]
        assert gateway.asked == []

    def test_a_sender_at_twilio_that_works(self, shop: Shop, gateway: FakeControlGateway) -> None:
        connection = connect(shop, gateway, "twilio")
        gateway.api.twilio_senders = [
            {"sender_id": "whatsapp:+15550001111", "status": "OFFLINE"},
            {"sender_id": "whatsapp:+15550009999", "status": "ONLINE"},
        ]
        answer = act(shop, connection, "check").json
        assert (answer["ok"], answer["findings"]) == (True, [])
        assert answer["facts"] == {"account_status": "active", "sender_status": "ONLINE"}
        assert status_of(shop, connection) == ("connected", None)

    @pytest.mark.parametrize(
        ("account", "sender", "found"),
        [
            ("suspended", None, ("account_suspended", "error")),
            ("closed", None, ("account_closed", "error")),
            ("active", None, ("sender_unknown", "warning")),
            ("active", {"status": "OFFLINE"}, ("sender_offline", "error")),
            (
                "active",
                {"status": "ONLINE", "webhook": {"callback_url": "https://other.example"}},
                ("webhook_elsewhere", "warning"),
            ),
        ],
    )
    def test_what_is_wrong_with_a_sender_at_twilio(
        self,
        shop: Shop,
        gateway: FakeControlGateway,
        account: str,
        sender: dict[str, Any] | None,
        found: tuple[str, str],
    ) -> None:
        gateway.api.twilio_account = {"status": account}
        if sender is not None:
            gateway.api.twilio_senders = [{"sender_id": "whatsapp:+15550009999", **sender}]
        assert self.findings(shop, connect(shop, gateway, "twilio")) == [found]

    def test_a_login_twilio_does_not_accept(self, shop: Shop, gateway: FakeControlGateway) -> None:
        connection = connect(shop, gateway, "twilio")
        gateway.will(Reply(401, b'{"code": 20003, "message": "Authenticate", "status": 401}'))
        assert self.findings(shop, connection) == [("key_refused", "error")]
        assert status_of(shop, connection) == ("failed", "key_refused")


def test_anothers_connection_is_not_there(
    shop: Shop, other_shop: Shop, gateway: FakeControlGateway
) -> None:
    connection = connect(other_shop, gateway, "waha")
    for action in ("create", "start", "refresh", "check", "set-up-webhook", "pull-contacts"):
        assert act(shop, connection, action).status_code == 404
    for name in ("qr", "pull-contacts"):
        assert shop.get(f"/api/connections/{connection['id']}/{name}").status_code == 404
    assert gateway.asked == []
