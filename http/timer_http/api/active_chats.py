"""How many chats are active, and which; and tokens that show the number elsewhere."""

from __future__ import annotations

from http import HTTPStatus

from flask import Response

from timer_http.answers import json_answer
from timer_http.api.blueprint import make_blueprint
from timer_http.auth import acting_business, require
from timer_http.context import current_services
from timer_http.schemas import ActiveChatsQuery, CountTokenWithSecret, NewCountToken
from timer_service.messages import Role
from timer_service.resources import ActiveChats

blueprint = make_blueprint("active_chats", "Active chats", "What is going on now.")


@blueprint.get("/api/whatsapp/active-chats", responses={200: ActiveChats})
@require(Role.VIEWER)
def list_active_chats(query: ActiveChatsQuery) -> Response:
    """Count the active chats exactly, and list those with the latest deadlines."""
    chats = current_services().service.active_chats(acting_business(), limit=query.limit)
    return json_answer(chats)


@blueprint.post("/api/active-chats-tokens", responses={201: CountTokenWithSecret})
@require(Role.VIEWER)
def make_token(body: NewCountToken) -> Response:
    """Make a token for browsers, good for the number of active chats and nothing else."""
    token, expires_at = current_services().count_tokens.make(
        acting_business(), lasts_s=body.lasts_s, origins=body.origins
    )
    answer = CountTokenWithSecret(token=token, expires_at=expires_at)
    return json_answer(answer, HTTPStatus.CREATED)
