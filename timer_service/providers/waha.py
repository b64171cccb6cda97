"""WAHA (WhatsApp HTTP API), engines WEBJS, NOWEB and GOWS: proof of origin, webhooks into events.

The webhook route calls ``PROVIDER``. This module opens the envelope and chooses who reads what; the
modules named ``waha_…`` read the payloads. Sending and sessions are elsewhere.
Source: waha.devlike.pro and the WAHA source code, read August 2026.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from timer_service.messages import Event, ParsedItem, ProviderName, Skipped
from timer_service.providers.base import ParseContext, WebhookRequest
from timer_service.providers.json_body import (
    ID_LIMIT,
    JsonObject,
    as_id,
    as_object,
    as_text,
    read_json,
)
from timer_service.providers.proof import is_same_secret, keyed_digest
from timer_service.providers.waha_changes import (
    ack_event,
    edit_event,
    reaction_event,
    revocation_event,
)
from timer_service.providers.waha_chat import Surroundings
from timer_service.providers.waha_messages import message_event, vote_event
from timer_service.providers.waha_session import session_update

# Families that say nothing a conversation needs.
_QUIET_FAMILIES = frozenset(
    {"call", "chat", "engine", "event", "group", "label", "poll", "presence", "state"}
)


class Waha:
    """The ``Provider`` for WAHA."""

    name = ProviderName.WAHA
    secret_names = frozenset({"hmac_key"})

    def is_authentic(self, request: WebhookRequest, secrets: Mapping[str, str]) -> bool:
        """Check ``X-Webhook-Hmac``: HMAC-SHA512(hmac_key, raw body) in hex.

        Without a key nothing is authentic. The header that names the algorithm is not asked: it
        may not choose a weaker one.
        """
        digest = keyed_digest(secrets.get("hmac_key"), request.body, "sha512")
        return digest is not None and is_same_secret(
            digest.hex(), request.headers.get("x-webhook-hmac")
        )

    def parse(self, request: WebhookRequest, context: ParseContext) -> list[ParsedItem]:
        """Turn the event (or each of a list of events) into one of ours.

        The account is ``session``, the session's name.

        Raises:
            MalformedPayload: the body is not JSON, or not an object or list.
        """
        document = read_json(request.body)
        envelopes = document if isinstance(document, list) else [document]
        items = [_item_of(as_object(envelope), context) for envelope in envelopes]
        return items or [ParsedItem(account=None, event=Skipped(reason="unknown"))]


PROVIDER = Waha()


def _item_of(envelope: JsonObject, context: ParseContext) -> ParsedItem:
    """Read ``{"event": "message.any", "session": "default", "me": …, "payload": …}``."""
    around = Surroundings.read(envelope, context.own_number)
    event = _event_of(
        as_text(envelope.get("event"), ID_LIMIT), as_object(envelope.get("payload")), around
    )
    return ParsedItem(account=as_id(envelope.get("session")), event=event)


def _event_of(name: str, payload: JsonObject, around: Surroundings) -> Event:
    read = _READERS.get(name)
    if read is not None:
        return read(payload, around)
    is_quiet = name.partition(".")[0] in _QUIET_FAMILIES
    return Skipped(reason="system" if is_quiet else "unknown")


def _waiting_event(_payload: JsonObject, _around: Surroundings) -> Event:
    # Not decrypted yet: the message itself comes later, with the same id.
    return Skipped(reason="undecryptable")


def _session_event(payload: JsonObject, around: Surroundings) -> Event:
    update = session_update(as_text(payload.get("status")), around.own_number)
    return Skipped(reason="unknown") if update is None else update


_READERS: dict[str, Callable[[JsonObject, Surroundings], Event]] = {
    "message": message_event,
    "message.any": message_event,
    "message.waiting": _waiting_event,
    "message.ack": ack_event,
    "message.ack.group": ack_event,
    "message.reaction": reaction_event,
    "message.edited": edit_event,
    "message.revoked": revocation_event,
    "poll.vote": vote_event,
    "poll.vote.failed": _waiting_event,
    "session.status": _session_event,
}
