"""What happens to Baileys messages later: statuses, edits, revocations, identities that meet.

``baileys`` calls the ``…_event`` functions with one element each, ``baileys_messages`` the others.
None raises, whatever the element holds. Source: Baileys 6.7 and 7, Evolution API 2.1 to 2.4,
source code and issues, read August 2026.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from functools import partial

from timer_service.messages import (
    ChangeKind,
    ContactIds,
    Delivery,
    DeliveryStatus,
    Direction,
    Event,
    IdentityLink,
    MessageChange,
    Skipped,
)
from timer_service.providers.baileys_chat import (
    customer_of,
    is_from_us,
    is_own_chat,
    skip_reason,
)
from timer_service.providers.content import UNSUPPORTED
from timer_service.providers.json_body import (
    JsonObject,
    as_contact_ids,
    as_id,
    as_instant,
    as_object,
    as_text,
)
from timer_service.providers.waproto_content import find_content, read_content

_UNKNOWN = Skipped(reason="unknown")
_SYSTEM = Skipped(reason="system")
# By name (Evolution) and by number (WebMessageInfo.Status). DELETED is left out on purpose:
# Evolution 2.3.5 and 2.3.6 write it where they know nothing.
_STATUSES = {
    "ERROR": Delivery.FAILED,
    "PENDING": Delivery.PENDING,
    "SERVER_ACK": Delivery.SENT,
    "DELIVERY_ACK": Delivery.DELIVERED,
    "READ": Delivery.READ,
    "PLAYED": Delivery.PLAYED,
    "0": Delivery.FAILED,
    "1": Delivery.PENDING,
    "2": Delivery.SENT,
    "3": Delivery.DELIVERED,
    "4": Delivery.READ,
    "5": Delivery.PLAYED,
}
_PROTOCOL_KINDS = {
    "0": ChangeKind.REVOKE,
    "REVOKE": ChangeKind.REVOKE,
    "14": ChangeKind.EDIT,
    "MESSAGE_EDIT": ChangeKind.EDIT,
}


def update_event(element: JsonObject, own_numbers: AbstractSet[str]) -> Event:
    """Read one ``messages.update`` element: a status, an edit or a revocation.

    Evolution's is flat (``{"keyId": …, "remoteJid": …, "status": "READ"}``; its ``messageId`` is
    its own row's id), Baileys' is ``{"key": …, "update": {"status": 3}}``.
    """
    key = as_object(element.get("key")) or element
    update = as_object(element.get("update")) or element
    reason = skip_reason(key)
    if reason is not None:
        return Skipped(reason=reason)
    if "message" in update:
        return _content_update(key, update, own_numbers)
    if key.get("fromMe") is False:
        return _SYSTEM  # how far we have read their message
    status = update.get("status")
    delivery = _STATUSES.get(str(status) if type(status) is int else as_text(status).upper())
    message_id = as_id(element.get("keyId") or key.get("id"))
    if message_id is None or delivery is None:
        return _UNKNOWN
    contact = customer_of(key, own_numbers)
    return DeliveryStatus(
        provider_message_id=message_id,
        status=delivery,
        contact=contact if contact.best else None,
    )


def protocol_event(protocol: JsonObject, own_numbers: AbstractSet[str], *, is_ours: bool) -> Event:
    """Read a bare ``protocolMessage``, which Evolution sends as ``messages.edited`` whatever it is.

    Its key is written from its author's side (Evolution issues 1367 and 1647): when a customer
    edits, ``fromMe`` is true and ``remoteJid`` is our own address. ``is_ours`` says that the event
    itself is about our own messages.
    """
    key = as_object(protocol.get("key"))
    reason = skip_reason(key)
    if reason is not None:
        return Skipped(reason=reason)
    direction = Direction.OUT if is_ours else _side_of(key, own_numbers)
    is_customers_chat = direction is Direction.OUT or not is_from_us(key)
    contact = customer_of(key, own_numbers) if is_customers_chat else ContactIds()
    return protocol_change(_change_maker(contact, direction, protocol.get("timestampMs")), protocol)


def deletion_event(element: JsonObject, own_numbers: AbstractSet[str]) -> Event:
    """Read one ``messages.delete``: the deleted message's key, by itself or under ``key``.

    Baileys' own event of that name (``{"keys": […]}``, ``{"jid": …, "all": true}``) only says that
    our phone tidied up, and is skipped.
    """
    key = as_object(element.get("key")) or element
    reason = "system" if {"keys", "all"} & element.keys() else skip_reason(key)
    if reason is not None:
        return Skipped(reason=reason)
    make = _change_maker(customer_of(key, own_numbers), _direction_of(key), None)
    return change_event(make, ChangeKind.REVOKE, key.get("id"), "")


def link_event(mapping: JsonObject, own_numbers: AbstractSet[str]) -> Event:
    """Read one LID to phone mapping: ``{"lid": "111@lid", "pn": "972…@s.whatsapp.net"}``."""
    lid = as_contact_ids(mapping.get("lid")).lid
    phone = as_contact_ids(mapping.get("pn")).phone
    if lid is None or phone is None:
        return _UNKNOWN
    if phone in own_numbers:
        return Skipped(reason="own_number")
    return IdentityLink(contact=ContactIds(phone=phone, lid=lid))


def is_change(protocol: JsonObject) -> bool:
    """Tell an edit or a revocation from the many other things a ``protocolMessage`` can be."""
    return _protocol_kind(protocol) is not None


def protocol_change(make: partial[MessageChange], protocol: JsonObject) -> Event:
    """Turn a ``protocolMessage`` (``{"key": {"id": …}, "type": 14, …}``) into its change."""
    kind = _protocol_kind(protocol)
    target = as_object(protocol.get("key")).get("id")
    if kind is None:
        return _SYSTEM
    if kind is ChangeKind.EDIT:
        return _edit(make, target, protocol.get("editedMessage"))
    return change_event(make, kind, target, "")


def change_event(
    make: partial[MessageChange], kind: ChangeKind, target: object, text: str
) -> Event:
    """Complete a change with its target; ``Skipped`` where that is no usable id."""
    target_id = as_id(target)
    return _UNKNOWN if target_id is None else make(kind=kind, target=target_id, text=text)


def _content_update(key: JsonObject, update: JsonObject, own_numbers: AbstractSet[str]) -> Event:
    """Read an update that has a ``message``: null revokes, ``editedMessage`` edits."""
    make = _change_maker(
        customer_of(key, own_numbers), _direction_of(key), update.get("messageTimestamp")
    )
    message = update["message"]
    if message is None:
        return change_event(make, ChangeKind.REVOKE, key.get("id"), "")
    if "editedMessage" not in as_object(message):
        return _SYSTEM
    found = find_content(message)
    if found is not None and found[0] == "protocolMessage":
        return protocol_change(make, as_object(found[1]))
    return _edit(make, key.get("id"), message)


def _edit(make: partial[MessageChange], target: object, message: object) -> Event:
    found = find_content(message)
    content = read_content(*found, as_object(message)) if found else UNSUPPORTED
    if content.type == "unsupported":
        return _UNKNOWN  # an edit we cannot read must not blank the text
    return change_event(make, ChangeKind.EDIT, target, content.text)


def _protocol_kind(protocol: JsonObject) -> ChangeKind | None:
    kind = protocol.get("type")
    name = str(kind) if type(kind) is int else as_text(kind)
    if not name and protocol.get("editedMessage"):
        return ChangeKind.EDIT
    return _PROTOCOL_KINDS.get(name)


def _side_of(key: JsonObject, own_numbers: AbstractSet[str]) -> Direction | None:
    """Return which side wrote a key; None where its hidden id (LID) may be theirs or ours.

    Such a change goes to its target whoever wrote that: a forged key could name either side anyway.
    """
    if not is_from_us(key) or is_own_chat(key, own_numbers):
        return Direction.IN
    alternative = as_contact_ids(key.get("remoteJidAlt")).phone
    if alternative in own_numbers:
        return Direction.IN
    is_hidden = as_contact_ids(key.get("remoteJid")).lid is not None
    is_told = alternative is not None and bool(own_numbers)
    return None if is_hidden and not is_told else Direction.OUT


def _direction_of(key: JsonObject) -> Direction:
    return Direction.OUT if is_from_us(key) else Direction.IN


def _change_maker(
    contact: ContactIds, direction: Direction | None, at: object
) -> partial[MessageChange]:
    return partial(
        MessageChange,
        direction=direction,
        at=as_instant(at),
        contact=contact if contact.best else None,
    )
