"""Tasks: what is to be done for a contact, by whom, until when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, RowMapping, text
from sqlalchemy.dialects.postgresql import insert

from timer_service.ids import BusinessId
from timer_service.tables import tasks

_SELECT = """
    SELECT t.*, k.name AS customer_name,
      (SELECT json_agg(json_build_array(i.kind, i.value) ORDER BY i.created_at, i.value)
       FROM contact_ids i WHERE i.contact_id = t.contact_id) AS ids
    FROM tasks t JOIN contacts k ON k.id = t.contact_id
    JOIN businesses b ON b.id = t.business_id AND b.erased_at IS NULL
"""


@dataclass(frozen=True, slots=True)
class TaskFilter:
    """Which tasks to list. Open ones come by when they are due, done ones latest done first.

    ``after`` is the position of the last one seen: its ``due_at`` or ``done_at``, and its id.
    """

    is_open: bool = True
    due_before: datetime | None = None
    contact_id: UUID | None = None
    after: tuple[datetime | None, UUID] | None = None
    limit: int = 50


def add(db: Connection, values: dict[str, Any]) -> UUID | None:
    """Insert a task; None where its session's follow-up is a task already."""
    query = (
        insert(tasks)
        .values(values)
        .on_conflict_do_nothing(index_elements=["session_id"], index_where=text("is_follow_up"))
        .returning(tasks.c.id)
    )
    return db.execute(query).scalar_one_or_none()


def get(db: Connection, business_id: BusinessId, task_id: UUID) -> RowMapping | None:
    """Return one task."""
    return (
        db.execute(
            text(f"{_SELECT} WHERE t.id = :id AND t.business_id = :business_id"),
            {"id": task_id, "business_id": business_id},
        )
        .mappings()
        .one_or_none()
    )


def follow_up_of(db: Connection, business_id: BusinessId, session_id: UUID) -> RowMapping | None:
    """Return the task made of a session's summary."""
    return (
        db.execute(
            text(f"""{_SELECT}
                WHERE t.session_id = :id AND t.business_id = :business_id AND t.is_follow_up"""),
            {"id": session_id, "business_id": business_id},
        )
        .mappings()
        .one_or_none()
    )


def list_page(db: Connection, business_id: BusinessId, which: TaskFilter) -> Sequence[RowMapping]:
    """Return tasks."""
    conditions = [
        "t.business_id = :business_id",
        "t.done_at IS NULL" if which.is_open else "t.done_at IS NOT NULL",
    ]
    parameters: dict[str, Any] = {"business_id": business_id, "limit": which.limit}
    if which.contact_id is not None:
        conditions.append("t.contact_id = :contact_id")
        parameters["contact_id"] = which.contact_id
    if which.due_before is not None:
        conditions.append("t.due_at < :due_before")
        parameters["due_before"] = which.due_before
    if which.after is not None:
        parameters["at"], parameters["id"] = which.after
        conditions.append(_beyond(is_open=which.is_open, has_instant=which.after[0] is not None))
    order = "t.due_at NULLS LAST, t.id" if which.is_open else "t.done_at DESC, t.id DESC"
    return (
        db.execute(
            text(f"{_SELECT} WHERE {' AND '.join(conditions)} ORDER BY {order} LIMIT :limit"),
            parameters,
        )
        .mappings()
        .all()
    )


def change(db: Connection, business_id: BusinessId, task_id: UUID, values: dict[str, Any]) -> bool:
    """Change a task; False if there is none. ``is_done`` sets or takes back when it was done."""
    is_done = values.pop("is_done", None)
    assignments = [f"{name} = :{name}" for name in values]
    if is_done is not None:
        kept = "coalesce(done_at, clock_timestamp())" if is_done else "NULL"
        assignments.append(f"done_at = {kept}")
    result = db.execute(
        text(f"""
            UPDATE tasks SET {", ".join(assignments)}
            WHERE id = :id AND business_id = :business_id"""),
        {**values, "id": task_id, "business_id": business_id},
    )
    return result.rowcount == 1


def delete(db: Connection, business_id: BusinessId, task_id: UUID) -> bool:
    """Take a task away; False if there is none."""
    result = db.execute(
        text("DELETE FROM tasks WHERE id = :id AND business_id = :business_id"),
        {"id": task_id, "business_id": business_id},
    )
    return result.rowcount == 1


def _beyond(*, is_open: bool, has_instant: bool) -> str:
    if not is_open:
        return "(t.done_at, t.id) < (:at, :id)"
    if has_instant:
        return "((t.due_at, t.id) > (:at, :id) OR t.due_at IS NULL)"
    return "(CAST(:at AS timestamptz) IS NULL AND t.due_at IS NULL AND t.id > :id)"
