"""Linking a phone and checking credentials: what of a connection only its gateway can tell or do.

For managers. Each page asks the gateway by `ConnectionControl`, which stores what it is told; what
a gateway does not do becomes a sentence on the page.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any
from uuid import UUID

from flask import Response as PageResponse
from flask import flash, make_response, redirect, render_template, request, url_for
from markupsafe import Markup
from werkzeug.wrappers import Response

from timer_http.auth import require
from timer_http.console.access import id_of, open_business
from timer_http.console.filters import milliseconds
from timer_http.console.i18n import gettext
from timer_http.console.pages import blueprint
from timer_http.console.words import status_reason
from timer_http.context import current_services
from timer_service.clock import utc_now
from timer_service.connection_control import ACT_WITHIN_S, QR_ASK_AGAIN_S, QR_LIVES_S
from timer_service.errors import Conflict, GatewayFailed, GatewaysBusy, InvalidInput, NotFound
from timer_service.ids import BusinessId
from timer_service.messages import ConnectionState, Role
from timer_service.providers import DEVICE_CONTROLS
from timer_service.qr_drawing import draw_svg
from timer_service.resources import Business, Connection

_CONNECTION = "/console/businesses/<uuid:business_id>/settings/connections/<uuid:connection_id>"
_STOP_ASKING = 286
"""What htmx takes for: show this, and ask no more."""

_NotDone = (GatewayFailed, GatewaysBusy, Conflict)
_Act = Callable[[BusinessId, UUID], object]


@blueprint.get(f"{_CONNECTION}/link")
@require(Role.MANAGER)
def link_phone(business_id: UUID, connection_id: UUID) -> str | PageResponse:
    """Show the code to scan, or how the connection is; alone where the page asks again."""
    business = open_business(business_id)
    _require_device(_connection(business, connection_id))
    found = _ask(business, connection_id)
    if "HX-Request" not in request.headers:
        return _page(found)
    part = render_template("console/_link.html", is_live=True, **found)
    is_done = found["connection"].status == ConnectionState.CONNECTED and not found["trouble"]
    return make_response(part, _STOP_ASKING if is_done else HTTPStatus.OK)


@blueprint.post(f"{_CONNECTION}/link")
@require(Role.MANAGER)
def act_at_gateway(business_id: UUID, connection_id: UUID) -> Response | tuple[str, int]:
    """Have the gateway do what was pressed, and lead back to how it is then."""
    business = open_business(business_id)
    connection = _connection(business, connection_id)
    _require_device(connection)
    act, done = _act(request.form.get("do", ""))
    try:
        act(id_of(business), connection_id)
    except _NotDone as error:
        # The page is not asked for anew: a gateway that hangs has taken its time already.
        found = _unasked(_connection(business, connection_id))
        return _page(found, problem=_sentence(error)), HTTPStatus.UNPROCESSABLE_ENTITY
    flash(done)
    address = url_for("console.link_phone", business_id=business.id, connection_id=connection_id)
    return redirect(address, HTTPStatus.SEE_OTHER)


@blueprint.get(f"{_CONNECTION}/check")
@require(Role.MANAGER)
def check_connection(business_id: UUID, connection_id: UUID) -> str:
    """Find out what is wrong with a connection of any kind."""
    business = open_business(business_id)
    connection = _connection(business, connection_id)
    found, trouble = None, ""
    try:
        found = current_services().control.check(id_of(business), connection_id)
    except _NotDone as error:
        trouble = _sentence(error)
    return render_template(
        "console/connection_check.html",
        connection=connection,
        is_device=connection.provider in DEVICE_CONTROLS,
        found=found,
        trouble=trouble,
    )


def _act(name: str) -> tuple[_Act, str]:
    """Return what a button does, and what is said when it is done."""
    control = current_services().control
    acts: dict[str, tuple[_Act, str]] = {
        "create": (control.create, gettext("It is made at the gateway.")),
        "start": (control.start, gettext("The gateway starts it.")),
        "restart": (control.restart, gettext("The gateway connects anew.")),
        "log_out": (control.log_out, gettext("The phone is unlinked.")),
        "set_up_webhook": (
            control.set_up_webhook,
            gettext("The gateway sends its events here now."),
        ),
    }
    if name not in acts:
        raise InvalidInput(f"expected one of {', '.join(acts)}", field="do")
    return acts[name]


def _ask(business: Business, connection_id: UUID) -> dict[str, Any]:
    """Ask for the code of now; what a part shows besides is what was stored of the answer."""
    trouble, text, expires_at = "", None, None
    try:
        code = current_services().control.qr(id_of(business), connection_id)
        text = code.text
        expires_at = code.expires_at and code.expires_at.replace(microsecond=0)
        picture = Markup(draw_svg(text)) if text else None  # noqa: S704 - drawn by us
    except _NotDone as error:
        trouble, picture = _sentence(error), None
    connection = _connection(business, connection_id)
    mark = hashlib.sha256((text or "").encode()).hexdigest()[:16]
    until = _until(mark, expires_at)
    return _unasked(connection) | {
        "trouble": trouble,
        "picture": picture,
        "until": until,
        "shown": "" if until is None else f"{mark}-{milliseconds(until)}",
    }


def _unasked(connection: Connection) -> dict[str, Any]:
    return {
        "connection": connection,
        "trouble": "",
        "picture": None,
        "until": None,
        "shown": "",
        "lives_ms": QR_LIVES_S * 1000,
    }


def _until(mark: str, expires_at: datetime | None) -> datetime | None:
    """Return when a code expires: of one the page shows already, what was said when it came.

    So a part that did not change is the same to the letter, and the browser leaves it alone.
    """
    shown, _, told_ms = request.args.get("shown", "").partition("-")
    if expires_at is None or shown != mark or not told_ms.isdecimal():
        return expires_at
    since = timedelta(milliseconds=milliseconds(expires_at) - int(told_ms[:15]))
    return expires_at - since if timedelta(0) <= since < expires_at - utc_now() else expires_at


def _page(found: dict[str, Any], problem: str = "") -> str:
    return render_template(
        "console/link.html",
        problem=problem,
        ask_again_s=QR_ASK_AGAIN_S,
        ask_within_ms=round((ACT_WITHIN_S + 2) * 1000),
        **found,
    )


def _connection(business: Business, connection_id: UUID) -> Connection:
    return current_services().administration.connection(id_of(business), connection_id)


def _require_device(connection: Connection) -> None:
    if connection.provider not in DEVICE_CONTROLS:
        raise NotFound(f"connection {connection.id} links no phone")


def _sentence(error: Exception) -> str:
    """Say why a gateway did not do it."""
    if isinstance(error, GatewayFailed):
        return status_reason(error.reason)
    if isinstance(error, GatewaysBusy):
        return gettext("Too many gateways are being asked right now. Try again in a moment.")
    return gettext("The connection's settings do not allow this: see its address and secrets.")
