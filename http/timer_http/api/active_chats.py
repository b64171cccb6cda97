"""How many chats are active, and which."""

from __future__ import annotations

from flask import Response

from timer_http.answers import json_answer
from timer_http.api.blueprint import make_blueprint
from timer_http.auth import acting_business, require
from timer_http.context import current_services
from timer_http.schemas import ActiveChatsQuery
from timer_service.messages import Role
from timer_service.resources import ActiveChats

blueprint = make_blueprint("active_chats", "Active chats", "What is going on now.")


@blueprint.get("/api/whatsapp/active-chats", responses={200: ActiveChats})
@require(Role.VIEWER)
def list_active_chats(query: ActiveChatsQuery) -> Response:
    """Count the active chats exactly, and list those with the latest deadlines."""
    chats = current_services().service.active_chats(acting_business(), limit=query.limit)
    return json_answer(chats)
