"""The customers of a business: their list, each with all that is known, and the file of them."""

from __future__ import annotations

from uuid import UUID

from flask import Response, render_template, request

from timer_http.auth import require
from timer_http.console.access import id_of, open_business, reader
from timer_http.console.i18n import gettext
from timer_http.console.note_views import Typed, tasks_and_notes
from timer_http.console.pages import blueprint
from timer_http.contact_csv import csv_response
from timer_http.context import current_services
from timer_http.paging import cut, read_id, read_instants_and_id
from timer_service.messages import Role
from timer_service.records.session_views import Filter
from timer_service.resources import Business

PAGE_LENGTH = 50
_LONGEST_TEXT = 200

_ADDRESS = "/console/businesses/<uuid:business_id>/contacts"


@blueprint.get(_ADDRESS)
@require(Role.VIEWER)
def contacts(business_id: UUID) -> str:
    """List the customers, or those of a name or number: ``?q=&before=<cursor>``."""
    owner = id_of(open_business(business_id))
    text = request.args.get("q", "").strip()[:_LONGEST_TEXT]
    before = request.args.get("before")
    found = current_services().contact_book.contacts(
        owner, text=text or None, before=read_id(before), limit=PAGE_LENGTH + 1
    )
    shown, older = cut(found, PAGE_LENGTH, lambda one: (one.id,))
    return render_template(
        "console/contacts.html",
        contacts=shown,
        older=older,
        q=text,
        is_first_page=before is None,
    )


@blueprint.get("/console/businesses/<uuid:business_id>/contacts.csv")
@require(Role.VIEWER)
def contacts_csv(business_id: UUID) -> Response:
    """Give all customers as a file for spreadsheets."""
    owner = id_of(open_business(business_id))
    return csv_response(
        current_services().contact_book.every_contact(owner),
        (
            gettext("Id"),
            gettext("Name"),
            gettext("Number"),
            gettext("Conversations"),
            gettext("Open tasks"),
            gettext("First seen"),
            gettext("Last conversation"),
            gettext("Ended"),
            gettext("Provider"),
            gettext("Title"),
            gettext("Summary"),
            gettext("Follow-up needed"),
            gettext("Attributes"),
        ),
    )


@blueprint.get(f"{_ADDRESS}/<uuid:contact_id>")
@require(Role.VIEWER)
def contact(business_id: UUID, contact_id: UUID) -> str:
    """Show one customer."""
    return show_contact(open_business(business_id), contact_id)


def show_contact(business: Business, contact_id: UUID, typed: Typed | None = None) -> str:
    """Make the page of a customer, with what was typed and refused where there was that."""
    owner = id_of(business)
    shown = current_services().contact_book.contact(owner, contact_id)
    before = request.args.get("before")
    cursor = read_instants_and_id(before, instants=1)
    which = Filter(
        contact_id=shown.id,
        before=(cursor[0][0], cursor[1]) if cursor else None,
        limit=PAGE_LENGTH + 1,
    )
    found = current_services().lists.sessions(owner, which)
    sessions, older = cut(found.sessions, PAGE_LENGTH, lambda one: (one.started_at, one.id))
    return render_template(
        "console/contact.html",
        contact=shown,
        sessions=sessions,
        older=older,
        is_first_page=before is None,
        may_act=reader().may(Role.AGENT),
        typed=typed,
        session=None,
        **tasks_and_notes(owner, shown.id),
    )
