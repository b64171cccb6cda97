"""One conversation: what was said, what became of it, and the two things an agent may do."""

from __future__ import annotations

from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from flask import redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from timer_http.auth import require
from timer_http.console.access import id_of, open_business, reader
from timer_http.console.pages import blueprint
from timer_http.console.transcript import lay_out
from timer_http.context import current_services
from timer_http.paging import cut, read_instants_and_id
from timer_service.messages import WORKER_DIED, Role, SummaryStatus
from timer_service.resources import Business, Message, Session

PAGE_LENGTH = 300
"""Messages a page shows; a bot caught in a loop must not make a page nobody can open."""

_ADDRESS = "/console/businesses/<uuid:business_id>/sessions/<uuid:session_id>"
_UNFINISHED = {SummaryStatus.PENDING.value, SummaryStatus.RUNNING.value, SummaryStatus.FAILED.value}


@blueprint.get(_ADDRESS)
@require(Role.VIEWER)
def session(business_id: UUID, session_id: UUID) -> str:
    """Show one conversation."""
    return render_template("console/session.html", **_session(business_id, session_id))


@blueprint.get(f"{_ADDRESS}/live")
@require(Role.VIEWER)
def session_live(business_id: UUID, session_id: UUID) -> str:
    """Serve all of the page that can change, for htmx to fetch again."""
    return render_template("console/_session.html", **_session(business_id, session_id))


@blueprint.post(f"{_ADDRESS}/close")
@require(Role.AGENT)
def close_session(business_id: UUID, session_id: UUID) -> Response:
    """Close the conversation now."""
    owner = id_of(open_business(business_id))
    current_services().service.complete(session_id, owner)
    return _back_to(business_id, session_id)


@blueprint.post(f"{_ADDRESS}/summarize")
@require(Role.AGENT)
def summarize_session(business_id: UUID, session_id: UUID) -> Response:
    """Ask for a new summary."""
    owner = id_of(open_business(business_id))
    current_services().service.summarize(owner, session_id)
    return _back_to(business_id, session_id)


def _back_to(business_id: UUID, session_id: UUID) -> Response:
    address = url_for("console.session", business_id=business_id, session_id=session_id)
    return redirect(address, 303)


def _session(business_id: UUID, session_id: UUID) -> dict[str, Any]:
    business = open_business(business_id)
    shown = current_services().service.session(id_of(business), session_id)
    after = request.args.get("after")
    messages, more = _messages(business, session_id, after)
    return {
        "session": shown,
        "bubbles": lay_out(messages, _zone_of(business)),
        "after": after,
        "more": more,
        "may_act": reader().may(Role.AGENT),
        "is_unfinished": _is_unfinished(shown),
    }


def _messages(
    business: Business, session_id: UUID, after: str | None
) -> tuple[list[Message], str | None]:
    cursor = read_instants_and_id(after, instants=2)
    position = (cursor[0][0], cursor[0][1], cursor[1]) if cursor else None
    rows = current_services().service.messages(
        id_of(business), session_id, after=position, limit=PAGE_LENGTH + 1
    )
    shown, more = cut(
        rows, PAGE_LENGTH, lambda row: (row["placed_at"], row["received_at"], row["id"])
    )
    return [Message.of(row) for row in shown], more


def _is_unfinished(shown: Session) -> bool:
    summary = shown.summary
    return shown.is_open or (
        summary is not None and summary.status in _UNFINISHED and summary.reason != WORKER_DIED
    )


def _zone_of(business: Business) -> ZoneInfo:
    try:
        return ZoneInfo(business.timezone)
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")
