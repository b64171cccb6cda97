"""The people of a business: who they are, what each may do, and who is invited.

For those who administer the business, and the admin key. Nobody changes or removes themselves, so
whoever may do this here is still there afterwards.
"""

from __future__ import annotations

from http import HTTPStatus
from uuid import UUID

from flask import flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from timer_http.auth import require
from timer_http.console.access import id_of, open_business, reader
from timer_http.console.i18n import gettext
from timer_http.console.pages import blueprint
from timer_http.context import current_services
from timer_http.noting import tell_journal
from timer_service.errors import Conflict, InvalidInput
from timer_service.messages import MemberRole, Role
from timer_service.resources import Business

_ADDRESS = "/console/businesses/<uuid:business_id>/users"


@blueprint.get(_ADDRESS)
@require(Role.BUSINESS_ADMIN)
def users(business_id: UUID) -> str:
    """Show who belongs to the business."""
    return _users(open_business(business_id))


@blueprint.post(f"{_ADDRESS}/invitations")
@require(Role.BUSINESS_ADMIN)
def invite_user(business_id: UUID) -> str | tuple[str, int]:
    """Make a link that invites somebody, and show it this once."""
    business = open_business(business_id)
    email, role = request.form.get("email", ""), _read_role()
    try:
        link = current_services().members.invite(id_of(business), email, role)
    except Conflict:
        problem = gettext("Somebody with this address is here already.")
    except InvalidInput:
        problem = gettext("This is no e-mail address. One looks like dana@shop.example.")
    else:
        tell_journal(detail=email.strip().lower())
        return _users(business, link=link, email=email)
    page = _users(business, problem=problem, email=email, role=role)
    return page, HTTPStatus.UNPROCESSABLE_ENTITY


@blueprint.post(f"{_ADDRESS}/invitations/<uuid:invitation_id>/withdraw")
@require(Role.BUSINESS_ADMIN)
def withdraw_invitation(business_id: UUID, invitation_id: UUID) -> Response:
    """Make an invitation void."""
    business = open_business(business_id)
    current_services().members.withdraw(id_of(business), invitation_id)
    return _back(business, gettext("The invitation is withdrawn: its link works no more."))


@blueprint.post(f"{_ADDRESS}/<uuid:person_id>/role")
@require(Role.BUSINESS_ADMIN)
def change_user_role(business_id: UUID, person_id: UUID) -> Response:
    """Give somebody another role."""
    business = open_business(business_id)
    _refuse_oneself(person_id)
    role = _read_role()
    current_services().members.change_role(id_of(business), person_id, role)
    tell_journal(detail=role.value)
    return _back(business, gettext("The role is changed."))


@blueprint.post(f"{_ADDRESS}/<uuid:person_id>/remove")
@require(Role.BUSINESS_ADMIN)
def remove_user(business_id: UUID, person_id: UUID) -> Response:
    """Take somebody out of the business."""
    business = open_business(business_id)
    _refuse_oneself(person_id)
    current_services().members.remove(id_of(business), person_id)
    return _back(business, gettext("They see this business no more."))


def _users(
    business: Business,
    *,
    link: str | None = None,
    problem: str | None = None,
    email: str = "",
    role: MemberRole = MemberRole.AGENT,
) -> str:
    members = current_services().members
    return render_template(
        "console/users.html",
        members=members.members_of(id_of(business)),
        invited=members.invited_to(id_of(business)),
        roles=list(MemberRole),
        own_id=reader().person_id,
        link=link,
        problem=problem,
        email=email,
        role=role,
    )


def _read_role() -> MemberRole:
    try:
        return MemberRole(request.form.get("role", ""))
    except ValueError:
        raise InvalidInput("expected viewer, agent, manager or admin", field="role") from None


def _refuse_oneself(person_id: UUID) -> None:
    if person_id == reader().person_id:
        raise Conflict("nobody changes or removes themselves: ask another admin")


def _back(business: Business, said: str) -> Response:
    flash(said)
    return redirect(url_for("console.users", business_id=business.id), HTTPStatus.SEE_OTHER)
