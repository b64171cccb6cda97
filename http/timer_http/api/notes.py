"""Notes on contacts."""

from __future__ import annotations

from http import HTTPStatus

from flask import Response

from timer_http import paging
from timer_http.answers import json_answer
from timer_http.api.blueprint import make_blueprint
from timer_http.auth import acting_business, current_caller, require
from timer_http.context import current_services
from timer_http.paging import PageQuery
from timer_http.schemas import ContactInPath, NewNote, NoteChange, NoteInPath, NotePage
from timer_http.writers import writer_of
from timer_service.messages import Role
from timer_service.resources import Note

blueprint = make_blueprint("notes", "Notes", "What people write down about customers.")


@blueprint.get("/api/contacts/<contact_id>/notes", responses={200: NotePage})
@require(Role.VIEWER)
def list_notes(path: ContactInPath, query: PageQuery) -> Response:
    """List a contact's notes, newest first."""
    found = current_services().contact_book.notes(
        acting_business(),
        path.contact_id,
        before=paging.read_id(query.cursor),
        limit=query.limit + 1,
    )
    items, cursor = paging.cut(found, query.limit, lambda one: (one.id,))
    return json_answer(NotePage(items=list(items), next_cursor=cursor))


@blueprint.post("/api/contacts/<contact_id>/notes", responses={201: Note})
@require(Role.AGENT)
def add_note(path: ContactInPath, body: NewNote) -> Response:
    """Write something down about a contact, or about one conversation with them."""
    note = current_services().contact_book.add_note(
        acting_business(),
        path.contact_id,
        body.text,
        writer_of(current_caller()),
        session_id=body.session_id,
    )
    return json_answer(note, HTTPStatus.CREATED)


@blueprint.patch("/api/notes/<note_id>", responses={200: Note})
@require(Role.AGENT)
def change_note(path: NoteInPath, body: NoteChange) -> Response:
    """Change what a note says."""
    note = current_services().contact_book.change_note(acting_business(), path.note_id, body.text)
    return json_answer(note)


@blueprint.delete("/api/notes/<note_id>", responses={204: None})
@require(Role.AGENT)
def delete_note(path: NoteInPath) -> Response:
    """Take a note away."""
    current_services().contact_book.delete_note(acting_business(), path.note_id)
    return Response(status=HTTPStatus.NO_CONTENT)
