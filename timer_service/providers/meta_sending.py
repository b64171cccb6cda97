"""Sends by Meta's Cloud API. Source: WhatsApp Cloud API, messages and error codes, August 2026."""

from __future__ import annotations

from typing import Any

from timer_service.file_types import ANYTHING
from timer_service.messages import SendFailure
from timer_service.providers.file_body import as_multipart, boundary_of
from timer_service.providers.json_body import as_id, as_integer, as_list, as_object
from timer_service.providers.sending import (
    Accepted,
    Account,
    CannotSend,
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

VERSION = "v23.0"
BASE_URL = f"https://graph.facebook.com/{VERSION}"
"""A connection's ``base_url`` takes its place, version included."""

_FAILURES = {
    **dict.fromkeys((4, 80007, 130429, 131056), SendFailure.RATE),
    **dict.fromkeys((131048, 131049, 130472, 131050), SendFailure.UNWANTED),
    131047: SendFailure.WINDOW_CLOSED,
    **dict.fromkeys((131026, 131030, 131062), SendFailure.RECIPIENT),
    **dict.fromkeys((131008, 131009, 131051, 131052, 131053), SendFailure.CONTENT),
    **dict.fromkeys((132000, 132001, 132005, 132007, 132012, 132015, 132016), SendFailure.CONTENT),
    **dict.fromkeys((0, 3, 10, 190, *range(200, 300)), SendFailure.AUTH),
    **dict.fromkeys((368, 131031, 131042, 133016), SendFailure.ACCOUNT),
    **dict.fromkeys((131000, 131016, 131057), SendFailure.TEMPORARY),
}
_SERVER_FAULT = 500


class MetaUploader:
    """Hands a file to the Cloud API, which keeps it for 30 days under an id."""

    def build(self, message: Outgoing, account: Account) -> GatewayRequest:
        """Make ``POST /{phone_number_id}/media``, a form."""
        mime_type = (message.media and message.media.mime_type) or ANYTHING
        if message.file is None:
            raise CannotSend(SendFailure.CONTENT, "expected a file to hand over")
        fields = {"messaging_product": "whatsapp", "type": mime_type}
        body = as_multipart(fields, mime_type, message.file.path, message.file.size_bytes)
        headers = {
            "Authorization": f"Bearer {account.secret('access_token')}",
            "Content-Type": f"multipart/form-data; boundary={boundary_of(body)}",
        }
        return GatewayRequest(account.url(f"/{account.external_id}/media", BASE_URL), headers, body)

    def read(self, answer: GatewayAnswer) -> str | Refused:
        """Return the file's id; whatever went wrong, no message was sent."""
        media_id = as_id(answer.document.get("id"))
        if answer.is_success and media_id is not None:
            return media_id
        refused = SENDER.read(answer)
        if isinstance(refused, Refused):
            return refused
        return Refused(SendFailure.TEMPORARY, answer.status)


class MetaSender:
    """The ``Sender`` for the Cloud API."""

    takes = Takes(
        "Meta",
        ids=frozenset({"phone", "bsuid"}),
        media=frozenset({"image", "video", "document", "audio"}),
        longest_text=4096,
        template=("name", "language"),
    )
    uploader: Uploader | None = MetaUploader()
    # 80 a second are allowed per number, 20 where it also lives in the Business app.
    pace = Pace(per_s=20, burst=40)

    def build(self, message: Outgoing, account: Account) -> GatewayRequest:
        """Make ``POST /{phone_number_id}/messages``; our id comes back in every status."""
        to = {"to": message.to.phone} if message.to.phone else {"recipient": message.to.bsuid}
        document = {
            "messaging_product": "whatsapp",
            "recipient_type": "individual",
            **to,
            **_content(message),
            "biz_opaque_callback_data": str(message.message_id),
        }
        return json_request(
            account.url(f"/{account.external_id}/messages", BASE_URL),
            {"Authorization": f"Bearer {account.secret('access_token')}"},
            document,
        )

    def read(self, answer: GatewayAnswer) -> SendAnswer:
        """Class by the error's code: limits come as HTTP 400."""
        document = answer.document
        if answer.is_success:
            found = (as_id(as_object(one).get("id")) for one in as_list(document.get("messages")))
            message_id = next(filter(None, found), None)
            return Unclear(answer.status) if message_id is None else Accepted(message_id)
        code = as_integer(as_object(document.get("error")).get("code"))
        if code is None:
            return class_by_status(answer)
        failure = _FAILURES.get(code)
        if failure is None:
            is_theirs = answer.status >= _SERVER_FAULT
            failure = SendFailure.TEMPORARY if is_theirs else SendFailure.OTHER
        return Refused(failure, code, answer.retry_after_s)


SENDER = MetaSender()


def _content(message: Outgoing) -> dict[str, Any]:
    if message.template is not None:
        template = dict(message.template)
        template["language"] = {"code": template["language"]}
        return {"type": "template", "template": template}
    if message.media is not None:
        media_id = message.media.provider_media_id
        media: dict[str, Any] = {"id": media_id} if media_id else {"link": message.media.url}
        if message.text and message.type != "audio":
            media["caption"] = message.text
        if message.media.file_name and message.type == "document":
            media["filename"] = message.media.file_name
        return {"type": message.type, message.type: media}
    return {"type": "text", "text": {"preview_url": False, "body": message.text}}
