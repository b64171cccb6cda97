"""Reads the ids people type: local numbers become international by the business's country."""

from __future__ import annotations

import phonenumbers

from timer_service.errors import InvalidInput
from timer_service.messages import ContactIds


def read_customer(text: str, country: str | None, *, field: str = "customer_wa_id") -> ContactIds:
    """Read a customer's id; ``0812…`` becomes ``62812…`` for a business in ``ID``.

    A number that already carries its country is never rewritten, valid or not: providers know
    forms that no table does.

    Raises:
        InvalidInput: neither a number nor an id.
    """
    try:
        ids = ContactIds.parse(text)
    except ValueError as error:
        raise InvalidInput(str(error), field=field) from None
    if ids.phone is None or not ids.phone.startswith("0") or country is None:
        return ids
    try:
        number = phonenumbers.parse(ids.phone, country)
    except phonenumbers.NumberParseException:
        return ids
    return ContactIds(
        phone=f"{number.country_code}{phonenumbers.national_significant_number(number)}"
    )
