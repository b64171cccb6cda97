"""What happens to WAHA messages later: how far they got, edits, revocations, reactions.

``waha`` calls the ``…_event`` functions, with the payload of the event each is named for. None
raises, whatever the payload holds. Source: WAHA's documentation, read August 2026.
"""

from __future__ import annotations

from timer_service.messages import (
    ChangeKind,
    Delivery,
    DeliveryStatus,
    Event,
    MessageChange,
    Skipped,
)
from timer_service.providers import chat_jid
from timer_service.providers.json_body import (
    ID_LIMIT,
    JsonObject,
    as_integer,
    as_object,
    as_text,
)
from timer_service.providers.waha_chat import (
    Surroundings,
    bare_id,
    chat_of,
    customer_of,
    direction_of,
    is_from_us,
)

_ACKS = {
    -1: Delivery.FAILED,
    0: Delivery.PENDING,
    1: Delivery.SENT,
    2: Delivery.DELIVERED,
    3: Delivery.READ,
    4: Delivery.PLAYED,
}
_ACK_NAMES = {
    "ERROR": Delivery.FAILED,
    "PENDING": Delivery.PENDING,
    "SERVER": Delivery.SENT,
    "DEVICE": Delivery.DELIVERED,
    "READ": Delivery.READ,
    "PLAYED": Delivery.PLAYED,
}
_UNKNOWN = Skipped(reason="unknown")


def delivery_of(message: JsonObject) -> Delivery | None:
    """Return how far a message got by its ``ack`` or ``ackName``, None where neither tells."""
    number = as_integer(message.get("ack"))
    by_number = None if number is None else _ACKS.get(number)
    return by_number or _ACK_NAMES.get(as_text(message.get("ackName")))


def ack_event(ack: JsonObject, around: Surroundings) -> Event:
    """Read ``message.ack``; of a customer's message it only says how far we have read it."""
    chat = chat_of(ack)
    reason = chat_jid.skip_reason(chat) or (None if is_from_us(ack) else "system")
    if reason is not None:
        return Skipped(reason=reason)
    message_id, delivery = bare_id(ack.get("id")), delivery_of(ack)
    if message_id is None or delivery is None:
        return _UNKNOWN
    contact = customer_of(ack, chat, around)
    return DeliveryStatus(
        provider_message_id=message_id,
        status=delivery,
        at=around.told_at,
        contact=contact if contact.best else None,
    )


def reaction_event(message: JsonObject, around: Surroundings) -> Event:
    """Read ``message.reaction`` (``{"reaction": {"text": "🙏", "messageId": …}}``)."""
    reaction = as_object(message.get("reaction"))
    text = as_text(reaction.get("text"), ID_LIMIT)  # "" takes it back
    return _change(message, ChangeKind.REACTION, reaction.get("messageId"), text, around)


def edit_event(message: JsonObject, around: Surroundings) -> Event:
    """Read ``message.edited``; one that brings no text must not blank what was written."""
    text = as_text(message.get("body"))
    target = message.get("editedMessageId") if text else None
    return _change(message, ChangeKind.EDIT, target, text, around)


def revocation_event(payload: JsonObject, around: Surroundings) -> Event:
    """Read ``message.revoked`` (``{"after": …, "revokedMessageId": …, "before": null}``)."""
    before = as_object(payload.get("before"))
    message = as_object(payload.get("after")) or before
    target = payload.get("revokedMessageId") or before.get("id")
    return _change(message, ChangeKind.REVOKE, target, "", around)


def _change(
    message: JsonObject, kind: ChangeKind, target: object, text: str, around: Surroundings
) -> Event:
    chat = chat_of(message)
    reason = chat_jid.skip_reason(chat)
    if reason is not None:
        return Skipped(reason=reason)
    target_id = bare_id(target)
    if target_id is None:
        return _UNKNOWN
    contact = customer_of(message, chat, around)
    return MessageChange(
        kind=kind,
        direction=direction_of(message),
        target=target_id,
        text=text,
        provider_message_id=bare_id(message.get("id")),
        at=around.at(message),
        contact=contact if contact.best else None,
    )
