"""The fields that each gateway's published OpenAPI description has for what we send.

In our own words and only what we use, for none of the descriptions is published as a package:
Meta's business messaging API v23.0 (github.com/facebook/openapi, MIT), Twilio's API of 2010
(github.com/twilio/twilio-oai, MIT; the ``twilio`` package 9.13.0 is made from it), WAHA's own
(as the ``waha-py`` package 2026.9.2, MIT, was made from it) and Evolution's 2.1.1
(github.com/EvolutionAPI/docs-evolution). All read in November 2026.

Where a description contradicts its own examples or the documentation, it is said here.
"""

from __future__ import annotations

from typing import Any

_TEXT = {"type": "string", "minLength": 1}
_URL = {"type": "string", "pattern": "^https?://"}


def closed(required: list[str], **properties: Any) -> dict[str, Any]:
    """Describe an object that has these properties and no others."""
    return {
        "type": "object",
        "additionalProperties": False,
        "required": required,
        "properties": properties,
    }


_META_MEDIA = closed(["link"], link=_URL, caption=_TEXT)
_META_KINDS = {
    "text": closed(["body"], body={**_TEXT, "maxLength": 4096}, preview_url={"type": "boolean"}),
    "image": _META_MEDIA,
    "video": _META_MEDIA,
    "audio": closed(["link"], link=_URL),
    "document": closed(["link"], link=_URL, caption=_TEXT, filename=_TEXT),
    "template": closed(
        ["name", "language"],
        name=_TEXT,
        # The description requires a policy; its own examples, and the documentation, have none.
        language=closed(["code"], code=_TEXT, policy=_TEXT),
        components={"type": "array"},
    ),
}
META: dict[str, Any] = {
    "oneOf": [
        closed(
            ["messaging_product", "recipient_type", "type", kind],
            messaging_product={"const": "whatsapp"},
            recipient_type={"enum": ["individual", "group"]},
            to=_TEXT,
            recipient=_TEXT,  # younger than the description: documentation, business-scoped ids
            type={"const": kind},
            biz_opaque_callback_data={**_TEXT, "maxLength": 512},  # documentation, statuses
            **{kind: content},
        )
        for kind, content in _META_KINDS.items()
    ]
}
TWILIO = closed(
    ["From", "To"],
    From={"type": "string", "pattern": r"^whatsapp:\+[0-9]+$"},
    To={"type": "string", "pattern": r"^whatsapp:"},
    Body={**_TEXT, "maxLength": 1600},
    MediaUrl=_URL,
    ContentSid={"type": "string", "pattern": "^HX[0-9a-fA-F]{32}$"},
    ContentVariables=_TEXT,
    StatusCallback=_URL,
)
_WAHA_FILE = closed(["mimetype", "url"], mimetype=_TEXT, filename=_TEXT, url=_URL)
_WAHA_CHAT = {"type": "string", "pattern": r"^[0-9]+@(c\.us|lid)$"}
WAHA = {
    "/api/sendText": closed(
        ["session", "chatId", "text"], session=_TEXT, chatId=_WAHA_CHAT, text=_TEXT
    ),
    "/api/sendImage": closed(
        ["session", "chatId", "file"],
        session=_TEXT, chatId=_WAHA_CHAT, file=_WAHA_FILE, caption=_TEXT,
    ),
    "/api/sendVideo": closed(
        ["session", "chatId", "file", "convert"],
        session=_TEXT, chatId=_WAHA_CHAT, file=_WAHA_FILE, caption=_TEXT,
        convert={"type": "boolean"},
    ),
    "/api/sendFile": closed(
        ["session", "chatId", "file"],
        session=_TEXT, chatId=_WAHA_CHAT, file=_WAHA_FILE, caption=_TEXT,
    ),
}  # fmt: skip
_EVOLUTION_NUMBER = {"type": "string", "pattern": "^[0-9]+(@lid)?$"}
EVOLUTION = {
    "sendText": closed(
        ["number", "text"], number=_EVOLUTION_NUMBER, text=_TEXT, linkPreview={"type": "boolean"}
    ),
    # The description requires mimetype, caption and fileName; 2.3.7's own check does not, and
    # finds the type by the address.
    "sendMedia": closed(
        ["number", "mediatype", "media"],
        number=_EVOLUTION_NUMBER,
        mediatype={"enum": ["image", "video", "document", "audio"]},
        media=_URL,
        mimetype=_TEXT,
        caption=_TEXT,
        fileName=_TEXT,
    ),
}
