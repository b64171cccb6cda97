"""Sends by WAHA's HTTP API. Source: waha.devlike.pro, send messages, July 2026."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from timer_service.errors import InvalidInput, MalformedPayload
from timer_service.messages import SendFailure
from timer_service.providers.file_body import new_mark
from timer_service.providers.json_body import as_id, as_object, read_json
from timer_service.providers.sending import (
    Accepted,
    Account,
    GatewayAnswer,
    GatewayRequest,
    Outgoing,
    Pace,
    Refused,
    SendAnswer,
    Uploader,
    class_by_status,
    json_request,
    refuse_template,
)
from timer_service.providers.waha_chat import bare_id

_MEDIA_CALLS = {"image": "sendImage", "video": "sendVideo", "document": "sendFile"}


class WahaSender:
    """The ``Sender`` for WAHA."""

    # WhatsApp bans numbers that send like machines.
    pace = Pace(per_s=1, burst=3)
    has_service_window = False
    uploader: Uploader | None = None

    def check(self, message: Outgoing) -> None:
        """Refuse a business-scoped id, templates, and media WAHA converts only at extra cost."""
        if message.to.phone is None and message.to.lid is None:
            raise InvalidInput("WAHA takes a phone number or a hidden id", field="to")
        refuse_template(message)
        if message.media is not None and message.type not in _MEDIA_CALLS:
            raise InvalidInput("expected image, video or document", field="media.type")

    def build(self, message: Outgoing, account: Account) -> GatewayRequest:
        """Make ``POST /api/sendText``, or what sends a file by its address."""
        document: dict[str, Any] = {"session": account.external_id, "chatId": _chat(message)}
        call, mark = "sendText", new_mark()
        if message.media is not None:
            call = _MEDIA_CALLS[message.type]
            file = {
                "mimetype": message.media.mime_type,
                "filename": message.media.file_name,
                "url": message.media.url,
                "data": mark if message.file else None,
            }
            document["file"] = {name: value for name, value in file.items() if value}
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
            return Accepted(_message_id(answer.body))
        if answer.status == HTTPStatus.UNPROCESSABLE_ENTITY:
            return Refused(SendFailure.NOT_CONNECTED, answer.status, answer.retry_after_s)
        return class_by_status(answer)


SENDER = WahaSender()


def _chat(message: Outgoing) -> str:
    return f"{message.to.phone}@c.us" if message.to.phone else f"{message.to.lid}@lid"


def _message_id(body: bytes) -> str | None:
    """Find the message's id in what an engine answers; None where it is empty or says none."""
    try:
        document = as_object(read_json(body))
    except MalformedPayload:
        return None
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
