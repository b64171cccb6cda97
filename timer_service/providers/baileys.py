"""Evolution API, plain Baileys and the bridges people build on it: webhooks into events.

The webhook route calls ``PROVIDER`` and ``event_name_in_path``. This module opens the envelope and
chooses who reads what; the modules named ``baileys_…`` read the elements. Sending is elsewhere.
Source: Evolution API 2.1 to 2.4, Baileys 6.7 and 7, read August 2026.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from timer_service import clock
from timer_service.messages import Author, Event, ParsedItem, ProviderName, Skipped
from timer_service.providers.baileys_changes import (
    deletion_event,
    link_event,
    protocol_event,
    update_event,
)
from timer_service.providers.baileys_connection import CONNECTION_EVENTS, connection_event
from timer_service.providers.baileys_messages import message_event
from timer_service.providers.baileys_proof import bearer_of, has_token, is_evolution_jwt
from timer_service.providers.base import ParseContext, WebhookRequest
from timer_service.providers.json_body import (
    ID_LIMIT,
    JsonObject,
    as_contact_ids,
    as_id,
    as_list,
    as_object,
    as_text,
    read_json,
)

_ACCOUNT_NAMES = ("instance", "session", "sessionId", "tenantId")
_UPSERTS = frozenset(
    {"messages.upsert", "message.upsert", "send.message"}
    | {"message", "messages", "message.received", "messages.received"}  # home-made bridges' names
)
_HISTORY = frozenset(
    {"messages.set", "chats.set", "contacts.set", "messaging.history.set"}
    | {"messaging.history.status"}
)
# Families that say nothing a conversation needs. messages.reaction repeats what messages.upsert
# brought; the error event carries the gateway's global key, one more reason to look away.
_QUIET_FAMILIES = frozenset(
    {"application", "blocklist", "call", "chats", "contacts", "creds", "error", "group", "groups"}
    | {"instance", "labels", "message", "messages", "newsletter", "presence", "typebot"}
)
_EVENT_NAME = re.compile(r"[a-z]+(\.[a-z]+){1,4}")
# A history chunk may bring thousands; what is left out comes again with each customer's messages.
_MOST_LINKS = 500
_API_SEND_TYPE = "append"


class Baileys:
    """The ``Provider`` for Evolution API and everything else built on Baileys."""

    name = ProviderName.BAILEYS
    secret_names = frozenset({"token", "jwt_key"})

    def is_authentic(self, request: WebhookRequest, secrets: Mapping[str, str]) -> bool:
        """Accept the token (path or header) or Evolution's JWT; the body is never signed."""
        by_token = has_token(request, secrets.get("token"))
        by_jwt = is_evolution_jwt(bearer_of(request), secrets.get("jwt_key"), now_s=clock.epoch_s())
        return by_token or by_jwt

    def parse(self, request: WebhookRequest, context: ParseContext) -> list[ParsedItem]:
        """Open the envelope, or the list of envelopes, and read every element.

        Raises:
            MalformedPayload: the body is not JSON, or not an object or list.
        """
        items = [
            ParsedItem(account=envelope.account, event=event)
            for envelope in _envelopes(read_json(request.body), context)
            for event in _events_of(envelope)
        ]
        return items or [ParsedItem(account=None, event=Skipped(reason="unknown"))]


PROVIDER = Baileys()


def event_name_in_path(path_parts: Sequence[str]) -> str | None:
    """Return the event a gateway appended to the webhook's path, or None.

    ``("<token>", "messages-upsert")`` and ``("messages-upsert",)`` give ``messages.upsert``. A part
    alone may be a token, so it must be an event we read.
    """
    if not path_parts:
        return None
    name = _normalise(path_parts[-1])
    if len(path_parts) == 1:
        return name if name in _READERS else None
    return name if _EVENT_NAME.fullmatch(name) else None


@dataclass(frozen=True, slots=True)
class _Envelope:
    """One event and what surrounds it. ``upsert_type`` is Baileys' ``notify`` or ``append``."""

    event: str
    data: object
    account: str | None
    own_numbers: frozenset[str]
    upsert_type: str


def _envelopes(document: object, context: ParseContext) -> Iterator[_Envelope]:
    """Open ``{event?, instance|session|…?, data|payload}``, the bare event, or a list of either."""
    for element in document if isinstance(document, list) else [document]:
        fields = as_object(element)
        data = fields.get("data", fields.get("payload", fields))
        event = _normalise(as_text(fields.get("event"), ID_LIMIT)) or _normalise(
            context.event_name or ""
        )
        # A bare list may mix shapes, so without a name each of its elements is judged alone.
        for part in data if isinstance(data, list) and not event else [data]:
            yield _Envelope(
                event=event or _event_by_shape(as_object(part)),
                data=part,
                account=_account(fields),
                own_numbers=_own_numbers(fields, as_object(part), context),
                upsert_type=as_text(as_object(part).get("type")) or as_text(fields.get("type")),
            )


def _normalise(event: str) -> str:
    """Return an event's name as Evolution writes it: ``MESSAGES_UPSERT`` → ``messages.upsert``."""
    return event.strip().lower().replace("_", ".").replace("-", ".")


def _event_by_shape(data: JsonObject) -> str:
    """Return the event a payload without a name must be, ``""`` if it could be anything."""
    if {"isLatest", "syncType", "chats", "lidPnMappings"} & data.keys():
        return "messaging.history.set"
    for name, event in (
        ("messages", "messages.upsert"),
        ("update", "messages.update"),
        ("keyId", "messages.update"),
        ("reaction", "messages.reaction"),
        ("key", "messages.upsert"),
        ("pn", "lid.mapping.update"),
        ("connection", "connection.update"),
        ("qr", "connection.update"),
        ("qrcode", "qrcode.updated"),
    ):
        if name in data:
            return event
    return ""


def _account(fields: JsonObject) -> str | None:
    for name in _ACCOUNT_NAMES:
        value = fields.get(name)
        account = as_id(as_object(value).get("instanceName") if isinstance(value, dict) else value)
        if account:
            return account
    return None


def _own_numbers(fields: JsonObject, data: JsonObject, context: ParseContext) -> frozenset[str]:
    """Return the numbers that are the business's own, as far as anything tells them.

    ``sender`` is the instance's own address in Evolution's envelope and may be the customer's in
    anybody else's, so it counts only beside Evolution's other fields.
    """
    is_evolution = "instance" in fields and bool({"server_url", "date_time"} & fields.keys())
    known = (
        context.own_number,
        as_contact_ids(fields.get("sender")).phone if is_evolution else None,
        as_contact_ids(data.get("wuid")).phone,
    )
    return frozenset(number for number in known if number)


def _elements(data: object, inner_name: str = "") -> Sequence[object]:
    """Return the elements of a list, of the list or object under ``inner_name``, or the one."""
    inner = as_object(data).get(inner_name)
    elements = inner if isinstance(inner, list | dict) else data
    return elements if isinstance(elements, list) else [elements]


def _events_of(envelope: _Envelope) -> Iterator[Event]:
    read = _READERS.get(envelope.event)
    if read is not None:
        yield from read(envelope)
        return
    is_quiet = envelope.event.partition(".")[0] in _QUIET_FAMILIES
    yield Skipped(reason="system" if is_quiet else "unknown")


def _message_events(envelope: _Envelope) -> Iterator[Event]:
    # An own send coming back is the program's: Evolution says so by the event, Baileys by "append"
    # (which also brings what customers wrote while the socket was away, and is not history).
    is_api_send = envelope.event == "send.message" or envelope.upsert_type == _API_SEND_TYPE
    author = Author.BOT if is_api_send else Author.AGENT
    for element in _elements(envelope.data, "messages"):
        yield message_event(as_object(element), envelope.own_numbers, author)


def _history_events(envelope: _Envelope) -> Iterator[Event]:
    yield Skipped(reason="history")
    for mapping in as_list(as_object(envelope.data).get("lidPnMappings"))[:_MOST_LINKS]:
        yield link_event(as_object(mapping), envelope.own_numbers)


def _connection_events(envelope: _Envelope) -> Iterator[Event]:
    yield connection_event(envelope.event, as_object(envelope.data))


def _each(read: Callable[[JsonObject, AbstractSet[str]], Event]) -> _Reader:
    """Return a reader that applies ``read`` to every element."""

    def read_all(envelope: _Envelope) -> Iterator[Event]:
        for element in _elements(envelope.data):
            yield read(as_object(element), envelope.own_numbers)

    return read_all


_Reader: TypeAlias = Callable[[_Envelope], Iterator[Event]]
_READERS: dict[str, _Reader] = {
    **dict.fromkeys(_UPSERTS, _message_events),
    "messages.update": _each(update_event),
    "messages.edited": _each(partial(protocol_event, is_ours=False)),
    "send.message.update": _each(partial(protocol_event, is_ours=True)),
    "messages.delete": _each(deletion_event),
    "lid.mapping.update": _each(link_event),
    **dict.fromkeys(_HISTORY, _history_events),
    **dict.fromkeys(CONNECTION_EVENTS, _connection_events),
}
