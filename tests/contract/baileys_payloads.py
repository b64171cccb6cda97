"""Builders of Evolution API and plain Baileys payloads, and short ways to parse them."""

from __future__ import annotations

import json
from typing import Any

from timer_service.messages import Event, InboundMessage, ParsedItem
from timer_service.providers.baileys import PROVIDER
from timer_service.providers.base import ParseContext, WebhookRequest

OWN_NUMBER = "15550009999"
TOKEN = "Token-of-this-connection"
CUSTOMER = "972500000001@s.whatsapp.net"
CUSTOMER_LID = "111111111111111@lid"
OWN_JID = f"{OWN_NUMBER}@s.whatsapp.net"


def parse(document: Any, **context: Any) -> list[ParsedItem]:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return PROVIDER.parse(WebhookRequest(body=body), ParseContext(**context))


def the_event(document: Any, **context: Any) -> Event:
    (item,) = parse(document, **context)
    return item.event


def message(content: Any = None, *, key: Any = None, **others: Any) -> dict[str, Any]:
    """Build one Baileys message object, a customer's text unless told otherwise."""
    return {
        "key": {"remoteJid": CUSTOMER, "fromMe": False, "id": "AC01"} | (key or {}),
        "messageTimestamp": 1767261660,
        "pushName": "Dana Example",
        "message": {"conversation": "hello"} if content is None else content,
    } | others


def evolution(event: str, data: Any) -> dict[str, Any]:
    return {
        "event": event,
        "instance": "demo-instance",
        "data": data,
        "sender": OWN_JID,
        "date_time": "2026-01-01T07:03:01.262Z",
        "server_url": "http://localhost:8080",
        "apikey": None,
    }


def read(content: Any = None, **changes: Any) -> Event:
    return the_event(evolution("messages.upsert", message(content, **changes)))


def inbound(content: Any = None, **changes: Any) -> InboundMessage:
    event = read(content, **changes)
    assert isinstance(event, InboundMessage), event
    return event
