"""An instance of Evolution API 2.4: an agent's answers come as ``fromMe``.

`gateways` makes it. Source: Evolution API's source code, read August 2026.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self
from urllib.parse import unquote

from timer_service.demo.conversations import Person, Turn
from timer_service.demo.gateway import (
    MIME_TYPES,
    WITH_CAPTION,
    Refusal,
    Sent,
    Webhook,
    encode,
    hidden_id,
    json_reply,
    read_object,
)
from timer_service.demo.loopback_server import Reply, Request
from timer_service.messages import Delivery, ProviderName

EVOLUTION_NAME = "Kopi Carmel, Jakarta"
EVOLUTION_NUMBER = "628110009999"
_INSTANCE_ID = "00000000-0000-4000-8000-000000000001"
_STATUSES = {
    Delivery.PENDING: "PENDING",
    Delivery.SENT: "SERVER_ACK",
    Delivery.DELIVERED: "DELIVERY_ACK",
    Delivery.READ: "READ",
    Delivery.PLAYED: "PLAYED",
    Delivery.FAILED: "ERROR",
}
_SEND = re.compile(r"/message/send[A-Za-z]+/(?P<instance>[^/]+)")


@dataclass(frozen=True, slots=True)
class EvolutionInstance:
    """An Evolution API instance; nothing is signed, the token stands in the webhook's path."""

    instance: str
    token: str = field(repr=False)
    api_key: str = field(repr=False)
    provider: ProviderName = ProviderName.BAILEYS
    name: str = EVOLUTION_NAME

    @property
    def external_id(self) -> str:
        """The instance's name."""
        return self.instance

    @property
    def secrets(self) -> Mapping[str, str]:
        """The token the service puts into the webhook's address, and the instance's own key."""
        return {"token": self.token, "api_key": self.api_key}

    @property
    def credential(self) -> str:
        """The instance's key."""
        return self.api_key

    def at(self, webhook_url: str) -> Self:  # noqa: ARG002 - the protocol's
        """Return the same: the address is not signed."""
        return self

    def webhook(self, person: Person, turn: Turn, sent_at: datetime) -> Webhook:
        """Build a ``messages.upsert``; an agent typing on the phone is ``fromMe``."""
        is_customers = turn.is_customers
        message_id = (
            f"AC{secrets.token_hex(15)}" if is_customers else f"3A{secrets.token_hex(9)}"
        ).upper()
        content_name, content = _evolution_content(turn)
        data = {
            **_message(person.phone, message_id, sent_at, is_ours=not is_customers),
            "pushName": person.name if is_customers else EVOLUTION_NAME,
            "status": "DELIVERY_ACK" if is_customers else "SERVER_ACK",
            "message": {content_name: content},
            "messageType": content_name,
            "source": "android" if is_customers else "ios",
        }
        return self._webhook("messages.upsert", data, sent_at, message_id)

    def echo_webhook(self, sent: Sent, at: datetime) -> Webhook:
        """Build the ``send.message`` that brings back what the API was given."""
        data = {
            **_message(sent.to, sent.message_id, at, is_ours=True),
            "pushName": EVOLUTION_NAME,
            "status": "PENDING",
            "message": {"conversation": sent.text},
            "messageType": "conversation",
            "source": "web",
        }
        return self._webhook("send.message", data, at, sent.message_id)

    def status_webhook(self, sent: Sent, status: Delivery, at: datetime) -> Webhook:
        """Build a ``messages.update``; its ``messageId`` is Evolution's own row's id."""
        data = {
            "keyId": sent.message_id,
            "remoteJid": _jid(sent.to),
            "fromMe": True,
            "status": _STATUSES[status],
            "instanceId": _INSTANCE_ID,
            "messageId": f"cm{secrets.token_hex(11)}",
        }
        return self._webhook("messages.update", data, at, None)

    def linked_webhook(self, at: datetime) -> Webhook:
        """Build the ``connection.update`` of a phone that has just been linked."""
        data = {
            "instance": self.instance,
            "wuid": f"{EVOLUTION_NUMBER}@s.whatsapp.net",
            "profileName": EVOLUTION_NAME,
            "profilePictureUrl": None,
            "state": "open",
            "statusReason": 200,
        }
        return self._webhook("connection.update", data, at, None)

    def _webhook(
        self, event: str, data: Mapping[str, Any], at: datetime, message_id: str | None
    ) -> Webhook:
        date_time = at.astimezone(UTC).isoformat(timespec="milliseconds")
        body = encode(
            {
                "event": event,
                "instance": self.instance,
                "data": data,
                "destination": "",
                "date_time": date_time.replace("+00:00", "Z"),
                "sender": f"{EVOLUTION_NUMBER}@s.whatsapp.net",
                "server_url": "http://localhost:8080",
                "apikey": None,
            }
        )
        headers = {"Content-Type": "application/json", "User-Agent": "axios/1.7.9"}
        return Webhook(message_id, body, headers)

    @staticmethod
    def read_send(request: Request) -> Sent | None:
        """Read ``POST /message/sendText/{instance}``, or what sends media."""
        found = _SEND.fullmatch(request.path)
        if found is None:
            return None
        document = read_object(request.body)
        return Sent(
            account=unquote(found["instance"]),
            to=str(document.get("number", "")),
            text=str(document.get("text") or document.get("caption") or ""),
            message_id=f"3EB0{secrets.token_hex(9).upper()}",
            credential=request.headers.get("apikey", ""),
        )

    @staticmethod
    def answer_other(request: Request) -> None:  # noqa: ARG004 - the protocol's
        """Return None: a message needs nothing before it."""
        return

    @staticmethod
    def accepted(sent: Sent) -> Reply:
        """Answer 201 with the message."""
        key = {"remoteJid": _jid(sent.to), "fromMe": True, "id": sent.message_id}
        message = {"conversation": sent.text}
        return json_reply(201, {"key": key, "status": "PENDING", "message": message})

    @staticmethod
    def refused(why: Refusal) -> Reply:
        """Answer as Evolution does; it has no limit of its own, a proxy before it may."""
        status, words = {
            Refusal.AUTH: (401, "Unauthorized"),
            Refusal.RATE: (429, "Too Many Requests"),
        }[why]
        document = {"status": status, "error": words, "response": {"message": words}}
        return json_reply(status, document)


def _jid(number: str) -> str:
    return number if "@" in number else f"{number}@s.whatsapp.net"


def _message(number: str, message_id: str, at: datetime, *, is_ours: bool) -> dict[str, Any]:
    """Return what every message says of itself; 2.4 names the hidden id beside the phone."""
    return {
        "key": {
            "remoteJid": _jid(number),
            "remoteJidAlt": f"{hidden_id(number)}@lid",
            "fromMe": is_ours,
            "id": message_id,
            "participant": "",
            "addressingMode": "pn",
        },
        "messageTimestamp": int(at.timestamp()),
        "instanceId": _INSTANCE_ID,
    }


def _evolution_content(turn: Turn) -> tuple[str, Any]:
    if turn.type == "text":
        return "conversation", turn.text
    name = "audioMessage" if turn.type == "voice" else f"{turn.type}Message"
    media: dict[str, Any] = {
        "url": "https://mmg.whatsapp.net/v/t62.7118-24/demo.enc",
        "mimetype": MIME_TYPES[turn.type],
        "fileLength": {"low": 86517, "high": 0, "unsigned": True},
    }
    if turn.text and turn.type in WITH_CAPTION:
        media["caption"] = turn.text
    if turn.type == "voice":
        media |= {"seconds": 5, "ptt": True}
    if turn.type == "document":
        media["fileName"] = "document.pdf"
    return name, media
