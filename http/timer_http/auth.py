"""Who is asking, and whether they may.

The JSON API takes ``Authorization: Bearer`` and nothing else, so no other site can make a browser
act there. The console and the job pages also take the signed cookie that `sign_in` and
`keep_signed_in` set; they must check where requests come from (`origin`). Every view says who may
call it with `require`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast
from uuid import UUID

from flask import current_app, g, request, session
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Forbidden, Unauthorized

from timer_http.context import current_services
from timer_http.problems import FieldError, InvalidRequest, MissingParameter
from timer_service import people
from timer_service.access import Caller
from timer_service.clock import epoch_s
from timer_service.errors import NotFound
from timer_service.ids import BusinessId
from timer_service.messages import Role
from timer_service.people import Person

SIGNED_IN_FOR_S = 12 * 3600
"""With a key. How long a person's sign-in lasts is the row's to say."""
COOKIE_LASTS = people.SIGNED_IN_FOR

View = TypeVar("View", bound=Callable[..., Any])
_LEAST_ROLE = "least_role"


def require(least: Role) -> Callable[[View], View]:
    """Mark a view with the least role that may call it; `authorize` reads the mark."""

    def mark(view: View) -> View:
        setattr(view, _LEAST_ROLE, least)
        return view

    return mark


def least_role_of(endpoint: str) -> Role:
    """Return the least role that may call an endpoint: the admin's where a view says nothing."""
    return cast("Role", getattr(current_app.view_functions[endpoint], _LEAST_ROLE, Role.ADMIN))


def authorize() -> None:
    """Let a request of the JSON API in, before anything of it is read.

    Raises:
        Unauthorized: no key, or no key of ours.
        Forbidden: the role does not reach, or ``?business_id=`` names another business.
    """
    caller = bearer_caller()
    if caller is None:
        raise Unauthorized(
            "expected Authorization: Bearer <key>", www_authenticate=WWWAuthenticate("bearer")
        )
    check_role(caller, least_role_of(request.endpoint or ""))
    named = _named_business()
    if caller.role is not Role.ADMIN and named not in {None, caller.business_id}:
        raise Forbidden("this key belongs to another business")
    g.timer_caller = caller


def check_role(caller: Caller, least: Role) -> None:
    """Refuse a caller whose role does not reach.

    Raises:
        Forbidden: it does not.
    """
    if not caller.may(least):
        raise Forbidden(f"this needs the role {least.value}")


def current_caller() -> Caller:
    """Return who was let in by `authorize`."""
    return cast("Caller", g.timer_caller)


def acting_business() -> BusinessId:
    """Return the business this request is about: the key's, or the one the admin names.

    Raises:
        MissingParameter: the admin named none.
        NotFound: the admin named one that does not exist.
    """
    caller = current_caller()
    if caller.business_id is not None:
        return caller.business_id
    named = _named_business()
    if named is None:
        raise MissingParameter(
            "business_id", "the admin key belongs to no business: name one with ?business_id="
        )
    return BusinessId(current_services().administration.business(named).id)


def business_of_session(session_id: UUID) -> BusinessId:
    """Return the business a call about one session is about; the admin need not name it.

    Raises:
        NotFound: there is no such session (for the admin; others learn it from their own rows).
    """
    if current_caller().business_id is not None or _named_business() is not None:
        return acting_business()
    owner = current_services().service.business_of_session(session_id)
    if owner is None:
        raise NotFound(f"there is no session {session_id}")
    return owner


def business_in_path(business_id: UUID) -> BusinessId:
    """Return the business a path names, if the caller may know of it.

    Raises:
        NotFound: it is another's.
    """
    own = current_caller().business_id
    if own is not None and own != business_id:
        raise NotFound(f"there is no business {business_id}")
    return BusinessId(business_id)


def bearer_caller() -> Caller | None:
    """Return whose key the request carries; None for none, or none of ours."""
    offered = request.authorization
    if offered is None or offered.type != "bearer" or not offered.token:
        return None
    return current_services().keys.who_has(offered.token)


def caller_from_request() -> Caller | None:
    """Return who asks, by key or by the console's cookie. Never for the JSON API."""
    return bearer_caller() if request.authorization is not None else _signed_in_caller()


def sign_in(key: str) -> Caller | None:
    """Sign this browser in with a key, for twelve hours; None for no key of ours."""
    keys = current_services().keys
    caller = keys.who_has(key.strip())
    sign_out()
    if caller is None:
        return None
    session.permanent = True
    session["signed_in_at_s"] = int(epoch_s())
    if caller.key_id is not None:
        session["key_id"] = str(caller.key_id)
    else:
        session["admin"] = keys.admin_fingerprint()
    return caller


def keep_signed_in(token: str) -> None:
    """Sign this browser in as the person who got this token, and as nobody else."""
    sign_out()
    session.permanent = True
    session["token"] = token


def sign_out() -> None:
    """Forget who this browser is, and end a person's sign-in for good."""
    token = session_token()
    session.clear()
    g.pop("person", None)
    if token is not None:
        current_services().people.sign_out(token)


def session_token() -> str | None:
    """Return the token of the person's sign-in that the cookie holds, if it holds one."""
    token = session.get("token")
    return token if isinstance(token, str) else None


def signed_in_person() -> Person | None:
    """Return the person the cookie was given to; None for nobody, or who has a key."""
    token = session_token()
    if token is None:
        return None
    if "person" not in g:
        is_a_visit = "HX-Request" not in request.headers
        g.person = current_services().people.who_has(token, is_a_visit=is_a_visit)
    return cast("Person | None", g.person)


def _signed_in_caller() -> Caller | None:
    """Read the cookie: whom it names must still be let in, with a key or as a person."""
    if session_token() is not None:
        return _person_as_caller()
    signed_in_at_s = session.get("signed_in_at_s")
    if not isinstance(signed_in_at_s, int) or epoch_s() - signed_in_at_s > SIGNED_IN_FOR_S:
        return None
    keys = current_services().keys
    if "key_id" in session:
        return keys.holder_of(UUID(session["key_id"]))
    if "admin" in session and session["admin"] == keys.admin_fingerprint():
        return Caller(Role.ADMIN)
    return None


def _person_as_caller() -> Caller | None:
    """Return what the person may do in the business the address names."""
    person = signed_in_person()
    if person is None:
        return None
    named = (request.view_args or {}).get("business_id")
    if isinstance(named, UUID) and (theirs := person.role_in(named)) is not None:
        return Caller(theirs.role, BusinessId(named), person_id=person.id)
    return Caller(Role.VIEWER, person_id=person.id)


def _named_business() -> UUID | None:
    named = request.args.get("business_id")
    if named is None:
        return None
    try:
        return UUID(named)
    except ValueError:
        raise InvalidRequest([FieldError(field="business_id", message="expected a UUID")]) from None
