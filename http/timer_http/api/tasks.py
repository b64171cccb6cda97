"""Tasks: what is to be done for customers."""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from uuid import UUID

from flask import Response

from timer_http import paging
from timer_http.answers import json_answer
from timer_http.api.blueprint import make_blueprint, problem
from timer_http.auth import acting_business, current_caller, require
from timer_http.context import current_services
from timer_http.schemas import (
    ContactInPath,
    NewTaskOfContact,
    TaskChange,
    TaskInPath,
    TaskPage,
    TasksQuery,
)
from timer_http.writers import writer_of
from timer_service.contact_book import NewTask
from timer_service.errors import InvalidInput
from timer_service.messages import Role
from timer_service.records.tasks import TaskFilter
from timer_service.resources import Task

blueprint = make_blueprint("tasks", "Tasks", "What is to be done for customers.")


@blueprint.get("/api/tasks", responses={200: TaskPage})
@require(Role.VIEWER)
def list_tasks(query: TasksQuery) -> Response:
    """List tasks: open ones by when they are due, done ones latest done first."""
    return _answer(query)


@blueprint.get("/api/contacts/<contact_id>/tasks", responses={200: TaskPage})
@require(Role.VIEWER)
def list_tasks_of_contact(path: ContactInPath, query: TasksQuery) -> Response:
    """List a contact's tasks."""
    contact = current_services().contact_book.contact(acting_business(), path.contact_id)
    return _answer(query, contact.id)


@blueprint.post(
    "/api/contacts/<contact_id>/tasks",
    responses={201: Task, 409: problem("No text, and no summary that says what is to follow")},
)
@require(Role.AGENT)
def add_task(path: ContactInPath, body: NewTaskOfContact) -> Response:
    """Make a task; without ``text`` it is what the session's summary says is to follow, once."""
    task = current_services().contact_book.add_task(
        acting_business(),
        path.contact_id,
        NewTask(body.text, body.session_id, body.assignee, body.due_at),
        writer_of(current_caller()),
    )
    return json_answer(task, HTTPStatus.CREATED)


@blueprint.patch("/api/tasks/<task_id>", responses={200: Task})
@require(Role.AGENT)
def change_task(path: TaskInPath, body: TaskChange) -> Response:
    """Change a task, or say that it is done, or is not."""
    task = current_services().contact_book.change_task(
        acting_business(), path.task_id, body.model_dump(exclude_unset=True)
    )
    return json_answer(task)


@blueprint.delete("/api/tasks/<task_id>", responses={204: None})
@require(Role.AGENT)
def delete_task(path: TaskInPath) -> Response:
    """Take a task away."""
    current_services().contact_book.delete_task(acting_business(), path.task_id)
    return Response(status=HTTPStatus.NO_CONTENT)


def _answer(query: TasksQuery, contact_id: UUID | None = None) -> Response:
    is_open = query.state == "open"
    which = TaskFilter(
        is_open=is_open,
        due_before=query.due,
        contact_id=contact_id,
        after=_position(query.cursor),
        limit=query.limit + 1,
    )
    found = current_services().contact_book.tasks(acting_business(), which)
    items, cursor = paging.cut(
        found, query.limit, lambda one: (one.due_at if is_open else one.done_at, one.id)
    )
    return json_answer(TaskPage(items=list(items), next_cursor=cursor))


def _position(cursor: str | None) -> tuple[datetime | None, UUID] | None:
    """Read where the last page ended; among tasks that are due some day it has no instant."""
    try:
        dated = paging.read_instants_and_id(cursor, instants=1)
    except InvalidInput:
        last_id = paging.read_id(cursor)
        return None if last_id is None else (None, last_id)
    return None if dated is None else (dated[0][0], dated[1])
