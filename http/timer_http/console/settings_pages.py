"""WhatsApp settings: the linked numbers, when a chat counts as over, how it is summarised.

For managers. Whatever is chosen here can be chosen through the API as well, by the same services.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any
from uuid import UUID

from flask import flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from timer_http.auth import require
from timer_http.console.access import id_of, open_business
from timer_http.console.i18n import LANGUAGES, gettext
from timer_http.console.pages import blueprint
from timer_http.console.settings_forms import (
    NEEDS,
    Filled,
    check,
    read_connection,
    read_gap_s,
    write_gap,
)
from timer_http.context import current_services
from timer_http.noting import tell_journal
from timer_http.schemas import BusinessChange, ConnectionChange, NewConnection
from timer_service.errors import Conflict, InvalidInput
from timer_service.messages import ProviderName, Role, SummarizerChoice, TouchOn
from timer_service.outgoing import MessageToSend
from timer_service.providers import DEVICE_CONTROLS
from timer_service.resources import Business
from timer_service.text_cleaning import clean_text

_ADDRESS = "/console/businesses/<uuid:business_id>/settings"
_CONNECTION = f"{_ADDRESS}/connections/<uuid:connection_id>"
_MOST_CONNECTIONS = 100


@blueprint.get(_ADDRESS)
@require(Role.MANAGER)
def whatsapp_settings(business_id: UUID) -> str:
    """Show what can be set."""
    return _page(open_business(business_id))


@blueprint.get(f"{_ADDRESS}/connections/new")
@require(Role.MANAGER)
def new_connection(business_id: UUID) -> str:
    """Ask which gateway, then what that one needs."""
    open_business(business_id)
    return _new_connection(Filled())


@blueprint.post(f"{_ADDRESS}/connections/new")
@require(Role.MANAGER)
def add_connection(business_id: UUID) -> Response | tuple[str, int]:
    """Connect an account."""
    business = open_business(business_id)
    provider = _provider()
    typed = read_connection(request.form)
    new, problems = check(NewConnection, {"provider": provider, **typed})
    if new is not None and new.provider is not ProviderName.META and not new.secrets:
        new, problems = None, {"secrets": "none"}
    if new is not None:
        try:
            connection = current_services().administration.add_connection(
                id_of(business), **new.model_dump()
            )
        except Conflict:
            problems = {"external_id": gettext("This account is connected already.")}
        else:
            tell_journal(subject_id=connection.id)
            flash(gettext("It is connected here. Now set its webhook address at the gateway."))
            return _to_settings(business, f"connection-{connection.id}")
    return _new_connection(Filled(request.form, problems)), HTTPStatus.UNPROCESSABLE_ENTITY


@blueprint.post(_CONNECTION)
@require(Role.MANAGER)
def change_connection(business_id: UUID, connection_id: UUID) -> Response | tuple[str, int]:
    """Change a connection's name, address or secrets; blank secrets stay as they are."""
    business = open_business(business_id)
    typed = read_connection(request.form)
    if not typed["secrets"]:
        del typed["secrets"]
    change, problems = check(ConnectionChange, typed)
    if change is not None:
        try:
            current_services().administration.change_connection(
                id_of(business), connection_id, change.model_dump(exclude_unset=True)
            )
        except Conflict:
            problems = {"base_url": gettext("This account is connected already.")}
        else:
            flash(gettext("The connection is changed."))
            return _to_settings(business, f"connection-{connection_id}")
    page = _page(business, changed=connection_id, filled=Filled(request.form, problems))
    return page, HTTPStatus.UNPROCESSABLE_ENTITY


@blueprint.post(f"{_CONNECTION}/remove")
@require(Role.MANAGER)
def remove_connection(business_id: UUID, connection_id: UUID) -> Response:
    """Take a connection out of use."""
    business = open_business(business_id)
    current_services().administration.delete_connection(id_of(business), connection_id)
    flash(gettext("The connection is removed. Its conversations stay."))
    return _to_settings(business)


@blueprint.post(f"{_CONNECTION}/default")
@require(Role.MANAGER)
def choose_default(business_id: UUID, connection_id: UUID) -> Response:
    """Have messages that name neither connection nor chat go out by this one."""
    business = open_business(business_id)
    administration = current_services().administration
    administration.connection(id_of(business), connection_id)  # another's is not there
    administration.change_business(id_of(business), {"default_connection_id": connection_id})
    flash(gettext("New messages go out by this number. Open chats stay with theirs."))
    return _to_settings(business, f"connection-{connection_id}")


@blueprint.post(f"{_CONNECTION}/test-message")
@require(Role.MANAGER)
def send_test_message(business_id: UUID, connection_id: UUID) -> Response | tuple[str, int]:
    """Send a message to a number of one's own, and lead to the conversation it stands in."""
    business = open_business(business_id)
    to, text = (clean_text(request.form.get(name, "")).strip() for name in ("to", "text"))
    message, problems = check(
        MessageToSend,
        {"connection_id": connection_id, "to": to, "text": text, "author": "agent"},
    )
    if message is not None:
        try:
            sent = current_services().outbox.send(id_of(business), message)
        except (InvalidInput, Conflict) as error:
            problems = {getattr(error, "field", None) or "text": str(error)}
        else:
            flash(gettext("The message is queued. Its ticks show how far it gets."))
            address = url_for(
                "console.session", business_id=business_id, session_id=sent.session_id
            )
            return redirect(address, HTTPStatus.SEE_OTHER)
    page = _page(business, tested=connection_id, filled=Filled(request.form, problems))
    return page, HTTPStatus.UNPROCESSABLE_ENTITY


@blueprint.post(f"{_ADDRESS}/idle-gap")
@require(Role.MANAGER)
def change_idle_gap(business_id: UUID) -> Response | tuple[str, int]:
    """Change when a quiet chat counts as over."""
    business = open_business(business_id)
    gap_s, touch_on = read_gap_s(request.form), request.form.get("touch_on", "")
    if gap_s is None:
        problem = gettext("Between 1 minute and 30 days, as a whole number.")
        page = _page(business, filled=Filled(request.form, {"gap": problem}))
        return page, HTTPStatus.UNPROCESSABLE_ENTITY
    if touch_on not in set(TouchOn):
        raise InvalidInput("expected customer or any", field="touch_on")
    current_services().administration.change_business(
        id_of(business), {"idle_gap_s": gap_s, "touch_on": touch_on}
    )
    flash(gettext("The idle time is changed. It counts from each chat's next message."))
    return _to_settings(business, "idle")


@blueprint.post(f"{_ADDRESS}/summaries")
@require(Role.MANAGER)
def change_summaries(business_id: UUID) -> Response | tuple[str, int]:
    """Change how conversations are summarised."""
    business = open_business(business_id)
    names = ("summarizer", "summary_model", "summary_language", "summary_instructions")
    typed: dict[str, Any] = {
        name: clean_text(request.form.get(name, "")).strip() or None for name in names
    }
    typed["summary_instructions"] = typed["summary_instructions"] or ""
    change, problems = check(BusinessChange, typed)
    if change is None:
        page = _page(business, filled=Filled(request.form, problems))
        return page, HTTPStatus.UNPROCESSABLE_ENTITY
    values = change.model_dump(mode="json", exclude_unset=True)
    current_services().administration.change_business(id_of(business), values)
    flash(gettext("Summaries are written this way from now on."))
    return _to_settings(business, "summaries")


def _page(
    business: Business,
    *,
    changed: UUID | None = None,
    tested: UUID | None = None,
    filled: Filled | None = None,
) -> str:
    services = current_services()
    settings = services.settings
    connections = services.administration.list_connections(
        id_of(business), before=None, limit=_MOST_CONNECTIONS
    )
    only_id = connections[0].id if len(connections) == 1 else None
    return render_template(
        "console/whatsapp_settings.html",
        connections=connections,
        default_id=business.default_connection_id or only_id,
        devices=DEVICE_CONTROLS,
        needs=NEEDS,
        gap=write_gap(business.idle_gap_s),
        touches=list(TouchOn),
        summarizers=list(SummarizerChoice),
        languages_of_summaries=LANGUAGES,
        has_model=bool(settings.openai_api_key or settings.openai_base_url),
        usual_model=settings.summary_model,
        changed=changed,
        tested=tested,
        filled=filled or Filled(),
    )


def _new_connection(filled: Filled) -> str:
    return render_template(
        "console/connection_new.html",
        providers=list(ProviderName),
        provider=_provider(),
        needs=NEEDS,
        filled=filled,
    )


def _provider() -> ProviderName | None:
    named = request.values.get("provider", "")
    return ProviderName(named) if named in set(ProviderName) else None


def _to_settings(business: Business, anchor: str | None = None) -> Response:
    address = url_for("console.whatsapp_settings", business_id=business.id, _anchor=anchor)
    return redirect(address, HTTPStatus.SEE_OTHER)
