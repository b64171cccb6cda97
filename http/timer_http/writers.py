"""Whose name stands under what is written by way of the API or the console."""

from __future__ import annotations

from timer_http.auth import signed_in_person
from timer_http.context import current_services
from timer_service.access import Caller
from timer_service.contact_book import Writer


def writer_of(caller: Caller) -> Writer:
    """Return the person who writes; of a key its name, or its role where it has none."""
    person = signed_in_person() if caller.person_id is not None else None
    if person is not None:
        return Writer(person.name or person.email, person.id)
    return Writer(current_services().keys.name_of(caller))
