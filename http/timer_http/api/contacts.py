"""Contacts: the customers of a business, what is kept about them, their past conversations."""

from __future__ import annotations

from flask import Response

from timer_http import paging
from timer_http.answers import json_answer
from timer_http.api.blueprint import make_blueprint
from timer_http.api.sessions import answer_sessions, before_of
from timer_http.auth import acting_business, require
from timer_http.contact_csv import csv_response
from timer_http.context import current_services
from timer_http.paging import PageQuery
from timer_http.schemas import (
    ContactChange,
    ContactInPath,
    ContactPage,
    ContactsQuery,
    SessionPage,
)
from timer_service.messages import Role
from timer_service.records.session_views import Filter
from timer_service.resources import Contact

blueprint = make_blueprint("contacts", "Contacts", "Customers and their past conversations.")


@blueprint.get("/api/contacts", responses={200: ContactPage})
@require(Role.VIEWER)
def list_contacts(query: ContactsQuery) -> Response:
    """List contacts with their latest conversation, newest first."""
    found = current_services().contact_book.contacts(
        acting_business(),
        text=query.q,
        before=paging.read_id(query.cursor),
        limit=query.limit + 1,
    )
    items, cursor = paging.cut(found, query.limit, lambda one: (one.id,))
    return json_answer(ContactPage(items=list(items), next_cursor=cursor))


@blueprint.get(
    "/api/contacts.csv",
    responses={200: {"description": "One line for each contact", "content": {"text/csv": {}}}},
)
@require(Role.VIEWER)
def export_contacts() -> Response:
    """Answer all contacts as CSV, with their latest conversation and its summary."""
    contacts = current_services().contact_book.every_contact(acting_business())
    return csv_response(contacts)


@blueprint.get("/api/contacts/<contact_id>", responses={200: Contact})
@require(Role.VIEWER)
def get_contact(path: ContactInPath) -> Response:
    """Return a contact; the id of a merged one answers the contact it became."""
    return json_answer(current_services().contact_book.contact(acting_business(), path.contact_id))


@blueprint.patch("/api/contacts/<contact_id>", responses={200: Contact})
@require(Role.AGENT)
def change_contact(path: ContactInPath, body: ContactChange) -> Response:
    """Merge into what is kept about a contact, member by member."""
    contact = current_services().contact_book.change_attributes(
        acting_business(), path.contact_id, body.attributes
    )
    return json_answer(contact)


@blueprint.get("/api/contacts/<contact_id>/sessions", responses={200: SessionPage})
@require(Role.VIEWER)
def list_sessions_of_contact(path: ContactInPath, query: PageQuery) -> Response:
    """List a contact's conversations with their summaries, newest first."""
    business_id = acting_business()
    contact = current_services().contact_book.contact(business_id, path.contact_id)
    which = Filter(contact_id=contact.id, before=before_of(query), limit=query.limit + 1)
    return answer_sessions(business_id, which, query.limit)
