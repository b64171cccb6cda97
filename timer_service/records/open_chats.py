"""Messages of open chats, the plain case of intake, in one call of ``continue_sessions``.

The function is in `migrations/`: it decides as `intake_batch` and `placement` do, and leaves to
them what is not so plain.
"""

from __future__ import annotations

from sqlalchemy import Connection, text

from timer_service.records.sessions import Armable

_CONTINUE = text("SELECT * FROM continue_sessions(CAST(:items AS json))")


def continue_sessions(db: Connection, items_json: str) -> dict[int, Armable]:
    """Add each message to its customer's open session where that is all there is to it.

    ``items_json`` is an array of objects: a message's row, with its customer's ids as ``kinds`` and
    ``names``, and ``nth``, its place from 1. Answers by ``nth``; what is not in the answer was not
    stored, or was held before.
    """
    rows = db.execute(_CONTINUE, {"items": items_json})
    return {
        row.nth: Armable(row.of_business, row.in_session, row.new_version, row.remaining_ms)
        for row in rows
    }
