"""The demo's webhooks are read by the service's own parsers as what was said."""

from __future__ import annotations

import base64
import dataclasses
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

import pytest

from tests.contract.valid_events import assert_valid
from timer_service.demo.conversations import (
    Conversation,
    Person,
    Turn,
    packaged_conversations,
)
from timer_service.demo.gateways import (
    EVOLUTION_NUMBER,
    META_NUMBER,
    Gateway,
    Webhook,
    demo_gateways,
)
from timer_service.messages import (
    Author,
    ConnectionState,
    ConnectionUpdate,
    InboundMessage,
    OwnMessage,
    ProviderName,
)
from timer_service.providers import baileys, meta
from timer_service.providers.base import ParseContext, WebhookRequest

SENT_AT = datetime(2026, 3, 9, 9, 30, 15, tzinfo=UTC)
SECRET = b"the demo's secret"
PARSERS: dict[ProviderName, ModuleType] = {
    ProviderName.META: meta,
    ProviderName.BAILEYS: baileys,
}
GATEWAYS = demo_gateways(SECRET)
CONVERSATIONS = packaged_conversations()
NOA = Person(name="נועה ברק", phone="972500001001")
TYPES = ("text", "image", "video", "voice", "document", "sticker")

gateways = pytest.mark.parametrize("gateway", GATEWAYS.values(), ids=lambda one: one.provider.value)


def request_of(gateway: Gateway, webhook: Webhook) -> WebhookRequest:
    """Return the request as the service would see it: lower-case headers, the token in the path."""
    in_path = (gateway.secrets["token"],) if "token" in gateway.secrets else ()
    headers = {name.lower(): value for name, value in webhook.headers.items()}
    return WebhookRequest(body=webhook.body, headers=headers, path_parts=in_path)


def event_of(gateway: Gateway, person: Person, turn: Turn) -> Any:
    webhook = gateway.webhook(person, turn, SENT_AT)
    request = request_of(gateway, webhook)
    provider = PARSERS[gateway.provider].PROVIDER
    assert provider.is_authentic(request, gateway.secrets)
    items = provider.parse(request, ParseContext())
    assert_valid(items)
    (item,) = items
    assert item.account == gateway.external_id
    assert item.event.provider_message_id == webhook.message_id
    assert item.event.sent_at == SENT_AT
    assert item.event.contact.phone == person.phone
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
    assert (event.type, event.text) == (kind, text)
    assert event.customer_name == NOA.name
    assert (event.media is None) is (kind == "text")


@gateways
def test_an_agents_answer_arrives_as_the_businesss_own(gateway: Gateway) -> None:
    event = event_of(gateway, NOA, Turn(by="agent", after_s=0, text="בשמחה 🙂"))
    assert isinstance(event, OwnMessage)
    assert event.author is Author.AGENT


@gateways
def test_a_changed_body_or_another_secret_is_not_authentic(gateway: Gateway) -> None:
    turn = Turn(by="customer", after_s=0, text="hello")
    webhook = gateway.webhook(NOA, turn, SENT_AT)
    request = request_of(gateway, webhook)
    provider = PARSERS[gateway.provider].PROVIDER
    stranger = demo_gateways(b"somebody else's")[gateway.provider]
    assert not provider.is_authentic(request, stranger.secrets)
    if gateway.provider is ProviderName.META:
        forged = dataclasses.replace(request, body=webhook.body.replace(b"hello", b"hullo"))
        assert not provider.is_authentic(forged, gateway.secrets)


def test_evolution_reports_its_phone_as_linked_and_meta_says_nothing() -> None:
    evolution = GATEWAYS[ProviderName.BAILEYS]
    webhook = evolution.linked_webhook(SENT_AT)
    assert webhook is not None
    (item,) = baileys.PROVIDER.parse(request_of(evolution, webhook), ParseContext())
    assert item.account == evolution.external_id
    assert item.event == ConnectionUpdate(
        state=ConnectionState.CONNECTED, own_number=EVOLUTION_NUMBER
    )
    assert GATEWAYS[ProviderName.META].linked_webhook(SENT_AT) is None


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
    assert demo_gateways(SECRET) == GATEWAYS
    assert demo_gateways(b"other") != GATEWAYS


def test_secrets_stay_out_of_what_is_printed() -> None:
    for gateway in GATEWAYS.values():
        assert not [secret for secret in gateway.secrets.values() if secret in repr(gateway)]


def test_the_packaged_people_have_numbers_of_their_own() -> None:
    people = [person for one in CONVERSATIONS for person in one.cast]
    assert len({person.phone for person in people}) == len(people)
    fictional = ("972500001", "62811000", "447700900")
    assert all(person.phone.startswith(fictional) for person in people)
    assert not {META_NUMBER, EVOLUTION_NUMBER} & {person.phone for person in people}


def test_the_packaged_conversations_speak_three_languages_through_both_gateways() -> None:
    shown = CONVERSATIONS[:5]
    texts = " ".join(turn.text for one in shown for turn in one.turns)
    assert {one.provider for one in shown} == {ProviderName.META, ProviderName.BAILEYS}
    assert "עוגת יום הולדת" in texts
    assert "do you ship coffee beans" in texts
    assert "es kopi susu" in texts
