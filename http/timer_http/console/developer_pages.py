"""For those who connect programs: API keys, the API's documents, and the journal; and the jobs.

A key is shown when it is made and never again.
"""

from __future__ import annotations

from http import HTTPStatus
from uuid import UUID

from flask import flash, make_response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from timer_http.auth import require
from timer_http.console.access import id_of, open_business, require_caller
from timer_http.console.i18n import gettext
from timer_http.console.pages import CONTENT_SECURITY_POLICY, blueprint
from timer_http.context import current_services
from timer_http.noting import tell_journal
from timer_http.paging import cut, read_instants_and_id
from timer_service.errors import InvalidInput, NotFound
from timer_service.messages import KEY_ROLES, Role
from timer_service.resources import Business
from timer_service.text_cleaning import clean_text

_ADDRESS = "/console/businesses/<uuid:business_id>/developers"
_MOST_KEYS = 100
_LONGEST_NAME = 200
JOURNAL_LENGTH = 50


@blueprint.get(_ADDRESS)
@require(Role.MANAGER)
def developers(business_id: UUID) -> str:
    """Show the keys, the documents and the latest of the journal."""
    return _developers(open_business(business_id))


@blueprint.post(f"{_ADDRESS}/keys")
@require(Role.MANAGER)
def add_key(business_id: UUID) -> str:
    """Make a key and show it, this once."""
    business = open_business(business_id)
    named = request.form.get("role", "")
    if named not in set(KEY_ROLES):
        raise InvalidInput("expected viewer, agent or manager", field="role")
    name = clean_text(request.form.get("name", "")).strip()[:_LONGEST_NAME]
    key_id, key = current_services().keys.add(id_of(business), Role(named), name)
    tell_journal(subject_id=key_id, detail=named)
    return _developers(business, made=key)


@blueprint.post(f"{_ADDRESS}/keys/<uuid:key_id>/revoke")
@require(Role.MANAGER)
def revoke_key(business_id: UUID, key_id: UUID) -> Response:
    """Revoke a key: it is refused from the next request on."""
    business = open_business(business_id)
    if not current_services().keys.revoke(id_of(business), key_id):
        raise NotFound(f"there is no key {key_id} in use")
    flash(gettext("The key is revoked. It is refused from now on."))
    address = url_for("console.developers", business_id=business_id)
    return redirect(address, HTTPStatus.SEE_OTHER)


@blueprint.get("/console/jobs")
@require(Role.ADMIN)
def jobs() -> Response:
    """Show the job pages in this frame, for whoever runs the service."""
    require_caller()
    response = make_response(render_template("console/jobs.html"))
    response.headers["Content-Security-Policy"] = f"{CONTENT_SECURITY_POLICY}; frame-src 'self'"
    return response


def _developers(business: Business, *, made: str | None = None) -> str:
    services = current_services()
    cursor = read_instants_and_id(request.args.get("before"), instants=1)
    found = services.journal.entries(
        id_of(business),
        before=(cursor[0][0], cursor[1]) if cursor else None,
        limit=JOURNAL_LENGTH + 1,
    )
    entries, older = cut(found, JOURNAL_LENGTH, lambda one: (one.at, one.id))
    return render_template(
        "console/developers.html",
        keys=services.keys.keys_of(id_of(business), before=None, limit=_MOST_KEYS),
        roles=KEY_ROLES,
        made=made,
        entries=entries,
        older=older,
        is_first_page=cursor is None,
    )
