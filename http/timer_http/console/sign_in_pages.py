"""The way in and out: the start page, signing in as a person or with a key, signing out."""

from __future__ import annotations

from http import HTTPStatus

from flask import redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from timer_http.auth import (
    caller_from_request,
    keep_signed_in,
    require,
    sign_in,
    sign_out,
    signed_in_person,
)
from timer_http.client_address import client_address
from timer_http.console import words
from timer_http.console.access import require_caller
from timer_http.console.i18n import gettext, language_kept
from timer_http.console.pages import blueprint
from timer_http.context import current_services
from timer_service.access import Caller
from timer_service.errors import DatabaseUnavailable, TooManyTries
from timer_service.journal import EventKind
from timer_service.messages import Role
from timer_service.people import Person

_LONGEST_KEY = 200


@blueprint.get("/")
@require(Role.VIEWER)
def home() -> Response:
    """Lead to the reader's business, or to all of them."""
    return redirect(_home_of(require_caller()), HTTPStatus.SEE_OTHER)


@blueprint.get("/sign-in")
def show_sign_in() -> str | Response:
    """Ask who it is; who has signed in already goes on."""
    caller = caller_from_request()
    return _page() if caller is None else _go_on(_home_of(caller))


@blueprint.post("/sign-in")
def accept_sign_in() -> Response | tuple[str, int]:
    """Take an e-mail address and a password, or a key. No secret is ever shown again."""
    return _with_key() if "key" in request.form else _as_person()


@blueprint.post("/sign-out")
def accept_sign_out() -> Response:
    """Forget who is reading."""
    with language_kept():
        sign_out()
    return redirect(url_for("console.show_sign_in"), HTTPStatus.SEE_OTHER)


def _as_person() -> Response | tuple[str, int]:
    email, password = request.form.get("email", ""), request.form.get("password", "")
    try:
        token = current_services().people.sign_in(email, password, address=client_address())
    except TooManyTries:
        return _page(
            email=email,
            problem=words.too_many_tries(),
        ), HTTPStatus.TOO_MANY_REQUESTS
    if token is None:
        problem = gettext("This e-mail address and this password do not fit together.")
        return _page(email=email, problem=problem), HTTPStatus.UNAUTHORIZED
    with language_kept():
        keep_signed_in(token)
    person = signed_in_person()
    if person is None:
        return _go_on(url_for("console.home"))
    for one in person.memberships:
        current_services().journal.note(
            one.business_id,
            EventKind.USER_SIGNED_IN,
            Caller(one.role.role, one.business_id, person_id=person.id),
        )
    return _go_on(home_of_person(person))


def _with_key() -> Response | tuple[str, int]:
    key = request.form["key"].strip()
    if not key:
        problem = gettext("Paste a key first.")
    else:
        with language_kept():
            caller = sign_in(key) if len(key) <= _LONGEST_KEY else None
        if caller is not None:
            return _go_on(_home_of(caller))
        problem = gettext("No business has this key. Check that it was copied whole.")
    return _page(key_problem=problem), HTTPStatus.UNAUTHORIZED


def _page(*, email: str = "", problem: str | None = None, key_problem: str | None = None) -> str:
    """Ask for a key alone while nobody has an account: only the first invitation makes one."""
    try:
        has_people = current_services().people.is_there_any()
    except DatabaseUnavailable:
        has_people = True
    return render_template(
        "console/sign_in.html",
        has_people=has_people,
        email=email,
        problem=problem,
        key_problem=key_problem,
    )


def _go_on(home_address: str) -> Response:
    wanted = request.args.get("next", "")
    # Only pages of our own: anything else could lead a reader off to a stranger's.
    is_ours = wanted.startswith(("/console/", "/rq/", "/account")) and "\\" not in wanted
    return redirect(wanted if is_ours else home_address, HTTPStatus.SEE_OTHER)


def _home_of(caller: Caller) -> str:
    person = signed_in_person() if caller.person_id is not None else None
    if person is not None:
        return home_of_person(person)
    if caller.business_id is None:
        return url_for("console.businesses")
    return url_for("console.business", business_id=caller.business_id)


def home_of_person(person: Person) -> str:
    """Return where a person begins: at their business, or at the list of them."""
    if len(person.memberships) == 1:
        return url_for("console.business", business_id=person.memberships[0].business_id)
    return url_for("console.own_businesses")
