from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.contract.mutations import broken, examples
from tests.contract.sample_files import Sample, body_of, form_of, samples_of
from tests.contract.valid_events import assert_valid
from tests.support.twilio_requests import ACCOUNT, SID
from timer_service.errors import MalformedPayload
from timer_service.messages import (
    ChangeKind,
    ContactIds,
    Delivery,
    DeliveryStatus,
    Direction,
    Event,
    InboundMessage,
    MessageChange,
    ParsedItem,
    Skipped,
)
from timer_service.providers.base import ParseContext, WebhookRequest
from timer_service.providers.twilio import PROVIDER, account_of
from timer_service.providers.twilio_form import read_pairs

SAMPLES = samples_of("twilio")
UNKNOWN = Skipped(reason="unknown")


def parse(document: Any, **context: Any) -> list[ParsedItem]:
    body = document if isinstance(document, bytes) else form_of(document)
    return PROVIDER.parse(WebhookRequest(body=body), ParseContext(**context))


def event_of(changes: dict[str, Any], *, file: str = "twilio/text.txt", **context: Any) -> Event:
    """Parse a sample with some fields changed; one given as None is left out."""
    fields = body_of(file) | changes
    (item,) = parse({name: one for name, one in fields.items() if one is not None}, **context)
    return item.event


def inbound(changes: dict[str, Any], *, file: str = "twilio/text.txt") -> InboundMessage:
    event = event_of(changes, file=file)
    assert isinstance(event, InboundMessage), event
    return event


def status(changes: dict[str, Any]) -> DeliveryStatus:
    event = event_of(changes, file="twilio/status_read.txt")
    assert isinstance(event, DeliveryStatus), event
    return event


def as_json(document: Any) -> WebhookRequest:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return WebhookRequest(body=body, headers={"content-type": "application/json"})


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_json_in_the_place_of_a_form_says_the_same(sample: Sample) -> None:
    assert PROVIDER.parse(as_json(sample.document), ParseContext()) == parse(sample.body)


class TestAccount:
    def test_it_is_our_number_at_the_account_whichever_way_the_message_went(self) -> None:
        for file in ("twilio/text.txt", "twilio/status_sent.txt"):
            document = body_of(file)
            assert [item.account for item in parse(document)] == [ACCOUNT]
            assert account_of(WebhookRequest(body=form_of(document))) == ACCOUNT

    @pytest.mark.parametrize(
        "change",
        [
            {"To": None},
            {"To": ""},
            {"To": "whatsapp:"},
            {"To": "whatsapp:US.10000000000000000077"},
            {"To": "whatsapp:\ud800"},
            {"AccountSid": None},
            {"AccountSid": " "},
            {"AccountSid": "A\x00C"},
            {"AccountSid": "A" * 250},
        ],
        ids=ascii,
    )
    def test_without_one_nothing_can_act(self, change: Any) -> None:
        assert parse(body_of("twilio/text.txt") | change) == [
            ParsedItem(account=None, event=UNKNOWN)
        ]

    def test_a_body_that_cannot_be_read_names_none(self) -> None:
        assert account_of(WebhookRequest(body=b"&" * 1_000)) is None
        assert account_of(as_json(b"{")) is None
        assert account_of(WebhookRequest(body=b"")) is None

    @pytest.mark.parametrize("side", ["From", "To"])
    @pytest.mark.parametrize("channel", ["", "rcs:", "messenger:", " whatsapp:"])
    def test_what_came_by_another_channel_is_not_whatsapp(self, side: str, channel: str) -> None:
        assert event_of({side: f"{channel}+15550001111"}) == UNKNOWN

    def test_of_a_field_that_is_repeated_the_first_counts(self) -> None:
        fields = body_of("twilio/text.txt")
        (item,) = parse(form_of(fields) + b"&" + form_of({**fields, "AccountSid": "AC2"}))
        assert item.account == ACCOUNT


class TestBody:
    @pytest.mark.parametrize("body", [b"", b"&", b"=", b"a", b"%", b"\xff", b"{}", b"Body=x"])
    def test_a_body_that_means_nothing_is_counted_once(self, body: bytes) -> None:
        assert parse(body) == [ParsedItem(account=None, event=UNKNOWN)]

    @pytest.mark.parametrize("document", [{}, [], [1], {"Body": None}, {"AccountSid": [SID]}])
    def test_json_that_means_nothing_is_counted_once(self, document: Any) -> None:
        assert PROVIDER.parse(as_json(document), ParseContext()) == [
            ParsedItem(account=None, event=UNKNOWN)
        ]

    @pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'"text"', b"[" * 100_000, b"a=b"])
    def test_what_says_it_is_json_and_is_not_is_malformed(self, body: bytes) -> None:
        with pytest.raises(MalformedPayload):
            PROVIDER.parse(as_json(body), ParseContext())

    def test_more_fields_than_twilio_ever_sends_are_malformed(self) -> None:
        few = body_of("twilio/text.txt")
        many = few | {f"New{number}": "x" for number in range(1_000 - len(few))}
        assert len(parse(many)) == 1
        with pytest.raises(MalformedPayload, match="at most 1000"):
            parse(many | {"OneMore": "x"})

    def test_more_escapes_than_twilio_ever_sends_are_malformed(self) -> None:
        body = form_of(body_of("twilio/text.txt"))
        few = body + b"&New=" + b"x%41" * 90_000
        assert len(parse(few)) == 1
        with pytest.raises(MalformedPayload, match="at most 100000 escapes"):
            parse(few + b"x%41" * 20_000)
        assert len(parse(body + b"&New=" + b"%D7%A9" * 500_000)) == 1

    @given(
        st.binary(max_size=60)
        | st.lists(st.sampled_from(["%", "%4", "1", "+", "%e9"])).map("".join).map(str.encode)
    )
    def test_escapes_are_read_as_everybody_reads_them(self, value: bytes) -> None:
        raw = value.replace(b"&", b"").replace(b"=", b"")
        expected = unquote_to_bytes(raw.replace(b"+", b" "))
        assert read_pairs(b"a=" + raw) == [(b"a", expected)]

    def test_text_is_kept_to_the_letter_made_storable_and_cut(self) -> None:
        assert inbound({"Body": " 1+1=2 & %41\r\n "}).text == " 1+1=2 & %41\r\n "
        assert inbound({"Body": "a\x00b\ud800c"}).text == "abc"
        assert len(inbound({"Body": "d" * 1_000_000}).text) == 65_536

    @pytest.mark.parametrize("bad", [b"%ff", b"%ED%A0%80", b"\xff"])
    def test_bytes_that_are_no_text_leave_the_rest_of_it(self, bad: bytes) -> None:
        body = form_of(body_of("twilio/text.txt")).replace(b"Body=Hello", b"Body=Hell" + bad)
        (item,) = parse(body)
        assert isinstance(item.event, InboundMessage)
        assert item.event.text == "Hell, is the blue one in stock?"


class TestCustomer:
    def test_an_answer_goes_to_from_even_where_the_whatsapp_id_is_written_otherwise(self) -> None:
        brazil = {"From": "whatsapp:+5511987654321", "WaId": "551187654321"}
        assert inbound(brazil).contact == ContactIds(phone="5511987654321")

    def test_phone_and_business_scoped_id_are_both_kept(self) -> None:
        file = "twilio/text_external_user_id_2026.txt"
        assert inbound({}, file=file).contact == ContactIds(
            phone="972500000001", bsuid="IL.10000000000000000001"
        )

    def test_a_phone_is_learnt_from_the_whatsapp_id_where_from_has_none(self) -> None:
        hidden = {"From": "whatsapp:US.7", "WaId": "15550100007"}
        assert inbound(hidden).contact == ContactIds(phone="15550100007", bsuid="US.7")

    def test_channel_metadata_fill_in_what_the_form_lacks(self) -> None:
        event = inbound({"ProfileName": None, "WaId": None, "From": "whatsapp:US.7"})
        assert event.customer_name == "Dana Example"
        assert event.contact == ContactIds(phone="972500000001", bsuid="US.7")
        assert inbound({"ProfileName": "Dana"}).customer_name == "Dana"

    @pytest.mark.parametrize(
        "metadata",
        ["", "{", "[" * 5_000, "7", "null", '{"data": 1}', '{"data": {"context": []}}', "\ud800"],
        ids=lambda value: ascii(value)[:20],
    )
    def test_metadata_that_cannot_be_read_change_nothing(self, metadata: str) -> None:
        event = inbound({"ChannelMetadata": metadata, "ProfileName": None})
        assert (event.customer_name, event.contact.phone) == (None, "972500000001")

    @pytest.mark.parametrize("sender", [None, "", "whatsapp:", "whatsapp:somebody"])
    def test_a_message_of_nobody_is_skipped(self, sender: str | None) -> None:
        nobody = {"From": sender, "WaId": None, "ChannelMetadata": None}
        assert event_of(nobody) == UNKNOWN

    def test_our_own_number_is_no_customer(self) -> None:
        own = Skipped(reason="own_number")
        assert event_of({"From": "whatsapp:+15550009999"}) == own
        assert event_of({}, own_number="972500000001") == own

    @pytest.mark.parametrize("bad", ["", " ", "S" * 256, "a\x00b", "\ud800", None])
    def test_a_message_without_a_usable_id_is_skipped(self, bad: str | None) -> None:
        assert event_of({"MessageSid": bad, "SmsMessageSid": bad, "SmsSid": bad}) == UNKNOWN

    @pytest.mark.parametrize("name", ["MessageSid", "SmsMessageSid", "SmsSid"])
    def test_any_of_the_three_names_of_its_id_is_enough(self, name: str) -> None:
        lacking: dict[str, Any] = dict.fromkeys(("MessageSid", "SmsMessageSid", "SmsSid"))
        assert inbound(lacking | {name: "SM7"}).provider_message_id == "SM7"


class TestContent:
    @pytest.mark.parametrize(
        ("fields", "type_", "text", "payload"),
        [
            ({"MessageType": None, "Body": ""}, "text", "", None),
            ({"MessageType": "something_new", "Body": "hi"}, "text", "hi", None),
            ({"MessageType": "something_new", "Body": ""}, "unsupported", "", None),
            ({"MessageType": "interactive", "Body": ""}, "unsupported", "", None),
            ({"Body": None}, "unsupported", "", None),
            ({"Body": "", "ButtonText": "Yes"}, "button_reply", "Yes", None),
            ({"Body": "Yes", "ButtonPayload": "y" * 2_000}, "button_reply", "Yes", "y" * 1_024),
            ({"Body": "", "ListId": "r1", "ListTitle": "One"}, "list_reply", "One", "r1"),
            ({"Body": "One", "ListId": "r1", "ButtonPayload": "b"}, "list_reply", "One", "b"),
            ({"Body": "here", "Latitude": "32.0"}, "location", "here", None),
            ({"Body": "", "MessageType": "location"}, "location", "", None),
            ({"Body": "", "NumMedia": "1"}, "document", "", None),
            ({"Body": "", "NumMedia": "1", "MessageType": "video"}, "video", "", None),
            ({"Body": "", "NumMedia": "1", "MessageType": "contacts"}, "contacts", "", None),
            ({"Body": "", "NumMedia": "no number"}, "text", "", None),
        ],
        ids=str,
    )
    def test_it_is_read_from_the_data(
        self, fields: Any, type_: str, text: str, payload: str | None
    ) -> None:
        event = inbound(fields)
        assert (event.type, event.text, event.payload) == (type_, text, payload)

    @pytest.mark.parametrize(
        ("mime_type", "kind", "type_"),
        [
            ("image/png", "image", "image"),
            ("IMAGE/JPEG; q=1", None, "image"),
            ("image/jpeg", "document", "document"),
            ("image/webp", None, "sticker"),
            ("image/webp", "document", "document"),
            ("audio/ogg; codecs=opus", "audio", "audio"),
            ("video/mp4", "text", "video"),
            ("text/vcard", "contacts", "contacts"),
            ("text/x-vcard", "document", "contacts"),
            ("text/plain", None, "document"),
            ("application/octet-stream", "image", "document"),
            ("", None, "document"),
            ("nonsense", "image", "document"),
        ],
    )
    def test_the_type_of_media_is_that_of_their_content(
        self, mime_type: str, kind: str | None, type_: str
    ) -> None:
        fields = {
            "NumMedia": "1",
            "MediaUrl0": "https://api.twilio.com/m",
            "MediaContentType0": mime_type,
            "MessageType": kind,
        }
        event = inbound(fields)
        assert event.type == type_
        assert event.media is not None
        assert event.media.mime_type == (mime_type or None)

    def test_media_keep_where_they_are_and_what_they_are(self) -> None:
        media = inbound({}, file="twilio/document.txt").media
        assert media is not None
        assert media.as_json() == {
            "mime_type": "application/pdf",
            "url": "https://api.twilio.com/2010-04-01/Accounts/AC00000000000000000000000000000001"
            "/Messages/MM00000000000000000000000000000001"
            "/Media/ME00000000000000000000000000000003",
        }

    @pytest.mark.parametrize("url", ["file:///etc/passwd", "javascript:alert(1)", "//host/x", "x"])
    def test_only_an_address_of_the_web_is_kept(self, url: str) -> None:
        media = inbound({"MediaUrl0": url}, file="twilio/document.txt").media
        assert media is not None
        assert media.url is None

    def test_media_without_their_number_are_media(self) -> None:
        assert inbound({"NumMedia": None}, file="twilio/image_caption.txt").type == "image"

    def test_a_named_place_keeps_its_name(self) -> None:
        place = {"Label": "Shop", "Address": "1 Main St", "Latitude": "32.5", "Longitude": "-34"}
        assert inbound(place).extra == {
            "latitude": 32.5,
            "longitude": -34,
            "name": "Shop",
            "address": "1 Main St",
        }
        assert inbound({"Latitude": "north", "Longitude": "1e999"}).extra == {}
        assert inbound({"Latitude": "1", "Label": "", "Address": ""}).extra == {"latitude": 1}

    def test_a_list_reply_keeps_its_description(self) -> None:
        event = inbound({}, file="twilio/list_reply_UNVERIFIED.txt")
        assert event.extra == {"description": "2-3 days"}

    def test_an_ads_referral_is_kept_whatever_the_message_is(self) -> None:
        event = inbound({}, file="twilio/ad_referral.txt")
        referral = {
            "source_url": "https://fb.example/ad",
            "source_id": "400000000000004",
            "source_type": "ad",
            "headline": "Example headline",
            "body": "Example ad body",
            "ctwa_clid": "FAKECLID",
        }
        assert event.extra == {"referral": referral}
        place = inbound({"Latitude": "1"}, file="twilio/ad_referral.txt")
        assert place.extra == {"latitude": 1, "referral": referral}
        assert inbound({"ReferralNumMedia": "0", "ReferralBody": ""}).extra == {}

    def test_a_reaction_would_change_its_target_and_be_no_message(self) -> None:
        reaction = {"MessageType": "reaction", "Body": "👍", "OriginalRepliedMessageSid": "SM7"}
        event = event_of(reaction)
        assert isinstance(event, MessageChange)
        assert (event.kind, event.direction) == (ChangeKind.REACTION, Direction.IN)
        assert (event.target, event.text) == ("SM7", "👍")
        assert event_of(reaction | {"OriginalRepliedMessageSid": None}) == UNKNOWN


class TestStatuses:
    @pytest.mark.parametrize(
        ("written", "delivery"),
        [
            ("queued", Delivery.PENDING),
            ("accepted", Delivery.PENDING),
            ("scheduled", Delivery.PENDING),
            ("sending", Delivery.PENDING),
            ("sent", Delivery.SENT),
            ("Delivered", Delivery.DELIVERED),
            ("read", Delivery.READ),
            ("failed", Delivery.FAILED),
            ("undelivered", Delivery.FAILED),
            ("canceled", Delivery.FAILED),
        ],
    )
    def test_each_has_its_meaning(self, written: str, delivery: Delivery) -> None:
        assert status({"MessageStatus": written}).status is delivery
        assert status({"MessageStatus": None, "SmsStatus": written}).status is delivery

    @pytest.mark.parametrize("written", ["partially_delivered", "later", " read"])
    def test_an_unknown_one_is_skipped_and_no_message(self, written: str) -> None:
        changes = {"MessageStatus": written, "Body": "no message"}
        assert event_of(changes, file="twilio/status_read.txt") == UNKNOWN

    @pytest.mark.parametrize("written", [None, "", "received", "receiving", "something_new"])
    def test_a_message_is_one_whatever_its_own_status_says(self, written: str | None) -> None:
        assert inbound({"SmsStatus": written}).text.startswith("Hello")
        assert inbound({"MessageStatus": "received"}).text.startswith("Hello")

    @pytest.mark.parametrize(
        ("code", "retryable"),
        [
            ("63018", True),
            ("63017", True),
            ("20429", True),
            ("21611", True),
            ("63016", False),
            ("63024", False),
            ("63021", False),
            ("63032", False),
            ("21211", False),
            ("20003", False),
            ("30008", None),
        ],
    )
    def test_a_failures_code_says_whether_to_try_again(
        self, code: str, retryable: bool | None
    ) -> None:
        event = status({"MessageStatus": "failed", "ErrorCode": code})
        assert (event.error_code, event.retryable) == (int(code), retryable)

    @pytest.mark.parametrize("code", ["", "0", "-1", "many", "2147483648", "9" * 400, None])
    def test_a_code_that_is_none_is_left_out(self, code: str | None) -> None:
        event = status({"MessageStatus": "failed", "ErrorCode": code})
        assert (event.error_code, event.retryable) == (None, None)

    def test_a_status_for_nobody_still_counts_for_its_message(self) -> None:
        assert status({"To": None}).contact is None
        assert status({"To": "whatsapp:US.7"}).contact == ContactIds(bsuid="US.7")

    def test_a_status_without_a_usable_id_is_skipped(self) -> None:
        nameless = {"MessageSid": None, "SmsSid": " "}
        assert event_of(nameless, file="twilio/status_read.txt") == UNKNOWN


@examples(300)
@given(st.data())
def test_json_of_any_shape_gives_valid_events(data: st.DataObject) -> None:
    document = data.draw(broken(data.draw(st.sampled_from(SAMPLES)).document))
    assert_valid(PROVIDER.parse(as_json(document), ParseContext()))
