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

from timer_service.errors import InvalidInput, MalformedPayload, TimerServiceError
from timer_service.messages import ContactIds, Media, SendFailure
from timer_service.providers.file_body import FileBody, as_json
from timer_service.providers.json_body import JsonObject, as_object, read_json

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
    """A request to a gateway."""

    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | FileBody = field(repr=False)
    method: str = "POST"


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
    def document(self) -> JsonObject:
        """The JSON object it holds; empty where it holds none (a page from somewhere between)."""
        try:
            return as_object(read_json(self.body))
        except MalformedPayload:
            return {}

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


@dataclass(frozen=True, slots=True)
class Takes:
    """What a gateway can be given to send.

    ``ids`` are the kinds of `ContactIds` it finds a customer by, ``template`` what a template has
    to name; without any the gateway has no templates.
    """

    gateway: str
    ids: frozenset[str]
    media: frozenset[str]
    longest_text: int | None = None
    template: tuple[str, ...] = ()

    def check(self, message: Outgoing) -> None:
        """Refuse what this gateway cannot send.

        Raises:
            InvalidInput: naming the field.
        """
        if self.ids.isdisjoint(kind for kind, _ in message.to.pairs()):
            kinds = " or a ".join(_ID_WORDS[kind] for kind in sorted(self.ids, reverse=True))
            raise InvalidInput(f"{self.gateway} takes a {kinds}", field="to")
        if self.longest_text is not None and len(message.text) > self.longest_text:
            raise InvalidInput(
                f"{self.gateway} takes {self.longest_text} characters at most", field="text"
            )
        if message.media is not None and message.type not in self.media:
            kinds = ", ".join(sorted(self.media))
            raise InvalidInput(f"{self.gateway} takes media of type {kinds}", field="media.type")
        if message.template is None:
            return
        if not self.template:
            raise InvalidInput(f"{self.gateway} has no templates: send text", field="template")
        if not all(message.template.get(name) for name in self.template):
            words = " and a ".join(self.template)
            raise InvalidInput(f"at {self.gateway} a template has a {words}", field="template")


_ID_WORDS = {"phone": "phone number", "lid": "hidden id", "bsuid": "business-scoped id"}


class Sender(Protocol):
    """How one gateway is sent to."""

    takes: Takes
    uploader: Uploader | None
    """None where a file travels with its message, or is fetched."""

    pace: Pace

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
    """Class by HTTP's status alone what names no message and no code of the gateway's own.

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
