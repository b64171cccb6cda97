"""Recording messages of a business whose own code talks to WhatsApp."""

from __future__ import annotations

from flask import Response

from timer_http import admission
from timer_http.answers import json_answer
from timer_http.api.blueprint import make_blueprint
from timer_http.auth import acting_business, require
from timer_http.context import current_services
from timer_http.schemas import MessagesToRecord, RecordedMessage, RecordedMessages
from timer_service.messages import Role

blueprint = make_blueprint("messages", "Messages", "Recording messages sent and received.")


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
