"""Reads the forms of the WhatsApp settings: what a connection of each gateway needs, and the gap.

Values are checked by the API's own models; here is only which field of the form is which, so that
what is wrong stands beside it. No secret that was typed is ever shown again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from timer_http.problems import field_errors
from timer_service.messages import ProviderName
from timer_service.settings import IDLE_GAP_MAX_S
from timer_service.text_cleaning import clean_json

UNITS_S = {"minute": 60, "hour": 3_600, "day": 86_400}
SHORTEST_GAP_S = 60
"""What a person may choose; programs may choose down to a second."""

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Needs:
    """What somebody who connects a gateway has to type in."""

    required: tuple[str, ...]
    """Secrets that prove where webhooks come from."""
    optional: tuple[str, ...]
    """Secrets for sending, and other proofs."""
    has_address: bool = False
    """Whether the gateway is one's own, at an address of its own."""


NEEDS = {
    ProviderName.META: Needs(("app_secret", "verify_token"), ("access_token",)),
    ProviderName.BAILEYS: Needs(("token",), ("api_key", "jwt_key"), has_address=True),
    ProviderName.TWILIO: Needs(("auth_token",), ()),
    ProviderName.WAHA: Needs(("hmac_key",), ("api_key",), has_address=True),
}


@dataclass(frozen=True, slots=True)
class Filled:
    """A form as it was sent: the values to keep showing, and what is wrong with which."""

    values: Mapping[str, str] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)


def read_connection(form: Mapping[str, str]) -> dict[str, Any]:
    """Return what was typed of a connection as the API's models take it, without blank secrets."""
    form = clean_json(dict(form))
    values: dict[str, Any] = {
        name: form[name].strip() for name in ("external_id", "name", "base_url") if name in form
    }
    typed = {name.removeprefix("secret."): text.strip() for name, text in form.items()
             if name.startswith("secret.")}  # fmt: skip
    return values | {"secrets": {name: text for name, text in typed.items() if text}}


def check(model: type[Model], values: Mapping[str, Any]) -> tuple[Model | None, dict[str, str]]:
    """Return the checked values, or by field what is wrong, in the service's own words."""
    try:
        return model(**values), {}
    except ValidationError as error:
        return None, {one.field.split(".")[0]: one.message for one in field_errors(error)}


def read_gap_s(form: Mapping[str, str]) -> int | None:
    """Return the idle gap that a count and its unit name; None if it is out of bounds."""
    count, unit_s = form.get("gap", "").strip(), UNITS_S.get(form.get("unit", ""), 0)
    if not count.isdecimal() or len(count) > len(str(IDLE_GAP_MAX_S)):
        return None
    gap_s = int(count) * unit_s
    return gap_s if SHORTEST_GAP_S <= gap_s <= IDLE_GAP_MAX_S else None


def write_gap(gap_s: int) -> tuple[int, str]:
    """Return a gap as a count of its largest whole unit; below a minute it is rounded up to one."""
    for unit, unit_s in reversed(UNITS_S.items()):
        if gap_s % unit_s == 0:
            return gap_s // unit_s, unit
    return -(-gap_s // UNITS_S["minute"]), "minute"
