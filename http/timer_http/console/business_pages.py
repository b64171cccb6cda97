"""A business at a glance: is the bot connected, how many chats are active, what was promised.

The page renders whole; its live parts are also served alone, for htmx to fetch again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from flask import redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from timer_http.auth import require
from timer_http.console.access import id_of, open_business, require_caller
from timer_http.console.overview_pages import read_activity
from timer_http.console.pages import blueprint
from timer_http.context import current_services
from timer_http.paging import cut, read_id, read_instants_and_id
from timer_service.errors import DatabaseUnavailable, InvalidInput
from timer_service.ids import BusinessId
from timer_service.messages import Role, SessionState
from timer_service.records.punctuality import Punctuality
from timer_service.records.session_views import Filter
from timer_service.resources import Session

PAGE_LENGTH = 50
GLANCE_LENGTH = 20
"""How many conversations of a state the page shows before anybody asked for one state."""

_STATES = {"active": SessionState.OPEN, "closed": SessionState.CLOSED}


@dataclass(frozen=True, slots=True)
class ConversationList:
    """Conversations of one state, the newest begun first; ``older`` leads to the next page."""

    state: str
    sessions: list[Session]
    older: str | None
    as_of: datetime | None
    """Where that is some time ago: it was read from a replica."""


@blueprint.get("/console/businesses")
@require(Role.ADMIN)
def businesses() -> str:
    """List all businesses, for the admin."""
    require_caller()
    before = read_id(request.args.get("before"))
    found = current_services().administration.list_businesses(before=before, limit=PAGE_LENGTH + 1)
    shown, older = cut(found, PAGE_LENGTH, lambda one: (one.id,))
    return render_template(
        "console/businesses.html", businesses=shown, older=older, is_first_page=before is None
    )


@blueprint.get("/console/businesses/<uuid:business_id>")
@require(Role.VIEWER)
def business(business_id: UUID) -> str | Response:
    """Show one business."""
    shown = open_business(business_id)
    owner = id_of(shown)
    if "state" in request.args:  # where the lists were before they had a page of their own
        address = url_for(
            "console.conversations",
            business_id=business_id,
            state=request.args["state"],
            before=request.args.get("before"),
        )
        return redirect(address, 303)
    return render_template(
        "console/business.html",
        count=_count(owner),
        punctuality=_punctuality(),
        **_connections(owner),
        **read_activity(shown),
        **_conversations(owner),
    )


@blueprint.get("/console/businesses/<uuid:business_id>/active-chats")
@require(Role.VIEWER)
def active_chats(business_id: UUID) -> str:
    """Serve the live line alone; where nothing can be read it says so and is no error."""
    try:
        count = _count(id_of(open_business(business_id)))
    except DatabaseUnavailable:
        count = None
    return render_template("console/_active_chats.html", count=count)


@blueprint.get("/console/businesses/<uuid:business_id>/punctuality")
@require(Role.VIEWER)
def punctuality(business_id: UUID) -> str:
    """Serve the line that says how punctual the latest closes were."""
    open_business(business_id)
    return render_template("console/_punctuality.html", punctuality=_punctuality())


@blueprint.get("/console/businesses/<uuid:business_id>/connections")
@require(Role.VIEWER)
def connections(business_id: UUID) -> str:
    """Serve the state of the linked numbers alone."""
    owner = id_of(open_business(business_id))
    return render_template("console/_connections.html", **_connections(owner))


@blueprint.get("/console/businesses/<uuid:business_id>/conversations")
@require(Role.VIEWER)
def conversations(business_id: UUID) -> str:
    """Show the conversations, or serve their lists alone where htmx asks."""
    owner = id_of(open_business(business_id))
    page = "_conversations.html" if "HX-Request" in request.headers else "conversations.html"
    return render_template(f"console/{page}", **_conversations(owner))


def _count(owner: BusinessId) -> int | None:
    try:
        return current_services().active_chats.count(owner)
    except DatabaseUnavailable:
        return None


def _punctuality() -> Punctuality | None:
    try:
        return current_services().service.punctuality()
    except DatabaseUnavailable:
        return None


def _connections(owner: BusinessId) -> dict[str, Any]:
    services = current_services()
    return {
        "connections": services.administration.list_connections(owner, before=None, limit=100),
        "last_message_times": services.service.last_message_times(owner),
    }


def _conversations(owner: BusinessId) -> dict[str, Any]:
    """Read the lists the address asks for: ``?state=active|closed&before=<cursor>``."""
    state, before = request.args.get("state"), request.args.get("before")
    if state is not None and state not in _STATES:
        raise InvalidInput("state is active or closed", field="state")
    if before is not None and state is None:
        raise InvalidInput("a cursor belongs to one state's list", field="before")
    names = [state] if state else list(_STATES)
    length = PAGE_LENGTH if state else GLANCE_LENGTH
    lists = [_read_list(owner, name, before, length) for name in names]
    return {
        "lists": lists,
        "as_of": min((one.as_of for one in lists if one.as_of is not None), default=None),
        "state": state,
        "is_first_page": before is None,
    }


def _read_list(owner: BusinessId, state: str, before: str | None, length: int) -> ConversationList:
    cursor = read_instants_and_id(before, instants=1)
    position = (cursor[0][0], cursor[1]) if cursor else None
    which = Filter(state=_STATES[state].value, before=position, limit=length + 1)
    found = current_services().lists.sessions(owner, which)
    shown, older = cut(found.sessions, length, lambda one: (one.started_at, one.id))
    return ConversationList(state, list(shown), older, found.as_of)
