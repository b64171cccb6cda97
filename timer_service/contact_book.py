"""What people keep about their customers: notes, tasks, attributes; and finding a customer.

Called by the JSON API and the console. Nothing here touches a conversation.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, RowMapping

from timer_service.database import Database
from timer_service.errors import Conflict, InvalidInput, NotFound
from timer_service.ids import BusinessId, new_id
from timer_service.number_forms import typed_endings
from timer_service.records import contacts, notes, search, session_views, tasks
from timer_service.records.tasks import TaskFilter
from timer_service.resources import Contact, Note, Task
from timer_service.text_cleaning import clean_json, clean_text

MOST_ATTRIBUTES = 50
EXPORTED_AT_ONCE = 500
"""How many contacts one transaction of an export reads."""


@dataclass(frozen=True, slots=True)
class Writer:
    """Who writes a note or a task: the name it is shown with, and whose id that is if known."""

    name: str
    id: UUID | None = None


@dataclass(frozen=True, slots=True)
class NewTask:
    """A task to be made; without ``text`` it is the follow-up of its session's summary."""

    text: str | None = None
    session_id: UUID | None = None
    assignee: str | None = None
    due_at: datetime | None = None


class ContactBook:
    """Keeps what is known of customers."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def contacts(
        self,
        business_id: BusinessId,
        *,
        text: str | None = None,
        before: UUID | None = None,
        limit: int = 50,
    ) -> list[Contact]:
        """Return contacts, newest first: all, or those of a name or number."""
        with self._database.transaction() as db:
            if text is None:
                rows = contacts.list_page(db, business_id, before=before, limit=limit)
            else:
                ids = search.find_contacts(
                    db,
                    business_id,
                    search.read_words(db, clean_text(text)),
                    typed_endings(text),
                    before=before,
                    limit=limit,
                )
                rows = contacts.list_these(db, business_id, ids)
        return [Contact.of(row) for row in rows]

    def every_contact(self, business_id: BusinessId) -> Iterator[Contact]:
        """Go through all contacts, newest first, a page a transaction: nobody waits for it."""
        before = None
        while True:
            page = self.contacts(business_id, before=before, limit=EXPORTED_AT_ONCE)
            yield from page
            if len(page) < EXPORTED_AT_ONCE:
                return
            before = page[-1].id

    def contact(self, business_id: BusinessId, contact_id: UUID) -> Contact:
        """Return one contact; the id of a merged one answers the contact it became.

        Raises:
            NotFound: there is none in this business.
        """
        with self._database.transaction() as db:
            return Contact.of(_contact(db, business_id, contact_id))

    def change_attributes(
        self, business_id: BusinessId, contact_id: UUID, changes: Mapping[str, Any]
    ) -> Contact:
        """Merge into what is kept about a contact; a null takes a member away.

        Raises:
            NotFound: there is none in this business.
            InvalidInput: there would be too many.
        """
        cleaned = json.dumps(clean_json(changes), ensure_ascii=False, allow_nan=False)
        with self._database.transaction() as db:
            contact = _contact(db, business_id, contact_id)
            is_merged = contacts.merge_attributes(
                db, business_id, contact["id"], cleaned, most=MOST_ATTRIBUTES
            )
            if is_merged is False:
                raise InvalidInput(
                    f"a contact has {MOST_ATTRIBUTES} attributes at most", field="attributes"
                )
            return Contact.of(_contact(db, business_id, contact_id))

    def notes(
        self, business_id: BusinessId, contact_id: UUID, *, before: UUID | None, limit: int
    ) -> list[Note]:
        """Return a contact's notes, newest first.

        Raises:
            NotFound: there is no such contact in this business.
        """
        with self._database.transaction() as db:
            contact = _contact(db, business_id, contact_id)
            rows = notes.list_page(db, business_id, contact["id"], before=before, limit=limit)
        return [Note.of(row) for row in rows]

    def add_note(
        self,
        business_id: BusinessId,
        contact_id: UUID,
        text: str,
        writer: Writer,
        *,
        session_id: UUID | None = None,
    ) -> Note:
        """Write something down about a contact.

        Raises:
            NotFound: there is no such contact, or it has no such session.
        """
        with self._database.transaction() as db:
            contact = _contact(db, business_id, contact_id)
            _must_be_of(db, business_id, contact["id"], session_id)
            row = notes.add(
                db,
                _written(business_id, contact["id"], session_id, writer) | {"text": _said(text)},
            )
        return Note.of(row)

    def change_note(self, business_id: BusinessId, note_id: UUID, text: str) -> Note:
        """Change what a note says.

        Raises:
            NotFound: there is none in this business.
        """
        with self._database.transaction() as db:
            row = notes.change(db, business_id, note_id, _said(text))
        if row is None:
            raise NotFound(f"there is no note {note_id}")
        return Note.of(row)

    def delete_note(self, business_id: BusinessId, note_id: UUID) -> None:
        """Take a note away.

        Raises:
            NotFound: there is none in this business.
        """
        with self._database.transaction() as db:
            if not notes.delete(db, business_id, note_id):
                raise NotFound(f"there is no note {note_id}")

    def tasks(self, business_id: BusinessId, which: TaskFilter) -> list[Task]:
        """Return tasks: open ones by when they are due, done ones latest done first.

        Raises:
            NotFound: there is no such contact in this business.
        """
        with self._database.transaction() as db:
            if which.contact_id is not None:
                _contact(db, business_id, which.contact_id)
            return [Task.of(row) for row in tasks.list_page(db, business_id, which)]

    def add_task(
        self, business_id: BusinessId, contact_id: UUID, new: NewTask, writer: Writer
    ) -> Task:
        """Make a task. Without text it is what the session's summary says is to follow, once.

        Raises:
            NotFound: there is no such contact, or it has no such session.
            Conflict: there is no text, and no summary that says what is to follow.
        """
        with self._database.transaction() as db:
            contact = _contact(db, business_id, contact_id)
            session = _must_be_of(db, business_id, contact["id"], new.session_id)
            text = new.text
            if text is None:
                text = session["follow_up"] if session is not None else None
                if text is None:
                    raise Conflict("expected text, or a session whose summary has a follow-up")
            task_id = tasks.add(
                db,
                _written(business_id, contact["id"], new.session_id, writer)
                | {
                    "text": _said(text),
                    "assignee": _named(new.assignee),
                    "due_at": new.due_at,
                    "is_follow_up": new.text is None,
                },
            )
            if task_id is None and new.session_id is not None:
                row = tasks.follow_up_of(db, business_id, new.session_id)
            else:
                row = tasks.get(db, business_id, task_id or new_id())
        if row is None:
            raise Conflict("the task was taken away meanwhile")
        return Task.of(row)

    def change_task(
        self, business_id: BusinessId, task_id: UUID, changes: Mapping[str, Any]
    ) -> Task:
        """Change ``text``, ``assignee``, ``due_at``, or whether it ``is_done``.

        Raises:
            NotFound: there is none in this business.
        """
        values = dict(changes)
        if "text" in values:
            values["text"] = _said(values["text"])
        if "assignee" in values:
            values["assignee"] = _named(values["assignee"])
        with self._database.transaction() as db:
            if values:
                tasks.change(db, business_id, task_id, values)
            row = tasks.get(db, business_id, task_id)
        if row is None:
            raise NotFound(f"there is no task {task_id}")
        return Task.of(row)

    def delete_task(self, business_id: BusinessId, task_id: UUID) -> None:
        """Take a task away.

        Raises:
            NotFound: there is none in this business.
        """
        with self._database.transaction() as db:
            if not tasks.delete(db, business_id, task_id):
                raise NotFound(f"there is no task {task_id}")


def _contact(db: Connection, business_id: BusinessId, contact_id: UUID) -> RowMapping:
    row = contacts.get(db, business_id, contact_id)
    if row is None:
        raise NotFound(f"there is no contact {contact_id}")
    return row


def _must_be_of(
    db: Connection, business_id: BusinessId, contact_id: UUID, session_id: UUID | None
) -> RowMapping | None:
    if session_id is None:
        return None
    row = session_views.get(db, business_id, session_id)
    if row is None or row["contact_id"] != contact_id:
        raise NotFound(f"there is no session {session_id}")
    return row


def _written(
    business_id: BusinessId, contact_id: UUID, session_id: UUID | None, writer: Writer
) -> dict[str, Any]:
    return {
        "id": new_id(),
        "business_id": business_id,
        "contact_id": contact_id,
        "session_id": session_id,
        "author": clean_text(writer.name),
        "author_id": writer.id,
    }


def _said(text: str) -> str:
    cleaned = clean_text(text).strip()
    if not cleaned:
        raise InvalidInput("expected more than blanks", field="text")
    return cleaned


def _named(assignee: str | None) -> str | None:
    return clean_text(assignee or "").strip() or None
