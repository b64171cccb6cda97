"""Reads the content of one Cloud API message: which type it is and what it says.

``meta`` calls this for messages, echoes and edits. It knows nothing of who wrote them.
Source: Meta, WhatsApp Business Platform, webhooks reference per message type, read August 2026.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from timer_service.errors import MalformedPayload
from timer_service.messages import Media
from timer_service.providers.content import UNSUPPORTED, Content
from timer_service.providers.json_body import (
    ID_LIMIT,
    JsonObject,
    as_id,
    as_list,
    as_object,
    as_plain,
    as_text,
    pick,
    read_json,
)

_PAYLOAD_LIMIT = 1_024
_CARD_LIMIT = 10


def read_content(message: JsonObject) -> Content:
    """Return what a message says; ``unsupported`` where its type is unknown or its body missing.

    The body stands under the type's own name: ``{"type": "text", "text": {"body": "Hello"}}``.
    """
    kind = as_text(message.get("type"))
    read = _READERS.get(kind)
    body = message.get(kind)
    if read is None or not body or not isinstance(body, dict | list):
        return UNSUPPORTED
    content = read(message)
    referral = pick(
        as_object(message.get("referral")),
        *("source_url", "source_id", "source_type", "headline", "body", "ctwa_clid"),
    )
    return replace(content, extra=content.extra | {"referral": referral}) if referral else content


def _text(message: JsonObject) -> Content:
    body = as_object(message["text"]).get("body")
    return Content(type="text", text=as_text(body)) if isinstance(body, str) else UNSUPPORTED


def _media(message: JsonObject) -> Content:
    # The webhook's own url lives five minutes and needs the access token; the id gets a fresh one.
    kind = as_text(message["type"])
    body = as_object(message[kind])
    media = Media(
        mime_type=as_text(body.get("mime_type"), ID_LIMIT) or None,
        file_name=as_text(body.get("filename"), ID_LIMIT) or None,
        provider_media_id=as_id(body.get("id")),
        sha256=as_text(body.get("sha256"), ID_LIMIT) or None,
    )
    if kind == "audio" and body.get("voice") is True:
        kind = "voice"
    return Content(type=kind, text=as_text(body.get("caption")), media=media)


def _location(message: JsonObject) -> Content:
    place = pick(as_object(message["location"]), "latitude", "longitude", "name", "address", "url")
    return Content(type="location", extra=place)


def _contacts(message: JsonObject) -> Content:
    cards = [
        {
            "name": as_text(as_object(card.get("name")).get("formatted_name"), ID_LIMIT),
            "phones": [
                as_text(as_object(phone).get("phone"), ID_LIMIT)
                for phone in as_list(card.get("phones"))[:_CARD_LIMIT]
            ],
        }
        for card in map(as_object, as_list(message["contacts"])[:_CARD_LIMIT])
    ]
    return Content(type="contacts", extra={"contacts": cards})


def _interactive(message: JsonObject) -> Content:
    body = as_object(message["interactive"])
    kind = as_text(body.get("type"))
    reply = as_object(body.get(kind))
    if kind in {"button_reply", "list_reply"} and reply:
        return Content(
            type=kind,
            text=as_text(reply.get("title")),
            payload=as_text(reply.get("id"), _PAYLOAD_LIMIT) or None,
            extra=pick(reply, "description"),
        )
    if kind == "nfm_reply" and reply:
        return Content(
            type="button_reply",
            text=as_text(reply.get("body")),
            payload=as_text(reply.get("name"), _PAYLOAD_LIMIT) or None,
            extra={"flow": _flow_answers(reply)},
        )
    return UNSUPPORTED


def _flow_answers(reply: JsonObject) -> object:
    """Return a flow's answers, which come as JSON within a JSON string."""
    try:
        return as_plain(read_json(as_text(reply.get("response_json")).encode()))
    except MalformedPayload:
        return None


def _button(message: JsonObject) -> Content:
    body = as_object(message["button"])
    return Content(
        type="button_reply",
        text=as_text(body.get("text")),
        payload=as_text(body.get("payload"), _PAYLOAD_LIMIT) or None,
    )


def _order(message: JsonObject) -> Content:
    body = as_object(message["order"])
    return Content(
        type="order",
        text=as_text(body.get("text")),
        extra=pick(body, "catalog_id", "product_items"),
    )


_READERS: dict[str, Callable[[JsonObject], Content]] = {
    "text": _text,
    "image": _media,
    "video": _media,
    "document": _media,
    "audio": _media,
    "sticker": _media,
    "location": _location,
    "contacts": _contacts,
    "interactive": _interactive,
    "button": _button,
    "order": _order,
}
