"""What a provider module must offer. One module per gateway; none imports another.

A provider proves where a request came from on its raw bytes, then turns it into normalised events
(``messages``). It never touches the database, Redis or another tenant's rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from timer_service.messages import ParsedItem, ProviderName


@dataclass(frozen=True, slots=True)
class WebhookRequest:
    """One webhook request as it arrived.

    ``headers`` has lower-case names. ``path_parts`` are what follows the connection id in the
    path (a token, an event name, or both). ``url`` is the public URL that was called, built from
    ``TIMER_PUBLIC_URL``, with its query.
    """

    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    path_parts: tuple[str, ...] = ()
    url: str = ""


@dataclass(frozen=True, slots=True)
class ParseContext:
    """What a parser may know of the connection that was addressed.

    ``own_number`` is the connection's own digits where known: a customer id equal to it is a
    mapping error or a note to self. ``event_name`` is an event named in the path.
    """

    own_number: str | None = None
    event_name: str | None = None


class Provider(Protocol):
    """One gateway. Each provider module has one instance of it, ``PROVIDER``."""

    name: ProviderName
    secret_names: frozenset[str]
    """The names in ``secrets`` that prove origin; at least one of them must be set."""

    def is_authentic(self, request: WebhookRequest, secrets: Mapping[str, str]) -> bool:
        """Tell whether the request was made by somebody who knows one of the secrets.

        Works on the raw bytes, compares in constant time, and never raises: whatever is missing
        or malformed is simply not authentic.
        """
        ...

    def parse(self, request: WebhookRequest, context: ParseContext) -> list[ParsedItem]:
        """Turn the body into events, in the order they stand there.

        Unknown events, types and fields become ``Skipped`` or an ``unsupported`` message; one bad
        element never drops its neighbours.

        Raises:
            MalformedPayload: the body is not JSON, or not an object or list. Nothing else.
        """
        ...
