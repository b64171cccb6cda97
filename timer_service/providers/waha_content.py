"""What a WAHA message holds: its type, text and media.

Called by ``waha_messages``. Two of the engines pass on WhatsApp's own content in ``_data``, which
tells most (NOWEB gives list replies nowhere else); for the third, and where that says nothing, the
fields WAHA itself fills are read. Source: WAHA's documentation and source code, whatsapp-web.js,
read August 2026.
"""

from __future__ import annotations

import re
from dataclasses import replace

from timer_service.messages import Media
from timer_service.providers.content import UNSUPPORTED, Content
from timer_service.providers.json_body import (
    ID_LIMIT,
    JsonObject,
    as_integer,
    as_list,
    as_number,
    as_object,
    as_text,
    is_true,
    pick,
)
from timer_service.providers.waproto_content import (
    SERVICE_CONTENT,
    find_content,
    quoted_id,
)
from timer_service.providers.waproto_content import read_content as read_waproto

_URL_LIMIT = 2_048
_VCARD_LIMIT = 4_096
_PAYLOAD_LIMIT = 1_024
_CARD_LIMIT = 10
_LARGEST_FILE_BYTES = 2**40
_CARD_NAME = re.compile(r"^FN[^:\n]{0,100}:(.{0,255})", re.MULTILINE)
# whatsapp-web.js calls them so.
_WEB_TYPES = {
    "chat": "text",
    "image": "image",
    "video": "video",
    "document": "document",
    "audio": "audio",
    "ptt": "voice",
    "sticker": "sticker",
    "location": "location",
    "vcard": "contacts",
    "multi_vcard": "contacts",
    "buttons_response": "button_reply",
    "template_button_reply": "button_reply",
    "list_response": "list_reply",
    "order": "order",
}
# No turns of a conversation: WhatsApp's own notices, and what has events of its own.
_WEB_NOTICES = frozenset(
    {"broadcast_notification", "call_log", "debug", "e2e_notification", "gp2"}
    | {"group_notification", "notification", "notification_template", "protocol", "reaction"}
    | {"revoked"}
)
_WAPROTO_NOTICES = SERVICE_CONTENT | {"protocolMessage", "reactionMessage"}
_MEDIA_TYPES = frozenset({"image", "video", "document", "audio", "voice", "sticker"})
_TEXTLESS = frozenset({"location", "contacts"})


def skip_reason(message: JsonObject) -> str | None:
    """Return why a message is no turn of a conversation, else None."""
    data = as_object(message.get("_data"))
    web_type = as_text(data.get("type"))
    if web_type in _WEB_NOTICES:
        return "system"
    if web_type == "ciphertext":
        return "undecryptable"
    if not {"message", "Message"} & data.keys():
        return None
    found = find_content(_waproto(data))
    if found is None:
        # Linked devices never get the content of a view-once, but it is a turn.
        is_view_once = as_object(data.get("key")).get("isViewOnce") is True
        told = (message.get(name) for name in ("body", "media", "location"))
        return None if is_view_once or any(told) else "undecryptable"
    return "system" if found[0] in _WAPROTO_NOTICES else None


def read_content(message: JsonObject) -> Content:
    """Read a message's content; what nobody can read is ``unsupported``, with its text if any."""
    content = _told_by_engine(message)
    if content.type == "unsupported":
        content = _told_by_waha(message)
    elif not content.text and content.type not in _TEXTLESS:
        content = replace(content, text=as_text(message.get("body")))
    if content.type in _MEDIA_TYPES or content.type == "media":
        content = replace(content, media=_media(message, content.media or Media()))
    return content


def engine_quote_id(message: JsonObject) -> str | None:
    """Return the id of the message this one answers, as the engine tells it."""
    found = find_content(_waproto(as_object(message.get("_data"))))
    return quoted_id(found[1]) if found else None


def _waproto(data: JsonObject) -> JsonObject:
    return as_object(data.get("message") or data.get("Message"))


def _told_by_engine(message: JsonObject) -> Content:
    waproto = _waproto(as_object(message.get("_data")))
    found = find_content(waproto)
    return read_waproto(*found, waproto) if found else UNSUPPORTED


def _told_by_waha(message: JsonObject) -> Content:
    data = as_object(message.get("_data"))
    web_type = as_text(data.get("type"))
    kind = _WEB_TYPES.get(web_type, "")
    body = as_text(message.get("body"))
    location = as_object(message.get("location"))
    cards = as_list(message.get("vCards"))
    if kind == "location" or location.get("latitude") is not None:
        # The body of a location is its picture in WEBJS.
        return Content(type="location", extra=_place(location))
    if cards or kind == "contacts":
        return Content(type="contacts", extra={"contacts": _cards(cards)})
    if is_true(message.get("hasMedia")) or message.get("media"):
        is_named = kind in _MEDIA_TYPES
        return Content(type=kind if is_named else _type_by_mime(message), text=body)
    if kind in {"button_reply", "list_reply"}:
        return Content(type=kind, text=body, payload=_chosen(data))
    if kind in {"", "text"}:
        is_text = kind == "text" or (not web_type and bool(body))
        return Content(type="text" if is_text else "unsupported", text=body)
    return Content(type=kind, text=body)


def _chosen(data: JsonObject) -> str | None:
    row = as_object(as_object(data.get("listResponse")).get("singleSelectReply"))
    chosen = row.get("selectedRowId") or data.get("selectedButtonId") or data.get("selectedId")
    return as_text(chosen, _PAYLOAD_LIMIT) or None


def _place(location: JsonObject) -> dict[str, object]:
    place: dict[str, object] = {
        "latitude": as_number(location.get("latitude")),
        "longitude": as_number(location.get("longitude")),
        "name": as_text(location.get("name") or location.get("description"), ID_LIMIT) or None,
        "address": as_text(location.get("address"), _PAYLOAD_LIMIT) or None,
    }
    return pick(place, *place)


def _cards(cards: object) -> list[dict[str, str]]:
    texts = [as_text(card, _VCARD_LIMIT) for card in as_list(cards)[:_CARD_LIMIT]]
    names = [_CARD_NAME.search(text) for text in texts]
    return [
        {"name": name[1].strip() if name else "", "vcard": text}
        for name, text in zip(names, texts, strict=True)
    ]


def _type_by_mime(message: JsonObject) -> str:
    """Return the type of media nobody names; ``media`` where not even that much is known."""
    mime_type = as_text(as_object(message.get("media")).get("mimetype"), ID_LIMIT).lower()
    family = mime_type.partition("/")[0]
    if family == "audio":
        return "voice" if "opus" in mime_type else "audio"
    if mime_type.startswith("image/webp"):
        return "sticker"
    if family in {"image", "video"}:
        return family
    return "document" if mime_type else "media"


def _media(message: JsonObject, told: Media) -> Media | None:
    """Return the reference to the bytes; they are at WAHA, or nowhere if it did not fetch them."""
    media = as_object(message.get("media"))
    data = as_object(message.get("_data"))
    url = as_text(media.get("url"), _URL_LIMIT)
    size_bytes = told.size_bytes or as_integer(data.get("size"))
    found = Media(
        mime_type=as_text(media.get("mimetype"), ID_LIMIT) or told.mime_type,
        file_name=as_text(media.get("filename"), ID_LIMIT) or told.file_name,
        size_bytes=size_bytes if size_bytes and 0 < size_bytes < _LARGEST_FILE_BYTES else None,
        url=url if url.startswith(("https://", "http://")) else None,
        sha256=told.sha256,
    )
    return found if found.as_json() else None
