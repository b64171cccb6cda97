"""Pages of lists: ``limit``, and a cursor that holds where the last page ended.

A cursor is a position, not an authority: it only ever narrows a list of the caller's own rows.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Generic, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from timer_service.errors import InvalidInput

DEFAULT_LIMIT = 50
MAX_LIMIT = 100
_LONGEST_CURSOR = 500

Item = TypeVar("Item")
Answer = TypeVar("Answer", bound=BaseModel)
Position = tuple[datetime | UUID | None, ...]


class PageQuery(BaseModel):
    """Which part of a list to answer."""

    limit: int = Field(default=DEFAULT_LIMIT, ge=1, le=MAX_LIMIT)
    cursor: str | None = Field(
        default=None,
        max_length=_LONGEST_CURSOR,
        description="``next_cursor`` of the page before; left out for the first page.",
    )


class Page(BaseModel, Generic[Answer]):
    """A part of a list; ``next_cursor`` is null where it ends."""

    model_config = ConfigDict(frozen=True)

    items: list[Answer]
    next_cursor: str | None


def cut(
    found: Sequence[Item], limit: int, position_of: Callable[[Item], Position]
) -> tuple[Sequence[Item], str | None]:
    """Return the page, and the cursor of the next, from one item more than the page holds."""
    if len(found) <= limit:
        return found, None
    page = found[:limit]
    return page, write_cursor(position_of(page[-1]))


def write_cursor(position: Position) -> str:
    """Write a position as opaque text."""
    parts = [
        part.isoformat() if isinstance(part, datetime) else str(part)
        for part in position
        if part is not None
    ]
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


def read_id(cursor: str | None) -> UUID | None:
    """Read the cursor of a list that is sorted by id.

    Raises:
        InvalidInput: it is not one.
    """
    position = read_instants_and_id(cursor, instants=0)
    return position[1] if position else None


def read_instants_and_id(
    cursor: str | None, *, instants: int
) -> tuple[list[datetime], UUID] | None:
    """Read the cursor of a list that is sorted by so many instants and then by id.

    Raises:
        InvalidInput: it is not one.
    """
    if cursor is None:
        return None
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        *times, last_id = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        position = [datetime.fromisoformat(one) for one in times]
        last = UUID(last_id)
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise InvalidInput("not a cursor", field="cursor") from None
    if len(position) != instants or any(one.tzinfo is None for one in position):
        raise InvalidInput("another list's cursor", field="cursor")
    return position, last
