"""Builders of WAHA payloads as its three engines write them, and short ways to parse them."""

from __future__ import annotations

import json
from typing import Any

from timer_service.messages import Event, InboundMessage, OwnMessage, ParsedItem
from timer_service.providers.base import ParseContext, WebhookRequest
from timer_service.providers.waha import PROVIDER

OWN_NUMBER = "15550009999"
OWN_CHAT = f"{OWN_NUMBER}@c.us"
OWN_LID = "222222222222222@lid"
CUSTOMER = "972500000001@c.us"
CUSTOMER_LID = "111111111111111@lid"


def parse(document: Any, **context: Any) -> list[ParsedItem]:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return PROVIDER.parse(WebhookRequest(body=body), ParseContext(**context))


def the_event(document: Any, **context: Any) -> Event:
    (item,) = parse(document, **context)
    return item.event


def told(event: str, payload: Any, **others: Any) -> dict[str, Any]:
    """Build an envelope."""
    return {
        "id": "evt_01kdw000000000000000000000",
        "timestamp": 1767261661591,
        "event": event,
        "session": "default",
        "me": {"id": OWN_CHAT, "pushName": "Demo Shop", "lid": OWN_LID},
        "payload": payload,
        "engine": "WEBJS",
    } | others


def message(**changes: Any) -> dict[str, Any]:
    """Build a message, a customer's text unless told otherwise."""
    return {
        "id": f"false_{CUSTOMER}_AC01",
        "timestamp": 1767261660,
        "from": CUSTOMER,
        "fromMe": False,
        "source": "app",
        "to": OWN_CHAT,
        "participant": None,
        "body": "hello",
        "hasMedia": False,
        "media": None,
        "location": None,
        "vCards": [],
        "replyTo": None,
        "_data": {},
    } | changes


def noweb(content: Any, key: Any = None, **changes: Any) -> dict[str, Any]:
    """Build a message as NOWEB does, with Baileys' own object in ``_data``."""
    whole_key = {"remoteJid": "972500000001@s.whatsapp.net", "fromMe": False, "id": "AC01"}
    data = {"key": whole_key | (key or {}), "pushName": "Dana Example", "message": content}
    return message(**({"to": None, "body": None, "_data": data} | changes))


def gows(content: Any, info: Any = None, **changes: Any) -> dict[str, Any]:
    """Build a message as GOWS does, with whatsmeow's own object in ``_data``."""
    whole_info = {"Chat": CUSTOMER, "Sender": CUSTOMER, "PushName": "Dana Example"}
    data = {"Info": whole_info | (info or {}), "Message": content}
    return message(**({"to": None, "body": None, "_data": data} | changes))


def read(**changes: Any) -> Event:
    return the_event(told("message.any", message(**changes)))


def inbound(payload: Any) -> InboundMessage:
    event = the_event(told("message.any", payload))
    assert isinstance(event, InboundMessage), event
    return event


def own(**changes: Any) -> OwnMessage:
    ours = {"id": f"true_{CUSTOMER}_3A01", "fromMe": True, "from": OWN_CHAT, "to": CUSTOMER}
    event = read(**(ours | changes))
    assert isinstance(event, OwnMessage), event
    return event
