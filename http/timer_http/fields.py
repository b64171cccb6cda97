"""Kinds of fields that requests have, each with its rule and the words that state it."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import babel
import phonenumbers
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BeforeValidator,
    Field,
    FiniteFloat,
    StringConstraints,
)

from timer_service.settings import IDLE_GAP_MAX_S, IDLE_GAP_MIN_S

_LONGEST_NAME = 200
_LONGEST_URL = 500
_LONGEST_ORIGIN = 270
_MOST_SECRETS = 20
_LONGEST_SECRET = 4096
_LONGEST_NOTE = 10_000
_LONGEST_TASK = 1_000
_LONGEST_SEARCH = 200
_LONGEST_ATTRIBUTE = 500
# Some zone's last days of the calendar are beyond it in another.
_EARLIEST_DUE_AT = datetime(2000, 1, 1, tzinfo=UTC)
_LATEST_DUE_AT = datetime(2100, 1, 1, tzinfo=UTC)

_LOCALE = re.compile(r"[a-z]{2,3}(-[A-Z][a-z]{3})?(-[A-Z]{2})?")
_ORIGIN = re.compile(
    r"https?://([a-z0-9-]+(\.[a-z0-9-]+)*|\[[0-9a-f:]+\])(:[1-9]\d{0,4})?",
    re.ASCII | re.IGNORECASE,
)
_INSTANT = re.compile(
    r"(\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,9})?)(?:([Zz])|([+ -])(\d\d:\d\d))", re.ASCII
)


def _known_country(value: str) -> str:
    if value not in phonenumbers.SUPPORTED_REGIONS:
        raise ValueError("expected an ISO 3166 country of two capital letters, such as IL")
    return value


def _known_locale(value: str) -> str:
    if not _LOCALE.fullmatch(value):
        raise ValueError("expected a locale such as he, en, id or pt-BR")
    return value


def _known_language(value: str) -> str:
    try:
        babel.Locale.parse(value)
    except babel.UnknownLocaleError:
        raise ValueError("expected a language of two letters, such as he") from None
    return value


def _known_timezone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ValueError, KeyError, OSError):
        raise ValueError("expected an IANA time zone such as Asia/Jerusalem") from None
    return value


def _web_address(value: str) -> str:
    if not value:
        return value
    try:
        parts = urlsplit(value)
        is_good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_good = False
    if not is_good:
        raise ValueError("expected an address that starts with http:// or https://")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("expected an address without user, query or fragment")
    return value


def _page_origin(value: str) -> str:
    """Write an origin as browsers do: they name no default port."""
    if not _ORIGIN.fullmatch(value):
        raise ValueError("expected an origin such as https://crm.example, without a path")
    default = {"http": ":80", "https": ":443"}[value.partition(":")[0].lower()]
    return value.lower().removesuffix(default)


def _zoned_instant(value: object) -> object:
    """Read RFC 3339; a ``+`` left unescaped in a query arrives as a space."""
    found = _INSTANT.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("expected an instant with its zone, such as 2026-01-31T10:00:00Z")
    moment, utc, sign, offset = found.groups()
    return f"{moment}Z" if utc else f"{moment}{'+' if sign == ' ' else sign}{offset}"


def _forget_default(schema: dict[str, Any]) -> None:
    schema.pop("default", None)


Name = Annotated[str, StringConstraints(strip_whitespace=True, max_length=_LONGEST_NAME)]
GivenName = Annotated[Name, Field(min_length=1)]
IdleGap = Annotated[int, Field(ge=IDLE_GAP_MIN_S, le=IDLE_GAP_MAX_S)]
Country = Annotated[str, AfterValidator(_known_country)]
Locale = Annotated[str, AfterValidator(_known_locale)]
TimeZone = Annotated[str, Field(max_length=64), AfterValidator(_known_timezone)]
BaseUrl = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=_LONGEST_URL),
    AfterValidator(_web_address),
]
PageOrigin = Annotated[str, Field(max_length=_LONGEST_ORIGIN), AfterValidator(_page_origin)]
ZonedInstant = Annotated[AwareDatetime, BeforeValidator(_zoned_instant)]
SummaryModel = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@-]{0,99}$")]
SummaryInstructions = Annotated[str, StringConstraints(strip_whitespace=True, max_length=1000)]
SummaryLanguage = Annotated[
    str, StringConstraints(pattern=r"^[a-z]{2}$"), AfterValidator(_known_language)
]
Secrets = Annotated[
    dict[
        Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,64}$")],
        Annotated[str, StringConstraints(min_length=1, max_length=_LONGEST_SECRET)],
    ],
    Field(max_length=_MOST_SECRETS),
]
NoteText = Annotated[str, Field(min_length=1, max_length=_LONGEST_NOTE)]
TaskText = Annotated[str, Field(min_length=1, max_length=_LONGEST_TASK)]
Searched = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=_LONGEST_SEARCH)
]
DueInstant = Annotated[ZonedInstant, Field(ge=_EARLIEST_DUE_AT, lt=_LATEST_DUE_AT)]
Attributes = Annotated[
    dict[
        Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64)],
        Annotated[str, Field(max_length=_LONGEST_ATTRIBUTE)] | FiniteFloat | bool | None,
    ],
    Field(max_length=100),
]

# A field that may be left out but not be null; views read only what was set.
LEFT_OUT: Any = Field(default=None, json_schema_extra=_forget_default)
