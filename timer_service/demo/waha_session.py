"""A session of WAHA, engine NOWEB: an agent's answers and its own sends come back.

`gateways` makes it. Source: waha.devlike.pro, events and send messages, read August 2026.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

from timer_service.demo.conversations import Person, Turn
from timer_service.demo.gateway import (
    MIME_TYPES,
    Refusal,
    Sent,
    Webhook,
    encode,
    json_reply,
    read_object,
)
from timer_service.demo.loopback_server import Reply, Request
from timer_service.messages import Delivery, ProviderName

WAHA_NAME = "Carmel Roastery"
WAHA_NUMBER = "972500009998"
_SEND = re.compile(r"/api/send[A-Za-z]+")
_ACKS = {
    Delivery.PENDING: (0, "PENDING"),
    Delivery.SENT: (1, "SERVER"),
    Delivery.DELIVERED: (2, "DEVICE"),
    Delivery.READ: (3, "READ"),
    Delivery.PLAYED: (4, "PLAYED"),
    Delivery.FAILED: (-1, "ERROR"),
}
_REFUSALS = {Refusal.AUTH: (401, "Unauthorized"), Refusal.RATE: (429, "Too Many Requests")}


@dataclass(frozen=True, slots=True)
class WahaSession:
    """A session; the body is signed with the key its webhook was set up with."""

    session: str
    hmac_key: str = field(repr=False)
    api_key: str = field(repr=False)
    provider: ProviderName = ProviderName.WAHA
    name: str = WAHA_NAME

    @property
    def external_id(self) -> str:
        """The session's name."""
        return self.session

    @property
    def secrets(self) -> Mapping[str, str]:
        """The key that signs, and the server's own."""
        return {"hmac_key": self.hmac_key, "api_key": self.api_key}

    @property
    def credential(self) -> str:
        """The server's key."""
        return self.api_key

    def at(self, webhook_url: str) -> Self:  # noqa: ARG002 - the protocol's
        """Return the same: the address is not signed."""
        return self

    def webhook(self, person: Person, turn: Turn, sent_at: datetime) -> Webhook:
        """Build a ``message.any``; what an agent types on the phone is ``fromMe``."""
        is_ours = not turn.is_customers
        bare_id = f"{'3A' if is_ours else 'AC'}{secrets.token_hex(15)}".upper()
        payload = {
            **_payload(person.phone, bare_id, sent_at, is_ours=is_ours),
            "source": "app",
            "body": turn.text,
            "hasMedia": turn.type != "text",
            "_data": {} if is_ours else {"pushName": person.name},
        }
        if turn.type != "text":
            url = f"http://localhost:3000/api/files/{self.session}/{bare_id}"
            payload["media"] = {"url": url, "mimetype": MIME_TYPES[turn.type]}
            if turn.type == "document":
                payload["media"]["filename"] = "document.pdf"
        return self._webhook("message.any", payload, sent_at, bare_id)

    def linked_webhook(self, at: datetime) -> Webhook:
        """Build the ``session.status`` of a phone that has just been linked."""
        payload = {"name": self.session, "status": "WORKING"}
        return self._webhook("session.status", payload, at, None)

    def echo_webhook(self, sent: Sent, at: datetime) -> Webhook:
        """Build the ``message.any`` that brings back what the API was given."""
        payload = {
            **_payload(sent.to, sent.message_id, at, is_ours=True),
            "source": "api",
            "body": sent.text,
            "hasMedia": False,
            "ack": 0,
            "ackName": "PENDING",
        }
        return self._webhook("message.any", payload, at, sent.message_id)

    def status_webhook(self, sent: Sent, status: Delivery, at: datetime) -> Webhook:
        """Build a ``message.ack``."""
        number, name = _ACKS[status]
        told = _payload(sent.to, sent.message_id, at, is_ours=True)
        payload = {**told, "participant": None, "ack": number, "ackName": name}
        return self._webhook("message.ack", payload, at, None)

    def _webhook(
        self, event: str, payload: Mapping[str, Any], at: datetime, message_id: str | None
    ) -> Webhook:
        body = encode(
            {
                "id": f"evt_{secrets.token_hex(13)}",
                "timestamp": int(at.timestamp() * 1000),
                "event": event,
                "session": self.session,
                "me": {"id": f"{WAHA_NUMBER}@c.us", "pushName": self.name},
                "payload": payload,
                "engine": "NOWEB",
                "environment": {"version": "2026.7.1", "engine": "NOWEB", "tier": "CORE"},
            }
        )
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "WAHA/2026.7.1",
            "X-Webhook-Request-Id": secrets.token_hex(13),
            "X-Webhook-Timestamp": str(int(at.timestamp() * 1000)),
            "X-Webhook-Hmac": hmac.new(self.hmac_key.encode(), body, hashlib.sha512).hexdigest(),
            "X-Webhook-Hmac-Algorithm": "sha512",
        }
        return Webhook(message_id, body, headers)

    @staticmethod
    def read_send(request: Request) -> Sent | None:
        """Read ``POST /api/sendText``, or what sends a file."""
        if _SEND.fullmatch(request.path) is None:
            return None
        document = read_object(request.body)
        return Sent(
            account=str(document.get("session", "")),
            to=str(document.get("chatId", "")).removesuffix("@c.us"),
            text=str(document.get("text") or document.get("caption") or ""),
            message_id=f"3EB0{secrets.token_hex(9).upper()}",
            credential=request.headers.get("x-api-key", ""),
        )

    @staticmethod
    def answer_other(request: Request) -> None:  # noqa: ARG004 - the protocol's
        """Return None: a message needs nothing before it."""
        return

    @staticmethod
    def accepted(sent: Sent) -> Reply:
        """Answer 201 as the engine NOWEB does."""
        key = {"remoteJid": _jid(sent.to), "fromMe": True, "id": sent.message_id}
        return json_reply(201, {"key": key, "status": "PENDING"})

    @staticmethod
    def refused(why: Refusal) -> Reply:
        """Answer as WAHA does; it has no limit of its own, a proxy before it may."""
        status, words = _REFUSALS[why]
        return json_reply(status, {"message": words, "statusCode": status})


def _jid(number: str) -> str:
    return number if "@" in number else f"{number}@c.us"


def _payload(number: str, bare_id: str, at: datetime, *, is_ours: bool) -> dict[str, Any]:
    """Return what every message says of itself; in NOWEB ``from`` is the chat, whoever wrote."""
    return {
        "id": f"{str(is_ours).lower()}_{_jid(number)}_{bare_id}",
        "timestamp": int(at.timestamp()),
        "from": _jid(number),
        "fromMe": is_ours,
    }
