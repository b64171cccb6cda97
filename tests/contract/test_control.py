"""How gateways are managed: what each is asked and how its answers are read, without a network."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.fake_control_gateway import OWN_NUMBER, ControlApi, meta_error
from timer_service.errors import Conflict, GatewayFailed
from timer_service.messages import ConnectionUpdate, ContactIds, ProviderName, StatusReason
from timer_service.providers import CONTROLS, DEVICE_CONTROLS, baileys_control, waha_control
from timer_service.providers.baileys_connection import connection_event
from timer_service.providers.control import (
    CONTACTS_PAGE,
    Checked,
    DeviceControl,
    Flow,
    Hook,
    Person,
    path_part,
)
from timer_service.providers.sending import Account, CannotSend, GatewayAnswer
from timer_service.providers.waha_session import session_update
from timer_service.status_reasons import explain

T = TypeVar("T")
BASE = "https://timer.example"
URL = f"{BASE}/webhooks/device/0199b2c4"
HOOK = Hook(URL, "token", "very-secret")
DEVICES = tuple(DEVICE_CONTROLS)
NAMES = [
    "status", "state", "instance", "config", "webhooks", "me", "id", "error", "code", "qrcode",
    "value", "data", "senders", "health_status", "entities",
]  # fmt: skip


def talk(flow: Flow[T], *gateways: ControlApi | GatewayAnswer) -> T:
    """Let a flow talk to a gateway; answers given before it are given first."""
    *first, rest = gateways
    try:
        request = next(flow)
        while True:
            answering = first.pop(0) if first else rest
            is_api = isinstance(answering, ControlApi)
            request = flow.send(answering.take(request) if is_api else answering)
    except StopIteration as done:
        return done.value


def said(status: int, document: Any) -> GatewayAnswer:
    return GatewayAnswer(status, {}, json.dumps(document).encode())


@pytest.fixture
def api() -> ControlApi:
    return ControlApi()


@pytest.fixture(params=DEVICES)
def control(request: pytest.FixtureRequest) -> DeviceControl:
    return DEVICE_CONTROLS[request.param]


def account(name: str = "front desk", **secrets: str) -> Account:
    return Account(name, "http://gateway.internal", secrets or {"api_key": "control-key"})


def state_of(update: ConnectionUpdate | None) -> tuple[str, str | None]:
    assert update is not None
    return update.state.value, None if update.reason is None else update.reason.value


class TestADevice:
    def test_it_is_created_linked_and_found_connected(
        self, api: ControlApi, control: DeviceControl
    ) -> None:
        waiting = talk(control.create(account(), HOOK), api)
        assert state_of(waiting) == ("waiting_qr", "qr_to_scan")
        assert talk(control.qr(account()), api).text == api.devices["front desk"].code
        api.scan("front desk")
        assert state_of(talk(control.ask(account()), api)) == ("connected", None)
        assert talk(control.qr(account()), api).text is None

    def test_one_that_waits_for_a_scan_says_so_when_it_is_asked_or_checked(
        self, api: ControlApi, control: DeviceControl
    ) -> None:
        api.add("front desk", "waiting")
        assert state_of(talk(control.ask(account()), api)) == ("waiting_qr", "qr_to_scan")
        found = talk(control.check(account(), URL), api).findings
        assert found[0].reason is StatusReason.QR_TO_SCAN
        assert found[0].is_error

    def test_creating_it_again_starts_it_and_sets_the_webhook(
        self, api: ControlApi, control: DeviceControl
    ) -> None:
        device = api.add("front desk")
        assert state_of(talk(control.create(account(), HOOK), api))[0] == "waiting_qr"
        assert URL in json.dumps([device.config, device.webhook])
        api.scan("front desk")
        assert state_of(talk(control.create(account(), HOOK), api)) == ("connected", None)

    def test_it_is_restarted_logged_out_and_removed(
        self, api: ControlApi, control: DeviceControl
    ) -> None:
        device = api.add("front desk", "working")
        assert state_of(talk(control.restart(account()), api)) == ("connected", None)
        assert device.restarts == 1
        logged_out = state_of(talk(control.log_out(account()), api))
        assert logged_out in {("waiting_qr", "qr_to_scan"), ("logged_out", "unlinked")}
        assert not device.is_linked
        talk(control.log_out(account()), api)
        for _ in range(2):
            assert state_of(talk(control.remove(account()), api)) == ("removed", None)
        assert api.devices == {}

    def test_a_linked_one_is_removed_too(self, api: ControlApi, control: DeviceControl) -> None:
        api.add("front desk", "working")
        talk(control.remove(account()), api)
        assert api.devices == {}

    def test_a_closed_one_is_started_where_it_is_restarted(
        self, api: ControlApi, control: DeviceControl
    ) -> None:
        api.add("front desk")
        assert state_of(talk(control.restart(account()), api))[0] == "waiting_qr"

    def test_an_unknown_one_and_a_wrong_key_are_told_as_such(
        self, api: ControlApi, control: DeviceControl
    ) -> None:
        def flows(who: Account) -> Iterator[Flow[Any]]:
            yield from (control.start(who), control.restart(who), control.ask(who))
            yield from (control.set_up_webhook(who, HOOK), control.check(who, URL))

        for key, reason in (("control-key", "not_there"), ("wrong", "key_refused")):
            for flow in flows(account(api_key=key)):
                with pytest.raises(GatewayFailed) as caught:
                    talk(flow, api)
                assert caught.value.reason == reason

    def test_the_phone_may_be_linked_by_its_number_instead(
        self, api: ControlApi, control: DeviceControl
    ) -> None:
        api.add("front desk", "waiting")
        code = talk(control.pairing_code(account(), "6281234567890"), api)
        assert code in {"ABCD-1234", "WXYZ1234"}
        asked = api.asked[-1]
        assert "6281234567890" in {*(asked.body or {}).values(), *asked.query.values()}

    def test_no_name_leads_out_of_the_path_it_belongs_in(
        self, api: ControlApi, control: DeviceControl
    ) -> None:
        for name in (".", "..", "a/../b?x=1#y", "שלום", "%2e"):
            for flow in (control.remove(account(name)), control.qr(account(name))):
                api.asked.clear()
                try:
                    talk(flow, api)
                except GatewayFailed:
                    assert api.asked
                assert all(path_part(name) in one.path for one in api.asked)
        assert path_part("..") == "%2E%2E"
        assert path_part("a/../b") == "a%2F..%2Fb"

    def test_a_code_no_qr_code_can_hold_is_refused(self, control: DeviceControl) -> None:
        text = "x" * 3000
        with pytest.raises(GatewayFailed):
            talk(control.qr(account()), said(200, {"value": text, "code": text}))

    @settings(max_examples=60, deadline=None)
    @given(
        st.lists(
            st.tuples(
                st.sampled_from([200, 201, 204, 302, 400, 401, 403, 404, 409, 422, 500, 503, 999]),
                st.binary(max_size=20)
                | st.recursive(
                    st.none()
                    | st.integers()
                    | st.sampled_from(["WORKING", "open", "close", "connecting", "x", True]),
                    lambda inner: (
                        st.lists(inner, max_size=3)
                        | st.dictionaries(
                            st.sampled_from(NAMES),
                            inner,
                            max_size=4,
                        )
                    ),
                ).map(lambda value: json.dumps(value).encode()),
            ),
            min_size=8,
            max_size=8,
        )
    )
    def test_whatever_is_answered_it_ends_or_says_why(
        self, answers: list[tuple[int, bytes]]
    ) -> None:
        replies = [GatewayAnswer(status, {}, body) for status, body in answers]
        secrets = {"api_key": "k", "access_token": "k", "auth_token": "k"}
        for name, checker in CONTROLS.items():
            who = Account("AC1:+15550009999", "http://gateway", secrets)
            _ends(checker.check(who, BASE), replies)
            device = DEVICE_CONTROLS.get(name)
            if device is not None:
                for flow in (
                    device.create(who, HOOK), device.start(who), device.restart(who),
                    device.log_out(who), device.remove(who), device.ask(who), device.qr(who),
                    device.pairing_code(who, "1"), device.set_up_webhook(who, HOOK),
                    device.people(who, ""),
                ):  # fmt: skip
                    _ends(flow, replies)


def _ends(flow: Flow[Any], replies: list[GatewayAnswer]) -> None:
    with suppress(GatewayFailed):
        talk(flow, *replies)


class TestTheWebhook:
    def test_waha_gets_events_key_and_exponential_retries_and_the_rest_stays(
        self, api: ControlApi
    ) -> None:
        hook = Hook(URL, "hmac_key", "very-secret")
        device = api.add("front desk", "working")
        other = {"url": "https://crm.example", "events": ["message"], "hmac": None}
        device.config = {"proxy": {"server": "localhost:3128"}, "webhooks": [other]}
        control = waha_control.CONTROL
        made = talk(control.set_up_webhook(account(), hook), api)
        assert made.has_changed
        assert set(made.events) >= {"message.any", "poll.vote", "session.status"}
        assert "message" not in made.events
        ours = {
            "url": URL,
            "events": list(made.events),
            "hmac": {"key": "very-secret"},
            "retries": {"policy": "exponential", "delaySeconds": 2, "attempts": 15},
        }
        assert device.config == {
            "proxy": {"server": "localhost:3128"}, "webhooks": [other, ours],
        }  # fmt: skip
        assert device.restarts == 1
        assert not talk(control.set_up_webhook(account(), hook), api).has_changed
        assert device.restarts == 1
        for changed in ({"retries": None}, {"hmac": {"key": "old"}}, {"events": ["message"]}):
            device.config["webhooks"][1] |= changed
            assert talk(control.set_up_webhook(account(), hook), api).has_changed
            assert device.config["webhooks"] == [other, ours]

    def test_a_new_session_at_waha_ignores_groups_and_keeps_contacts(self, api: ControlApi) -> None:
        talk(waha_control.CONTROL.create(account(), HOOK), api)
        config = api.devices["front desk"].config
        assert set(config["ignore"]) == {"status", "groups", "channels", "broadcast"}
        assert config["noweb"]["store"]["enabled"] is True

    def test_waha_may_run_without_a_key(self, api: ControlApi) -> None:
        flow = waha_control.CONTROL.ask(Account("a", "http://waha", {"hmac_key": "x"}))
        assert "X-Api-Key" not in next(flow).headers

    @pytest.mark.parametrize("kind", ["token", "jwt_key"])
    def test_evolution_gets_events_and_a_header(self, api: ControlApi, kind: str) -> None:
        hook = Hook(URL, kind, "very-secret")
        talk(baileys_control.CONTROL.create(account(), hook), api)
        webhook = api.devices["front desk"].webhook
        assert webhook == {
            "enabled": True,
            "url": URL,
            "headers": {"jwt_key": "very-secret"}
            if kind == "jwt_key"
            else {"authorization": "Bearer very-secret"},
            "byEvents": False,
            "base64": False,
            "events": list(baileys_control.EVENTS),
        }
        assert api.asked[0].body["groupsIgnore"] is True

    def test_evolution_is_never_asked_without_a_key(self) -> None:
        with pytest.raises(CannotSend):
            next(baileys_control.CONTROL.ask(Account("a", "http://evolution", {})))

    def test_a_check_notices_a_webhook_that_leads_elsewhere(
        self, api: ControlApi, control: DeviceControl
    ) -> None:
        device = api.add("front desk", "working")
        device.webhook = {"url": "https://elsewhere.example", "enabled": True}
        found = talk(control.check(account(), URL), api)
        assert [(one.reason, one.is_error) for one in found.findings] == [
            (StatusReason.WEBHOOK_NOT_SET, False)
        ]
        talk(control.set_up_webhook(account(), HOOK), api)
        assert talk(control.check(account(), URL), api).findings == ()

    def test_evolution_stops_nothing(self) -> None:
        with pytest.raises(Conflict):
            next(baileys_control.CONTROL.stop(account()))

    def test_waha_stops_without_losing_the_link(self, api: ControlApi) -> None:
        api.add("front desk", "working")
        assert state_of(talk(waha_control.CONTROL.stop(account()), api)) == ("stopped", "stopped")
        assert not any("logout" in one.path for one in api.asked)


class TestReasons:
    @pytest.mark.parametrize(
        ("code", "told"),
        [
            (401, ("logged_out", "unlinked")),
            (402, ("failed", "temporarily_banned")),
            (403, ("failed", "number_refused")),
            (405, ("failed", "outdated")),
            (406, ("failed", "number_refused")),
            (408, ("connecting", "connection_lost")),
            (411, ("failed", "multi_device")),
            (428, ("connecting", "connection_lost")),
            (440, ("failed", "replaced")),
            (500, ("failed", "link_damaged")),
            (503, ("connecting", "whatsapp_unavailable")),
            (515, ("connecting", "restart_required")),
            (999, ("failed", "link_failed")),
            (None, ("logged_out", "not_linked")),
        ],
    )
    def test_evolution_tells_why_whether_it_calls_or_is_asked(
        self, api: ControlApi, code: int | None, told: tuple[str, str]
    ) -> None:
        api.add("front desk", "failed").closed_with = code
        assert state_of(talk(baileys_control.CONTROL.ask(account()), api)) == told
        if code is not None:
            data = {"state": "close", "statusReason": code}
            event = connection_event("connection.update", data)
            assert isinstance(event, ConnectionUpdate)
            assert state_of(event) == told

    def test_a_baileys_server_names_the_code_elsewhere(self) -> None:
        data = {"lastDisconnect": {"error": {"output": {"statusCode": 440}}}, "connection": "close"}
        event = connection_event("connection.update", data)
        assert isinstance(event, ConnectionUpdate)
        assert state_of(event) == ("failed", "replaced")

    @pytest.mark.parametrize(
        ("event", "data", "told"),
        [
            ("connection.update", {"state": "connecting"}, ("connecting", None)),
            (
                "connection.update",
                {"state": "connecting", "statusReason": 428},
                ("connecting", "connection_lost"),
            ),
            (
                "connection.update",
                {"state": "connecting", "statusReason": 200},
                ("connecting", None),
            ),
            (
                "connection.update",
                {"state": "refused", "statusReason": 428},
                ("failed", "qr_not_scanned"),
            ),
            ("qrcode.updated", {"statusCode": 500}, ("failed", "qr_not_scanned")),
            ("qrcode.updated", {"qrcode": {"code": "x"}}, ("waiting_qr", "qr_to_scan")),
            ("logout.instance", {}, ("logged_out", "unlinked")),
            ("status.instance", {"status": "closed"}, ("logged_out", "unlinked")),
            (
                "status.instance",
                {"status": "closed", "disconnectionReasonCode": 403},
                ("logged_out", "number_refused"),
            ),
            ("remove.instance", {}, ("removed", None)),
        ],
    )
    def test_what_else_evolution_tells(
        self, event: str, data: dict[str, Any], told: tuple[str, str | None]
    ) -> None:
        found = connection_event(event, data)
        assert isinstance(found, ConnectionUpdate)
        assert state_of(found) == told

    @pytest.mark.parametrize(
        ("word", "told"),
        [
            ("FAILED", ("failed", "link_failed")),
            ("SCAN_QR_CODE", ("waiting_qr", "qr_to_scan")),
            ("PASSKEY_REQUIRED", ("action_required", "passkey")),
            ("STOPPED", ("stopped", "stopped")),
            ("STARTING", ("connecting", None)),
            ("WORKING", ("connected", None)),
        ],
    )
    def test_waha_tells_why(self, word: str, told: tuple[str, str | None]) -> None:
        assert state_of(session_update(word, None)) == told

    def test_waha_tells_the_own_number_where_it_is_asked(self, api: ControlApi) -> None:
        api.add("front desk", "working")
        assert talk(waha_control.CONTROL.ask(account()), api).own_number == OWN_NUMBER

    def test_a_licence_that_is_not_activated_is_told(self) -> None:
        answer = said(503, {"error": "service not activated", "code": "LICENSE_REQUIRED"})
        with pytest.raises(GatewayFailed) as caught:
            talk(baileys_control.CONTROL.start(account()), answer)
        assert caught.value.reason == "licence"

    def test_every_reason_has_words(self) -> None:
        for reason in StatusReason:
            words = explain(reason)
            assert words
            assert words[-1] in ".?"
        assert explain(None) is explain("a newer program's") is None


class TestContacts:
    def pull(self, control: DeviceControl, api: ControlApi) -> tuple[list[Person], int]:
        people: list[Person] = []
        skipped, cursor, pages = 0, "", 0
        while cursor is not None:
            page = talk(control.people(account(), cursor), api)
            people += page.people
            skipped += page.skipped
            cursor, pages = page.cursor, pages + 1
            assert pages < 20
        return people, skipped

    def test_waha_gives_people_and_pairs_page_by_page(self, api: ControlApi) -> None:
        api.contacts = [
            {"id": f"97250{n:07}@c.us", "name": None, "pushname": f"Person {n}"} for n in range(230)
        ] + [
            {"id": "972500000001@c.us", "name": "Dana", "pushname": "D."},
            {"id": "111111111111111@lid", "pushname": "Noam"},
            {"id": "15550009999@c.us", "isMe": True},
            {"id": "120363000000000000@g.us", "isGroup": True},
            {"id": "status@broadcast"},
            {"id": "12345@newsletter"},
            {"id": None},
            {},
        ]
        api.lids = [
            {"lid": "111111111111111@lid", "pn": "972500000002@c.us"},
            {"lid": "222222222222222@lid", "pn": None},
        ]
        people, skipped = self.pull(waha_control.CONTROL, api)
        assert len(people) == 233
        assert skipped == 7
        assert people[0] == Person(ContactIds(phone="972500000000"), "Person 0")
        assert people[230:] == [
            Person(ContactIds(phone="972500000001"), "Dana"),
            Person(ContactIds(lid="111111111111111"), "Noam"),
            Person(ContactIds(phone="972500000002", lid="111111111111111")),
        ]

    def test_evolution_gives_people_page_by_page(self, api: ControlApi) -> None:
        api.contacts = [
            {"remoteJid": f"97250{n:07}@s.whatsapp.net", "pushName": f"Person {n}"}
            for n in range(2 * CONTACTS_PAGE)
        ] + [
            {"remoteJid": "111111111111111@lid", "pushName": ""},
            {"remoteJid": "120363000000000000@g.us", "isGroup": True, "pushName": "Team"},
            {"remoteJid": "status@broadcast"},
        ]
        people, skipped = self.pull(baileys_control.CONTROL, api)
        assert len(people) == 2 * CONTACTS_PAGE + 1
        assert skipped == 2
        assert people[-1] == Person(ContactIds(lid="111111111111111"))

    @pytest.mark.parametrize("many", [0, 5, CONTACTS_PAGE, CONTACTS_PAGE + 1])
    def test_a_server_that_knows_no_pages_is_read_once(
        self, api: ControlApi, control: DeviceControl, many: int
    ) -> None:
        api.pages_contacts = False
        api.contacts = [
            {"id": f"97250{n:07}@c.us", "remoteJid": f"97250{n:07}@c.us"} for n in range(many)
        ]
        people, _ = self.pull(control, api)
        assert len(people) == many


class TestChecks:
    def check(
        self, provider: ProviderName, *gateways: ControlApi | GatewayAnswer
    ) -> tuple[Checked, list[tuple[str, bool]]]:
        name = "100000000000001" if provider is ProviderName.META else "AC01:+15550009999"
        secrets = {"access_token": "control-key", "auth_token": "control-key"}
        flow = CONTROLS[provider].check(Account(name, "http://gateway", secrets), BASE)
        checked = talk(flow, *gateways)
        return checked, [(one.reason.value, one.is_error) for one in checked.findings]

    def test_a_number_at_meta_that_works(self, api: ControlApi) -> None:
        checked, found = self.check(ProviderName.META, api)
        assert found == []
        assert checked.facts["verified_name"] == "Demo Shop"

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
        ],
    )
    def test_what_meta_refuses_is_named(self, code: int, subcode: int | None, found: str) -> None:
        status, document = meta_error(code, subcode, "…", 400)
        assert self.check(ProviderName.META, said(status, document))[1] == [(found, True)]

    @pytest.mark.parametrize(
        ("code", "reason"), [(4, "rate_limited"), (80008, "rate_limited"), (1, "gateway_refused")]
    )
    def test_what_says_nothing_of_the_account_is_no_finding(self, code: int, reason: str) -> None:
        status, document = meta_error(code, None, "…", 400)
        with pytest.raises(GatewayFailed) as caught:
            self.check(ProviderName.META, said(status, document))
        assert caught.value.reason == reason

    @pytest.mark.parametrize(
        ("changes", "found"),
        [
            ({"platform_type": "NOT_APPLICABLE"}, ("number_not_registered", True)),
            ({"status": "PENDING"}, ("number_not_registered", True)),
            ({"platform_type": "ON_PREMISE"}, ("number_not_registered", True)),
            ({"status": "BANNED"}, ("sending_blocked", True)),
            ({"status": "RESTRICTED"}, ("sending_limited", False)),
            ({"name_status": "DECLINED"}, ("name_not_approved", False)),
            ({"quality_rating": "RED"}, ("quality_low", False)),
            ({"health_status": {}}, ("not_checked", False)),
            (
                {"webhook_configuration": {"application": "https://other.example"}},
                ("webhook_elsewhere", False),
            ),
            (
                {
                    "webhook_configuration": {
                        "phone_number": "https://other.example",
                        "application": "https://timer.example/webhooks/meta",
                    }
                },
                ("webhook_elsewhere", False),
            ),
        ],
    )
    def test_what_is_wrong_with_a_number_at_meta(
        self, api: ControlApi, changes: dict[str, Any], found: tuple[str, bool]
    ) -> None:
        api.meta_number |= changes
        assert self.check(ProviderName.META, api)[1] == [found]

    def test_a_version_that_lacks_a_field_is_asked_for_what_it_has(self, api: ControlApi) -> None:
        status, document = meta_error(100, None, "Tried accessing nonexisting field (status)", 400)
        checked, found = self.check(ProviderName.META, said(status, document), api)
        assert found == []
        assert checked.facts["verified_name"] == "Demo Shop"
        assert "fields" not in api.asked[0].query

    def test_a_number_that_may_not_send_and_an_app_nobody_subscribed(self, api: ControlApi) -> None:
        api.meta_number["health_status"]["can_send_message"] = "BLOCKED"
        api.meta_apps = []
        assert self.check(ProviderName.META, api)[1] == [
            ("sending_blocked", True), ("app_not_subscribed", True),
        ]  # fmt: skip

    def test_a_sender_at_twilio_that_works(self, api: ControlApi) -> None:
        api.twilio_senders = [
            {"sender_id": "whatsapp:+15550001111", "status": "OFFLINE"},
            {"sender_id": "whatsapp:+15550009999", "status": "ONLINE"},
        ]
        checked, found = self.check(ProviderName.TWILIO, api)
        assert found == []
        assert checked.facts == {"account_status": "active", "sender_status": "ONLINE"}

    @pytest.mark.parametrize(
        ("status", "sender", "found"),
        [
            ("suspended", None, ("account_suspended", True)),
            ("closed", None, ("account_closed", True)),
            ("active", None, ("sender_unknown", False)),
            ("active", {"status": "OFFLINE"}, ("sender_offline", True)),
            (
                "active",
                {"status": "ONLINE", "webhook": {"callback_url": "https://other.example"}},
                ("webhook_elsewhere", False),
            ),
        ],
    )
    def test_what_is_wrong_with_a_sender_at_twilio(
        self,
        api: ControlApi,
        status: str,
        sender: dict[str, Any] | None,
        found: tuple[str, bool],
    ) -> None:
        api.twilio_account = {"status": status}
        if sender is not None:
            api.twilio_senders = [{"sender_id": "whatsapp:+15550009999", **sender}]
        assert self.check(ProviderName.TWILIO, api)[1] == [found]

    def test_a_sender_on_a_later_page_is_found_and_the_login_stays_at_home(
        self, api: ControlApi
    ) -> None:
        api.twilio_senders = [
            {"sender_id": f"whatsapp:+1555000{nth:04}", "status": "ONLINE"} for nth in range(150)
        ] + [{"sender_id": "whatsapp:+15550009999", "status": "ONLINE"}]
        assert self.check(ProviderName.TWILIO, api)[1] == []
        assert [one.query.get("Page") for one in api.asked[1:]] == [None, "1"]
        api.twilio_senders.clear()
        api.twilio_next = "http://elsewhere.example/steal?Page=1"
        flow = CONTROLS[ProviderName.TWILIO].check(
            Account("AC01:+1", "http://gateway", {"auth_token": "x"}), BASE
        )
        request = next(flow)
        for _ in range(4):
            assert request.url.startswith("http://gateway/")
            request = flow.send(api.take(request))

    def test_a_login_twilio_does_not_accept(self) -> None:
        answer = said(401, {"code": 20003, "message": "Authenticate", "status": 401})
        assert self.check(ProviderName.TWILIO, answer)[1] == [("key_refused", True)]

    def test_a_key_goes_only_to_the_connections_own_address(self) -> None:
        secrets = {"access_token": "k", "auth_token": "k", "api_key": "k"}
        for provider, control in CONTROLS.items():
            who = Account("AC01:+15550009999", "http://gateway.internal", secrets)
            flow = control.check(who, BASE)
            request = next(flow)
            assert request.url.startswith("http://gateway.internal/"), provider
            assert request.method == "GET"
        for provider, host in (
            (ProviderName.META, "https://graph.facebook.com/"),
            (ProviderName.TWILIO, "https://api.twilio.com/"),
        ):
            flow = CONTROLS[provider].check(Account("1:+1", "", secrets), BASE)
            assert next(flow).url.startswith(host)
