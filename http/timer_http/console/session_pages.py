"""One conversation: what was said, what became of it, and what an agent may do about it."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

from flask import redirect, render_template, request, url_for
from pydantic import ValidationError
from werkzeug.wrappers import Response

from timer_http.auth import require
from timer_http.console.access import id_of, open_business, reader
from timer_http.console.i18n import gettext
from timer_http.console.note_views import Typed, tasks_and_notes
from timer_http.console.pages import blueprint
from timer_http.console.transcript import lay_out
from timer_http.console.zones import zone_of
from timer_http.context import current_services
from timer_http.paging import cut, read_instants_and_id
from timer_service.errors import Conflict, InvalidInput
from timer_service.messages import WORKER_DIED, Role, SummaryStatus
from timer_service.outgoing import MessageToSend
from timer_service.records.session_views import Filter
from timer_service.resources import Business, Message, Session

PAGE_LENGTH = 200
"""Messages a page shows; a bot caught in a loop must not make a page nobody can open."""
EARLIER_LENGTH = 5

_ADDRESS = "/console/businesses/<uuid:business_id>/sessions/<uuid:session_id>"
_UNFINISHED = {SummaryStatus.PENDING.value, SummaryStatus.RUNNING.value, SummaryStatus.FAILED.value}


@blueprint.get(_ADDRESS)
@require(Role.VIEWER)
def session(business_id: UUID, session_id: UUID) -> str:
    """Show one conversation."""
    return show_session(open_business(business_id), session_id)


@blueprint.get(f"{_ADDRESS}/live")
@require(Role.VIEWER)
def session_live(business_id: UUID, session_id: UUID) -> str:
    """Serve all of the page that can change, for htmx to fetch again."""
    values = _live(open_business(business_id), session_id)
    return render_template("console/_session.html", **values)


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


@blueprint.post(f"{_ADDRESS}/answer")
@require(Role.AGENT)
def answer_session(business_id: UUID, session_id: UUID) -> Response | tuple[str, int]:
    """Send the customer what was typed, once however often the form is sent."""
    business = open_business(business_id)
    text = request.form.get("text", "")
    current_services().service.session(id_of(business), session_id)
    try:
        new = MessageToSend(
            session_id=session_id,
            text=text,
            author="agent",
            client_ref=f"console-{request.form.get('once', '')}"[:100],
        )
        sent = current_services().outbox.send(id_of(business), new)
    except ValidationError:
        problem = gettext("Write an answer first; the longest WhatsApp takes has 65,536 letters.")
    except InvalidInput as error:
        problem = _why_not(error)
    except Conflict:
        problem = gettext("This number cannot send: its gateway's address is missing.")
    else:
        # An answer to a conversation that is over opens the next one.
        return _back_to(business_id, sent.session_id, anchor=f"message-{sent.id}")
    return show_session(business, session_id, Typed("answer", {"text": text}, problem)), 422


def show_session(business: Business, session_id: UUID, typed: Typed | None = None) -> str:
    """Make the page of a conversation, with what was typed and refused where there was that."""
    values = _live(business, session_id)
    shown: Session = values["session"]
    owner = id_of(business)
    services = current_services()
    earlier, more = cut(
        services.lists.sessions(
            owner,
            Filter(
                contact_id=shown.contact_id,
                before=(shown.started_at, shown.id),
                limit=EARLIER_LENGTH + 1,
            ),
        ).sessions,
        EARLIER_LENGTH,
        lambda one: (one.started_at, one.id),
    )
    return render_template(
        "console/session.html",
        **values,
        **tasks_and_notes(owner, shown.contact_id),
        contact=services.contact_book.contact(owner, shown.contact_id),
        earlier=earlier,
        has_more_earlier=more is not None,
        may_write_freely=values["may_act"] and _is_window_open(shown),
        once=uuid4(),
        typed=typed,
    )


def _back_to(business_id: UUID, session_id: UUID, anchor: str | None = None) -> Response:
    address = url_for(
        "console.session", business_id=business_id, session_id=session_id, _anchor=anchor
    )
    return redirect(address, 303)


def _why_not(error: InvalidInput) -> str:
    if error.field == "text" and "24 hours" in str(error):
        return gettext(
            "The customer's last message is more than 24 hours old: WhatsApp takes approved "
            "templates only."
        )
    if error.field == "to":
        return gettext("This customer's number cannot be written to.")
    return gettext("WhatsApp would not take this text. Shorten it, or write it differently.")


def _live(business: Business, session_id: UUID) -> dict[str, Any]:
    shown = current_services().service.session(id_of(business), session_id)
    after = request.args.get("after")
    messages, more = _messages(business, session_id, after)
    return {
        "session": shown,
        "bubbles": lay_out(messages, zone_of(business)),
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


def _is_window_open(shown: Session) -> bool:
    """Tell whether WhatsApp takes an answer in plain text now, and not only approved templates."""
    return shown.service_window is None or shown.service_window.is_open


def _is_unfinished(shown: Session) -> bool:
    summary = shown.summary
    return shown.is_open or (
        summary is not None and summary.status in _UNFINISHED and summary.reason != WORKER_DIED
    )
