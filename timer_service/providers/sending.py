"""What a provider's sending module must offer, and how answers of gateways are classed.

One module per gateway has a `Sender`: it makes the request of one message and reads the answer. It
opens no connection: `gateway_http` carries requests, the send job decides what follows. None
of the gateways has an idempotency key, so an answer is one of three: accepted, refused before it
was accepted, or unclear, and what is unclear is never sent again by itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

from timer_service.errors import InvalidInput, TimerServiceError
from timer_service.messages import ContactIds, Media, SendFailure
from timer_service.providers.file_body import FileBody, as_json

REFUSALS_TRIED_AGAIN = frozenset(
    {SendFailure.RATE, SendFailure.TEMPORARY, SendFailure.NOT_CONNECTED, SendFailure.UNREACHABLE}
)


class CannotSend(TimerServiceError):
    """The connection lacks what sending needs; ``failure`` is kept with the message."""

    def __init__(self, failure: SendFailure, message: str) -> None:
        super().__init__(message)
        self.failure = failure


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """A file of ours to be sent; ``address`` is where a gateway may fetch it, for an hour."""

    path: Path
    size_bytes: int
    address: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message to be sent: a text, a template, or media, with the text as its caption.

    Media is at its URL, or it is the ``file``.

    ``template`` is ``{name, language, components?}`` at Meta, ``{content_sid, variables?}`` at
    Twilio.
    """

    message_id: UUID
    to: ContactIds
    text: str = ""
    type: str = "text"
    template: Mapping[str, Any] | None = None
    media: Media | None = None
    file: UploadedFile | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """The connection to send by. ``status_url`` is our webhook, where statuses are to come."""

    external_id: str
    base_url: str
    secrets: Mapping[str, str] = field(repr=False)
    status_url: str = ""

    def secret(self, name: str) -> str:
        """Return a secret that fits an HTTP header.

        Raises:
            CannotSend: it is not set, or fits none.
        """
        value = self.secrets.get(name, "")
        if not value or not (value.isascii() and value.isprintable()):
            raise CannotSend(
                SendFailure.NO_CREDENTIALS, f"expected the secret {name}: add it to the connection"
            )
        return value

    def url(self, path: str, default: str = "") -> str:
        """Return an address at the gateway.

        Raises:
            CannotSend: the connection names no gateway.
        """
        base = self.base_url or default
        if not base:
            raise CannotSend(
                SendFailure.NO_CREDENTIALS, "expected base_url: add it to the connection"
            )
        return f"{base}{path}"


@dataclass(frozen=True, slots=True)
class GatewayRequest:
    """A POST to a gateway."""

    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | FileBody = field(repr=False)


@dataclass(frozen=True, slots=True)
class GatewayAnswer:
    """What a gateway answered; header names are lower-case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    @property
    def is_success(self) -> bool:
        """Whether the gateway took the message."""
        return HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES

    @property
    def retry_after_s(self) -> float | None:
        """What ``Retry-After`` says in seconds; None where it says nothing, or a date."""
        text = self.headers.get("retry-after", "").strip()
        return float(text) if text.isascii() and text.isdigit() and len(text) < 7 else None  # noqa: PLR2004 - days


@dataclass(frozen=True, slots=True)
class Accepted:
    """The gateway took the message; WAHA may not tell its id, which then comes with the echo."""

    provider_message_id: str | None


@dataclass(frozen=True, slots=True)
class Refused:
    """The gateway said no before it took the message. ``code`` is its own, else HTTP's."""

    failure: SendFailure
    code: int | None = None
    retry_after_s: float | None = None

    @property
    def is_retryable(self) -> bool:
        """Whether the same message may be taken later."""
        return self.failure in REFUSALS_TRIED_AGAIN


@dataclass(frozen=True, slots=True)
class Unclear:
    """Nobody knows whether the gateway took it: only a status, an echo or a person can tell."""

    code: int | None = None


SendAnswer = Accepted | Refused | Unclear


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a connection may send: ``per_s`` on average, ``burst`` at once."""

    per_s: float
    burst: int


class Uploader(Protocol):
    """How a gateway is handed a file, where that comes before the message."""

    def build(self, message: Outgoing, account: Account) -> GatewayRequest:
        """Make the request.

        Raises:
            CannotSend: the connection lacks an address or a secret.
        """
        ...

    def read(self, answer: GatewayAnswer) -> str | Refused:
        """Return the gateway's id of the file, which `Outgoing.media` is to have then."""
        ...


class Sender(Protocol):
    """How one gateway is sent to."""

    uploader: Uploader | None
    """None where a file travels with its message, or is fetched."""

    pace: Pace
    has_service_window: bool
    """WhatsApp's own API: free texts only within 24 hours of the customer's last message."""

    def check(self, message: Outgoing) -> None:
        """Refuse what this gateway cannot send.

        Raises:
            InvalidInput: naming the field.
        """
        ...

    def build(self, message: Outgoing, account: Account) -> GatewayRequest:
        """Make the request.

        Raises:
            CannotSend: the connection lacks an address or a secret.
        """
        ...

    def read(self, answer: GatewayAnswer) -> SendAnswer:
        """Class an answer, whatever it holds."""
        ...


def json_request(
    url: str,
    headers: Mapping[str, str],
    document: Mapping[str, Any],
    file: UploadedFile | None = None,
    mark: str = "",
) -> GatewayRequest:
    """Make a POST of JSON, in which the file, if any, stands where its mark stands."""
    body: bytes | FileBody
    if file is None:
        body = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    else:
        body = as_json(document, file.path, file.size_bytes, mark)
    return GatewayRequest(url, {**headers, "Content-Type": "application/json"}, body)


def class_by_status(answer: GatewayAnswer) -> SendAnswer:
    """Class what is no success by HTTP's status alone.

    503 and 429 are said before anything is done; of other 5xx nobody knows how far it got.
    """
    if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
        return Refused(SendFailure.RATE, answer.status, answer.retry_after_s)
    if answer.status == HTTPStatus.SERVICE_UNAVAILABLE:
        return Refused(SendFailure.TEMPORARY, answer.status, answer.retry_after_s)
    if answer.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return Refused(SendFailure.AUTH, answer.status)
    if HTTPStatus.MULTIPLE_CHOICES <= answer.status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return Refused(SendFailure.OTHER, answer.status)
    return Unclear(answer.status)


def refuse_template(message: Outgoing) -> None:
    """Refuse a template where the gateway has none.

    Raises:
        InvalidInput: it is one.
    """
    if message.template is not None:
        raise InvalidInput("this gateway has no templates: send text", field="template")
