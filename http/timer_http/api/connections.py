"""Connections: the numbers and devices a business is linked by."""

from __future__ import annotations

from http import HTTPStatus

from flask import Response

from timer_http import paging
from timer_http.answers import json_answer, no_content
from timer_http.api.blueprint import make_blueprint, problem
from timer_http.auth import acting_business, current_caller, require
from timer_http.context import current_services
from timer_http.paging import PageQuery
from timer_http.schemas import ConnectionChange, ConnectionInPath, ConnectionPage, NewConnection
from timer_service.messages import Role
from timer_service.resources import Connection

blueprint = make_blueprint("connections", "Connections", "Linked numbers and devices.")


@blueprint.post(
    "/api/connections",
    responses={201: Connection, 409: problem("The account is connected already")},
)
@require(Role.MANAGER)
def add_connection(body: NewConnection) -> Response:
    """Connect an account. The gateway itself is never called."""
    connection = current_services().administration.add_connection(
        acting_business(),
        provider=body.provider,
        external_id=body.external_id,
        name=body.name,
        base_url=body.base_url,
        secrets=body.secrets,
    )
    return json_answer(connection, HTTPStatus.CREATED)


@blueprint.get("/api/connections", responses={200: ConnectionPage})
@require(Role.VIEWER)
def list_connections(query: PageQuery) -> Response:
    """List connections, newest first."""
    found = current_services().administration.list_connections(
        acting_business(), before=paging.read_id(query.cursor), limit=query.limit + 1
    )
    items, cursor = paging.cut(found, query.limit, lambda one: (one.id,))
    page = ConnectionPage(items=[_as_seen(one) for one in items], next_cursor=cursor)
    return json_answer(page)


@blueprint.get("/api/connections/<connection_id>", responses={200: Connection})
@require(Role.VIEWER)
def get_connection(path: ConnectionInPath) -> Response:
    """Return a connection, without its secrets."""
    administration = current_services().administration
    return json_answer(_as_seen(administration.connection(acting_business(), path.connection_id)))


@blueprint.patch(
    "/api/connections/<connection_id>",
    responses={200: Connection, 409: problem("Another connection has that account")},
)
@require(Role.MANAGER)
def change_connection(path: ConnectionInPath, body: ConnectionChange) -> Response:
    """Change name, address or secrets; secrets are added to those that are there."""
    values = body.model_dump(exclude_unset=True)
    if "base_url" in values:
        values["base_url"] = (values["base_url"] or "").rstrip("/")
    connection = current_services().administration.change_connection(
        acting_business(), path.connection_id, values
    )
    return json_answer(connection)


@blueprint.delete("/api/connections/<connection_id>", responses={204: None})
@require(Role.MANAGER)
def delete_connection(path: ConnectionInPath) -> Response:
    """Take a connection out of use; its open sessions close as completed, its rows stay."""
    administration = current_services().administration
    administration.delete_connection(acting_business(), path.connection_id)
    return no_content()


def _as_seen(connection: Connection) -> Connection:
    """Hide the token that a webhook's address may end in from those who may not change it."""
    if current_caller().may(Role.MANAGER):
        return connection
    address, found, _ = connection.webhook_url.partition(str(connection.id))
    return connection.model_copy(update={"webhook_url": address + found})
