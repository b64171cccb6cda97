"""Reads the content of one of Twilio's messages: which type it is and what it says.

``twilio`` calls this. The type is decided by the data, since old accounts send no ``MessageType``
and its values are not all documented. Source: twilio.com, webhook request, and captured requests,
read November 2026; the names of a list reply's fields are not confirmed.
"""

from __future__ import annotations

from dataclasses import replace

from timer_service.messages import Media
from timer_service.providers.content import UNSUPPORTED, Content
from timer_service.providers.json_body import (
    ID_LIMIT,
    JsonObject,
    as_integer,
    as_number,
    as_text,
    pick,
)

_PAYLOAD_LIMIT = 1_024
_URL_LIMIT = 2_048
_CARDS = frozenset({"text/vcard", "text/x-vcard", "text/directory"})
_SAME_NAMED_TYPES = frozenset({"image", "video", "audio"})
_MEDIA_TYPES = _SAME_NAMED_TYPES | {"sticker", "contacts", "document"}
_REFERRAL = {
    "source_url": "ReferralSourceUrl",
    "source_id": "ReferralSourceId",
    "source_type": "ReferralSourceType",
    "headline": "ReferralHeadline",
    "body": "ReferralBody",
    "ctwa_clid": "ReferralCtwaClid",
}


def read_content(fields: JsonObject) -> Content:
    """Return what a message says; ``unsupported`` where nothing of it can be read."""
    content = _read(fields)
    referral = _picked(fields, _REFERRAL)
    return replace(content, extra=content.extra | {"referral": referral}) if referral else content


def _read(fields: JsonObject) -> Content:
    kind = as_text(fields.get("MessageType"), ID_LIMIT).lower()
    body = as_text(fields.get("Body"))
    has_media = fields.get("MediaUrl0") or fields.get("MediaContentType0")
    if has_media or (as_integer(fields.get("NumMedia")) or 0) > 0:
        return _media(kind, body, fields)
    if fields.get("Latitude") or kind == "location":
        return _location(body, fields)
    if fields.get("ListId") or fields.get("ListTitle"):
        return Content(
            type="list_reply",
            text=body or as_text(fields.get("ListTitle")),
            payload=_payload(fields, "ButtonPayload") or _payload(fields, "ListId"),
            extra=_picked(fields, {"description": "ListDescription"}),
        )
    if fields.get("ButtonText") or fields.get("ButtonPayload"):
        return Content(
            type="button_reply",
            text=body or as_text(fields.get("ButtonText")),
            payload=_payload(fields, "ButtonPayload"),
        )
    is_text = bool(body) or ("Body" in fields and kind in {"", "text"})
    return Content(type="text", text=body) if is_text else UNSUPPORTED


def _media(kind: str, body: str, fields: JsonObject) -> Content:
    # WhatsApp sends one a message. The address is Twilio's and lasts; the bytes are fetched later.
    mime_type = as_text(fields.get("MediaContentType0"), ID_LIMIT)
    url = as_text(fields.get("MediaUrl0"), _URL_LIMIT)
    media = Media(
        mime_type=mime_type or None,
        url=url if url.startswith(("https://", "http://")) else None,
    )
    return Content(type=_media_type(kind, mime_type), text=body, media=media)


def _media_type(kind: str, mime_type: str) -> str:
    """Return ours for Twilio's ``MessageType`` and the media's content type; either may lack.

    Nothing tells a voice note from an audio file.
    """
    mime_type = mime_type.partition(";")[0].strip().lower()
    main = mime_type.partition("/")[0]
    if mime_type in _CARDS:
        return "contacts"
    if kind == "document":
        return "document"  # a picture that was sent as a file
    if mime_type == "image/webp":
        return "sticker"
    if main in _SAME_NAMED_TYPES:
        return main
    return kind if not mime_type and kind in _MEDIA_TYPES else "document"


def _location(body: str, fields: JsonObject) -> Content:
    place: dict[str, object] = {
        "latitude": as_number(fields.get("Latitude")),
        "longitude": as_number(fields.get("Longitude")),
        "name": fields.get("Label") or None,
        "address": fields.get("Address") or None,
    }
    return Content(type="location", text=body, extra=pick(place, *place))


def _picked(fields: JsonObject, names: dict[str, str]) -> dict[str, object]:
    """Return the texts that are there and not empty, under our names."""
    found = {ours: as_text(fields.get(theirs), _URL_LIMIT) for ours, theirs in names.items()}
    return {name: text for name, text in found.items() if text}


def _payload(fields: JsonObject, name: str) -> str | None:
    return as_text(fields.get(name), _PAYLOAD_LIMIT) or None
