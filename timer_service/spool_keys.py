"""What must stay in order while some of it waits in a spool, as keys of a webhook's events.

A spooled row holds some keys, and what awaits one of them queues behind it. Called by `spool`. Keys
lie in files that outlive the program: who makes them otherwise must await the former ones too.
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

_STATE = "state"
_KINDS = ("phone", "lid", "bsuid")
_SETS_OF_KINDS = [some for size in (1, 2, 3) for some in combinations(_KINDS, size)]
_OF_KINDS = {kinds: f"kinds {' '.join(kinds)}" for kinds in _SETS_OF_KINDS}
_OF_OTHER_KINDS = {
    kinds: [name for others, name in _OF_KINDS.items() if not {*kinds} & {*others}]
    for kinds in _SETS_OF_KINDS
}


def held_keys(connection_id: ConnectionId, events: Sequence[Event]) -> list[int]:
    """Return what a row of these events is found by: whole numbers of 32 bits, each once.

    Two names that come to one number make somebody queue who need not.
    """
    return _numbers(connection_id, (name for event in events for name in _held(event)))


def awaited_keys(connection_id: ConnectionId, events: Sequence[Event]) -> list[int]:
    """Return what no row that waits may hold, or these events would overtake it."""
    return _numbers(connection_id, (name for event in events for name in _awaited(event)))


def _held(event: Event) -> Iterator[str]:
    match event:
        case InboundMessage():  # a change that overtakes it is kept for it: `early_changes`
            yield from _customer(event.contact)
        case OwnMessage():
            yield from _customer(event.contact)
            yield _message(event.provider_message_id)
        case IdentityLink():
            yield from _customer(event.contact)
            yield from _customer(event.former)
        case DeliveryStatus() | MessageChange():
            yield from _spoken_of(event)
        case ConnectionUpdate():
            yield _STATE


def _awaited(event: Event) -> Iterator[str]:
    match event:
        case InboundMessage() | OwnMessage():
            yield from _same_customer(event.contact)
            yield _STATE  # of a new connection a message says that it works: not before older news
        case IdentityLink():
            yield from _same_customer(event.contact)
            yield from _same_customer(event.former)
        case DeliveryStatus():  # without its message it would be lost
            yield from _spoken_of(event)
        case MessageChange():  # of two edits the later one counts
            yield from _spoken_of(event)
            yield from _same_customer(event.contact)
        case ConnectionUpdate():
            yield _STATE


def _customer(contact: ContactIds) -> Iterator[str]:
    kinds, names = _ids(contact)
    yield from names
    if kinds:
        yield _OF_KINDS[kinds]


def _same_customer(contact: ContactIds | None) -> Iterator[str]:
    """Name whoever may be this customer: who has an id of theirs, or no kind of id that they have.

    That the latter is the same one only Postgres may know. Who has another id of the same kind is
    somebody else; whoever changes theirs is said to by a link that waits like any message.
    """
    kinds, names = _ids(contact or ContactIds())
    yield from names
    if kinds:
        yield from _OF_OTHER_KINDS[kinds]


def _ids(contact: ContactIds) -> tuple[tuple[str, ...], list[str]]:
    ids = contact.pairs()
    return tuple([kind for kind, _ in ids]), [
        f"{kind} {common_form(value) if kind == 'phone' else value}" for kind, value in ids
    ]


def _spoken_of(event: DeliveryStatus | MessageChange) -> Iterator[str]:
    if isinstance(event, MessageChange):
        yield _message(event.target)
        return
    yield _message(event.provider_message_id)
    if event.message_id is not None:  # of those that name it the first may tell the other name
        yield f"sent {event.message_id}"


def _message(provider_message_id: str) -> str:
    return f"message {provider_message_id}"


def _numbers(connection_id: ConnectionId, names: Iterator[str]) -> list[int]:
    salt = connection_id.bytes
    return [
        int.from_bytes(
            # What is no Unicode is for Postgres to refuse, not for us.
            blake2b(name.encode("utf-8", "surrogatepass"), digest_size=4, salt=salt).digest(),
            signed=True,
        )
        for name in dict.fromkeys(names)
    ]
