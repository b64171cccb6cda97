"""Sending messages, and recording those of a business whose own code talks to WhatsApp."""

from __future__ import annotations

from http import HTTPStatus

from flask import Response

from timer_http import admission
from timer_http.answers import json_answer
from timer_http.api.blueprint import make_blueprint, problem
from timer_http.auth import acting_business, require
from timer_http.context import current_services
from timer_http.schemas import (
    MessageDecision,
    MessageInPath,
    MessagesToRecord,
    RecordedMessage,
    RecordedMessages,
)
from timer_service.messages import Role
from timer_service.outgoing import MessageToSend
from timer_service.resources import Message

blueprint = make_blueprint("messages", "Messages", "Sending messages, and recording others.")


@blueprint.post(
    "/api/messages",
    responses={
        202: Message,
        409: problem("Another message has that client_ref, or the connection has no address"),
    },
)
@require(Role.AGENT)
def send_message(body: MessageToSend) -> Response:
    """Queue a message; its ``status`` tells afterwards how far it got."""
    message = current_services().outbox.send(acting_business(), body)
    return json_answer(message, HTTPStatus.ACCEPTED)


@blueprint.get("/api/messages/<message_id>", responses={200: Message})
@require(Role.VIEWER)
def get_message(path: MessageInPath) -> Response:
    """Return one message."""
    return json_answer(current_services().outbox.message(acting_business(), path.message_id))


@blueprint.post(
    "/api/messages/<message_id>/decide",
    responses={200: Message, 409: problem("It is known how far the message got")},
)
@require(Role.AGENT)
def decide_on_message(path: MessageInPath, body: MessageDecision) -> Response:
    """Say what became of a message whose status is unknown, or have it sent again."""
    message = current_services().outbox.decide(acting_business(), path.message_id, body.decision)
    return json_answer(message)


@blueprint.post("/api/messages/record", responses={200: RecordedMessages})
@require(Role.AGENT)
def record_messages(body: MessagesToRecord) -> Response:
    """Record messages, by the same intake as the webhooks; safe to repeat."""
    business_id = acting_business()
    with admission.turn(business_id):
        recorded = current_services().service.record_messages(
            business_id, body.connection_id, body.messages
        )
    results = [
        RecordedMessage(
            provider_message_id=one.provider_message_id,
            session_id=one.session_id,
            opened=one.opened,
            duplicate=one.duplicate,
        )
        for one in recorded
    ]
    return json_answer(RecordedMessages(results=results))
