"""Whose name stands under what is written by way of the API or the console."""

from __future__ import annotations

from timer_http.context import current_services
from timer_service.access import Caller
from timer_service.contact_book import Writer


def writer_of(caller: Caller) -> Writer:
    """Return the name of the caller's key, or the caller's role."""
    return Writer(current_services().keys.name_of(caller))
