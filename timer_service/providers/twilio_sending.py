"""Sends by Twilio's Messages resource. Source: twilio.com/docs, message resource, August 2026."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote, urlencode

from timer_service.messages import SendFailure
from timer_service.providers.json_body import as_id, as_integer
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
)

BASE_URL = "https://api.twilio.com"

_FAILURES = {
    63016: SendFailure.WINDOW_CLOSED,
    **dict.fromkeys((63018, 63017, 20429, 21611), SendFailure.RATE),
    **dict.fromkeys((63024, 21211), SendFailure.RECIPIENT),
    63021: SendFailure.CONTENT,
    63032: SendFailure.UNWANTED,
    20003: SendFailure.AUTH,
}


class TwilioSender:
    """The ``Sender`` for WhatsApp at Twilio."""

    takes = Takes(
        "Twilio",
        ids=frozenset({"phone", "bsuid"}),
        media=frozenset({"image", "video", "document", "audio"}),
        longest_text=1600,
        template=("content_sid",),
    )
    pace = Pace(per_s=10, burst=20)
    uploader: Uploader | None = None

    def build(self, message: Outgoing, account: Account) -> GatewayRequest:
        """Make the form; statuses come to our webhook, with our id in its query.

        Twilio signs the whole address, query included, and has no field for an id of ours.
        """
        sid, _, number = account.external_id.partition(":")
        fields = {"From": f"whatsapp:{number}", "To": _address(message)}
        if message.template is not None:
            fields["ContentSid"] = message.template["content_sid"]
            if variables := message.template.get("variables"):
                fields["ContentVariables"] = json.dumps(
                    variables, ensure_ascii=False, separators=(",", ":")
                )
        elif message.text:
            fields["Body"] = message.text
        if message.media is not None:
            fields["MediaUrl"] = message.file.address if message.file else message.media.url or ""
        if account.status_url:
            fields["StatusCallback"] = f"{account.status_url}?message_id={message.message_id}"
        login = base64.b64encode(f"{sid}:{account.secret('auth_token')}".encode()).decode()
        path = f"/2010-04-01/Accounts/{quote(sid, safe='')}/Messages.json"
        headers = {
            "Authorization": f"Basic {login}",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        return GatewayRequest(account.url(path, BASE_URL), headers, urlencode(fields).encode())

    def read(self, answer: GatewayAnswer) -> SendAnswer:
        """Class by Twilio's code, in either of the two shapes its errors have."""
        document = answer.document
        if answer.is_success:
            message_id = as_id(document.get("sid"))
            return Unclear(answer.status) if message_id is None else Accepted(message_id)
        by_status = class_by_status(answer)
        code = as_integer(document.get("code"))
        if code is None or (code not in _FAILURES and not isinstance(by_status, Refused)):
            return by_status
        failure = _FAILURES.get(code)
        if failure is None:
            failure = by_status.failure if isinstance(by_status, Refused) else SendFailure.OTHER
        return Refused(failure, code, answer.retry_after_s)


SENDER = TwilioSender()


def _address(message: Outgoing) -> str:
    return f"whatsapp:+{message.to.phone}" if message.to.phone else f"whatsapp:{message.to.bsuid}"
