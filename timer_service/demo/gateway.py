"""What each of the demo's gateways offers: webhooks as it makes them, an API as it answers.

`gateways` has one of each kind, `gateway_server` lets their APIs be called, `story` and `traffic`
post their webhooks. None sends anything itself, and none knows our own parsers and senders.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol, Self

from timer_service.demo.conversations import Person, Turn
from timer_service.demo.loopback_server import Reply, Request
from timer_service.messages import Delivery, ProviderName

MIME_TYPES = {
    "image": "image/jpeg",
    "video": "video/mp4",
    "voice": "audio/ogg; codecs=opus",
    "document": "application/pdf",
    "sticker": "image/webp",
}
WITH_CAPTION = frozenset({"image", "video", "document"})


@dataclass(frozen=True, slots=True)
class Webhook:
    """One request as the gateway would make it; ``message_id`` is None where it brings none."""

    message_id: str | None
    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Sent:
    """A message as a gateway's API was given it.

    ``to`` is the address as it was written, without what only says its kind (``whatsapp:``, ``+``,
    ``@c.us``); ``our_id`` and ``status_url`` are what the sender wants back with each status.
    """

    account: str
    to: str
    text: str
    message_id: str
    our_id: str | None = None
    status_url: str | None = None
    credential: str = field(default="", repr=False)


class Refusal(StrEnum):
    """Why an API says no."""

    AUTH = "auth"
    RATE = "rate"


class Gateway(Protocol):
    """One linked number at one kind of gateway."""

    @property
    def provider(self) -> ProviderName:
        """Which kind it is."""
        ...

    @property
    def name(self) -> str:
        """What people call the number."""
        ...

    @property
    def external_id(self) -> str:
        """What the gateway calls the number."""
        ...

    @property
    def secrets(self) -> Mapping[str, str]:
        """What proves origin, and what its API asks for, as the connection must know it."""
        ...

    @property
    def credential(self) -> str:
        """What its API must be called with, as `Sent.credential` has it."""
        ...

    def at(self, webhook_url: str) -> Self:
        """Return the same with its webhooks going there: some sign the address."""
        ...

    def webhook(self, person: Person, turn: Turn, sent_at: datetime) -> Webhook:
        """Build the request that reports one message of a conversation with ``person``."""
        ...

    def linked_webhook(self, at: datetime) -> Webhook | None:
        """Build the request that reports the number as linked, if this kind of gateway does so."""
        ...

    def echo_webhook(self, sent: Sent, at: datetime) -> Webhook | None:
        """Build the request that brings back what its own API was given, if it does so."""
        ...

    def status_webhook(self, sent: Sent, status: Delivery, at: datetime) -> Webhook:
        """Build the request that says how far a message got."""
        ...

    @staticmethod
    def read_send(request: Request) -> Sent | None:
        """Read a request to send a message, under a new id; None where it is none of this kind."""
        ...

    @staticmethod
    def answer_other(request: Request) -> Reply | None:
        """Answer what sends nothing and is needed for it; None where it is none of this kind."""
        ...

    @staticmethod
    def accepted(sent: Sent) -> Reply:
        """Answer that a message was taken."""
        ...

    @staticmethod
    def refused(why: Refusal) -> Reply:
        """Answer that it was not."""
        ...


def encode(document: Mapping[str, Any]) -> bytes:
    """Write JSON in ASCII only, as Meta does: the signature is over lower-case escapes."""
    return json.dumps(document, separators=(",", ":")).encode("ascii")


def json_reply(status: int, document: Mapping[str, Any], **headers: str) -> Reply:
    """Answer with JSON."""
    return Reply(status, encode(document), {"Content-Type": "application/json", **headers})


def read_object(body: bytes) -> dict[str, Any]:
    """Return a body's JSON object, empty where it is none."""
    try:
        document = json.loads(body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def digest(phone: str) -> int:
    """Return a number that is a phone's own, the same each time."""
    return int.from_bytes(hashlib.sha256(phone.encode()).digest()[:8], "big")


def hidden_id(phone: str) -> str:
    """Return the digits of a customer's hidden id (LID)."""
    return f"1{digest(phone) % 10**14:014d}"
