"""Ids: their types, how they are made, and their short form for Redis.

Ids are UUIDv7, so rows sort by the time they were made and new rows land at one end of an index.
In Redis they are written in base62 (22 characters instead of 36).
"""

from __future__ import annotations

from typing import NewType
from uuid import UUID

from uuid_utils.compat import uuid7

BusinessId = NewType("BusinessId", UUID)
ConnectionId = NewType("ConnectionId", UUID)
ContactId = NewType("ContactId", UUID)
SessionId = NewType("SessionId", UUID)
MessageId = NewType("MessageId", UUID)

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SHORT_LENGTH = 22
# Two characters at a time: this runs for every session that opens, is touched or ends.
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]
_PAIR_VALUES = {pair: value for value, pair in enumerate(_PAIRS)}


def new_id() -> UUID:
    """Make a UUIDv7."""
    return uuid7()


def shorten(value: UUID) -> str:
    """Write an id as 22 base62 characters; equal lengths, so short ids sort as the ids do."""
    number = value.int
    pairs = []
    for _ in range(_SHORT_LENGTH // 2):
        number, pair = divmod(number, len(_PAIRS))
        pairs.append(_PAIRS[pair])
    return "".join(reversed(pairs))


def lengthen(short: str) -> UUID:
    """Read a short id back.

    Raises:
        ValueError: the text is not 22 base62 characters, or too large for a UUID.
    """
    if len(short) != _SHORT_LENGTH:
        raise ValueError(f"a short id has {_SHORT_LENGTH} characters, this has {len(short)}")
    number = 0
    for at in range(0, _SHORT_LENGTH, 2):
        value = _PAIR_VALUES.get(short[at : at + 2])
        if value is None:
            raise ValueError("a short id holds base62 characters only")
        number = number * len(_PAIRS) + value
    return UUID(int=number)
