"""A person's own pages: their businesses, their password, and the links that let them in."""

from __future__ import annotations

from http import HTTPStatus

from flask import flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from timer_http.auth import keep_signed_in, require, session_token, signed_in_person
from timer_http.client_address import client_address
from timer_http.console import words
from timer_http.console.access import require_person
from timer_http.console.i18n import gettext, language_kept, speak_for
from timer_http.console.pages import blueprint
from timer_http.context import current_services
from timer_service.access import Caller
from timer_service.errors import Conflict, InvalidInput, TooManyTries
from timer_service.journal import EventKind
from timer_service.members import Invitation
from timer_service.messages import Role
from timer_service.passwords import SHORTEST, WeakPassword
from timer_service.text_cleaning import clean_text


@blueprint.get("/console/own-businesses")
@require(Role.VIEWER)
def own_businesses() -> str:
    """List the businesses the reader belongs to."""
    return render_template("console/own_businesses.html", memberships=require_person().memberships)


@blueprint.get("/account")
@require(Role.VIEWER)
def account() -> str:
    """Show the reader's own account."""
    return _account()


@blueprint.post("/account/password")
@require(Role.VIEWER)
def change_password() -> Response | tuple[str, int]:
    """Change the reader's password and sign out every other browser."""
    person = require_person()
    problem = {}
    try:
        is_changed = current_services().people.change_password(
            person,
            request.form.get("old", ""),
            request.form.get("password", ""),
            token=session_token() or "",
            address=client_address(),
        )
    except WeakPassword as error:
        problem = {"password": words.weak_password(error.weakness)}
    except TooManyTries:
        problem = {"old": words.too_many_tries()}
    else:
        if is_changed:
            flash(gettext("Your password is changed. Other browsers are signed out."))
            return redirect(url_for("console.account"), HTTPStatus.SEE_OTHER)
        problem = {"old": gettext("This is not your present password.")}
    return _account(problem), HTTPStatus.UNPROCESSABLE_ENTITY


@blueprint.post("/account/sign-out-elsewhere")
@require(Role.VIEWER)
def sign_out_elsewhere() -> Response:
    """End the sign-ins of all other browsers."""
    person = require_person()
    ended = current_services().people.sign_out_elsewhere(person.id, session_token() or "")
    flash(gettext("Other browsers that were signed out: %(count)s", count=ended))
    return redirect(url_for("console.account"), HTTPStatus.SEE_OTHER)


@blueprint.get("/invitation/<token>")
def show_invitation(token: str) -> str:
    """Show what a link invites to."""
    return _invitation(_find_invitation(token))


@blueprint.post("/invitation/<token>")
def accept_invitation(token: str) -> Response | tuple[str, int]:
    """Join the business, with a new account or the one there is."""
    invitation = _find_invitation(token)
    members = current_services().members
    password = request.form.get("password", "")
    problem = {}
    try:
        if invitation.has_account:
            signed_in = members.join_with_account(
                token, password=password, address=client_address()
            )
        else:
            name = clean_text(request.form.get("name", ""))
            signed_in = members.join(token, name=name, password=password)
    except WeakPassword as error:
        problem = {"password": words.weak_password(error.weakness)}
    except InvalidInput:
        problem = {"name": gettext("Write your name, as colleagues will see it.")}
    except TooManyTries:
        problem = {"password": words.too_many_tries()}
    except Conflict:  # somebody made the account while this page was open: ask for its password
        return redirect(url_for("console.show_invitation", token=token), HTTPStatus.SEE_OTHER)
    else:
        if signed_in is not None:
            with language_kept():
                keep_signed_in(signed_in)
            if (person := signed_in_person()) is not None:
                current_services().journal.note(
                    invitation.business_id,
                    EventKind.USER_JOINED,
                    Caller(invitation.role.role, invitation.business_id, person_id=person.id),
                    detail=invitation.role.value,
                )
            address = url_for("console.business", business_id=invitation.business_id)
            return redirect(address, HTTPStatus.SEE_OTHER)
        problem = {"password": gettext("This is not the password of this account.")}
    return _invitation(invitation, problem), HTTPStatus.UNPROCESSABLE_ENTITY


@blueprint.get("/password/<token>")
def show_reset(token: str) -> str:
    """Ask for a new password."""
    return _reset(current_services().people.email_of_reset(token))


@blueprint.post("/password/<token>")
def accept_reset(token: str) -> Response | tuple[str, int]:
    """Set the new password and sign in."""
    people = current_services().people
    email = people.email_of_reset(token)
    try:
        signed_in = people.reset_password(token, request.form.get("password", ""))
    except WeakPassword as error:
        problem = {"password": words.weak_password(error.weakness)}
        return _reset(email, problem), HTTPStatus.UNPROCESSABLE_ENTITY
    with language_kept():
        keep_signed_in(signed_in)
    return redirect(url_for("console.home"), HTTPStatus.SEE_OTHER)


def _account(problem: dict[str, str] | None = None) -> str:
    return render_template(
        "console/account.html", person=require_person(), shortest=SHORTEST, problem=problem or {}
    )


def _find_invitation(token: str) -> Invitation:
    invitation = current_services().members.invitation(token)
    speak_for(invitation.locale, "UTC")
    return invitation


def _invitation(invitation: Invitation, problem: dict[str, str] | None = None) -> str:
    return render_template(
        "console/invitation.html",
        invitation=invitation,
        name=request.form.get("name", ""),
        shortest=SHORTEST,
        problem=problem or {},
    )


def _reset(email: str, problem: dict[str, str] | None = None) -> str:
    return render_template(
        "console/new_password.html", email=email, shortest=SHORTEST, problem=problem or {}
    )
