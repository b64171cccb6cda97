"""Whatever we ask a gateway to send has the fields of its published description, and no others."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from openapi_schema_validator import OAS31Validator

from tests.contract import published_requests
from tests.contract.test_sending import ID, PICTURE, TEXT, build
from timer_service.errors import InvalidInput
from timer_service.messages import ContactIds, Media, ProviderName
from timer_service.providers import SENDERS
from timer_service.providers.sending import GatewayRequest, Outgoing

BARE = Media(url="https://example.com/a")
MESSAGES = {
    "text": TEXT,
    "text_to_hidden_id": replace(TEXT, to=ContactIds(lid="111111111111111")),
    "text_to_scoped_id": replace(TEXT, to=ContactIds(bsuid="IL.10000000000000000001")),
    **{
        f"{kind}{'_bare' if media is BARE else ''}": replace(
            PICTURE, type=kind, media=media, text="" if media is BARE else "here"
        )
        for kind in ("image", "video", "document", "audio")
        for media in (PICTURE.media, BARE)
    },
    "meta_template": Outgoing(
        ID, TEXT.to, template={"name": "a", "language": "en_US", "components": [{"type": "body"}]}
    ),
    "twilio_template": Outgoing(
        ID, TEXT.to, template={"content_sid": f"HX{1:032x}", "variables": {"1": "Dana"}}
    ),
}


def body_of(request: GatewayRequest) -> Any:
    if request.headers["Content-Type"] == "application/json":
        return json.loads(request.body)
    return dict(parse_qsl(request.body.decode(), keep_blank_values=True))


def schema_of(provider: ProviderName, request: GatewayRequest) -> dict[str, Any]:
    path = urlsplit(request.url).path
    match provider:
        case ProviderName.META:
            return published_requests.META
        case ProviderName.TWILIO:
            return published_requests.TWILIO
        case ProviderName.WAHA:
            return published_requests.WAHA[path]
        case ProviderName.BAILEYS:
            return published_requests.EVOLUTION[path.split("/")[2]]


def faults(provider: ProviderName, request: GatewayRequest, body: Any) -> list[str]:
    validator = OAS31Validator(schema_of(provider, request))
    return [fault.message for fault in validator.iter_errors(body)]


@pytest.mark.parametrize("provider", list(SENDERS))
def test_every_request_is_one_the_gateway_describes(provider: ProviderName) -> None:
    asked = 0
    for name, message in MESSAGES.items():
        try:
            SENDERS[provider].takes.check(message)
        except InvalidInput:
            continue
        request = build(provider, message)
        assert faults(provider, request, body_of(request)) == [], name
        asked += 1
    assert asked >= 8


@pytest.mark.parametrize("provider", list(SENDERS))
def test_a_field_too_many_or_too_few_is_noticed(provider: ProviderName) -> None:
    request = build(provider, TEXT)
    body = body_of(request)
    assert faults(provider, request, {**body, "surprise": "x"})
    needed = {"meta": "text", "twilio": "To", "waha": "chatId", "baileys": "number"}[provider]
    assert faults(provider, request, {k: v for k, v in body.items() if k != needed})
