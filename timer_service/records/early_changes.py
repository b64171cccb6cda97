"""Edits, revocations and reactions that came before their message, kept until it is there.

Intake keeps them, the sweep applies them, the eraser deletes those that waited in vain. What is
kept is bounded: one of each kind and side for a message, so many for a connection, for a day.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, text

from timer_service.ids import ConnectionId
from timer_service.messages import ChangeKind, Direction, MessageChange

KEPT_FOR = timedelta(days=1)
"""Gateways that try again for longer do so with the message as well."""
MOST_OF_CONNECTION = 1_000
"""How many wait for messages of one connection; of more the oldest go."""

_KEEP = text("""
    INSERT INTO early_changes (connection_id, target, kind, direction, text, sent_at)
    VALUES (:connection_id, :target, :kind, :direction, :text, :sent_at)
    ON CONFLICT (connection_id, target, kind, direction) DO UPDATE
    SET text = excluded.text, sent_at = excluded.sent_at, arrived_at = excluded.arrived_at
    WHERE early_changes.sent_at IS NULL OR excluded.sent_at IS NULL
      OR early_changes.sent_at <= excluded.sent_at
""")
_DROP_OLDEST = text("""
    DELETE FROM early_changes
    WHERE connection_id = :connection_id AND arrived_at <= (
      SELECT arrived_at FROM early_changes WHERE connection_id = :connection_id
      ORDER BY arrived_at DESC OFFSET :most LIMIT 1)
""")
_FIND = """
    SELECT e.connection_id, e.target, e.arrived_at, m.is_there
    FROM (SELECT connection_id, target, arrived_at FROM {}
          WHERE arrived_at > coalesce(CAST(:after AS timestamptz), 'epoch')
          ORDER BY arrived_at LIMIT :limit) AS e
    LEFT JOIN LATERAL (  -- with a limit, so that it is a look-up each, never a scan
      SELECT true AS is_there FROM messages
      WHERE connection_id = e.connection_id AND provider_message_id = e.target LIMIT 1) AS m ON true
    ORDER BY e.arrived_at
"""
_TAKE = text("""
    DELETE FROM early_changes WHERE (connection_id, target) IN (
      SELECT * FROM unnest(CAST(:connection_ids AS uuid[]), CAST(:targets AS text[])))
    RETURNING connection_id, target, kind, direction, text, sent_at, arrived_at
""")


def keep(db: Connection, connection_id: ConnectionId, change: MessageChange) -> None:
    """Keep a change whose message is not there; of two of a kind the one sent later."""
    db.execute(
        _KEEP,
        {
            "connection_id": connection_id,
            "target": change.target,
            "kind": change.kind.value,
            "direction": change.direction.value if change.direction else "",
            "text": change.text,
            "sent_at": change.at,
        },
    )
    db.execute(_DROP_OLDEST, {"connection_id": connection_id, "most": MOST_OF_CONNECTION})


@dataclass(frozen=True, slots=True)
class Page:
    """Where messages have come for changes, and where the next page begins; None: at the start."""

    targets: list[tuple[ConnectionId, str]]
    after: datetime | None


def look(db: Connection, *, after: datetime | None, limit: int) -> Page:
    """Look at the changes that wait, the first to come first; tell whose message is there."""
    return look_in(db, "early_changes", after=after, limit=limit)


def look_in(db: Connection, table: str, *, after: datetime | None, limit: int) -> Page:
    """Look at what waits in a table for its ``target``."""
    rows = db.execute(text(_FIND.format(table)), {"after": after, "limit": limit}).all()
    found = dict.fromkeys((row.connection_id, row.target) for row in rows if row.is_there)
    return Page(list(found), rows[-1].arrived_at if len(rows) == limit else None)


def take(
    db: Connection, targets: Sequence[tuple[ConnectionId, str]]
) -> list[tuple[ConnectionId, MessageChange]]:
    """Delete and return what waited for these messages, by message, the first to come first."""
    rows = db.execute(
        _TAKE,
        {
            "connection_ids": [connection_id for connection_id, _ in targets],
            "targets": [target for _, target in targets],
        },
    ).all()
    return [
        (
            row.connection_id,
            MessageChange(
                kind=ChangeKind(row.kind),
                direction=Direction(row.direction) if row.direction else None,
                target=row.target,
                text=row.text,
                at=row.sent_at,
            ),
        )
        for row in sorted(rows, key=lambda one: (one.connection_id, one.target, one.arrived_at))
    ]


def delete_old(db: Connection, *, limit: int) -> int:
    """Delete changes that waited long enough; return how many."""
    return db.execute(
        text("""
            DELETE FROM early_changes WHERE (connection_id, target, kind, direction) IN (
              SELECT connection_id, target, kind, direction FROM early_changes
              WHERE arrived_at < clock_timestamp() - CAST(:kept_for AS interval)
              ORDER BY arrived_at LIMIT :limit FOR UPDATE SKIP LOCKED)"""),
        {"kept_for": KEPT_FOR, "limit": limit},
    ).rowcount
