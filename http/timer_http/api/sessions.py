"""Sessions: conversations, open and closed."""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from uuid import UUID

from flask import Response

from timer_http import paging
from timer_http.answers import json_answer
from timer_http.api.blueprint import make_blueprint, problem
from timer_http.auth import acting_business, business_of_session, require
from timer_http.context import current_services
from timer_http.paging import PageQuery
from timer_http.schemas import (
    MessagePage,
    NewSession,
    SessionChange,
    SessionInPath,
    SessionPage,
    SessionsQuery,
)
from timer_service.ids import BusinessId
from timer_service.messages import ContactIds, Role
from timer_service.phone_numbers import read_customer
from timer_service.records.session_views import Filter
from timer_service.resources import Message, Session
from timer_service.text_cleaning import clean_text

blueprint = make_blueprint("sessions", "Sessions", "Conversations, open and closed.")


@blueprint.get("/api/sessions", responses={200: SessionPage})
@require(Role.VIEWER)
def list_sessions(query: SessionsQuery) -> Response:
    """List sessions with their summaries, the newest begun first."""
    business_id = acting_business()
    which = Filter(
        state=query.state,
        provider=query.provider,
        customer=_customer(business_id, query.customer_wa_id),
        since=query.since,
        until=query.until,
        contact_id=query.contact_id,
        text=query.q and clean_text(query.q),
        follow_up=query.follow_up,
        summary=query.summary,
        before=before_of(query),
        limit=query.limit + 1,
    )
    return answer_sessions(business_id, which, query.limit)


@blueprint.post(
    "/api/sessions", responses={200: Session, 201: Session, 404: problem("No such connection")}
)
@require(Role.AGENT)
def open_session(body: NewSession) -> Response:
    """Open a session before anybody wrote, or return the one that is open (200)."""
    session, is_new = current_services().service.open_session(
        acting_business(), body.connection_id, body.customer_wa_id, body.context
    )
    return json_answer(session, HTTPStatus.CREATED if is_new else HTTPStatus.OK)


@blueprint.get("/api/sessions/<session_id>", responses={200: Session})
@require(Role.VIEWER)
def get_session(path: SessionInPath) -> Response:
    """Return one session."""
    business_id = business_of_session(path.session_id)
    return json_answer(current_services().service.session(business_id, path.session_id))


@blueprint.patch("/api/sessions/<session_id>", responses={200: Session})
@require(Role.AGENT)
def change_session(path: SessionInPath, body: SessionChange) -> Response:
    """Merge into context and order details, member by member."""
    session = current_services().service.change_session(
        business_of_session(path.session_id),
        path.session_id,
        context=body.context,
        order_details=body.order_details,
    )
    return json_answer(session)


@blueprint.get("/api/sessions/<session_id>/messages", responses={200: MessagePage})
@require(Role.VIEWER)
def list_messages(path: SessionInPath, query: PageQuery) -> Response:
    """List a session's messages in order."""
    position = paging.read_instants_and_id(query.cursor, instants=2)
    rows = current_services().service.messages(
        business_of_session(path.session_id),
        path.session_id,
        after=(position[0][0], position[0][1], position[1]) if position else None,
        limit=query.limit + 1,
    )
    items, cursor = paging.cut(
        rows, query.limit, lambda row: (row["placed_at"], row["received_at"], row["id"])
    )
    page = MessagePage(items=[Message.of(row) for row in items], next_cursor=cursor)
    return json_answer(page)


@blueprint.post("/api/sessions/<session_id>/complete", responses={200: Session})
@require(Role.AGENT)
def complete_session(path: SessionInPath) -> Response:
    """Close a session now; one that is closed stays as it is."""
    business_id = business_of_session(path.session_id)
    return json_answer(current_services().service.complete(path.session_id, business_id))


@blueprint.post(
    "/api/sessions/<session_id>/summarize",
    responses={202: Session, 409: problem("It is still open")},
)
@require(Role.AGENT)
def summarize_session(path: SessionInPath) -> Response:
    """Ask for a new summary; it is made in the background."""
    business_id = business_of_session(path.session_id)
    session = current_services().service.summarize(business_id, path.session_id)
    return json_answer(session, HTTPStatus.ACCEPTED)


def before_of(query: PageQuery) -> tuple[datetime, UUID] | None:
    """Return the position of the last session seen."""
    position = paging.read_instants_and_id(query.cursor, instants=1)
    return (position[0][0], position[1]) if position else None


def answer_sessions(business_id: BusinessId, which: Filter, limit: int) -> Response:
    """Answer a page of sessions; ``which`` asks for one more than the page holds."""
    found = current_services().service.sessions(business_id, which)
    items, cursor = paging.cut(found, limit, lambda one: (one.started_at, one.id))
    return json_answer(SessionPage(items=list(items), next_cursor=cursor))


def _customer(business_id: BusinessId, text: str | None) -> ContactIds | None:
    if text is None:
        return None
    return read_customer(text, current_services().administration.business(business_id).country)
