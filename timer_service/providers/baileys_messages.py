"""One Baileys message object into one event: a message, or a change of an earlier one.

``baileys`` calls this for every element of ``messages.upsert`` and ``send.message``. It never
raises, whatever the element holds. Source: Baileys 6.7 and 7, Evolution API 2.1 to 2.4, source
code and issues, read August 2026.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from functools import partial

from timer_service.messages import (
    Author,
    ChangeKind,
    ContactIds,
    Direction,
    Event,
    InboundMessage,
    MessageChange,
    OwnMessage,
    Skipped,
)
from timer_service.providers.baileys_changes import change_event, is_change, protocol_change
from timer_service.providers.baileys_chat import (
    customer_of,
    is_from_us,
    is_own_chat,
    skip_reason,
)
from timer_service.providers.json_body import (
    ID_LIMIT,
    JsonObject,
    as_id,
    as_instant,
    as_object,
    as_text,
)
from timer_service.providers.waproto_content import (
    SERVICE_CONTENT,
    find_content,
    quoted_id,
    read_content,
)


def message_event(message: JsonObject, own_numbers: AbstractSet[str], own_author: Author) -> Event:
    """Read one message object (``{"key": …, "pushName": …, "message": …, "messageTimestamp": …}``).

    ``own_author`` is who wrote our own messages of this event: ``bot`` where a program's sends come
    back, ``agent`` where somebody typed on the phone.
    """
    key = as_object(message.get("key"))
    found = _find(message, key)
    contact = customer_of(key, own_numbers)
    reason = _reason_to_skip(key, found, contact, own_numbers)
    message_id = as_id(key.get("id"))
    if reason is not None or found is None or message_id is None:
        return Skipped(reason=reason or "unknown")
    name, body = found[0], as_object(found[1])
    if name in {"protocolMessage", "reactionMessage"}:
        return _change(message, name, body, contact)
    content = read_content(*found, as_object(message.get("message")))
    # Evolution moves the quote out of the content.
    reply_to = quoted_id(body) or quoted_id(message)
    sent_at = as_instant(message.get("messageTimestamp"))
    if is_from_us(key):
        return OwnMessage(
            provider_message_id=message_id,
            contact=contact,
            sent_at=sent_at,
            reply_to=reply_to,
            author=own_author,
            **content.fields(),
        )
    return InboundMessage(
        provider_message_id=message_id,
        contact=contact,
        sent_at=sent_at,
        customer_name=_customer_name(message),
        reply_to=reply_to,
        **content.fields(),
    )


def _find(message: JsonObject, key: JsonObject) -> tuple[str, object] | None:
    found = find_content(message.get("message"))
    if found is None and key.get("isViewOnce") is True:
        return "viewOnceMessage", None  # linked devices never get the content, but it is a turn
    return found


def _reason_to_skip(
    key: JsonObject,
    found: tuple[str, object] | None,
    contact: ContactIds,
    own_numbers: AbstractSet[str],
) -> str | None:
    reason = skip_reason(key)
    if reason is not None:
        return reason
    if found is None:
        return "undecryptable" if key else "unknown"
    name, body = found
    if name in SERVICE_CONTENT or (name == "protocolMessage" and not is_change(as_object(body))):
        return "system"
    if is_own_chat(key, own_numbers) and (is_from_us(key) or not contact.best):
        return "self" if is_from_us(key) else "own_number"
    return None if contact.best else "unknown"


def _change(message: JsonObject, name: str, body: JsonObject, contact: ContactIds) -> Event:
    key = as_object(message.get("key"))
    make = partial(
        MessageChange,
        direction=Direction.OUT if is_from_us(key) else Direction.IN,
        provider_message_id=as_id(key.get("id")),
        at=as_instant(message.get("messageTimestamp")),
        contact=contact,
        customer_name=_customer_name(message),
    )
    if name == "protocolMessage":
        return protocol_change(make, body)
    target = as_object(body.get("key")).get("id")
    return change_event(make, ChangeKind.REACTION, target, as_text(body.get("text"), ID_LIMIT))


def _customer_name(message: JsonObject) -> str | None:
    # On our own messages pushName is our profile's name, or "you" in some language.
    if is_from_us(as_object(message.get("key"))):
        return None
    return as_text(message.get("pushName"), ID_LIMIT) or None
