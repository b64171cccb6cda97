"""What must stay in order while some of it waits in a spool: keys of a webhook's events.

A spooled row holds the keys of its events; whatever comes and asks for one of them queues behind
it. Called by `spool` and `spool_replay`. Keys are in files that outlive the program: how one is
made may not change without all rows before it being waited for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from itertools import combinations

from timer_service.ids import ConnectionId
from timer_service.messages import (
    ConnectionUpdate,
    ContactIds,
    DeliveryStatus,
    Event,
    IdentityLink,
    InboundMessage,
    MessageChange,
    OwnMessage,
)
from timer_service.number_forms import common_form

_KINDS = ("phone", "lid", "bsuid")
_KINDS_SETS = [
    frozenset(some) for size in range(1, len(_KINDS) + 1) for some in combinations(_KINDS, size)
]


def held_keys(connection_id: ConnectionId, events: Sequence[Event]) -> list[int]:
    """Return by what a row of these events is found: 64-bit numbers, each once."""
    return _numbers(connection_id, (name for event in events for name in _held(event)))


def awaited_keys(connection_id: ConnectionId, events: Sequence[Event]) -> list[int]:
    """Return what none may hold that waits, or these events would overtake it."""
    return _numbers(connection_id, (name for event in events for name in _awaited(event)))


def _held(event: Event) -> Iterator[str]:
    match event:
        case InboundMessage() | OwnMessage():
            yield from _chat(event.contact)
            yield _of_kinds(event.contact)
            yield _message(event.provider_message_id)
        case IdentityLink():
            for contact in _linked(event):
                yield from _chat(contact)
                yield _of_kinds(contact)
        case DeliveryStatus() | MessageChange():
            yield from _spoken_of(event)
        case ConnectionUpdate():
            yield _STATE


def _awaited(event: Event) -> Iterator[str]:
    match event:
        case InboundMessage() | OwnMessage():
            yield from _chat(event.contact)
            yield from _of_other_kinds(event.contact)
            yield _STATE  # a message says that the link works; that would be said too early
        case IdentityLink():
            for contact in _linked(event):
                yield from _chat(contact)
                yield from _of_other_kinds(contact)
        case DeliveryStatus() | MessageChange():
            # A status of a message that is not stored is lost, and the later of two edits counts.
            yield from _spoken_of(event)
        case ConnectionUpdate():
            yield _STATE


_STATE = "state"


def _chat(contact: ContactIds) -> Iterator[str]:
    for kind, value in contact.pairs():
        yield f"{kind} {common_form(value) if kind == 'phone' else value}"


def _of_kinds(contact: ContactIds) -> str:
    return _kinds_name(_kinds(contact))


def _of_other_kinds(contact: ContactIds) -> Iterator[str]:
    """Name whoever is known by none of these kinds of id.

    Only Postgres may know that he is the same customer. Who has another id of the same kind is
    somebody else.
    """
    kinds = _kinds(contact)
    return (_kinds_name(others) for others in _KINDS_SETS if kinds.isdisjoint(others))


def _kinds(contact: ContactIds) -> frozenset[str]:
    return frozenset(kind for kind, _ in contact.pairs())


def _kinds_name(kinds: frozenset[str]) -> str:
    return f"kinds {' '.join(sorted(kinds))}"


def _linked(link: IdentityLink) -> list[ContactIds]:
    return [one for one in (link.contact, link.former) if one.pairs()]


def _spoken_of(event: DeliveryStatus | MessageChange) -> Iterator[str]:
    if isinstance(event, MessageChange):
        yield _message(event.target)
        return
    yield _message(event.provider_message_id)
    if event.message_id is not None:
        yield f"sent {event.message_id}"


def _message(provider_message_id: str) -> str:
    return f"message {provider_message_id}"


def _numbers(connection_id: ConnectionId, names: Iterator[str]) -> list[int]:
    of_connection = blake2b(connection_id.bytes, digest_size=8)
    numbers = []
    for name in dict.fromkeys(names):
        digest = of_connection.copy()
        # A name that is no Unicode would be refused by whoever stores it, not here.
        digest.update(name.encode("utf-8", "surrogatepass"))
        numbers.append(int.from_bytes(digest.digest(), signed=True))
    return numbers
