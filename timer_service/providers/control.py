"""What a provider's control module must offer: linking a device, its state, its contacts, checks.

One module per gateway. A `Flow` is a conversation with it without the network: it yields the next
request and is sent the answer, so whole set-ups are plain functions. `gateway_talks` performs
them; `GatewayFailed` says why one ended early.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Protocol, TypeVar
from urllib.parse import quote

from timer_service.errors import GatewayFailed, MalformedPayload
from timer_service.messages import ConnectionUpdate, ContactIds, StatusReason
from timer_service.providers.json_body import JsonObject, as_object, as_text, read_json
from timer_service.providers.sending import Account, GatewayAnswer, GatewayRequest
from timer_service.status_reasons import gateway_failed

T = TypeVar("T")
Flow = Generator[GatewayRequest, GatewayAnswer, T]

LONGEST_QR = 2_048
"""Of a QR code's text: WhatsApp's has some 240 characters, and no QR code holds 3,000."""
CONTACTS_PAGE = 100

_FAULTS = {
    HTTPStatus.UNAUTHORIZED: StatusReason.KEY_REFUSED,
    HTTPStatus.FORBIDDEN: StatusReason.KEY_REFUSED,
    HTTPStatus.NOT_FOUND: StatusReason.NOT_THERE,
    HTTPStatus.TOO_MANY_REQUESTS: StatusReason.RATE_LIMITED,
}


@dataclass(frozen=True, slots=True)
class Hook:
    """Our webhook as a gateway is to call it: its address, and the secret that proves origin.

    ``kind`` is the secret's name: ``token``, ``jwt_key`` or ``hmac_key``.
    """

    url: str
    kind: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class HookSet:
    """What was set up at the gateway; ``has_changed`` is False where it was so already."""

    events: tuple[str, ...]
    retries: Mapping[str, str | int] | None
    has_changed: bool


@dataclass(frozen=True, slots=True)
class QrText:
    """What a QR code says, None where there is none now, and how the connection is."""

    update: ConnectionUpdate | None
    text: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Person:
    """One contact of a gateway's list."""

    ids: ContactIds
    name: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class PeoplePage:
    """A page of contacts; ``skipped`` are groups, lists and ourselves, ``cursor`` the next page."""

    people: tuple[Person, ...]
    skipped: int
    cursor: str | None


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing a check found; with ``is_error`` nothing works until it is mended."""

    reason: StatusReason
    is_error: bool = True


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check found, and what the provider says of the account (``verified_name`` …)."""

    findings: tuple[Finding, ...]
    facts: Mapping[str, str] = field(default_factory=dict)
    update: ConnectionUpdate | None = None
    """How the connection is, where the gateway links a device."""


class Control(Protocol):
    """What every gateway can be asked."""

    def check(self, account: Account, webhook_base: str) -> Flow[Checked]:
        """Find out whether the account works; ``webhook_base`` is how our addresses begin."""
        ...


class DeviceControl(Control, Protocol):
    """A gateway that links a device by QR code."""

    def create(self, account: Account, hook: Hook) -> Flow[ConnectionUpdate]:
        """Make the account at the gateway, with our webhook, and start it; safe to repeat."""
        ...

    def start(self, account: Account) -> Flow[ConnectionUpdate]:
        """Begin to link, or to connect again."""
        ...

    def stop(self, account: Account) -> Flow[ConnectionUpdate]:
        """Stop without losing the link.

        Raises:
            Conflict: the gateway has no such thing.
        """
        ...

    def restart(self, account: Account) -> Flow[ConnectionUpdate]:
        """Connect anew."""
        ...

    def log_out(self, account: Account) -> Flow[ConnectionUpdate]:
        """Unlink the device; the account stays at the gateway."""
        ...

    def remove(self, account: Account) -> Flow[ConnectionUpdate]:
        """Delete the account at the gateway; one that is gone already is no fault."""
        ...

    def ask(self, account: Account) -> Flow[ConnectionUpdate]:
        """Ask how the connection is."""
        ...

    def qr(self, account: Account) -> Flow[QrText]:
        """Ask for the QR code to scan now."""
        ...

    def pairing_code(self, account: Account, phone: str) -> Flow[str]:
        """Ask for a code that links the phone with that number instead of a QR code."""
        ...

    def set_up_webhook(self, account: Account, hook: Hook) -> Flow[HookSet]:
        """Have events sent to us; whatever else is configured stays."""
        ...

    def people(self, account: Account, cursor: str) -> Flow[PeoplePage]:
        """Read a page of the contacts; the first has the cursor ``""``."""
        ...


def fault_of(answer: GatewayAnswer) -> StatusReason:
    """Return what an answer that is no success means, by HTTP's status alone."""
    found = _FAULTS.get(HTTPStatus(answer.status)) if _is_known(answer.status) else None
    if found is not None:
        return found
    if HTTPStatus.MULTIPLE_CHOICES <= answer.status < HTTPStatus.BAD_REQUEST:
        return StatusReason.REDIRECTED
    is_theirs = answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return StatusReason.GATEWAY_FAULT if is_theirs else StatusReason.GATEWAY_REFUSED


def failed(answer: GatewayAnswer) -> GatewayFailed:
    """Make the error of an answer that is no success."""
    return gateway_failed(fault_of(answer))


def document_of(answer: GatewayAnswer) -> object:
    """Read an answer's JSON.

    Raises:
        GatewayFailed: it is none.
    """
    try:
        return read_json(answer.body)
    except MalformedPayload:
        raise gateway_failed(StatusReason.NOT_UNDERSTOOD) from None


def object_of(answer: GatewayAnswer) -> JsonObject:
    """Read an answer's JSON object, empty where the answer is none."""
    try:
        return as_object(read_json(answer.body))
    except MalformedPayload:
        return {}


def qr_text_of(value: object) -> str | None:
    """Return what a QR code says, None where there is none.

    Raises:
        GatewayFailed: it is longer than any.
    """
    text = as_text(value, LONGEST_QR + 1)
    if len(text) > LONGEST_QR:
        raise gateway_failed(StatusReason.NOT_UNDERSTOOD)
    return text or None


def digest_of(ids: Iterable[str]) -> str:
    """Return what tells a page from another, without what stands in it.

    Some versions know no pages and answer the same again and again.
    """
    return hashlib.blake2b("\n".join(ids).encode(), digest_size=8).hexdigest()


def path_part(name: str) -> str:
    """Escape an account's name for a path; dots alone would lead up and out of it."""
    return name.replace(".", "%2E") if not name.strip(".") else quote(name, safe="")


def _is_known(status: int) -> bool:
    try:
        HTTPStatus(status)
    except ValueError:
        return False
    return True
