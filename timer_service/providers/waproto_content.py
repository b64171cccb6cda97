"""Finds and reads what a WhatsApp message holds, written in WhatsApp's own terms (WAProto).

Called by the ``baileys`` and ``waha`` parsers; knows nothing of chats or senders. It unwraps the
content, names its type and takes its text. Evolution API flattens some shapes that Baileys nests,
and engines in Go write some names in other letters (``PTT``, ``selectedRowID``): all are read.
Source: WAProto, whatsmeow and Evolution API, read August 2026.
"""

from __future__ import annotations

import base64
from collections.abc import Callable

from timer_service.errors import MalformedPayload
from timer_service.messages import Media
from timer_service.providers.content import UNSUPPORTED, Content
from timer_service.providers.json_body import (
    ID_LIMIT,
    JsonObject,
    as_id,
    as_integer,
    as_list,
    as_object,
    as_text,
    pick,
    read_json,
)

_PAYLOAD_LIMIT = 1_024
_URL_LIMIT = 2_048
_VCARD_LIMIT = 4_096
_CARD_LIMIT = 10
_LARGEST_FILE_BYTES = 2**40
_LARGEST_BYTE = 255
_SHA256_BYTES = 32
_MOST_WRAPPERS = 10
_WRAPPERS = (
    "ephemeralMessage",
    "viewOnceMessage",
    "viewOnceMessageV2",
    "viewOnceMessageV2Extension",
    "documentWithCaptionMessage",
    "editedMessage",
    "deviceSentMessage",
    "lottieStickerMessage",
    "groupMentionedMessage",
)
# What travels beside the content, or was put there by Evolution; never the content itself.
_COMPANIONS = frozenset(
    {"messageContextInfo", "senderKeyDistributionMessage", "base64", "mediaUrl", "speechToText"}
)
# Understood, and no turn of a conversation: reactions and edits sent encrypted, pins, stars.
SERVICE_CONTENT = frozenset(
    {"encReactionMessage", "secretEncryptedMessage", "pinInChatMessage", "keepInChatMessage"}
)


def find_content(message: object) -> tuple[str, object] | None:
    """Return the name and the body of what a message holds, without its wrappers.

    ``("imageMessage", {"caption": …})``. None if nothing is left, which is how a message that
    could not be decrypted looks. The order of keys means nothing.
    """
    layer = as_object(message)
    for _ in range(_MOST_WRAPPERS):
        inner = next(filter(None, (_inside(layer, wrapper) for wrapper in _WRAPPERS)), None)
        if inner is None:
            break
        layer = inner
    present = [
        (name, body) for name, body in layer.items() if body is not None and name not in _COMPANIONS
    ]
    known = [(name, body) for name, body in present if name in _READERS and body]
    return next(iter(known or present), None)


def read_content(name: str, body: object, message: JsonObject) -> Content:
    """Read what was found; ``message`` is the outermost layer, with Evolution's extras."""
    read = _READERS.get(name)
    if read is None or not isinstance(body, str if name == "conversation" else dict):
        return UNSUPPORTED
    return read(name, {"text": body} if isinstance(body, str) else as_object(body), message)


def quoted_id(body: object) -> str | None:
    """Return the id of the message a content answers to, None if it is no answer."""
    quote = as_object(as_object(body).get("contextInfo"))
    return as_id(_first(quote, "stanzaId", "stanzaID"))


def _first(body: JsonObject, *names: str) -> object:
    return next((body[name] for name in names if body.get(name) is not None), None)


def _inside(layer: JsonObject, wrapper: str) -> JsonObject:
    return as_object(as_object(layer.get(wrapper)).get("message"))


def _text(_name: str, body: JsonObject, _message: JsonObject) -> Content:
    text = body.get("text")
    return Content(type="text", text=as_text(text)) if isinstance(text, str) else UNSUPPORTED


def _media(name: str, body: JsonObject, message: JsonObject) -> Content:
    # The url in the body leads to encrypted bytes; only Evolution's own copy can be fetched.
    kind = _MEDIA_TYPES[name]
    if name == "audioMessage" and _first(body, "ptt", "PTT") is True:
        kind = "voice"
    size_bytes = as_integer(body.get("fileLength"))
    url = as_text(message.get("mediaUrl"), _URL_LIMIT)
    media = Media(
        mime_type=as_text(body.get("mimetype"), ID_LIMIT) or None,
        file_name=as_text(body.get("fileName"), ID_LIMIT) or None,
        size_bytes=size_bytes if size_bytes and 0 < size_bytes < _LARGEST_FILE_BYTES else None,
        url=url if url.startswith(("https://", "http://")) else None,
        sha256=_digest(_first(body, "fileSha256", "fileSHA256")),
    )
    transcript = as_text(message.get("speechToText")).removeprefix("[audio] ")
    return Content(
        type=kind,
        text=as_text(body.get("caption")),
        media=media,
        extra={"transcript": transcript} if transcript else {},
    )


def _digest(value: object) -> str | None:
    """Return a SHA-256 as hexadecimal digits, of any of the ways that bytes are written in JSON."""
    if isinstance(value, str):
        try:
            found = base64.b64decode(value, validate=True)
        except ValueError:
            return None
    else:
        fields = as_object(value)
        listed = as_list(fields.get("data")) or [fields.get(str(at)) for at in range(len(fields))]
        if not all(type(one) is int and 0 <= one <= _LARGEST_BYTE for one in listed):
            return None
        found = bytes(one for one in listed if isinstance(one, int))
    return found.hex() if len(found) == _SHA256_BYTES else None


def _location(_name: str, body: JsonObject, _message: JsonObject) -> Content:
    place: dict[str, object] = {
        "latitude": body.get("degreesLatitude"),
        "longitude": body.get("degreesLongitude"),
        "name": body.get("name"),
        "address": body.get("address"),
    }
    return Content(type="location", text=as_text(body.get("caption")), extra=pick(place, *place))


def _contacts(name: str, body: JsonObject, _message: JsonObject) -> Content:
    cards = (
        as_list(body.get("contacts"))[:_CARD_LIMIT] if name == "contactsArrayMessage" else [body]
    )
    return Content(
        type="contacts",
        extra={
            "contacts": [
                {
                    "name": as_text(card.get("displayName"), ID_LIMIT),
                    "vcard": as_text(card.get("vcard"), _VCARD_LIMIT),
                }
                for card in map(as_object, cards)
            ]
        },
    )


def _button_reply(_name: str, body: JsonObject, _message: JsonObject) -> Content:
    chosen = _first(body, "selectedButtonId", "selectedButtonID", "selectedId", "selectedID")
    return Content(
        type="button_reply",
        text=as_text(body.get("selectedDisplayText")),
        payload=as_text(chosen, _PAYLOAD_LIMIT) or None,
    )


def _interactive_reply(_name: str, body: JsonObject, _message: JsonObject) -> Content:
    flow = as_object(body.get("nativeFlowResponseMessage"))
    try:
        answer = as_object(read_json(as_text(flow.get("paramsJson")).encode()))
    except MalformedPayload:
        answer = {}
    return Content(
        type="button_reply",
        text=as_text(as_object(body.get("body")).get("text")),
        payload=as_text(answer.get("id"), _PAYLOAD_LIMIT) or None,
    )


def _list_reply(_name: str, body: JsonObject, _message: JsonObject) -> Content:
    row = _first(as_object(body.get("singleSelectReply")), "selectedRowId", "selectedRowID")
    return Content(
        type="list_reply",
        text=as_text(body.get("title")),
        payload=as_text(row, _PAYLOAD_LIMIT) or None,
        extra=pick(body, "description"),
    )


def _order(_name: str, body: JsonObject, _message: JsonObject) -> Content:
    return Content(
        type="order",
        text=as_text(body.get("message")),
        extra=pick(body, "orderId", "orderTitle", "itemCount"),
    )


_MEDIA_TYPES = {
    "imageMessage": "image",
    "videoMessage": "video",
    "ptvMessage": "video",
    "documentMessage": "document",
    "audioMessage": "audio",
    "stickerMessage": "sticker",
}
_READERS: dict[str, Callable[[str, JsonObject, JsonObject], Content]] = {
    "conversation": _text,
    "extendedTextMessage": _text,
    **dict.fromkeys(_MEDIA_TYPES, _media),
    "locationMessage": _location,
    "liveLocationMessage": _location,
    "contactMessage": _contacts,
    "contactsArrayMessage": _contacts,
    "buttonsResponseMessage": _button_reply,
    "templateButtonReplyMessage": _button_reply,
    "interactiveResponseMessage": _interactive_reply,
    "listResponseMessage": _list_reply,
    "orderMessage": _order,
}
