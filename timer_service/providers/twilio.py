"""Twilio's WhatsApp webhooks: incoming messages and status callbacks into events.

The webhook route calls ``PROVIDER``, and ``account_of`` where the address is shared. Both kinds of
request may come to one address; each holds one message and no time. Proof of origin and the form
are read by the modules named ``twilio_…``. Sending and media are elsewhere.
Source: twilio.com, webhook request and errors, read November 2026.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from timer_service.errors import MalformedPayload
from timer_service.messages import (
    ChangeKind,
    ContactIds,
    Delivery,
    DeliveryStatus,
    Direction,
    Event,
    InboundMessage,
    MessageChange,
    ParsedItem,
    ProviderName,
    Skipped,
)
from timer_service.providers.base import ParseContext, WebhookRequest
from timer_service.providers.json_body import (
    ID_LIMIT,
    JsonObject,
    as_contact_ids,
    as_id,
    as_integer,
    as_object,
    as_text,
    as_uuid,
    read_json,
)
from timer_service.providers.twilio_content import read_content
from timer_service.providers.twilio_form import read_fields
from timer_service.providers.twilio_proof import is_signed

_CHANNEL = "whatsapp:"
_ARRIVING = frozenset({"", "received", "receiving"})
_STATUSES = {
    "accepted": Delivery.PENDING,
    "scheduled": Delivery.PENDING,
    "queued": Delivery.PENDING,
    "sending": Delivery.PENDING,
    "sent": Delivery.SENT,
    "delivered": Delivery.DELIVERED,
    "read": Delivery.READ,
    "failed": Delivery.FAILED,
    "undelivered": Delivery.FAILED,
    "canceled": Delivery.FAILED,
}
# twilio.com, errors and WhatsApp's error code mapping. A code in neither set says nothing to us.
_RETRYABLE = frozenset({20429, 21611, 63017, 63018})
_PERMANENT = frozenset({20003, 21211, 63016, 63021, 63024, 63032})
_LARGEST_CODE = 2**31 - 1
_UNKNOWN = Skipped(reason="unknown")


class Twilio:
    """The ``Provider`` for WhatsApp at Twilio."""

    name = ProviderName.TWILIO
    secret_names = frozenset({"auth_token", "secondary_auth_token"})

    def is_authentic(self, request: WebhookRequest, secrets: Mapping[str, str]) -> bool:
        """Check ``X-Twilio-Signature``, made with the account's auth token.

        Twilio signs with the primary token. The secondary one is held here too, so that nothing is
        refused in the moment it is promoted.
        """
        return is_signed(request, [secrets.get(name) for name in sorted(self.secret_names)])

    def parse(self, request: WebhookRequest, context: ParseContext) -> list[ParsedItem]:
        """Read the one message or status. The account is ``AC…:+15550009999``.

        Raises:
            MalformedPayload: far more fields or escapes than Twilio sends, or JSON that is none.
        """
        fields = read_fields(request)
        account = _account(fields)
        event = _UNKNOWN if account is None else _event(fields, account, context)
        if isinstance(event, DeliveryStatus):
            # Our own id stands in the address that we gave with the message, and is signed with it.
            event = replace(event, message_id=as_uuid(request.query.get("message_id")))
        return [ParsedItem(account=account, event=event)]


PROVIDER = Twilio()


def account_of(request: WebhookRequest) -> str | None:
    """Return the account a request names, ``AC…:+15550009999``, before anything is proven."""
    try:
        return _account(read_fields(request))
    except MalformedPayload:
        return None


def _account(fields: JsonObject) -> str | None:
    """Return AccountSid and our number, as one; a status callback has our number in ``From``."""
    number = _number(fields.get("From" if _is_status(fields) else "To"))
    sid = as_id(fields.get("AccountSid"))
    return as_id(f"{sid}:+{number}") if sid and number else None


def _number(address: object) -> str | None:
    """Return the digits of a WhatsApp address; a number's SMS come to the same webhook."""
    is_whatsapp = as_text(address, ID_LIMIT).startswith(_CHANNEL)
    return as_contact_ids(address).phone if is_whatsapp else None


def _status(fields: JsonObject) -> str:
    return (as_text(fields.get("MessageStatus")) or as_text(fields.get("SmsStatus"))).lower()


def _is_status(fields: JsonObject) -> bool:
    """Tell a status callback from a message; unknown statuses come with ``MessageStatus``."""
    status = _status(fields)
    has_name = bool(fields.get("MessageStatus")) or status in _STATUSES
    return has_name and status not in _ARRIVING


def _event(fields: JsonObject, account: str, context: ParseContext) -> Event:
    found = (as_id(fields.get(name)) for name in ("MessageSid", "SmsMessageSid", "SmsSid"))
    message_id = next(filter(None, found), None)
    if message_id is None:
        return _UNKNOWN
    if _is_status(fields):
        return _status_event(fields, message_id)
    if not as_text(fields.get("From"), ID_LIMIT).startswith(_CHANNEL):
        return _UNKNOWN
    return _message_event(fields, message_id, {account.rpartition("+")[2], context.own_number})


def _message_event(fields: JsonObject, message_id: str, own_numbers: set[str | None]) -> Event:
    profile = _profile(fields)
    contact = _customer(fields, profile)
    if not contact.best:
        return _UNKNOWN
    if contact.phone and contact.phone in own_numbers:
        return Skipped(reason="own_number")
    name = as_text(fields.get("ProfileName"), ID_LIMIT) or as_text(
        profile.get("ProfileName"), ID_LIMIT
    )
    target = as_id(fields.get("OriginalRepliedMessageSid"))
    if as_text(fields.get("MessageType")).lower() == "reaction":
        # Not documented as delivered at all; if it ever is, it must not pass for a message.
        if target is None:
            return _UNKNOWN
        return MessageChange(
            kind=ChangeKind.REACTION,
            direction=Direction.IN,
            target=target,
            text=as_text(fields.get("Body"), ID_LIMIT),
            provider_message_id=message_id,
            contact=contact,
            customer_name=name or None,
        )
    return InboundMessage(
        provider_message_id=message_id,
        contact=contact,
        customer_name=name or None,
        reply_to=target,
        **read_content(fields).fields(),
    )


def _profile(fields: JsonObject) -> JsonObject:
    """Return what ``ChannelMetadata`` knows of the sender: ``{"ProfileName": …, "WaId": …}``.

    It is JSON within a field, and repeats fields of the form, which win.
    """
    try:
        metadata = as_object(read_json(as_text(fields.get("ChannelMetadata")).encode()))
    except MalformedPayload:
        return {}
    return as_object(as_object(metadata.get("data")).get("context"))


def _customer(fields: JsonObject, profile: JsonObject) -> ContactIds:
    """Return the sender's ids. ``From`` comes first: it is what an answer must be sent to.

    ``WaId`` may be written differently (Brazil, Mexico). Without a phone ``From`` holds the
    business-scoped id, with one ``ExternalUserId`` does.
    """
    written = (fields.get("From"), fields.get("WaId"), profile.get("WaId"))
    found = [as_contact_ids(one) for one in (*written, fields.get("ExternalUserId"))]
    return ContactIds(
        phone=next((ids.phone for ids in found if ids.phone), None),
        bsuid=next((ids.bsuid for ids in found if ids.bsuid), None),
    )


def _status_event(fields: JsonObject, message_id: str) -> Event:
    delivery = _STATUSES.get(_status(fields))
    if delivery is None:
        return _UNKNOWN
    contact = as_contact_ids(fields.get("To"))
    code = as_integer(fields.get("ErrorCode"))
    if code is not None and not 0 < code <= _LARGEST_CODE:
        code = None
    return DeliveryStatus(
        provider_message_id=message_id,
        status=delivery,
        contact=contact if contact.best else None,
        error_code=code,
        retryable=_is_retryable(code),
    )


def _is_retryable(code: int | None) -> bool | None:
    """Tell whether sending again can help; None where there is no code or nobody knows."""
    if code in _RETRYABLE:
        return True
    return False if code in _PERMANENT else None
