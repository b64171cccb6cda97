"""One WAHA message into one event.

``waha`` calls this for ``message`` and ``message.any``, which bring the same message with the same
id to whoever subscribed to both. It never raises, whatever the payload holds.
Source: WAHA's documentation and source code, read August 2026.
"""

from __future__ import annotations

from dataclasses import replace

from timer_service.messages import (
    Author,
    ChatMessage,
    ContactIds,
    Delivery,
    Event,
    InboundMessage,
    OwnMessage,
    Skipped,
)
from timer_service.providers import chat_jid, waha_content
from timer_service.providers.json_body import ID_LIMIT, JsonObject, as_list, as_object, as_text
from timer_service.providers.waha_changes import delivery_of
from timer_service.providers.waha_chat import (
    Surroundings,
    bare_id,
    chat_of,
    customer_of,
    is_from_us,
    is_own_chat,
)


def message_event(message: JsonObject, around: Surroundings) -> Event:
    """Read one message (``{"id": "false_972…@c.us_AC20…", "fromMe": false, "body": …}``)."""
    chat = chat_of(message)
    contact = customer_of(message, chat, around)
    reason = _reason_to_skip(message, chat, contact, around)
    message_id = bare_id(message.get("id"))
    if reason is not None or message_id is None:
        return Skipped(reason=reason or "unknown")
    content = waha_content.read_content(message)
    quote_id = bare_id(as_object(message.get("replyTo")).get("id"))
    reply_to = quote_id or waha_content.engine_quote_id(message)
    if is_from_us(message):
        is_api_send = as_text(message.get("source")) == "api"
        return OwnMessage(
            provider_message_id=message_id,
            contact=contact,
            sent_at=around.at(message),
            reply_to=reply_to,
            author=Author.BOT if is_api_send else Author.AGENT,
            status=delivery_of(message) or Delivery.SENT,
            **content.fields(),
        )
    return InboundMessage(
        provider_message_id=message_id,
        contact=contact,
        sent_at=around.at(message),
        customer_name=_customer_name(message),
        reply_to=reply_to,
        **content.fields(),
    )


def vote_event(payload: JsonObject, around: Surroundings) -> Event:
    """Read ``poll.vote``: what was chosen, as a message that answers the poll.

    ``{"vote": {"id": "false_972…_83AC…", "selectedOptions": ["Blue"], …}, "poll": {"id": …}}``;
    a vote that is taken back has no options. No gateway has a type for it: ``unsupported``.
    """
    vote = as_object(payload.get("vote"))
    chosen = [as_text(option) for option in as_list(vote.get("selectedOptions"))]
    body = ", ".join(filter(None, chosen))
    poll_id = as_object(payload.get("poll")).get("id")
    event = message_event({**vote, "body": body, "replyTo": {"id": poll_id}}, around)
    return replace(event, type="unsupported") if isinstance(event, ChatMessage) else event


def _reason_to_skip(
    message: JsonObject, chat: str, contact: ContactIds, around: Surroundings
) -> str | None:
    reason = chat_jid.skip_reason(chat) or waha_content.skip_reason(message)
    if reason is not None:
        return reason
    if is_own_chat(chat, around) and (is_from_us(message) or not contact.best):
        return "self" if is_from_us(message) else "own_number"
    return None if contact.best else "unknown"


def _customer_name(message: JsonObject) -> str | None:
    """Return the name the customer goes by: NOWEB's, GOWS's or WEBJS's field for it."""
    data = as_object(message.get("_data"))
    names = (
        data.get("pushName"),
        as_object(data.get("Info")).get("PushName"),
        data.get("notifyName"),
    )
    return next(filter(None, (as_text(name, ID_LIMIT) for name in names)), None)
