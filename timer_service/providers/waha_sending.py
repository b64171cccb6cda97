"""Sends by WAHA's HTTP API. Source: waha.devlike.pro, send messages, July 2026."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from mimetypes import guess_type
from typing import Any
from urllib.parse import urlsplit

from timer_service.messages import Media, SendFailure
from timer_service.providers.file_body import new_mark
from timer_service.providers.json_body import JsonObject, as_id, as_object
from timer_service.providers.sending import (
    Accepted,
    Account,
    GatewayAnswer,
    GatewayRequest,
    Outgoing,
    Pace,
    Refused,
    SendAnswer,
    Takes,
    Uploader,
    class_by_status,
    json_request,
)
from timer_service.providers.waha_chat import bare_id

# Voice notes WAHA converts only at extra cost.
_MEDIA_CALLS = {"image": "sendImage", "video": "sendVideo", "document": "sendFile"}
_MIME_TYPES = {
    "image": "image/jpeg",
    "video": "video/mp4",
    "document": "application/octet-stream",
}


class WahaSender:
    """The ``Sender`` for WAHA."""

    takes = Takes("WAHA", ids=frozenset({"phone", "lid"}), media=frozenset(_MEDIA_CALLS))
    # WhatsApp bans numbers that send like machines.
    pace = Pace(per_s=1, burst=3)
    uploader: Uploader | None = None

    def build(self, message: Outgoing, account: Account) -> GatewayRequest:
        """Make ``POST /api/sendText``, or what sends a file by its address."""
        document: dict[str, Any] = {"session": account.external_id, "chatId": _chat(message)}
        call, mark = "sendText", new_mark()
        if message.media is not None:
            call = _MEDIA_CALLS[message.type]
            file = {
                "mimetype": message.media.mime_type or _guess_type(message.type, message.media),
                "filename": message.media.file_name,
                "url": message.media.url,
                "data": mark if message.file else None,
            }
            document["file"] = {name: value for name, value in file.items() if value}
            if message.type == "video":
                document["convert"] = False  # WAHA wants to be told, and converts at extra cost
            if message.text:
                document["caption"] = message.text
        else:
            document["text"] = message.text
        # A WAHA may run without a key, on a network of its own.
        key = {"X-Api-Key": account.secret("api_key")} if "api_key" in account.secrets else {}
        return json_request(account.url(f"/api/{call}"), key, document, message.file, mark)

    def read(self, answer: GatewayAnswer) -> SendAnswer:
        """Class by HTTP's status; 422 is a session that does not work at present."""
        if answer.is_success:
            return Accepted(_message_id(answer.document))
        if answer.status == HTTPStatus.UNPROCESSABLE_ENTITY:
            return Refused(SendFailure.NOT_CONNECTED, answer.status, answer.retry_after_s)
        return class_by_status(answer)


SENDER = WahaSender()


def _chat(message: Outgoing) -> str:
    return f"{message.to.phone}@c.us" if message.to.phone else f"{message.to.lid}@lid"


def _guess_type(kind: str, media: Media) -> str:
    """Return a file's type by its name or address, else by its kind: WAHA takes none without."""
    guessed, _ = guess_type(media.file_name or urlsplit(media.url or "").path)
    return guessed or _MIME_TYPES[kind]


def _message_id(document: JsonObject) -> str | None:
    """Find the message's id in what an engine answers; None where it is empty or says none."""
    named = document.get("id")
    nested: Mapping[str, object] = as_object(named)
    candidates = (
        as_object(document.get("key")).get("id"),
        nested.get("id"),
        nested.get("_serialized"),
        named,
    )
    found = next(filter(None, map(as_id, candidates)), None)
    return None if found is None else bare_id(found)
