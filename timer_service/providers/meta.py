"""Meta's WhatsApp Business Cloud API: proof of origin, and webhooks into events.

The webhook route calls ``PROVIDER`` and, for Meta's GET check, ``verification_answer``. Sending
and media are elsewhere. Source: developers.facebook.com, WhatsApp webhooks, read August 2026.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

from timer_service.messages import (
    ChangeKind,
    ContactIds,
    Delivery,
    DeliveryStatus,
    Direction,
    Event,
    IdentityLink,
    InboundMessage,
    MessageChange,
    OwnMessage,
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
    as_instant,
    as_integer,
    as_list,
    as_object,
    as_text,
    as_uuid,
    read_json,
)
from timer_service.providers.meta_content import read_content
from timer_service.providers.proof import is_same_secret, keyed_digest

_OBJECT = "whatsapp_business_account"
_CHALLENGE = re.compile(r"[A-Za-z0-9._~-]{1,255}")
_SKIPPED_FIELDS = {"history": "history", "smb_app_state_sync": "system"}
_NUMBER_CHANGES = {"user_changed_number", "customer_changed_number"}
_STATUSES = {
    "sent": Delivery.SENT,
    "delivered": Delivery.DELIVERED,
    "read": Delivery.READ,
    "played": Delivery.PLAYED,
    "failed": Delivery.FAILED,
}
# Meta, Cloud API error codes, read August 2026. A code in neither set is one we know nothing of.
_RETRYABLE = frozenset({4, 80007, 130429, 131000, 131016, 131056, 131057})
_PERMANENT = frozenset(
    {0, 3, 10, 190, *range(200, 300), 368, 130472, 131008, 131009, 131026, 131030, 131031, 131042}
    | {131047, 131048, 131049, 131050, 131051, 131052, 131053, 131062, 132000, 132001, 132005}
    | {132007, 132012, 132015, 132016, 133016}
)
_TARGET_NAMES = {
    ChangeKind.EDIT: "original_message_id",
    ChangeKind.REVOKE: "original_message_id",
    ChangeKind.REACTION: "message_id",
}
_LARGEST_CODE = 2**31 - 1


class Meta:
    """The ``Provider`` for the Cloud API."""

    name = ProviderName.META
    secret_names = frozenset({"app_secret"})

    def is_authentic(self, request: WebhookRequest, secrets: Mapping[str, str]) -> bool:
        """Check ``X-Hub-Signature-256``: ``sha256=`` and HMAC-SHA256(app secret, raw body) in hex.

        The SHA-1 header Meta may add is ignored. The secret is the app's, shared by its numbers.
        """
        digest = keyed_digest(secrets.get("app_secret"), request.body, "sha256")
        return digest is not None and is_same_secret(
            f"sha256={digest.hex()}", request.headers.get("x-hub-signature-256")
        )

    def parse(self, request: WebhookRequest, context: ParseContext) -> list[ParsedItem]:
        """Turn each item of each change of each entry into an event.

        The account is ``metadata.phone_number_id``.

        Raises:
            MalformedPayload: the body is not JSON, or not an object or list.
        """
        document = as_object(read_json(request.body))
        items: list[ParsedItem] = []
        if as_text(document.get("object")) in {_OBJECT, ""}:
            for entry in as_list(document.get("entry")):
                for change in as_list(as_object(entry).get("changes")):
                    items.extend(_items_of(as_object(change), context))
        return items or [ParsedItem(account=None, event=Skipped(reason="unknown"))]


PROVIDER = Meta()


def verification_answer(query: Mapping[str, str], verify_tokens: Iterable[str]) -> str | None:
    """Return the challenge to answer Meta's subscription check with, or None to refuse it (403).

    ``query`` is ``hub.mode=subscribe``, ``hub.challenge`` and ``hub.verify_token``; the token must
    be one of ``verify_tokens``, all of which are compared, in constant time.
    """
    challenge = query.get("hub.challenge", "")
    offered = query.get("hub.verify_token", "")
    matches = [is_same_secret(token, offered) for token in verify_tokens]
    if query.get("hub.mode") != "subscribe" or not _CHALLENGE.fullmatch(challenge):
        return None
    return challenge if any(matches) else None


@dataclass(frozen=True, slots=True)
class _Profiles:
    """A change's ``contacts``, found by id: their order says nothing about the messages'."""

    by_id: Mapping[str, JsonObject] = field(default_factory=dict)

    @classmethod
    def read(cls, value: JsonObject) -> _Profiles:
        found: dict[str, JsonObject] = {}
        for profile in map(as_object, as_list(value.get("contacts"))):
            for name in ("wa_id", "user_id"):
                if key := as_contact_ids(profile.get(name)).best:
                    found[key] = profile
        return cls(found)

    def identify(self, phone: object, user_id: object) -> tuple[ContactIds, str | None]:
        """Return a customer's ids, completed from their profile, and the profile's name.

        Either id may be missing: a user with a username may come without a phone number.
        """
        ids = ContactIds(phone=as_contact_ids(phone).phone, bsuid=as_contact_ids(user_id).bsuid)
        profile = self.by_id.get(ids.phone or "") or self.by_id.get(f"bsuid:{ids.bsuid}", {})
        ids = ContactIds(
            phone=ids.phone or as_contact_ids(profile.get("wa_id")).phone,
            bsuid=ids.bsuid or as_contact_ids(profile.get("user_id")).bsuid,
        )
        return ids, as_text(as_object(profile.get("profile")).get("name"), ID_LIMIT) or None


def _items_of(change: JsonObject, context: ParseContext) -> Iterator[ParsedItem]:
    value = as_object(change.get("value"))
    metadata = as_object(value.get("metadata"))
    account = as_id(metadata.get("phone_number_id"))
    own_number = as_contact_ids(metadata.get("display_phone_number")).phone or context.own_number
    for event in _events_of(as_text(change.get("field")), value, own_number):
        yield ParsedItem(account=account, event=event)


def _events_of(field_name: str, value: JsonObject, own_number: str | None) -> Iterator[Event]:
    # By field first: a history change can hold an array that looks like new messages.
    profiles = _Profiles.read(value)
    if field_name == "messages":
        for message in map(as_object, as_list(value.get("messages"))):
            yield _message_event(message, Direction.IN, profiles, own_number)
        for status in map(as_object, as_list(value.get("statuses"))):
            yield _status_event(status)
        if not as_list(value.get("messages")) and not as_list(value.get("statuses")):
            yield Skipped(reason="system" if value.get("errors") else "unknown")
    elif field_name == "smb_message_echoes":
        for echo in map(as_object, as_list(value.get("message_echoes"))):
            yield _message_event(echo, Direction.OUT, profiles, own_number)
    elif field_name == "user_id_update":
        # One or a list of them: the documents name the fields and show no whole body.
        updates = value.get(field_name)
        for update in updates if isinstance(updates, list) else [updates or value]:
            yield _user_id_event(as_object(update))
    else:
        yield Skipped(reason=_SKIPPED_FIELDS.get(field_name, "unknown"))


def _message_event(
    message: JsonObject, direction: Direction, profiles: _Profiles, own_number: str | None
) -> Event:
    if message.get("group_id"):
        return Skipped(reason="group")
    kind = as_text(message.get("type"))
    if kind == "system":
        return _system_event(message, own_number)
    is_inbound = direction is Direction.IN
    side = "from" if is_inbound else "to"
    contact, name = profiles.identify(message.get(side), message.get(f"{side}_user_id"))
    message_id = as_id(message.get("id"))
    if message_id is None or not contact.best:
        return Skipped(reason="unknown")
    if own_number and contact.phone == own_number:
        return Skipped(reason="own_number" if is_inbound else "self")
    sent_at = as_instant(message.get("timestamp"))
    if kind in _TARGET_NAMES:
        make = partial(
            MessageChange,
            direction=direction,
            provider_message_id=message_id,
            at=sent_at,
            contact=contact,
            customer_name=name,
        )
        return _change_event(make, ChangeKind(kind), as_object(message.get(kind)))
    return (InboundMessage if is_inbound else OwnMessage)(
        provider_message_id=message_id,
        contact=contact,
        sent_at=sent_at,
        customer_name=name,
        reply_to=as_id(as_object(message.get("context")).get("id")),
        **read_content(message).fields(),
    )


def _system_event(message: JsonObject, own_number: str | None) -> Event:
    """Read a change of number: ``from`` the old one, ``system.wa_id`` the new one."""
    system = as_object(message.get("system"))
    if as_text(system.get("type")) not in _NUMBER_CHANGES:
        return Skipped(reason="system")
    former = as_contact_ids(message.get("from")).phone
    present = as_contact_ids(system.get("wa_id") or system.get("new_wa_id")).phone
    if own_number in (former, present):
        return Skipped(reason="own_number")
    return _link(ContactIds(phone=present), ContactIds(phone=former))


def _user_id_event(update: JsonObject) -> Event:
    """Read ``{"user_id": {"previous": "IL.1…", "current": "IL.2…"}, "wa_id": …}``."""
    user_id = as_object(update.get("user_id"))
    return _link(
        ContactIds(bsuid=as_contact_ids(user_id.get("current")).bsuid),
        ContactIds(bsuid=as_contact_ids(user_id.get("previous")).bsuid),
    )


def _link(present: ContactIds, former: ContactIds) -> Event:
    if not present.best or not former.best or present == former:
        return Skipped(reason="system")
    return IdentityLink(contact=present, former=former)


def _change_event(make: partial[MessageChange], kind: ChangeKind, body: JsonObject) -> Event:
    text = ""
    if kind is ChangeKind.REACTION:
        text = as_text(body.get("emoji"), ID_LIMIT)
    elif kind is ChangeKind.EDIT:
        content = read_content(as_object(body.get("message")))
        if content.type == "unsupported":
            return Skipped(reason="unknown")  # an edit we cannot read must not blank the text
        text = content.text
    target = as_id(body.get(_TARGET_NAMES[kind]))
    if target is None:
        return Skipped(reason="unknown")
    return make(kind=kind, target=target, text=text)


def _status_event(status: JsonObject) -> Event:
    if as_text(status.get("recipient_type")) == "group":
        return Skipped(reason="group")
    message_id = as_id(status.get("id"))
    delivery = _STATUSES.get(as_text(status.get("status")))
    if message_id is None or delivery is None:
        return Skipped(reason="unknown")
    contact = ContactIds(
        phone=as_contact_ids(status.get("recipient_id")).phone,
        bsuid=as_contact_ids(status.get("recipient_user_id")).bsuid,
    )
    code = _error_code(status)
    return DeliveryStatus(
        provider_message_id=message_id,
        status=delivery,
        at=as_instant(status.get("timestamp")),
        contact=contact if contact.best else None,
        error_code=code,
        retryable=_is_retryable(code),
        message_id=as_uuid(status.get("biz_opaque_callback_data")),
    )


def _error_code(status: JsonObject) -> int | None:
    for error in as_list(status.get("errors")):
        code = as_integer(as_object(error).get("code"))
        if code is not None and 0 <= code <= _LARGEST_CODE:
            return code
    return None


def _is_retryable(code: int | None) -> bool | None:
    """Tell whether sending again can help; None where there is no code or nobody knows."""
    if code in _RETRYABLE:
        return True
    return False if code in _PERMANENT else None
