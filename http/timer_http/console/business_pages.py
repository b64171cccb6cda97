"""A business at a glance: is the bot connected, how many chats are active, what was promised.

The page renders whole; its live parts are also served alone, for htmx to fetch again.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flask import redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from timer_http.auth import require
from timer_http.console.access import id_of, open_business, require_caller
from timer_http.console.conversation_pages import read_glance
from timer_http.console.overview_pages import read_activity
from timer_http.console.pages import blueprint
from timer_http.context import current_services
from timer_http.paging import cut, read_id
from timer_service.errors import DatabaseUnavailable
from timer_service.ids import BusinessId
from timer_service.messages import Role
from timer_service.records.punctuality import Punctuality

PAGE_LENGTH = 50


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
        **read_glance(owner),
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
