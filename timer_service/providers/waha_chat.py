"""Whose chat a WAHA message belongs to, and what its ids mean.

Called by the ``waha`` parsers. A message's id names its chat: ``true_972…@c.us_3EB0…``. Which other
fields hold the customer's addresses depends on the engine, and in ``_data`` it speaks for itself:
NOWEB as Baileys (``key``), GOWS as whatsmeow (``Info``), WEBJS as WhatsApp Web.
Source: WAHA's documentation, source code and issue 2241, read August 2026.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from timer_service.messages import ContactIds, Direction
from timer_service.providers.json_body import (
    ID_LIMIT,
    JsonObject,
    as_contact_ids,
    as_id,
    as_instant,
    as_object,
    as_text,
    is_true,
)

_FULL_ID = re.compile(r"(?:true_|false_)?([^@\s]+@[^_@\s]+)_([^_@]+)(?:_.*)?")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the envelope says beside the payload.

    ``own`` is the business's own ids as ``(kind, value)``, ``told_at`` when WAHA made the event.
    """

    own: frozenset[tuple[str, str]]
    own_number: str | None
    told_at: datetime | None

    @classmethod
    def read(cls, envelope: JsonObject, known_number: str | None) -> Surroundings:
        """Read ``me`` and ``timestamp``; what the connection knows stands in for the first."""
        me = as_object(envelope.get("me"))
        own_number = as_contact_ids(me.get("id")).phone or known_number
        own = ContactIds(phone=own_number, lid=as_contact_ids(me.get("lid")).lid)
        return cls(frozenset(own.pairs()), own_number, as_instant(envelope.get("timestamp")))

    def at(self, message: JsonObject) -> datetime | None:
        """Return a message's own time, else when it was told."""
        return as_instant(message.get("timestamp")) or self.told_at


def bare_id(value: object) -> str | None:
    """Return WhatsApp's own id of a message, out of WAHA's or by itself; None if it is neither.

    ``true_972…@c.us_3EB0…``, ``false_120…@g.us_AC20…_972…@c.us`` (with a group's participant), the
    same without ``true_``, and ``3EB0…``.
    """
    text = as_id(value)
    found = _FULL_ID.fullmatch(text or "")
    if found:
        return as_id(found[2])
    return text if text and "@" not in text else None


def is_from_us(message: JsonObject) -> bool:
    """Tell whether the business wrote the message; its id's first word is not always there."""
    return is_true(message.get("fromMe"))


def direction_of(message: JsonObject) -> Direction:
    """Return which side the message is from."""
    return Direction.OUT if is_from_us(message) else Direction.IN


def chat_of(message: JsonObject) -> str:
    """Return the JID of a message's chat, ``""`` if nothing names it.

    ``from`` is no help with our own messages: in WEBJS it is us, in NOWEB and GOWS the chat.
    """
    found = _FULL_ID.fullmatch(as_text(message.get("id"), ID_LIMIT))
    data = as_object(message.get("_data"))
    candidates = (
        found[1] if found else None,
        as_object(data.get("key")).get("remoteJid"),
        as_object(data.get("Info")).get("Chat"),
        as_object(data.get("id")).get("remote"),
        message.get("to") if is_from_us(message) else None,
        message.get("from"),
    )
    return next((jid for jid in (as_text(one, ID_LIMIT) for one in candidates) if "@" in jid), "")


def customer_of(message: JsonObject, chat: str, around: Surroundings) -> ContactIds:
    """Return the ids of the customer in a one-to-one chat, empty if only our own are there.

    The first phone and the first LID that are not ours win. In our own messages the sender's other
    address is our own, so only the recipient's counts; NOWEB has one field for both, which there
    counts only if it is a phone known not to be ours.
    """
    data = as_object(message.get("_data"))
    key, info = as_object(data.get("key")), as_object(data.get("Info"))
    jids = [chat]
    if not is_from_us(message):
        jids += _texts(message.get("from"), info.get("SenderAlt"), key.get("remoteJidAlt"))
        jids += _texts(key.get("senderPn"), key.get("senderLid"))
    else:
        jids += _texts(info.get("RecipientAlt"))
        if around.own_number and as_contact_ids(key.get("remoteJidAlt")).phone:
            jids += _texts(key.get("remoteJidAlt"))
    pairs = [pair for jid in jids for pair in as_contact_ids(jid).pairs() if pair not in around.own]
    return ContactIds(
        phone=next((value for kind, value in pairs if kind == "phone"), None),
        lid=next((value for kind, value in pairs if kind == "lid"), None),
    )


def is_own_chat(chat: str, around: Surroundings) -> bool:
    """Tell whether the chat is the business's own: notes to self."""
    return not around.own.isdisjoint(as_contact_ids(chat).pairs())


def _texts(*values: object) -> list[str]:
    return [as_text(value, ID_LIMIT) for value in values]
