"""Statuses that came before their message was known by its gateway's id, kept until it is.

Intake keeps them. Whoever learns what the gateway calls a message of ours applies what waits for
it, the sweep what waits for a message that another program sent; the eraser deletes what waited in
vain. What is kept is bounded: of each message the furthest, so many for a connection, for an hour.
Rows are locked as message, then what waits for it, and by connection and name where there are
several.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection, text

from timer_service.ids import ConnectionId
from timer_service.messages import Delivery, DeliveryStatus
from timer_service.records import messages
from timer_service.records.early_changes import Page, look_in

KEPT_FOR = timedelta(hours=1)
"""Longer than any gateway takes to answer, or tries to bring the message itself."""
MOST_OF_CONNECTION = 1_000
"""How many wait for messages of one connection; of more the oldest go."""


def lock(db: Connection, connection_id: ConnectionId, provider_message_id: str) -> None:
    """Let nobody keep a status of a message while another learns that name, nor the other way.

    Gateways tell of a message the moment they answer for it: both would look and find nothing.
    """
    db.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"),
        {"name": f"early_statuses {connection_id} {provider_message_id}"},
    )


def keep(db: Connection, connection_id: ConnectionId, status: DeliveryStatus) -> None:
    """Keep a status whose message is not known; of several of a message the furthest."""
    is_forward = messages.is_forward("early_statuses.status", status.status)
    db.execute(
        text(f"""
            INSERT INTO early_statuses (connection_id, target, status, error_code, retryable)
            VALUES (:connection_id, :target, :status, :error_code, :retryable)
            ON CONFLICT (connection_id, target) DO UPDATE
            SET status = excluded.status, error_code = excluded.error_code,
              retryable = excluded.retryable, arrived_at = excluded.arrived_at
            WHERE {is_forward}"""),
        {
            "connection_id": connection_id,
            "target": status.provider_message_id,
            "status": status.status.value,
            "error_code": status.error_code,
            "retryable": status.retryable,
        },
    )


def look(db: Connection, *, after: datetime | None, limit: int) -> Page:
    """Look at the statuses that wait, the first to come first; tell whose message is there."""
    return look_in(db, "early_statuses", after=after, limit=limit)


def apply_to(db: Connection, connection_id: ConnectionId, provider_message_id: str) -> None:
    """Tell a message what was said of it before anybody here knew it by this name."""
    name = {"connection_id": connection_id, "target": provider_message_id}
    waiting = db.execute(
        text("""
            SELECT status, error_code, retryable FROM early_statuses
            WHERE connection_id = :connection_id AND target = :target"""),
        name,
    ).one_or_none()
    if waiting is None:
        return
    told = DeliveryStatus(
        provider_message_id=provider_message_id,
        status=Delivery(waiting.status),
        error_code=waiting.error_code,
        retryable=waiting.retryable,
    )
    messages.set_status(db, connection_id, told)
    # One that got further meanwhile stays for the next time.
    db.execute(
        text("""
            DELETE FROM early_statuses
            WHERE connection_id = :connection_id AND target = :target AND status = :status"""),
        {**name, "status": waiting.status},
    )


def delete_old(db: Connection, *, limit: int) -> int:
    """Delete what waited long enough, and of connections with too many the oldest."""
    old = db.execute(
        text("""
            DELETE FROM early_statuses WHERE (connection_id, target) IN (
              SELECT connection_id, target FROM early_statuses
              WHERE arrived_at < clock_timestamp() - CAST(:kept_for AS interval)
              ORDER BY arrived_at LIMIT :limit FOR UPDATE SKIP LOCKED)"""),
        {"kept_for": KEPT_FOR, "limit": limit},
    )
    too_many = db.execute(
        text("""
            DELETE FROM early_statuses WHERE (connection_id, target) IN (
              SELECT connection_id, target FROM (
                SELECT connection_id, target,
                  row_number() OVER (PARTITION BY connection_id ORDER BY arrived_at DESC) AS nth
                FROM early_statuses) AS counted
              WHERE nth > :most LIMIT :limit)"""),
        {"most": MOST_OF_CONNECTION, "limit": limit},
    )
    return old.rowcount + too_many.rowcount
