"""Builds the webhooks real gateways send, and proves their origin the way they do.

`story` and `traffic` post what these make. Two gateways: Meta's Cloud API with its number shared by
the Business app (an agent's answers come as echoes), and Evolution API 2.4 (an agent's answers
come as ``fromMe``). It sends nothing itself, and knows nothing of our own parsers.
Source: developers.facebook.com and Evolution API's source code, read August 2026.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

import phonenumbers

from timer_service.demo.conversations import Person, Turn
from timer_service.messages import ProviderName

META_NAME = "Café Carmel, Haifa"
META_NUMBER = "972500009999"
EVOLUTION_NAME = "Kopi Carmel, Jakarta"
EVOLUTION_NUMBER = "628110009999"

_MIME_TYPES = {
    "image": "image/jpeg",
    "video": "video/mp4",
    "voice": "audio/ogg; codecs=opus",
    "document": "application/pdf",
    "sticker": "image/webp",
}
_WITH_CAPTION = frozenset({"image", "video", "document"})


@dataclass(frozen=True, slots=True)
class Webhook:
    """One request as the gateway would make it; ``message_id`` is None where it brings none."""

    message_id: str | None
    body: bytes
    headers: Mapping[str, str]


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
        """What proves origin, as the connection must know it."""
        ...

    def webhook(self, person: Person, turn: Turn, sent_at: datetime) -> Webhook:
        """Build the request that reports one message of a conversation with ``person``."""
        ...

    def linked_webhook(self, at: datetime) -> Webhook | None:
        """Build the request that reports the number as linked, if this kind of gateway does so."""
        ...


def demo_gateways(secret: bytes) -> dict[ProviderName, Gateway]:
    """Make the demo's two gateways; the same secret makes the same ids and secrets again."""

    def derive(what: str) -> str:
        return hmac.new(secret, f"demo {what}".encode(), hashlib.sha256).hexdigest()

    meta = MetaNumber(
        phone_number_id=f"1{int(derive('phone number'), 16) % 10**14:014d}",
        business_account_id=f"2{int(derive('business account'), 16) % 10**14:014d}",
        app_secret=derive("app secret")[:32],
        verify_token=derive("verify token")[:32],
    )
    evolution = EvolutionInstance(
        instance=f"kopi-carmel-{derive('instance')[:6]}", token=derive("token")[:40]
    )
    return {meta.provider: meta, evolution.provider: evolution}


@dataclass(frozen=True, slots=True)
class MetaNumber:
    """A number at Meta's Cloud API; the body is signed with the app's secret."""

    phone_number_id: str
    business_account_id: str
    app_secret: str = field(repr=False)
    verify_token: str = field(repr=False)
    provider: ProviderName = ProviderName.META
    name: str = META_NAME

    @property
    def external_id(self) -> str:
        """The ``phone_number_id``."""
        return self.phone_number_id

    @property
    def secrets(self) -> Mapping[str, str]:
        """The app's secret, and the token of the subscription check."""
        return {"app_secret": self.app_secret, "verify_token": self.verify_token}

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
        number = {"display_phone_number": META_NUMBER, "phone_number_id": self.phone_number_id}
        value = {
            "messaging_product": "whatsapp",
            "metadata": number,
            "contacts": [profile],
            list_name: [message],
        }
        entry = {
            "id": self.business_account_id,
            "changes": [{"value": value, "field": field_name}],
        }
        body = _encode({"object": "whatsapp_business_account", "entry": [entry]})
        signature = hmac.new(self.app_secret.encode(), body, hashlib.sha256).hexdigest()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "facebookexternalua",
            "X-Hub-Signature-256": f"sha256={signature}",
        }
        return Webhook(message_id, body, headers)

    def linked_webhook(self, at: datetime) -> None:  # noqa: ARG002 - the protocol's signature
        """Return None: Meta says nothing of the kind."""
        return


@dataclass(frozen=True, slots=True)
class EvolutionInstance:
    """An Evolution API instance; nothing is signed, the token stands in the webhook's path."""

    instance: str
    token: str = field(repr=False)
    provider: ProviderName = ProviderName.BAILEYS
    name: str = EVOLUTION_NAME

    @property
    def external_id(self) -> str:
        """The instance's name."""
        return self.instance

    @property
    def secrets(self) -> Mapping[str, str]:
        """The token the service puts into the webhook's address."""
        return {"token": self.token}

    def webhook(self, person: Person, turn: Turn, sent_at: datetime) -> Webhook:
        """Build a ``messages.upsert``; an agent typing on the phone is ``fromMe``."""
        is_customers = turn.is_customers
        message_id = (
            f"AC{secrets.token_hex(15)}" if is_customers else f"3A{secrets.token_hex(9)}"
        ).upper()
        content_name, content = _evolution_content(turn)
        data = {
            "key": {
                "remoteJid": f"{person.phone}@s.whatsapp.net",
                "remoteJidAlt": f"{_hidden_id(person.phone)}@lid",
                "fromMe": not is_customers,
                "id": message_id,
                "participant": "",
                "addressingMode": "pn",
            },
            "pushName": person.name if is_customers else EVOLUTION_NAME,
            "status": "DELIVERY_ACK" if is_customers else "SERVER_ACK",
            "message": {content_name: content},
            "messageType": content_name,
            "messageTimestamp": int(sent_at.timestamp()),
            "instanceId": "00000000-0000-4000-8000-000000000001",
            "source": "android" if is_customers else "ios",
        }
        return self._webhook("messages.upsert", data, sent_at, message_id)

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
        body = _encode(
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


def _encode(document: Mapping[str, Any]) -> bytes:
    # ASCII only, as Meta does it: the signature is over lower-case \u escapes.
    return json.dumps(document, separators=(",", ":")).encode("ascii")


def _digest(phone: str) -> int:
    return int.from_bytes(hashlib.sha256(phone.encode()).digest()[:8], "big")


def _business_scoped_id(phone: str) -> str:
    """Return ``IL.1…``: country, dot, digits; the same for the same phone."""
    code = phonenumbers.parse(f"+{phone}").country_code or 0
    return f"{phonenumbers.region_code_for_country_code(code)}.1{_digest(phone):020d}"


def _hidden_id(phone: str) -> str:
    return f"1{_digest(phone) % 10**14:014d}"


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
        "mime_type": _MIME_TYPES[turn.type],
        "sha256": b64encode(secrets.token_bytes(32)).decode("ascii"),
        "id": f"3{secrets.randbelow(10**15):015d}",
    }
    if turn.text and turn.type in _WITH_CAPTION:
        media["caption"] = turn.text
    if turn.type == "voice":
        media["voice"] = True
    if turn.type == "document":
        media["filename"] = "document.pdf"
    return {"type": kind, kind: media}


def _evolution_content(turn: Turn) -> tuple[str, Any]:
    if turn.type == "text":
        return "conversation", turn.text
    name = "audioMessage" if turn.type == "voice" else f"{turn.type}Message"
    media: dict[str, Any] = {
        "url": "https://mmg.whatsapp.net/v/t62.7118-24/demo.enc",
        "mimetype": _MIME_TYPES[turn.type],
        "fileLength": {"low": 86517, "high": 0, "unsigned": True},
    }
    if turn.text and turn.type in _WITH_CAPTION:
        media["caption"] = turn.text
    if turn.type == "voice":
        media |= {"seconds": 5, "ptt": True}
    if turn.type == "document":
        media["fileName"] = "document.pdf"
    return name, media
