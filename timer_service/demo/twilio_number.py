"""A WhatsApp number at Twilio: nothing comes back but statuses, which are asked for by message.

`gateways` makes it. Source: twilio.com, messaging webhooks and message resource, November 2026.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Self
from urllib.parse import parse_qsl, urlencode

from timer_service.demo.conversations import Person, Turn
from timer_service.demo.gateway import MIME_TYPES, Refusal, Sent, Webhook, json_reply
from timer_service.demo.loopback_server import Reply, Request
from timer_service.messages import Delivery, ProviderName

TWILIO_NAME = "Carmel Coffee, London"
TWILIO_NUMBER = "447700900999"
_SEND = re.compile(r"/2010-04-01/Accounts/(?P<sid>[^/]+)/Messages\.json")
_FORM = "application/x-www-form-urlencoded"
_STATUSES = {Delivery.PENDING: "queued", Delivery.FAILED: "undelivered"}
"""Where Twilio's word is another than ours."""
_REFUSALS = {Refusal.AUTH: (401, 20003, "Authenticate"), Refusal.RATE: (429, 20429, "Too Many")}


@dataclass(frozen=True, slots=True)
class TwilioNumber:
    """A number of an account; each request is signed over its address and fields."""

    account_sid: str
    auth_token: str = field(repr=False)
    webhook_url: str = ""
    provider: ProviderName = ProviderName.TWILIO
    name: str = TWILIO_NAME

    @property
    def external_id(self) -> str:
        """The account and the number, as one."""
        return f"{self.account_sid}:+{TWILIO_NUMBER}"

    @property
    def secrets(self) -> Mapping[str, str]:
        """The token that signs, and that sends."""
        return {"auth_token": self.auth_token}

    @property
    def credential(self) -> str:
        """The same token."""
        return self.auth_token

    def at(self, webhook_url: str) -> Self:
        """Return the same with its webhooks going there; the address is signed."""
        return replace(self, webhook_url=webhook_url)

    def webhook(self, person: Person, turn: Turn, sent_at: datetime) -> Webhook:  # noqa: ARG002 - Twilio says no time
        """Build the form of a customer's message.

        Raises:
            ValueError: an agent wrote it; nobody can answer from a phone here.
        """
        if not turn.is_customers:
            raise ValueError("at Twilio an agent answers through the API")
        message_id = _new_sid()
        fields = {
            "MessageSid": message_id,
            "SmsSid": message_id,
            "AccountSid": self.account_sid,
            "From": f"whatsapp:+{person.phone}",
            "To": f"whatsapp:+{TWILIO_NUMBER}",
            "WaId": person.phone,
            "ProfileName": person.name,
            "Body": turn.text,
            "NumMedia": "0",
            "SmsStatus": "received",
            "ApiVersion": "2010-04-01",
        }
        if turn.type != "text":
            mime_type, _, _ = MIME_TYPES[turn.type].partition(";")
            media_url = f"https://api.twilio.com/2010-04-01/Accounts/{self.account_sid}/Media/1"
            fields |= {"NumMedia": "1", "MediaContentType0": mime_type, "MediaUrl0": media_url}
        return self._signed(fields, self.webhook_url, message_id)

    def linked_webhook(self, at: datetime) -> None:  # noqa: ARG002 - the protocol's
        """Return None: Twilio says nothing of the kind."""
        return

    def echo_webhook(self, sent: Sent, at: datetime) -> None:  # noqa: ARG002 - the protocol's
        """Return None: what the API is given does not come back."""
        return

    def status_webhook(self, sent: Sent, status: Delivery, at: datetime) -> Webhook:  # noqa: ARG002 - Twilio says no time
        """Build the form that goes to the address the message named."""
        word = _STATUSES.get(status, status.value)
        fields = {
            "MessageSid": sent.message_id,
            "SmsSid": sent.message_id,
            "MessageStatus": word,
            "SmsStatus": word,
            "AccountSid": self.account_sid,
            "From": f"whatsapp:+{TWILIO_NUMBER}",
            "To": f"whatsapp:+{sent.to}",
            "ChannelPrefix": "whatsapp",
            "ApiVersion": "2010-04-01",
        }
        if status is Delivery.FAILED:
            fields["ErrorCode"] = "63024"
        return self._signed(fields, sent.status_url or self.webhook_url, None)

    def _signed(self, fields: Mapping[str, str], url: str, message_id: str | None) -> Webhook:
        signed = url + "".join(name + value for name, value in sorted(fields.items()))
        digest = hmac.new(self.auth_token.encode(), signed.encode(), hashlib.sha1).digest()
        headers = {
            "Content-Type": _FORM,
            "User-Agent": "TwilioProxy/1.1",
            "X-Twilio-Signature": b64encode(digest).decode("ascii"),
        }
        return Webhook(message_id, urlencode(fields).encode("ascii"), headers)

    @staticmethod
    def read_send(request: Request) -> Sent | None:
        """Read ``POST /2010-04-01/Accounts/{sid}/Messages.json``."""
        found = _SEND.fullmatch(request.path)
        if found is None:
            return None
        fields = dict(parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True))
        return Sent(
            account=f"{found['sid']}:{fields.get('From', '').removeprefix('whatsapp:')}",
            to=fields.get("To", "").removeprefix("whatsapp:").removeprefix("+"),
            text=fields.get("Body", ""),
            message_id=_new_sid(),
            status_url=fields.get("StatusCallback"),
            credential=_password(request.headers.get("authorization", "")),
        )

    @staticmethod
    def answer_other(request: Request) -> None:  # noqa: ARG004 - the protocol's
        """Return None: a message needs nothing before it."""
        return

    @staticmethod
    def accepted(sent: Sent) -> Reply:
        """Answer 201: queued."""
        sid, _, number = sent.account.partition(":")
        document = {
            "sid": sent.message_id,
            "account_sid": sid,
            "status": "queued",
            "from": f"whatsapp:{number}",
            "to": f"whatsapp:+{sent.to}",
            "body": sent.text,
            "error_code": None,
        }
        return json_reply(201, document)

    @staticmethod
    def refused(why: Refusal) -> Reply:
        """Answer with Twilio's code."""
        status, code, words = _REFUSALS[why]
        return json_reply(status, {"code": code, "message": words, "status": status})


def _new_sid() -> str:
    return f"SM{secrets.token_hex(16)}"


def _password(authorization: str) -> str:
    try:
        login = b64decode(authorization.removeprefix("Basic "), validate=True).decode()
    except ValueError:
        return ""
    return login.partition(":")[2]
