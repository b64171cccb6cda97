"""The demo's webhooks are read by the service's own parsers as what was said."""

from __future__ import annotations

import base64
import dataclasses
import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from tests.contract.valid_events import assert_valid
from tests.support.told_webhooks import items_of, request_of
from timer_service.demo.conversations import (
    Conversation,
    Person,
    Turn,
    packaged_conversations,
)
from timer_service.demo.evolution_instance import EVOLUTION_NUMBER
from timer_service.demo.gateway import Gateway, Refusal, Sent, Webhook
from timer_service.demo.gateway_server import GatewayServer
from timer_service.demo.gateways import demo_gateways
from timer_service.demo.loopback_server import Request
from timer_service.demo.meta_number import META_NUMBER
from timer_service.demo.twilio_number import TWILIO_NUMBER
from timer_service.demo.waha_session import WAHA_NUMBER
from timer_service.messages import (
    Author,
    ConnectionState,
    ConnectionUpdate,
    ContactIds,
    Delivery,
    DeliveryStatus,
    InboundMessage,
    OwnMessage,
    ProviderName,
)
from timer_service.providers import PROVIDERS, SENDERS
from timer_service.providers.sending import (
    Accepted,
    Account,
    GatewayAnswer,
    Outgoing,
    Refused,
)

SENT_AT = datetime(2026, 3, 9, 9, 30, 15, tzinfo=UTC)
SECRET = b"the demo's secret"
URL = "https://shop.example/webhooks/twilio/1"
GATEWAYS = {name: one.at(URL) for name, one in demo_gateways(SECRET).items()}
CONVERSATIONS = packaged_conversations()
NOA = Person(name="נועה ברק", phone="972500001001")
TYPES = ("text", "image", "video", "voice", "document", "sticker")

gateways = pytest.mark.parametrize("gateway", GATEWAYS.values(), ids=lambda one: one.provider.value)


def event_of(gateway: Gateway, person: Person, turn: Turn) -> Any:
    webhook = gateway.webhook(person, turn, SENT_AT)
    event = read(gateway, webhook)
    assert event.provider_message_id == webhook.message_id
    assert event.sent_at == (None if gateway.provider is ProviderName.TWILIO else SENT_AT)
    assert event.contact.phone == person.phone
    return event


def read(gateway: Gateway, webhook: Webhook | None, url: str = URL) -> Any:
    """Return the one event of a webhook, once it has proven itself."""
    assert webhook is not None
    items = items_of(gateway, webhook, url)
    assert_valid(items)
    (item,) = items
    assert item.account == gateway.external_id
    return item.event


@pytest.mark.parametrize(
    "conversation", CONVERSATIONS, ids=lambda one: one.cast[0].name.partition(" ")[0]
)
def test_every_packaged_turn_arrives_as_it_was_said(conversation: Conversation) -> None:
    gateway = GATEWAYS[conversation.provider]
    person = conversation.cast[0]
    for turn in conversation.turns_with(person):
        event = event_of(gateway, person, turn)
        assert (event.type, event.text) == (turn.type, turn.text)
        assert type(event) is (InboundMessage if turn.is_customers else OwnMessage)


@gateways
@pytest.mark.parametrize("kind", TYPES)
def test_a_customers_message_of_any_type_arrives_with_its_name(gateway: Gateway, kind: Any) -> None:
    text = "הנה, 100 ש״ח" if kind not in {"voice", "sticker"} else ""
    event = event_of(gateway, NOA, Turn(by="customer", after_s=0, text=text, type=kind))
    assert isinstance(event, InboundMessage)
    # A voice note at Twilio is an audio file like any other, and WAHA's NOWEB does not tell either.
    told = {"voice": {"audio", "voice"}, "sticker": {"sticker", "image"}}.get(kind, {kind})
    assert event.type in told
    assert event.text == text
    assert event.customer_name == NOA.name
    assert (event.media is None) is (kind == "text")


@gateways
def test_an_agents_answer_arrives_as_the_businesss_own(gateway: Gateway) -> None:
    if gateway.provider is ProviderName.TWILIO:
        with pytest.raises(ValueError, match="through the API"):
            event_of(gateway, NOA, Turn(by="agent", after_s=0, text="בשמחה 🙂"))
        return
    event = event_of(gateway, NOA, Turn(by="agent", after_s=0, text="בשמחה 🙂"))
    assert isinstance(event, OwnMessage)
    assert event.author is Author.AGENT


@gateways
def test_a_changed_body_or_another_secret_is_not_authentic(gateway: Gateway) -> None:
    turn = Turn(by="customer", after_s=0, text="hello")
    webhook = gateway.webhook(NOA, turn, SENT_AT)
    request = request_of(gateway, webhook, URL)
    provider = PROVIDERS[gateway.provider]
    stranger = demo_gateways(b"somebody else's")[gateway.provider]
    assert not provider.is_authentic(request, stranger.secrets)
    if gateway.provider is not ProviderName.BAILEYS:
        forged = dataclasses.replace(request, body=webhook.body.replace(b"hello", b"hullo"))
        assert not provider.is_authentic(forged, gateway.secrets)


def test_a_linked_phone_reports_itself_and_whatsapps_own_api_says_nothing() -> None:
    evolution = GATEWAYS[ProviderName.BAILEYS]
    webhook = evolution.linked_webhook(SENT_AT)
    assert webhook is not None
    linked = ConnectionUpdate(state=ConnectionState.CONNECTED, own_number=EVOLUTION_NUMBER)
    assert read(evolution, webhook) == linked
    waha = GATEWAYS[ProviderName.WAHA]
    linked = ConnectionUpdate(state=ConnectionState.CONNECTED, own_number=WAHA_NUMBER)
    assert read(waha, waha.linked_webhook(SENT_AT)) == linked
    assert GATEWAYS[ProviderName.META].linked_webhook(SENT_AT) is None
    assert GATEWAYS[ProviderName.TWILIO].linked_webhook(SENT_AT) is None


def test_metas_bodies_are_ascii_with_lower_case_escapes() -> None:
    turn = Turn(by="customer", after_s=0, text="שלום")
    body = GATEWAYS[ProviderName.META].webhook(NOA, turn, SENT_AT).body
    assert body.isascii()
    assert b"\\u05e9\\u05dc\\u05d5\\u05dd" in body


def test_metas_ids_are_made_as_whatsapp_makes_them() -> None:
    heads = {
        "customer": b"\x1d\x18\x0c972500001001\x15\x02\x00\x12\x18\x14",
        "agent": b"\x1d\x18\x0c972500001001\x15\x02\x00\x11\x18\x14",
    }
    for by, head in heads.items():
        turn = Turn(by=by, after_s=0, text="hi")  # type: ignore[arg-type]
        message_id = GATEWAYS[ProviderName.META].webhook(NOA, turn, SENT_AT).message_id
        assert message_id is not None
        assert base64.b64decode(message_id.removeprefix("wamid.")).startswith(head)


@gateways
def test_every_message_has_an_id_of_its_own(gateway: Gateway) -> None:
    turn = Turn(by="customer", after_s=0, text="same")
    assert len({gateway.webhook(NOA, turn, SENT_AT).message_id for _ in range(20)}) == 20


def test_the_same_secret_makes_the_same_gateways_again() -> None:
    assert demo_gateways(SECRET) == demo_gateways(SECRET)
    assert demo_gateways(b"other") != demo_gateways(SECRET)


def test_secrets_stay_out_of_what_is_printed() -> None:
    for gateway in GATEWAYS.values():
        assert not [secret for secret in gateway.secrets.values() if secret in repr(gateway)]


def test_the_packaged_people_have_numbers_of_their_own() -> None:
    people = [person for one in CONVERSATIONS for person in one.cast]
    assert len({person.phone for person in people}) == len(people)
    fictional = ("972500001", "62811000", "447700900")
    assert all(person.phone.startswith(fictional) for person in people)
    ours = {META_NUMBER, EVOLUTION_NUMBER, TWILIO_NUMBER, WAHA_NUMBER}
    assert not ours & {person.phone for person in people}


def test_the_packaged_conversations_speak_three_languages_through_both_gateways() -> None:
    shown = CONVERSATIONS[:5]
    texts = " ".join(turn.text for one in shown for turn in one.turns)
    assert {one.provider for one in shown} == {ProviderName.META, ProviderName.BAILEYS}
    assert "עוגת יום הולדת" in texts
    assert "do you ship coffee beans" in texts
    assert "es kopi susu" in texts


class TestItsApi:
    """What our senders ask is understood, and what it answers and tells is what we read."""

    ID = UUID("0199b2c4-0000-7000-8000-00000000002a")

    def sent_by(self, gateway: Gateway, **secrets: str) -> Sent:
        account = Account(gateway.external_id, "http://x", {**gateway.secrets, **secrets}, URL)
        message = Outgoing(self.ID, ContactIds(phone=NOA.phone), text="בשמחה 🙂")
        asked = SENDERS[gateway.provider].build(message, account)
        headers = {name.lower(): value for name, value in asked.headers.items()}
        path = asked.url.removeprefix("http://x")
        sent = type(gateway).read_send(Request("POST", path, headers, asked.body))
        assert sent is not None
        return sent

    @gateways
    def test_it_reads_what_we_ask_and_we_read_what_it_answers(self, gateway: Gateway) -> None:
        sent = self.sent_by(gateway)
        assert (sent.account, sent.to, sent.text) == (gateway.external_id, NOA.phone, "בשמחה 🙂")
        assert sent.credential == gateway.credential
        reply = type(gateway).accepted(sent)
        answer = GatewayAnswer(reply.status, {}, reply.body)
        assert SENDERS[gateway.provider].read(answer) == Accepted(sent.message_id)

    @gateways
    @pytest.mark.parametrize("why", list(Refusal))
    def test_we_know_why_it_says_no(self, gateway: Gateway, why: Refusal) -> None:
        reply = type(gateway).refused(why)
        answer = SENDERS[gateway.provider].read(GatewayAnswer(reply.status, {}, reply.body))
        assert isinstance(answer, Refused)
        assert answer.failure.value == why.value

    @gateways
    @pytest.mark.parametrize(
        "status", [Delivery.SENT, Delivery.DELIVERED, Delivery.READ, Delivery.FAILED]
    )
    def test_we_read_how_far_a_message_got(self, gateway: Gateway, status: Delivery) -> None:
        sent = self.sent_by(gateway)
        told = read(gateway, gateway.status_webhook(sent, status, SENT_AT), sent.status_url or URL)
        assert isinstance(told, DeliveryStatus)
        assert (told.provider_message_id, told.status) == (sent.message_id, status)
        carries_our_id = gateway.provider in {ProviderName.META, ProviderName.TWILIO}
        assert told.message_id == (self.ID if carries_our_id else None)

    @gateways
    def test_what_comes_back_is_a_programs(self, gateway: Gateway) -> None:
        sent = self.sent_by(gateway)
        webhook = gateway.echo_webhook(sent, SENT_AT)
        if gateway.provider in {ProviderName.META, ProviderName.TWILIO}:
            assert webhook is None
            return
        echo = read(gateway, webhook)
        assert isinstance(echo, OwnMessage)
        assert (echo.provider_message_id, echo.author) == (sent.message_id, Author.BOT)
        assert (echo.text, echo.contact.phone) == ("בשמחה 🙂", NOA.phone)

    @gateways
    def test_it_lets_nobody_send_who_has_not_its_key(self, gateway: Gateway) -> None:
        server = GatewayServer()
        try:
            server.serve(gateway, lambda _url, _webhook: True)
            name = next(iter(gateway.secrets.keys() & {"access_token", "auth_token", "api_key"}))
            for secret, status in ((gateway.secrets[name], {200, 201}), ("another", {401})):
                account = Account(gateway.external_id, "http://x", {name: secret})
                asked = SENDERS[gateway.provider].build(
                    Outgoing(self.ID, ContactIds(phone=NOA.phone), text="x"), account
                )
                headers = {key.lower(): value for key, value in asked.headers.items()}
                path = asked.url.removeprefix("http://x")
                reply = server.answer(Request("POST", path, headers, asked.body))
                assert reply.status in status
        finally:
            server._server.server_close()

    def test_meta_takes_a_file_before_the_message_that_names_it(self) -> None:
        with GatewayServer() as server:
            reply = server.answer(Request("POST", "/v23.0/1000/media", {}, b"x"))
            assert (reply.status, json.loads(reply.body)["id"].isdecimal()) == (200, True)

    @pytest.mark.parametrize(("method", "path"), [("POST", "/other"), ("GET", "/v23.0/1/media")])
    def test_an_address_of_none_of_them_is_not_found(self, method: str, path: str) -> None:
        with GatewayServer() as server:
            assert server.answer(Request(method, path, {}, b"")).status == 404
