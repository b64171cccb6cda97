"""Sends by the Evolution API. Source: evolution-api 2.3.7, message controller, August 2026."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from timer_service.messages import SendFailure
from timer_service.providers.file_body import new_mark
from timer_service.providers.json_body import (
    JsonObject,
    as_id,
    as_list,
    as_object,
    as_text,
)
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
    Unclear,
    Uploader,
    class_by_status,
    json_request,
)


class BaileysSender:
    """The ``Sender`` for Baileys behind the Evolution API."""

    takes = Takes(
        "Evolution",
        ids=frozenset({"phone", "lid"}),
        media=frozenset({"image", "video", "document", "audio"}),
    )
    # WhatsApp bans numbers that send like machines.
    pace = Pace(per_s=1, burst=3)
    uploader: Uploader | None = None

    def build(self, message: Outgoing, account: Account) -> GatewayRequest:
        """Make ``POST /message/sendText/{instance}``, or ``sendMedia`` with an address."""
        document: dict[str, Any] = {"number": message.to.phone or f"{message.to.lid}@lid"}
        call, mark = "sendText", new_mark()
        if message.media is not None:
            call = "sendMedia"
            media = {
                "mediatype": message.type,
                "mimetype": message.media.mime_type,
                "caption": message.text,
                "media": mark if message.file else message.media.url,
                "fileName": message.media.file_name,
            }
            document |= {name: value for name, value in media.items() if value}
        else:
            document |= {"text": message.text, "linkPreview": False}
        return json_request(
            account.url(f"/message/{call}/{quote(account.external_id, safe='')}"),
            {"apikey": account.secret("api_key")},
            document,
            message.file,
            mark,
        )

    def read(self, answer: GatewayAnswer) -> SendAnswer:
        """Class by HTTP's status and Evolution's words: nearly all its faults are 400."""
        document = answer.document
        if not document:
            return class_by_status(answer)
        if answer.is_success:
            return Accepted(as_id(as_object(document.get("key")).get("id")))
        if as_text(document.get("code")) == "LICENSE_REQUIRED":
            return Refused(SendFailure.ACCOUNT, answer.status)
        if answer.status == HTTPStatus.NOT_FOUND:
            return Refused(SendFailure.ACCOUNT, answer.status)
        if answer.status == HTTPStatus.BAD_REQUEST:
            return _class_bad_request(document)
        return class_by_status(answer)


SENDER = BaileysSender()


def _class_bad_request(document: JsonObject) -> SendAnswer:
    code = int(HTTPStatus.BAD_REQUEST)
    message = as_object(document.get("response")).get("message")
    said = message if isinstance(message, list) else [message]
    if any(as_object(one).get("exists") is False for one in as_list(said)):
        return Refused(SendFailure.RECIPIENT, code)
    words = " ".join(as_text(one) for one in said).lower()
    if "timed out" in words:
        return Unclear(code)  # Baileys waited in vain for WhatsApp to confirm what it had sent
    if "connection closed" in words:
        return Refused(SendFailure.NOT_CONNECTED, code)
    return Refused(SendFailure.CONTENT, code)
