"""What agents do on the pages of a conversation and a contact: notes, tasks, attributes.

Each leads back to the page it came from: the conversation's where the form names one.
"""

from __future__ import annotations

from datetime import date, datetime, time
from uuid import UUID

from flask import redirect, request, url_for
from werkzeug.wrappers import Response

from timer_http.auth import require
from timer_http.console.access import id_of, open_business, reader
from timer_http.console.contact_pages import show_contact
from timer_http.console.i18n import gettext
from timer_http.console.note_views import Typed
from timer_http.console.pages import blueprint
from timer_http.console.session_pages import show_session
from timer_http.console.zones import zone_of
from timer_http.context import current_services
from timer_http.writers import writer_of
from timer_service.contact_book import NewTask
from timer_service.errors import InvalidInput
from timer_service.messages import Role
from timer_service.resources import Business

_OF_CONTACT = "/console/businesses/<uuid:business_id>/contacts/<uuid:contact_id>"
_LONGEST = {"note": 10_000, "task": 1_000, "attribute": 500}
_LONGEST_NAME = 64
_YEARS = range(2000, 2100)

Answer = Response | tuple[str, int]


@blueprint.post(f"{_OF_CONTACT}/notes")
@require(Role.AGENT)
def add_note(business_id: UUID, contact_id: UUID) -> Answer:
    """Write something down."""
    business = open_business(business_id)
    text = request.form.get("text", "")
    if not text.strip() or len(text) > _LONGEST["note"]:
        problem = gettext("Write something, up to %(count)s letters.", count=_LONGEST["note"])
        return _refused(business, contact_id, Typed("note", {"text": text}, problem))
    current_services().contact_book.add_note(
        id_of(business), contact_id, text, writer_of(reader()), session_id=_session()
    )
    return _back(business_id, contact_id, "notes")


@blueprint.post(f"{_OF_CONTACT}/notes/<uuid:note_id>/delete")
@require(Role.AGENT)
def delete_note(business_id: UUID, contact_id: UUID, note_id: UUID) -> Answer:
    """Take a note away."""
    current_services().contact_book.delete_note(id_of(open_business(business_id)), note_id)
    return _back(business_id, contact_id, "notes")


@blueprint.post(f"{_OF_CONTACT}/tasks")
@require(Role.AGENT)
def add_task(business_id: UUID, contact_id: UUID) -> Answer:
    """Make a task of what was typed, or of the summary's follow-up where that was asked for."""
    business = open_business(business_id)
    values = {name: request.form.get(name, "") for name in ("text", "assignee", "due")}
    is_follow_up = "follow_up" in request.form
    problem = _problem_of_task(values) if not is_follow_up else None
    if problem is not None:
        return _refused(business, contact_id, Typed("task", values, problem))
    current_services().contact_book.add_task(
        id_of(business),
        contact_id,
        NewTask(
            text=None if is_follow_up else values["text"],
            session_id=_session(),
            assignee=values["assignee"],
            due_at=_end_of_day(values["due"], business),
        ),
        writer_of(reader()),
    )
    return _back(business_id, contact_id, "tasks")


@blueprint.post(f"{_OF_CONTACT}/tasks/<uuid:task_id>")
@require(Role.AGENT)
def change_task(business_id: UUID, contact_id: UUID, task_id: UUID) -> Answer:
    """Say that a task is done, or is not."""
    is_done = request.form.get("is_done") == "yes"
    current_services().contact_book.change_task(
        id_of(open_business(business_id)), task_id, {"is_done": is_done}
    )
    return _back(business_id, contact_id, "tasks")


@blueprint.post(f"{_OF_CONTACT}/attributes")
@require(Role.AGENT)
def change_attribute(business_id: UUID, contact_id: UUID) -> Answer:
    """Set one attribute; without a value it is taken away."""
    business = open_business(business_id)
    name, value = (request.form.get(one, "").strip() for one in ("name", "value"))
    typed = {"name": name, "value": value}
    if not name or len(name) > _LONGEST_NAME or len(value) > _LONGEST["attribute"]:
        problem = gettext("Give it a name of up to 64 letters and a value of up to 500.")
        return _refused(business, contact_id, Typed("attribute", typed, problem))
    try:
        current_services().contact_book.change_attributes(
            id_of(business), contact_id, {name: value or None}
        )
    except InvalidInput:
        problem = gettext("There are as many as there can be: take one away first.")
        return _refused(business, contact_id, Typed("attribute", typed, problem))
    return _back(business_id, contact_id, "attributes")


def _problem_of_task(values: dict[str, str]) -> str | None:
    if not values["text"].strip() or len(values["text"]) > _LONGEST["task"]:
        return gettext("Write something, up to %(count)s letters.", count=_LONGEST["task"])
    try:
        day = _day(values["due"])
    except ValueError:
        return gettext("Write the day as 2026-01-31.")
    if day is not None and day.year not in _YEARS:
        return gettext("Write the day as 2026-01-31.")
    return None


def _day(typed: str) -> date | None:
    return date.fromisoformat(typed) if typed else None


def _end_of_day(typed: str, business: Business) -> datetime | None:
    day = _day(typed)
    return datetime.combine(day, time(23, 59, 59), zone_of(business)) if day else None


def _session() -> UUID | None:
    named = request.form.get("session_id", "")
    try:
        return UUID(named) if named else None
    except ValueError:
        raise InvalidInput("expected a UUID", field="session_id") from None


def _refused(business: Business, contact_id: UUID, typed: Typed) -> Answer:
    session_id = _session()
    if session_id is not None:
        return show_session(business, session_id, typed), 422
    return show_contact(business, contact_id, typed), 422


def _back(business_id: UUID, contact_id: UUID, anchor: str) -> Response:
    session_id = _session()
    if session_id is not None:
        address = url_for(
            "console.session", business_id=business_id, session_id=session_id, _anchor=anchor
        )
    else:
        address = url_for(
            "console.contact", business_id=business_id, contact_id=contact_id, _anchor=anchor
        )
    return redirect(address, 303)
