"""What each gateway is asked, to the byte, and how its answers are read."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl
from uuid import UUID

import pytest

from tests.contract.sample_files import body_of, sample_bytes
from timer_service.errors import InvalidInput
from timer_service.messages import ContactIds, Media, ProviderName, SendFailure
from timer_service.phone_numbers import read_customer
from timer_service.providers import SENDERS
from timer_service.providers.sending import (
    Accepted,
    Account,
    CannotSend,
    GatewayAnswer,
    GatewayRequest,
    Outgoing,
    Refused,
    Unclear,
)

DANA = ContactIds(phone="972500000001")
ID = UUID("0199b2c4-0000-7000-8000-00000000002a")
TEXT = Outgoing(ID, DANA, text="Your order shipped.")
PICTURE = Outgoing(
    ID,
    DANA,
    text="here",
    type="image",
    media=Media(mime_type="image/jpeg", file_name="a.jpg", url="https://example.com/a.jpg"),
)
ACCOUNTS = {
    ProviderName.META: Account("100000000000001", "", {"access_token": "meta-token"}),
    ProviderName.TWILIO: Account(
        "AC00000000000000000000000000000001:+15550009999",
        "",
        {"auth_token": "twilio-token"},
        "https://example.com/webhooks/twilio/status",
    ),
    ProviderName.WAHA: Account("default", "http://waha.internal:3000", {"api_key": "waha-key"}),
    ProviderName.BAILEYS: Account(
        "demo instance", "http://evolution.internal:8080", {"api_key": "evolution-key"}
    ),
}
META, TWILIO, WAHA, BAILEYS = (
    ProviderName.META,
    ProviderName.TWILIO,
    ProviderName.WAHA,
    ProviderName.BAILEYS,
)


def build(provider: ProviderName, message: Outgoing, **changes: Any) -> GatewayRequest:
    return SENDERS[provider].build(message, replace(ACCOUNTS[provider], **changes))


def read(provider: ProviderName, sample: str, status: int, **headers: str) -> object:
    return SENDERS[provider].read(GatewayAnswer(status, headers, sample_bytes(sample)))


def without(document: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name not in names}


class TestRequests:
    def test_meta_is_asked_to_send_a_text_and_to_carry_our_id(self) -> None:
        request = build(META, TEXT)
        assert request.url == "https://graph.facebook.com/v23.0/100000000000001/messages"
        assert request.headers["Authorization"] == "Bearer meta-token"
        wanted = body_of("meta/api_send_text_request.json")
        assert json.loads(request.body) == wanted | {"biz_opaque_callback_data": str(ID)}

    def test_meta_is_asked_to_send_a_template(self) -> None:
        wanted = body_of("meta/api_send_template_request.json")
        template = wanted["template"] | {"language": "en_US"}
        sent = json.loads(build(META, Outgoing(ID, DANA, template=template)).body)
        assert without(sent, "biz_opaque_callback_data") == wanted

    def test_meta_is_asked_to_send_media(self) -> None:
        sent = json.loads(build(META, PICTURE).body)
        wanted = body_of("meta/api_send_reply_image_request.json")
        assert without(sent, "biz_opaque_callback_data") == without(wanted, "context")

    def test_a_business_scoped_id_has_its_own_place_at_meta(self) -> None:
        message = replace(TEXT, to=ContactIds(bsuid="IL.10000000000000000001"))
        sent = json.loads(build(META, message).body)
        assert sent["recipient"] == "IL.10000000000000000001"
        assert "to" not in sent

    def test_twilio_is_asked_to_send_a_text(self) -> None:
        request = build(TWILIO, TEXT)
        wanted = sample_bytes("twilio/api_send_text_request.txt").strip()
        assert request.body == wanted + f"%3Fmessage_id%3D{ID}".encode()
        account = "AC00000000000000000000000000000001"
        assert request.url == f"https://api.twilio.com/2010-04-01/Accounts/{account}/Messages.json"
        login = base64.b64decode(request.headers["Authorization"].removeprefix("Basic "))
        assert login.decode() == f"{account}:twilio-token"
        assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"

    def test_twilio_is_asked_to_send_a_template(self) -> None:
        content_sid = "HX00000000000000000000000000000001"
        template = {"content_sid": content_sid, "variables": {"1": "Dana"}}
        request = build(TWILIO, Outgoing(ID, DANA, template=template), status_url="")
        assert request.body == sample_bytes("twilio/api_send_template_request.txt").strip()

    def test_twilio_is_asked_to_send_media(self) -> None:
        request = build(TWILIO, PICTURE, status_url="")
        assert request.body == sample_bytes("twilio/api_send_media_request.txt").strip()

    def test_a_business_scoped_id_has_no_plus_at_twilio(self) -> None:
        message = replace(TEXT, to=ContactIds(bsuid="IL.10000000000000000001"))
        assert b"To=whatsapp%3AIL.10000000000000000001&" in build(TWILIO, message).body

    def test_waha_is_asked_to_send_a_text(self) -> None:
        request = build(WAHA, TEXT)
        assert request.url == "http://waha.internal:3000/api/sendText"
        assert request.headers["X-Api-Key"] == "waha-key"
        wanted = without(body_of("waha/api_send_text_request.json"), "reply_to")
        assert json.loads(request.body) == wanted

    def test_waha_is_asked_to_send_media(self) -> None:
        request = build(WAHA, PICTURE)
        assert request.url == "http://waha.internal:3000/api/sendImage"
        assert json.loads(request.body) == body_of("waha/api_send_image_request.json")

    def test_evolution_is_asked_to_send_a_text(self) -> None:
        request = build(BAILEYS, TEXT)
        assert request.url == "http://evolution.internal:8080/message/sendText/demo%20instance"
        assert request.headers["apikey"] == "evolution-key"
        wanted = without(body_of("evolution/api_send_text_request.json"), "delay", "quoted")
        assert json.loads(request.body) == wanted

    def test_evolution_is_asked_to_send_media(self) -> None:
        request = build(BAILEYS, PICTURE)
        assert request.url == "http://evolution.internal:8080/message/sendMedia/demo%20instance"
        assert json.loads(request.body) == body_of("evolution/api_send_media_request.json")

    @pytest.mark.parametrize(
        ("provider", "chat"),
        [(WAHA, "111111111111111@lid"), (BAILEYS, "111111111111111@lid")],
    )
    def test_a_hidden_id_is_answered_as_it_came(self, provider: ProviderName, chat: str) -> None:
        message = replace(TEXT, to=ContactIds(lid="111111111111111"))
        assert chat.encode() in build(provider, message).body

    @pytest.mark.parametrize("provider", list(SENDERS))
    def test_letters_of_every_script_arrive_as_they_are(self, provider: ProviderName) -> None:
        text = "ההזמנה נשלחה 👍 & + = %"
        request = build(provider, replace(TEXT, text=text))
        if provider is TWILIO:
            assert dict(_form(request.body))["Body"] == text
        else:
            assert text in json.dumps(json.loads(request.body), ensure_ascii=False)

    @pytest.mark.parametrize("provider", [META, TWILIO, BAILEYS])
    @pytest.mark.parametrize("secret", [None, "two\r\nX-Injected: lines", "שקל"])
    def test_without_a_secret_that_fits_a_header_nothing_is_sent(
        self, provider: ProviderName, secret: str | None
    ) -> None:
        names = ACCOUNTS[provider].secrets
        with pytest.raises(CannotSend) as caught:
            build(provider, TEXT, secrets=dict.fromkeys(names, secret) if secret else {})
        assert caught.value.failure is SendFailure.NO_CREDENTIALS

    @pytest.mark.parametrize("provider", [WAHA, BAILEYS])
    def test_without_an_address_nothing_is_sent(self, provider: ProviderName) -> None:
        with pytest.raises(CannotSend):
            build(provider, TEXT, base_url="")

    def test_no_secret_and_no_text_is_shown_by_accident(self) -> None:
        for provider, account in ACCOUNTS.items():
            shown = repr(build(provider, TEXT)) + repr(account)
            assert not any(secret in shown for secret in account.secrets.values())
            assert "shipped" not in shown


def _form(body: bytes) -> list[tuple[str, str]]:
    return parse_qsl(body.decode())


class TestAnswers:
    @pytest.mark.parametrize(
        ("provider", "sample", "status", "message_id"),
        [
            (
                META,
                "meta/api_send_response_200.json",
                200,
                "wamid.HBgMOTcyNTAwMDAwMDAxFQIAERgUM0EwMDAwMDAwMDAwMDAwMDAwQkIA",
            ),
            (TWILIO, "twilio/api_send_response_201.json", 201, "SM" + "0" * 30 + "ff"),
            (WAHA, "waha/api_send_text_response_noweb.json", 201, "3EB0200000000000000AAC"),
            (WAHA, "waha/api_send_text_response_webjs.json", 201, "3EB0200000000000000AAC"),
            (WAHA, "waha/api_send_text_response_gows.json", 201, "3EB0200000000000000AAC"),
            (BAILEYS, "evolution/api_send_text_response_201.json", 201, "3EB0000000000000000AAF"),
        ],
    )
    def test_a_message_taken_is_known_by_the_gateways_id(
        self, provider: ProviderName, sample: str, status: int, message_id: str
    ) -> None:
        assert read(provider, sample, status) == Accepted(message_id)

    def test_waha_may_take_a_message_and_say_nothing(self) -> None:
        assert SENDERS[WAHA].read(GatewayAnswer(201, {}, b"")) == Accepted(None)

    @pytest.mark.parametrize(
        ("provider", "sample", "status", "words"),
        [
            (META, "meta/api_error_400_130429_rate.json", 400, ("rate", 130429, True)),
            (META, "meta/api_error_400_131056_pair_rate.json", 400, ("rate", 131056, True)),
            (META, "meta/api_error_400_131047_window.json", 400, ("window_closed", 131047, False)),
            (META, "meta/api_error_400_131030_not_allowed.json", 400, ("recipient", 131030, False)),
            (META, "meta/api_error_401_190_token.json", 401, ("auth", 190, False)),
            (TWILIO, "twilio/api_error_400_21211.json", 400, ("recipient", 21211, False)),
            (TWILIO, "twilio/api_error_401_20003.json", 401, ("auth", 20003, False)),
            (TWILIO, "twilio/api_error_429_20429.json", 429, ("rate", 20429, True)),
            (TWILIO, "twilio/api_error_rfc9457.json", 404, ("other", 20404, False)),
            (WAHA, "waha/api_error_401.json", 401, ("auth", 401, False)),
            (
                WAHA, "waha/api_error_422_session_not_working.json", 422, ("not_connected", 422,
                True)),
            (
                BAILEYS, "evolution/api_error_400_not_on_whatsapp.json", 400, ("recipient", 400,
                False)),
            (BAILEYS, "evolution/api_error_401.json", 401, ("auth", 401, False)),
            (BAILEYS, "evolution/api_error_404_no_instance.json", 404, ("account", 404, False)),
            (
                BAILEYS, "evolution/api_error_503_license_required.json", 503, ("account", 503,
                False)),
        ],
    )  # fmt: skip
    def test_a_refusal_has_one_word_for_all_gateways_and_the_gateways_code(
        self,
        provider: ProviderName,
        sample: str,
        status: int,
        words: tuple[str, int, bool],
    ) -> None:
        answer = read(provider, sample, status)
        assert isinstance(answer, Refused)
        assert (answer.failure, answer.code, answer.is_retryable) == words

    @pytest.mark.parametrize("provider", list(SENDERS))
    def test_what_the_gateway_says_of_waiting_is_heard(self, provider: ProviderName) -> None:
        for status in (429, 503):
            answer = SENDERS[provider].read(GatewayAnswer(status, {"retry-after": "7"}, b""))
            assert isinstance(answer, Refused)
            assert answer.is_retryable
            assert answer.retry_after_s == 7

    @pytest.mark.parametrize("provider", list(SENDERS))
    @pytest.mark.parametrize("status", [500, 502, 504])
    @pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b"[]", b'{"error": []}', b"\xff"])
    def test_a_fault_of_somebody_on_the_way_leaves_it_unclear(
        self, provider: ProviderName, status: int, body: bytes
    ) -> None:
        assert isinstance(SENDERS[provider].read(GatewayAnswer(status, {}, body)), Unclear)

    def test_a_fault_of_wahas_leaves_it_unclear(self) -> None:
        assert read(WAHA, "waha/api_error_500.json", 500) == Unclear(500)

    @pytest.mark.parametrize(
        ("words", "kind"),
        [
            ("Error: Timed Out", Unclear),
            ("Error: Connection Closed", Refused),
            ("text is required", Refused),
        ],
    )
    def test_evolutions_bad_requests_differ_by_their_words(self, words: str, kind: type) -> None:
        body = json.dumps({"status": 400, "response": {"message": [words]}}).encode()
        assert isinstance(SENDERS[BAILEYS].read(GatewayAnswer(400, {}, body)), kind)

    @pytest.mark.parametrize("provider", [META, TWILIO, BAILEYS])
    def test_a_page_in_place_of_an_answer_leaves_it_unclear(self, provider: ProviderName) -> None:
        assert isinstance(
            SENDERS[provider].read(GatewayAnswer(200, {}, b"<html>Log in</html>")), Unclear
        )


class TestChecks:
    @pytest.mark.parametrize(
        ("provider", "message", "field"),
        [
            (META, replace(TEXT, to=ContactIds(lid="111111111111111")), "to"),
            (META, replace(TEXT, text="x" * 4097), "text"),
            (META, Outgoing(ID, DANA, template={"name": "order_update"}), "template"),
            (TWILIO, replace(TEXT, to=ContactIds(lid="111111111111111")), "to"),
            (TWILIO, replace(TEXT, text="x" * 1601), "text"),
            (TWILIO, Outgoing(ID, DANA, template={"name": "a", "language": "en"}), "template"),
            (WAHA, replace(TEXT, to=ContactIds(bsuid="IL.1")), "to"),
            (WAHA, Outgoing(ID, DANA, template={"name": "a", "language": "en"}), "template"),
            (WAHA, replace(PICTURE, type="audio"), "media.type"),
            (BAILEYS, replace(TEXT, to=ContactIds(bsuid="IL.1")), "to"),
            (BAILEYS, Outgoing(ID, DANA, template={"content_sid": "H1"}), "template"),
        ],
    )
    def test_what_a_gateway_cannot_send_is_refused_by_its_field(
        self, provider: ProviderName, message: Outgoing, field: str
    ) -> None:
        with pytest.raises(InvalidInput) as caught:
            SENDERS[provider].takes.check(message)
        assert caught.value.field == field

    @pytest.mark.parametrize("provider", list(SENDERS))
    def test_a_text_to_a_number_goes_by_every_gateway(self, provider: ProviderName) -> None:
        SENDERS[provider].takes.check(TEXT)
        SENDERS[provider].takes.check(PICTURE)


@pytest.mark.parametrize(
    ("provider", "addressed"),
    [
        (WAHA, {"chatId": "6281234567890@c.us"}),
        (BAILEYS, {"number": "6281234567890"}),
        (META, {"to": "6281234567890"}),
        (TWILIO, {"To": "whatsapp:+6281234567890"}),
    ],
)
@pytest.mark.parametrize("typed", ["081234567890", "0812-3456-7890", "+62 812 3456 7890"])
def test_a_number_typed_locally_goes_out_in_each_gateways_own_form(
    provider: ProviderName, addressed: dict[str, str], typed: str
) -> None:
    body = build(provider, replace(TEXT, to=read_customer(typed, "ID"))).body.decode()
    document = dict(parse_qsl(body)) if provider is TWILIO else json.loads(body)
    assert addressed.items() <= document.items()
