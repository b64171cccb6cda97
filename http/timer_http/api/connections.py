"""Connections: the numbers and devices a business is linked by, and what is done at the gateways.

Adding, changing and deleting a connection calls no gateway; whatever else is posted here does, and
answers 502 with the reason where the gateway did not do it.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from flask import Response, request
from werkzeug.http import http_date

from timer_http import paging
from timer_http.answers import json_answer, no_content
from timer_http.api.blueprint import make_blueprint, problem
from timer_http.auth import acting_business, current_caller, require
from timer_http.context import current_services
from timer_http.paging import PageQuery
from timer_http.schemas import (
    ConnectionChange,
    ConnectionInPath,
    ConnectionPage,
    NewConnection,
    PairingRequest,
)
from timer_service.errors import Conflict
from timer_service.messages import Role
from timer_service.qr_drawing import draw_png
from timer_service.resources import (
    Connection,
    ConnectionCheck,
    ContactsPull,
    PairingCode,
    QrCode,
    WebhookSetUp,
    format_instant,
)

_PNG = "image/png"


def _at_gateway(success: Any, status: HTTPStatus = HTTPStatus.OK) -> dict[str | int, Any]:
    """Describe the answers of a call that asks a gateway."""
    return {
        int(status): success,
        409: problem("Its kind, its settings or its state do not allow it"),
        502: problem("The gateway did not do it; the detail says why"),
    }


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


@blueprint.post("/api/connections/<connection_id>/create", responses=_at_gateway(Connection))
@require(Role.MANAGER)
def create_at_gateway(path: ConnectionInPath) -> Response:
    """Make the session or instance at WAHA or Evolution, with our webhook; safe to repeat."""
    return json_answer(current_services().control.create(acting_business(), path.connection_id))


@blueprint.post("/api/connections/<connection_id>/start", responses=_at_gateway(Connection))
@require(Role.MANAGER)
def start_connection(path: ConnectionInPath) -> Response:
    """Begin to link a device, or to connect again."""
    return json_answer(current_services().control.start(acting_business(), path.connection_id))


@blueprint.post("/api/connections/<connection_id>/stop", responses=_at_gateway(Connection))
@require(Role.MANAGER)
def stop_connection(path: ConnectionInPath) -> Response:
    """Stop without losing the link; at WAHA only."""
    return json_answer(current_services().control.stop(acting_business(), path.connection_id))


@blueprint.post("/api/connections/<connection_id>/restart", responses=_at_gateway(Connection))
@require(Role.MANAGER)
def restart_connection(path: ConnectionInPath) -> Response:
    """Connect anew."""
    return json_answer(current_services().control.restart(acting_business(), path.connection_id))


@blueprint.post("/api/connections/<connection_id>/log-out", responses=_at_gateway(Connection))
@require(Role.MANAGER)
def log_out_connection(path: ConnectionInPath) -> Response:
    """Unlink the device; the session or instance stays at the gateway."""
    return json_answer(current_services().control.log_out(acting_business(), path.connection_id))


@blueprint.post("/api/connections/<connection_id>/remove", responses=_at_gateway(Connection))
@require(Role.MANAGER)
def remove_at_gateway(path: ConnectionInPath) -> Response:
    """Delete the session or instance at the gateway; the connection itself stays here."""
    return json_answer(current_services().control.remove(acting_business(), path.connection_id))


@blueprint.post("/api/connections/<connection_id>/refresh", responses=_at_gateway(Connection))
@require(Role.VIEWER)
def refresh_connection(path: ConnectionInPath) -> Response:
    """Ask the gateway how the connection is; that it does not answer is told as the reason."""
    control = current_services().control
    return json_answer(_as_seen(control.refresh(acting_business(), path.connection_id)))


@blueprint.get(
    "/api/connections/<connection_id>/qr",
    responses=_at_gateway(
        {
            "description": "The code: a picture, or for who accepts JSON what it says",
            "content": {
                _PNG: {"schema": {"type": "string", "format": "binary"}},
                "application/json": {"schema": QrCode.model_json_schema(mode="serialization")},
            },
        }
    ),
)
@require(Role.MANAGER)
def get_qr(path: ConnectionInPath) -> Response:
    """Return the QR code to scan now: a PNG, or JSON for who accepts that first.

    Codes last seconds: ask again after ``ask_again_s`` (``Refresh-After`` of a picture) until
    ``status`` is ``connected``. Where there is none ``text`` is null in JSON; a picture is 409.
    """
    code = current_services().control.qr(acting_business(), path.connection_id)
    accepts = request.accept_mimetypes
    if accepts.quality("application/json") > accepts.quality(_PNG):
        answer = json_answer(code)
    elif code.text is None or code.expires_at is None:
        words = f": {code.status_reason}" if code.status_reason else ""
        raise Conflict(f"there is no code to scan, the status is {code.status}{words}")
    else:
        answer = Response(draw_png(code.text), mimetype=_PNG)
        answer.headers["Expires"] = http_date(code.expires_at)
        answer.headers["Expires-At"] = format_instant(code.expires_at)
        answer.headers["Refresh-After"] = str(code.ask_again_s)
    answer.headers["Cache-Control"] = "no-store"
    answer.headers["Vary"] = "Accept"
    return answer


@blueprint.post("/api/connections/<connection_id>/pairing-code", responses=_at_gateway(PairingCode))
@require(Role.MANAGER)
def get_pairing_code(path: ConnectionInPath, body: PairingRequest) -> Response:
    """Return a code to type on the phone instead of scanning a QR code."""
    code = current_services().control.pairing_code(
        acting_business(), path.connection_id, body.phone_number
    )
    answer = json_answer(code)
    answer.headers["Cache-Control"] = "no-store"
    return answer


@blueprint.post(
    "/api/connections/<connection_id>/set-up-webhook", responses=_at_gateway(WebhookSetUp)
)
@require(Role.MANAGER)
def set_up_webhook(path: ConnectionInPath) -> Response:
    """Have WAHA or Evolution send its events here; safe to repeat. ``create`` does so too."""
    control = current_services().control
    return json_answer(control.set_up_webhook(acting_business(), path.connection_id))


@blueprint.post("/api/connections/<connection_id>/check", responses=_at_gateway(ConnectionCheck))
@require(Role.MANAGER)
def check_connection(path: ConnectionInPath) -> Response:
    """Find out what is wrong with a connection of any kind, in plain words."""
    return json_answer(current_services().control.check(acting_business(), path.connection_id))


@blueprint.post(
    "/api/connections/<connection_id>/pull-contacts",
    responses={202: ContactsPull, 409: problem("Its kind or its settings do not allow it")},
)
@require(Role.MANAGER)
def pull_contacts(path: ConnectionInPath) -> Response:
    """Bring the gateway's contacts in, in the background; one that is under way is answered."""
    pull = current_services().puller.ask_for(acting_business(), path.connection_id)
    return json_answer(pull, HTTPStatus.ACCEPTED)


@blueprint.get("/api/connections/<connection_id>/pull-contacts", responses={200: ContactsPull})
@require(Role.VIEWER)
def get_contacts_pull(path: ConnectionInPath) -> Response:
    """Return how far the latest pull of contacts got."""
    return json_answer(current_services().puller.latest(acting_business(), path.connection_id))


def _as_seen(connection: Connection) -> Connection:
    """Hide the token that a webhook's address may end in from those who may not change it."""
    if current_caller().may(Role.MANAGER):
        return connection
    address, found, _ = connection.webhook_url.partition(str(connection.id))
    return connection.model_copy(update={"webhook_url": address + found})
