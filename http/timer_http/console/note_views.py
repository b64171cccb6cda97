"""What the pages of a conversation and of a contact share: its tasks, its notes, a refused form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from timer_http.context import current_services
from timer_service.ids import BusinessId
from timer_service.records.tasks import TaskFilter

MOST_SHOWN = 50


@dataclass(frozen=True, slots=True)
class Typed:
    """A form that was refused: which, what was typed into it, and what is wrong with that."""

    form: str
    values: dict[str, str]
    problem: str


def tasks_and_notes(owner: BusinessId, contact_id: UUID) -> dict[str, Any]:
    """Return a contact's open tasks, those done last, and its newest notes."""
    book = current_services().contact_book
    done = TaskFilter(is_open=False, contact_id=contact_id, limit=10)
    return {
        "tasks": book.tasks(owner, TaskFilter(contact_id=contact_id, limit=MOST_SHOWN)),
        "done_tasks": book.tasks(owner, done),
        "notes": book.notes(owner, contact_id, before=None, limit=MOST_SHOWN),
    }
