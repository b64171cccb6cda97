"""The older session API, kept for clients written against it.

In ``conversation_history`` the customer is the ``user`` and whoever answered, agent or bot, the
``assistant``; ``timestamp`` is when a message was sent, or arrived where the gateway gave no time.
"""

from __future__ import annotations

from flask import Response
from werkzeug.exceptions import NotFound

from timer_http.answers import json_answer
from timer_http.api.blueprint import make_blueprint
from timer_http.auth import acting_business, business_of_session, require
from timer_http.context import current_services
from timer_http.schemas import (
    ActiveSessionsQuery,
    OlderActiveSessions,
    OlderConversation,
    OlderMessage,
    OlderMessageAnswer,
    OlderSession,
    PhoneNumberInPath,
    SessionInPath,
)
from timer_service.errors import InvalidInput
from timer_service.messages import Author, Role
from timer_service.resources import Message, Session

blueprint = make_blueprint("older_sessions", "Older session API", "For clients written before.")

_NO_SESSION = "this number has no active session"


@blueprint.get("/session/<phone_number>", responses={200: OlderConversation})
@require(Role.VIEWER)
def get_conversation(path: PhoneNumberInPath) -> Response:
    """Return a contact's most recently active session and what was said in it."""
    service = current_services().service
    business_id = acting_business()
    try:
        session = service.active_session_of(business_id, path.phone_number)
    except InvalidInput:
        raise NotFound(_NO_SESSION) from None  # what is no number has no session either
    if session is None:
        raise NotFound(_NO_SESSION)
    history = [_older_message(one) for one in service.transcript(business_id, session.id)]
    return json_answer(
        OlderConversation(
            session=_older_session(session),
            conversation_history=history,
            message_count=session.message_count,
        )
    )


@blueprint.get("/sessions/active", responses={200: OlderActiveSessions})
@require(Role.VIEWER)
def list_active_sessions(query: ActiveSessionsQuery) -> Response:
    """Count the active sessions exactly, and list those with the latest deadlines."""
    services = current_services()
    business_id = acting_business()
    found = services.service.active_sessions(business_id, limit=query.limit)
    return json_answer(
        OlderActiveSessions(
            active_sessions=[_older_session(one) for one in found],
            total_active=services.active_chats.count(business_id),
        )
    )


@blueprint.post("/session/<session_id>/complete", responses={200: OlderMessageAnswer})
@require(Role.AGENT)
def complete_older_session(path: SessionInPath) -> Response:
    """Close a session now; one that is closed stays as it is."""
    business_id = business_of_session(path.session_id)
    current_services().service.complete(path.session_id, business_id)
    return json_answer(OlderMessageAnswer(message="Session completed"))


def _older_session(session: Session) -> OlderSession:
    return OlderSession(
        session_id=session.id,
        phone_number=session.customer_wa_id,
        status=session.status,
        created_at=session.started_at,
        last_activity=session.last_message_at or session.started_at,
        message_count=session.message_count,
        order_details=session.order_details,
        context=session.context,
    )


def _older_message(message: Message) -> OlderMessage:
    roles = {Author.CUSTOMER.value: "user", Author.SYSTEM.value: "system"}
    return OlderMessage(
        role=roles.get(message.author, "assistant"),  # type: ignore[arg-type]  # one of the three
        content=message.text,
        timestamp=message.sent_at or message.received_at,
        type=message.type,
        message_id=message.id,
    )
