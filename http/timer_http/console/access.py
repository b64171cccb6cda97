"""Who may open which page. Every page view passes through here before it reads anything."""

from __future__ import annotations

from typing import cast
from uuid import UUID

from flask import g, request

from timer_http.auth import (
    caller_from_request,
    check_role,
    least_role_of,
    signed_in_person,
)
from timer_http.console.i18n import speak_for
from timer_http.context import current_services
from timer_service.access import Caller
from timer_service.errors import NotFound
from timer_service.ids import BusinessId
from timer_service.people import Person
from timer_service.resources import Business


class NotSignedIn(Exception):
    """The page needs somebody we know; answered with the way to the sign-in page."""


def require_caller() -> Caller:
    """Return who is reading.

    Raises:
        NotSignedIn: nobody we know.
        NotFound: a person, and the address names a business that is none of theirs.
        werkzeug.exceptions.Forbidden: the role does not reach what the view is marked with.
    """
    caller = caller_from_request()
    if caller is None:
        raise NotSignedIn
    g.caller = caller
    named = (request.view_args or {}).get("business_id")
    if caller.person_id is not None and named is not None and not caller.may_see(named):
        raise NotFound(f"there is no business {named}")
    check_role(caller, least_role_of(request.endpoint or ""))
    return caller


def require_person() -> Person:
    """Return the person who is reading; whoever signed in with a key has no account.

    Raises:
        NotSignedIn: nobody we know.
        NotFound: it is a key.
    """
    require_caller()
    person = signed_in_person()
    if person is None:
        raise NotFound("a key has no account")
    return person


def reader() -> Caller:
    """Return who was let in by `require_caller`."""
    return cast("Caller", g.caller)


def open_business(business_id: UUID) -> Business:
    """Return a business the reader may see, and speak its language from here on.

    Raises:
        NotSignedIn: nobody we know.
        NotFound: there is none, or it is another's: the two look alike.
        werkzeug.exceptions.Forbidden: the role does not reach what the view is marked with.
    """
    caller = require_caller()
    if not caller.may_see(business_id):
        raise NotFound(f"there is no business {business_id}")
    business = current_services().administration.business(business_id)
    g.business = business
    speak_for(business.locale, business.timezone)
    return business


def id_of(business: Business) -> BusinessId:
    """Return a business's id as the services want it."""
    return BusinessId(business.id)
