"""What a provider's payload becomes, and the words those things are described with.

Providers make these, intake reads them. All are plain values: no I/O, no provider's quirks.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar
from uuid import UUID


class ProviderName(StrEnum):
    """Kinds of WhatsApp gateway."""

    META = "meta"
    BAILEYS = "baileys"
    TWILIO = "twilio"
    WAHA = "waha"


class Direction(StrEnum):
    """``in`` from the customer, ``out`` from the business."""

    IN = "in"
    OUT = "out"


class Author(StrEnum):
    """Who wrote a message."""

    CUSTOMER = "customer"
    AGENT = "agent"
    BOT = "bot"
    SYSTEM = "system"


class Delivery(StrEnum):
    """How far an outgoing message got; only ever moves forward, ``failed`` only before delivery.

    ``queued``, ``sending`` and ``unknown`` are of messages this service sends; of an ``unknown``
    one nobody knows whether the gateway took it.
    """

    QUEUED = "queued"
    SENDING = "sending"
    UNKNOWN = "unknown"
    PENDING = "pending"
    SENT = "sent"
    DELIVERED = "delivered"
    READ = "read"
    PLAYED = "played"
    FAILED = "failed"


class SendFailure(StrEnum):
    """Why a message was not sent, in one word for all gateways."""

    RATE = "rate"
    TEMPORARY = "temporary"
    UNREACHABLE = "unreachable"
    NOT_CONNECTED = "not_connected"
    WINDOW_CLOSED = "window_closed"
    RECIPIENT = "recipient"
    CONTENT = "content"
    UNWANTED = "unwanted"
    AUTH = "auth"
    ACCOUNT = "account"
    NO_CREDENTIALS = "no_credentials"
    CONNECTION_GONE = "connection_gone"
    GIVEN_UP = "given_up"
    OTHER = "other"


class SessionState(StrEnum):
    """``open`` until closed; closed is final."""

    OPEN = "open"
    CLOSED = "closed"


class CloseReason(StrEnum):
    """Why a session ended."""

    IDLE = "idle"
    COMPLETED = "completed"
    RECOVERED = "recovered"
    REPLACED = "replaced"


class SummarizerChoice(StrEnum):
    """Which summarizer to use; ``auto`` takes ``openai`` where a model is configured."""

    AUTO = "auto"
    OPENAI = "openai"
    EXTRACTIVE = "extractive"


class SummaryStatus(StrEnum):
    """Where a closed session's summary stands."""

    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"


WORKER_DIED = "worker_died"
"""The reason of a failed summary that killed its workers: it is parked, not tried again."""


class TouchOn(StrEnum):
    """Which messages move a business's deadlines."""

    CUSTOMER = "customer"
    ANY = "any"


class Role(StrEnum):
    """What a caller may do, least first; each may what those before it may.

    Keys have the first three. A person may administer a business, its users too. The admin key
    belongs to no business and stands above them all.
    """

    VIEWER = "viewer"
    AGENT = "agent"
    MANAGER = "manager"
    BUSINESS_ADMIN = "business_admin"
    ADMIN = "admin"


KEY_ROLES = (Role.VIEWER, Role.AGENT, Role.MANAGER)
"""The roles an API key may have."""


class MemberRole(StrEnum):
    """What a person is in a business; its ``admin`` is `Role.BUSINESS_ADMIN`."""

    VIEWER = "viewer"
    AGENT = "agent"
    MANAGER = "manager"
    ADMIN = "admin"

    @property
    def role(self) -> Role:
        """What somebody who is this may do."""
        return Role.BUSINESS_ADMIN if self is MemberRole.ADMIN else Role(self.value)


@dataclass(frozen=True, slots=True)
class ContactIds:
    """The ids one WhatsApp customer is known by; at least one is set.

    ``phone`` is digits without ``+`` exactly as the provider sent them (``972500000001``), ``lid``
    the digits of a hidden id (``111111111111111``), ``bsuid`` a business-scoped user id
    (``IL.10000000000000000001``). Source: providers' wire formats, August 2026.
    """

    phone: str | None = None
    lid: str | None = None
    bsuid: str | None = None

    @property
    def best(self) -> str:
        """The id to show and to store with a session: digits, else ``lid:…``, else ``bsuid:…``."""
        if self.phone:
            return self.phone
        if self.lid:
            return f"lid:{self.lid}"
        return f"bsuid:{self.bsuid}" if self.bsuid else ""

    def pairs(self) -> list[tuple[str, str]]:
        """Return the set ids as ``(kind, value)``, best first."""
        found = (("phone", self.phone), ("lid", self.lid), ("bsuid", self.bsuid))
        return [(kind, value) for kind, value in found if value]

    @classmethod
    def parse(cls, text: str) -> ContactIds:
        """Read an id as people and older clients write it.

        Takes ``972500000001``, ``+972 50-000-0001``, ``whatsapp:+972…``, ``972…@s.whatsapp.net``,
        ``972…@c.us``, ``111@lid``, ``lid:111``, ``bsuid:IL.1…`` and ``IL.1…``.

        Raises:
            ValueError: none of these.
        """
        text = text.strip().removeprefix("whatsapp:")
        if text.startswith("lid:") and _DIGITS.fullmatch(text[4:]):
            return cls(lid=text[4:])
        if text.startswith("bsuid:") and _BSUID.fullmatch(text[6:]):
            return cls(bsuid=text[6:])
        if _BSUID.fullmatch(text):
            return cls(bsuid=text)
        user, at, server = text.partition("@")
        if at:
            user = user.partition(":")[0].partition("_")[0]
            if _DIGITS.fullmatch(user):
                if server in {"s.whatsapp.net", "c.us", "hosted"}:
                    return cls(phone=user)
                if server in {"lid", "hosted.lid"}:
                    return cls(lid=user)
            raise ValueError("an id with @ must end in @s.whatsapp.net, @c.us or @lid")
        digits = _PHONE_PUNCTUATION.sub("", text)
        if _DIGITS.fullmatch(digits):
            return cls(phone=digits)
        raise ValueError("expected a phone number, an id ending in @lid, or bsuid:…")


_BSUID = re.compile(r"[A-Z]{2}(\.ENT)?\.[A-Za-z0-9]{1,128}")
_DIGITS = re.compile(r"[0-9]{4,20}")
_PHONE_PUNCTUATION = re.compile(r"[\s+().-]")


@dataclass(frozen=True, slots=True)
class Media:
    """A reference to media; the bytes stay with the provider until somebody asks for them."""

    mime_type: str | None = None
    file_name: str | None = None
    size_bytes: int | None = None
    provider_media_id: str | None = None
    url: str | None = None
    sha256: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return what is known, as stored with the message."""
        names = ("mime_type", "file_name", "size_bytes", "provider_media_id", "url", "sha256")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatMessage:
    """What inbound and own messages share.

    ``type`` is ``text``, ``image``, ``video``, ``document``, ``audio``, ``voice``, ``sticker``,
    ``location``, ``contacts``, ``button_reply``, ``list_reply``, ``order``, ``system``,
    ``media`` (of a kind the gateway does not tell) or ``unsupported``. ``text`` is ``""`` when
    there is none. ``sent_at`` is the provider's time, None where it gives none. ``payload`` is a
    button's or list row's id. ``extra`` keeps small structured content (a location, an order) as
    plain JSON.
    """

    direction: ClassVar[Direction]

    provider_message_id: str
    contact: ContactIds
    type: str = "text"
    text: str = ""
    sent_at: datetime | None = None
    customer_name: str | None = None
    media: Media | None = None
    reply_to: str | None = None
    payload: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class InboundMessage(ChatMessage):
    """A customer's message."""

    direction: ClassVar[Direction] = Direction.IN

    @property
    def author(self) -> Author:
        """Always the customer."""
        return Author.CUSTOMER


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnMessage(ChatMessage):
    """A message of the business: typed on its phone (agent) or sent by a program (bot).

    ``status`` is how far it had got when it was reported. ``id`` is given where this service is to
    send it.
    """

    direction: ClassVar[Direction] = Direction.OUT

    author: Author = Author.AGENT
    status: Delivery = Delivery.SENT
    id: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryStatus:
    """A status of a message the business sent.

    ``message_id`` is our own id of it, where the gateway carried it along.
    """

    provider_message_id: str
    status: Delivery
    at: datetime | None = None
    contact: ContactIds | None = None
    error_code: int | None = None
    retryable: bool | None = None
    message_id: UUID | None = None


class ChangeKind(StrEnum):
    """What can happen to a message that was already there."""

    EDIT = "edit"
    REVOKE = "revoke"
    REACTION = "reaction"


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageChange:
    """An edit, a revocation or a reaction: it changes ``target`` and never touches the session.

    ``text`` is the new text, or the reaction's emoji (``""`` removes it). ``direction`` is the side
    it comes from; None, never of a reaction: the gateway does not tell, so it is the side that
    wrote ``target``.
    """

    kind: ChangeKind
    direction: Direction | None
    target: str
    text: str = ""
    provider_message_id: str | None = None
    at: datetime | None = None
    contact: ContactIds | None = None
    customer_name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityLink:
    """Two or more ids that turned out to be one customer.

    ``former`` are the ids that a customer had before, where they changed their number.
    """

    contact: ContactIds
    former: ContactIds = ContactIds()


class ConnectionState(StrEnum):
    """What a gateway says of a connection."""

    NEW = "new"
    CONNECTING = "connecting"
    WAITING_QR = "waiting_qr"
    ACTION_REQUIRED = "action_required"
    CONNECTED = "connected"
    STOPPED = "stopped"
    LOGGED_OUT = "logged_out"
    FAILED = "failed"
    REMOVED = "removed"


class StatusReason(StrEnum):
    """Why a connection is as it is, or what was found wrong with it; `status_reasons` has words."""

    # What a gateway tells of the link to WhatsApp.
    QR_TO_SCAN = "qr_to_scan"
    QR_NOT_SCANNED = "qr_not_scanned"
    PASSKEY = "passkey"
    STOPPED = "stopped"
    NOT_LINKED = "not_linked"
    UNLINKED = "unlinked"
    TEMPORARILY_BANNED = "temporarily_banned"
    NUMBER_REFUSED = "number_refused"
    OUTDATED = "outdated"
    MULTI_DEVICE = "multi_device"
    CONNECTION_LOST = "connection_lost"
    REPLACED = "replaced"
    LINK_DAMAGED = "link_damaged"
    WHATSAPP_UNAVAILABLE = "whatsapp_unavailable"
    RESTART_REQUIRED = "restart_required"
    LINK_FAILED = "link_failed"
    # What stands between us and the gateway.
    UNREACHABLE = "unreachable"
    NO_ANSWER = "no_answer"
    KEY_REFUSED = "key_refused"
    NOT_THERE = "not_there"
    LICENCE = "licence"
    RATE_LIMITED = "rate_limited"
    REDIRECTED = "redirected"
    GATEWAY_FAULT = "gateway_fault"
    GATEWAY_REFUSED = "gateway_refused"
    NOT_UNDERSTOOD = "not_understood"
    WORKER_DIED = "worker_died"
    SECRET_MISSING = "secret_missing"  # noqa: S105 - a word, no secret
    # What a check finds.
    TOKEN_INVALID = "token_invalid"  # noqa: S105 - a word, no secret
    TOKEN_EXPIRED = "token_expired"  # noqa: S105 - a word, no secret
    PERMISSION_MISSING = "permission_missing"
    NUMBER_UNKNOWN = "number_unknown"
    NUMBER_NOT_REGISTERED = "number_not_registered"
    NAME_NOT_APPROVED = "name_not_approved"
    QUALITY_LOW = "quality_low"
    SENDING_LIMITED = "sending_limited"
    SENDING_BLOCKED = "sending_blocked"
    APP_NOT_SUBSCRIBED = "app_not_subscribed"
    ACCOUNT_SUSPENDED = "account_suspended"
    ACCOUNT_CLOSED = "account_closed"
    SENDER_UNKNOWN = "sender_unknown"
    SENDER_OFFLINE = "sender_offline"
    WEBHOOK_NOT_SET = "webhook_not_set"
    WEBHOOK_ELSEWHERE = "webhook_elsewhere"
    NOT_CHECKED = "not_checked"


class PullStatus(StrEnum):
    """How far a pull of a gateway's contacts got."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionUpdate:
    """A change of a connection's own state; ``own_number`` is its digits where told."""

    state: ConnectionState
    own_number: str | None = None
    reason: StatusReason | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """Understood and of no interest: counted by ``reason``, answered 2xx.

    ``reason`` is one of ``group``, ``status_broadcast``, ``broadcast``, ``newsletter``,
    ``history``, ``self``, ``undecryptable``, ``system``, ``unknown``, ``own_number``.
    """

    reason: str


Event = (
    InboundMessage
    | OwnMessage
    | DeliveryStatus
    | MessageChange
    | IdentityLink
    | ConnectionUpdate
    | Skipped
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedItem:
    """One event and the account it names.

    ``account`` is the connection's ``external_id`` as the payload states it (Meta's
    ``phone_number_id``, Evolution's ``instance``), None where the payload names none.
    """

    account: str | None
    event: Event
