"""Where a reader may go from any page: the places of a business, and those above all businesses.

`setup` hands these to every template. A place whose view is not there is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

from flask import current_app, request, url_for

from timer_http.auth import least_role_of
from timer_http.console.i18n import gettext
from timer_service.access import Caller
from timer_service.resources import Business


@dataclass(frozen=True, slots=True)
class Place:
    """A link of the navigation; ``is_here`` marks the one the page shown belongs to."""

    word: str
    address: str
    is_here: bool


def places_in(business: Business, caller: Caller) -> list[Place]:
    """Return the places of a business that the reader's role reaches."""
    own = url_for("console.business", business_id=business.id)
    words = {
        "console.business": gettext("Overview"),
        "console.conversations": gettext("Conversations"),
        "console.contacts": gettext("Contacts"),
        "console.whatsapp_settings": gettext("WhatsApp settings"),
        "console.developers": gettext("Developers"),
        "console.users": gettext("Users"),
    }
    addresses = {
        endpoint: url_for(endpoint, business_id=business.id)
        for endpoint in words
        if endpoint in current_app.view_functions and caller.may(least_role_of(endpoint))
    }
    # One conversation is a page of the conversations, though its address does not say so.
    path = request.path.replace(f"{own}/sessions/", f"{own}/conversations/")
    here = max(
        (address for address in addresses.values() if f"{path}/".startswith(f"{address}/")),
        key=len,
        default=None,
    )
    return [
        Place(words[endpoint], address, address == here) for endpoint, address in addresses.items()
    ]


def places_above(caller: Caller) -> list[Place]:
    """Return the places that belong to no business, as far as the reader's role reaches."""
    words = {
        "console.businesses": gettext("All businesses"),
        "console.jobs": gettext("Jobs"),
    }
    return [
        Place(word, url_for(endpoint), request.endpoint == endpoint)
        for endpoint, word in words.items()
        if endpoint in current_app.view_functions and caller.may(least_role_of(endpoint))
    ]
