"""Reading other people's JSON: bounded, and never an exception over what stands in it.

The provider parsers call this. Their first line turns bytes into plain values here; after that
every value is taken through one of the ``as_…`` functions, which answer something of the right
type whatever the payload holds. Nothing here knows a provider.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeAlias
from uuid import UUID

from timer_service.errors import MalformedPayload
from timer_service.messages import ContactIds

JsonObject: TypeAlias = Mapping[str, object]

TEXT_LIMIT = 65_536
ID_LIMIT = 255
_INTEGER_DIGITS = 20
_PLAIN_DEPTH = 4
_PLAIN_ITEMS = 30
_PLAIN_TEXT_LIMIT = 2_048

_NUMBER = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,20})?")
_EARLIEST_S = 1_230_768_000  # 2009-01-01: WhatsApp did not exist before
_LATEST_S = 253_402_300_000  # within the year 9999, datetime's last
_LEAST_MS = 100_000_000_000  # as seconds that is the year 5138, so it must be milliseconds


def read_json(body: bytes) -> object:
    """Parse a request body; an object or a list comes back, made of plain values.

    NaN, Infinity, overflowing floats and integers of more than 20 digits become None. A byte
    order mark is accepted.

    Raises:
        MalformedPayload: not UTF-8, not JSON, nested too deeply, or neither an object nor a list.
    """
    try:
        document: object = json.loads(
            body.decode("utf-8-sig"),
            parse_constant=lambda _: None,
            parse_float=_finite,
            parse_int=lambda digits: int(digits) if len(digits) <= _INTEGER_DIGITS else None,
        )
    except UnicodeDecodeError as error:
        raise MalformedPayload("expected UTF-8; check the sender's encoding") from error
    except ValueError as error:
        raise MalformedPayload("expected JSON; check what the webhook sends") from error
    except RecursionError as error:
        raise MalformedPayload("expected JSON of reasonable depth, found far more") from error
    if not isinstance(document, dict | list):
        raise MalformedPayload("expected a JSON object or list, found a single value")
    return document


def as_object(value: object) -> JsonObject:
    """Return the value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def as_list(value: object) -> Sequence[object]:
    """Return the value if it is a list, else an empty one."""
    return value if isinstance(value, list) else ()


def as_text(value: object, limit: int = TEXT_LIMIT) -> str:
    """Return a string's text, cut to ``limit`` characters; ``""`` for anything else.

    NUL characters and lone surrogates go: Postgres stores neither.
    """
    if not isinstance(value, str):
        return ""
    text = value[:limit].replace("\x00", "")
    return text if _is_encodable(text) else text.encode("utf-8", "ignore").decode("utf-8")


def as_id(value: object) -> str | None:
    """Return an id exactly as it came, or None where it cannot be one.

    Never repaired: a cleaned id might be another message's. Up to 255 characters, not blank.
    """
    if not isinstance(value, str) or not value.strip() or len(value) > ID_LIMIT:
        return None
    return value if "\x00" not in value and _is_encodable(value) else None


def as_uuid(value: object) -> UUID | None:
    """Return an id of ours that somebody carried along, None where it is none."""
    try:
        return UUID(value) if isinstance(value, str) else None
    except ValueError:
        return None


def as_integer(value: object) -> int | None:
    """Return a whole number written as a number, a numeric string or a protobuf Long object.

    A Long is ``{"low": -1, "high": 411, "unsigned": false}``: the halves of 64 bits, the lower
    one possibly negative.
    """
    number = as_number(value)
    return int(number) if number is not None else None


def as_number(value: object) -> int | float | None:
    """Return a finite number written in any of the ways ``as_integer`` lists, or None."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return value
    if isinstance(value, str):
        digits = value.strip()
        if not _NUMBER.fullmatch(digits):
            return None
        return float(digits) if "." in digits else int(digits)
    if isinstance(value, dict):
        low, high = value.get("low"), value.get("high")
        if type(low) is int and type(high) is int:  # not isinstance: true and false are no halves
            return (high << 32) + (low & 0xFFFF_FFFF)
    return None


def as_instant(value: object) -> datetime | None:
    """Return an instant written as seconds or milliseconds since the epoch.

    None for what is no number, before 2009 (WhatsApp's first year) or after the year 9999.
    """
    number = as_number(value)
    if number is None:
        return None
    seconds = number / 1000 if number > _LEAST_MS else number
    if not _EARLIEST_S <= seconds <= _LATEST_S:
        return None
    return datetime.fromtimestamp(seconds, UTC)


def as_contact_ids(value: object) -> ContactIds:
    """Return the customer id a string holds in any of WhatsApp's forms, empty if it holds none."""
    try:
        return ContactIds.parse(value) if isinstance(value, str) else ContactIds()
    except ValueError:
        return ContactIds()


def is_true(value: object) -> bool:
    """Tell a flag that is set; home-made bridges also write it as 1 or ``"true"``."""
    return value is True or value == 1 or value in ("true", "True", "1")


def as_plain(value: object, depth: int = _PLAIN_DEPTH) -> object:
    """Return a small clean copy for storage as JSON.

    At most four levels, 30 entries each and 2,048 characters a string; what lies beyond is left
    out.
    """
    if isinstance(value, str):
        return as_text(value, _PLAIN_TEXT_LIMIT)
    if isinstance(value, dict):
        if not depth:
            return {}
        entries = list(value.items())[:_PLAIN_ITEMS]
        return {as_text(key, ID_LIMIT): as_plain(entry, depth - 1) for key, entry in entries}
    if isinstance(value, list):
        return [as_plain(entry, depth - 1) for entry in value[:_PLAIN_ITEMS]] if depth else []
    return value


def pick(source: JsonObject, *names: str) -> dict[str, object]:
    """Return clean copies of the named entries that are there and not null."""
    return {name: as_plain(source[name]) for name in names if source.get(name) is not None}


def _finite(digits: str) -> float | None:
    number = float(digits)
    return number if math.isfinite(number) else None


def _is_encodable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
