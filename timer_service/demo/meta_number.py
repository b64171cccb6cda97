"""A number at Meta's Cloud API, shared by the Business app: an agent's answers come as echoes.

`gateways` makes it. Source: developers.facebook.com, WhatsApp Cloud API, read August 2026.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

import phonenumbers

from timer_service.demo.conversations import Person, Turn
from timer_service.demo.gateway import (
    MIME_TYPES,
    WITH_CAPTION,
    Refusal,
    Sent,
    Webhook,
    digest,
    encode,
    json_reply,
    read_object,
)
from timer_service.demo.loopback_server import Reply, Request
from timer_service.messages import Delivery, ProviderName

META_NAME = "Café Carmel, Haifa"
META_NUMBER = "972500009999"
_SEND = re.compile(r"/(?:v[0-9.]+/)?(?P<number>[^/]+)/messages")
_UPLOAD = re.compile(r"/(?:v[0-9.]+/)?[^/]+/media")
_REFUSALS = {
    Refusal.AUTH: (401, 190, "OAuthException", "Error validating access token"),
    Refusal.RATE: (400, 130429, "OAuthException", "(#130429) Rate limit hit"),
}


@dataclass(frozen=True, slots=True)
class MetaNumber:
    """A number at Meta's Cloud API; the body is signed with the app's secret."""

    phone_number_id: str
    business_account_id: str
    app_secret: str = field(repr=False)
    verify_token: str = field(repr=False)
    access_token: str = field(repr=False)
    provider: ProviderName = ProviderName.META
    name: str = META_NAME

    @property
    def external_id(self) -> str:
        """The ``phone_number_id``."""
        return self.phone_number_id

    @property
    def secrets(self) -> Mapping[str, str]:
        """The app's secret, the token of the subscription check, and the one for sending."""
        return {
            "app_secret": self.app_secret,
            "verify_token": self.verify_token,
            "access_token": self.access_token,
        }

    @property
    def credential(self) -> str:
        """The access token."""
        return self.access_token

    def at(self, webhook_url: str) -> Self:  # noqa: ARG002 - the protocol's
        """Return the same: the address is not signed."""
        return self

    def webhook(self, person: Person, turn: Turn, sent_at: datetime) -> Webhook:
        """Build a ``messages`` change, or for an agent's answer a ``smb_message_echoes`` one."""
        user_id = _business_scoped_id(person.phone)
        message_id = _wamid(person.phone, is_customers=turn.is_customers)
        if turn.is_customers:
            field_name, list_name = "messages", "messages"
            sides = {"from": person.phone, "from_user_id": user_id}
        else:
            field_name, list_name = "smb_message_echoes", "message_echoes"
            sides = {"from": META_NUMBER, "to": person.phone, "to_user_id": user_id}
        message = {
            **sides,
            "id": message_id,
            "timestamp": str(int(sent_at.timestamp())),
            **_meta_content(turn),
        }
        profile = {"profile": {"name": person.name}, "wa_id": person.phone, "user_id": user_id}
        value = {"contacts": [profile], list_name: [message]}
        return self._webhook(field_name, value, message_id)

    def status_webhook(self, sent: Sent, status: Delivery, at: datetime) -> Webhook:
        """Build a ``messages`` change with one of ``statuses``, our id in it."""
        told: dict[str, Any] = {
            "id": sent.message_id,
            "status": status.value,
            "timestamp": str(int(at.timestamp())),
            "recipient_id": sent.to,
        }
        if sent.our_id is not None:
            told["biz_opaque_callback_data"] = sent.our_id
        if status is Delivery.FAILED:
            told["errors"] = [{"code": 131026, "title": "Message undeliverable"}]
        return self._webhook("messages", {"statuses": [told]}, None)

    def echo_webhook(self, sent: Sent, at: datetime) -> None:  # noqa: ARG002 - the protocol's
        """Return None: what the API is given does not come back."""
        return

    def _webhook(
        self, field_name: str, value: Mapping[str, Any], message_id: str | None
    ) -> Webhook:
        number = {"display_phone_number": META_NUMBER, "phone_number_id": self.phone_number_id}
        whole = {"messaging_product": "whatsapp", "metadata": number, **value}
        entry = {
            "id": self.business_account_id,
            "changes": [{"value": whole, "field": field_name}],
        }
        body = encode({"object": "whatsapp_business_account", "entry": [entry]})
        signature = hmac.new(self.app_secret.encode(), body, hashlib.sha256).hexdigest()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "facebookexternalua",
            "X-Hub-Signature-256": f"sha256={signature}",
        }
        return Webhook(message_id, body, headers)

    @staticmethod
    def read_send(request: Request) -> Sent | None:
        """Read ``POST /v23.0/{phone_number_id}/messages``."""
        found = _SEND.fullmatch(request.path)
        if found is None:
            return None
        document = read_object(request.body)
        to = str(document.get("to") or document.get("recipient") or "")
        text = document.get("text")
        return Sent(
            account=found["number"],
            to=to,
            text=str(text.get("body", "")) if isinstance(text, dict) else "",
            message_id=_wamid(to, is_customers=False),
            our_id=document.get("biz_opaque_callback_data"),
            credential=request.headers.get("authorization", "").removeprefix("Bearer "),
        )

    @staticmethod
    def answer_other(request: Request) -> Reply | None:
        """Take a file, ``POST /v23.0/{phone_number_id}/media``, under an id."""
        is_file = request.method == "POST" and _UPLOAD.fullmatch(request.path)
        return json_reply(200, {"id": f"3{secrets.randbelow(10**15):015d}"}) if is_file else None

    @staticmethod
    def accepted(sent: Sent) -> Reply:
        """Answer 200 with the message's id: taken, and not yet delivered."""
        contact = {"input": sent.to, "wa_id": sent.to}
        message = {"id": sent.message_id, "message_status": "accepted"}
        document = {"messaging_product": "whatsapp", "contacts": [contact], "messages": [message]}
        return json_reply(200, document)

    @staticmethod
    def refused(why: Refusal) -> Reply:
        """Answer with Meta's code: a limit is HTTP 400."""
        status, code, kind, words = _REFUSALS[why]
        return json_reply(status, {"error": {"message": words, "type": kind, "code": code}})

    def linked_webhook(self, at: datetime) -> None:  # noqa: ARG002 - the protocol's
        """Return None: Meta says nothing of the kind."""
        return


def _business_scoped_id(phone: str) -> str:
    """Return ``IL.1…``: country, dot, digits; the same for the same phone."""
    code = phonenumbers.parse(f"+{phone}").country_code or 0
    return f"{phonenumbers.region_code_for_country_code(code)}.1{digest(phone):020d}"


def _wamid(phone: str, *, is_customers: bool) -> str:
    """Return an id in WhatsApp's own form: base64 of the customer's number and a random part."""
    number = phone.encode("ascii")
    kind = b"\x12" if is_customers else b"\x11"
    random_part = secrets.token_hex(10).upper().encode("ascii")
    head = b"\x1d\x18" + bytes([len(number)]) + number + b"\x15\x02\x00" + kind
    tail = b"\x18" + bytes([len(random_part)]) + random_part + b"\x00"
    return f"wamid.{b64encode(head + tail).decode('ascii')}"


def _meta_content(turn: Turn) -> dict[str, Any]:
    if turn.type == "text":
        return {"type": "text", "text": {"body": turn.text}}
    kind = "audio" if turn.type == "voice" else turn.type
    media: dict[str, Any] = {
        "mime_type": MIME_TYPES[turn.type],
        "sha256": b64encode(secrets.token_bytes(32)).decode("ascii"),
        "id": f"3{secrets.randbelow(10**15):015d}",
    }
    if turn.text and turn.type in WITH_CAPTION:
        media["caption"] = turn.text
    if turn.type == "voice":
        media["voice"] = True
    if turn.type == "document":
        media["filename"] = "document.pdf"
    return {"type": kind, kind: media}
