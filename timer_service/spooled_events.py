"""How events are written into the spool, and read back: JSON, with a number for its form.

What is in a spool outlives the program that wrote it: a kind's name and its fields may be added to
and never change their meaning. Called by `spool_writer` and `spool_replay`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from timer_service.messages import (
    ConnectionUpdate,
    DeliveryStatus,
    Event,
    IdentityLink,
    InboundMessage,
    MessageChange,
    OwnMessage,
)

FORM = 1

_KINDS: dict[str, type[Any]] = {
    "inbound": InboundMessage,
    "own": OwnMessage,
    "status": DeliveryStatus,
    "change": MessageChange,
    "link": IdentityLink,
    "connection": ConnectionUpdate,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}
_ADAPTERS: dict[str, TypeAdapter[Any]] = {name: TypeAdapter(kind) for name, kind in _KINDS.items()}


class Unreadable(ValueError):
    """What the spool holds is no events this program knows."""


def encode(events: Sequence[Event]) -> str:
    """Write events that are to be recorded; nothing of one is lost."""
    found = [
        [name := _NAMES[type(event)], _ADAPTERS[name].dump_python(event, mode="json")]
        for event in events
    ]
    return json.dumps({"form": FORM, "events": found}, ensure_ascii=False)


def decode(text: str) -> list[Event]:
    """Read events back.

    Raises:
        Unreadable: a newer program wrote it, or something else did.
    """
    try:
        document = json.loads(text)
        if document["form"] != FORM:
            raise Unreadable("the spool holds events in a form of another version")
        return [_ADAPTERS[name].validate_python(fields) for name, fields in document["events"]]
    except (KeyError, TypeError, ValidationError, json.JSONDecodeError) as error:
        # Not chained: pydantic repeats what a customer wrote.
        raise Unreadable(f"events of the spool cannot be read: {type(error).__name__}") from None
