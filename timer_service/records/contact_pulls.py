"""Pulls of gateways' contacts: how far each got. One row a connection; the latest pull is it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import Connection, RowMapping, text

from timer_service.ids import BusinessId, ConnectionId

_CHECK_AGAIN = "clock_timestamp() + CAST(:check_after AS interval)"


@dataclass(frozen=True, slots=True)
class UnfinishedPull:
    """A pull whose job may be lost."""

    connection_id: UUID
    attempt: int
    is_parked: bool = False
    """Too many workers died over it: it has failed."""


@dataclass(frozen=True, slots=True)
class PulledPage:
    """What became of the people of one page."""

    seen: int
    made: int
    named: int
    linked: int
    skipped: int


def get(db: Connection, business_id: BusinessId, connection_id: UUID) -> RowMapping | None:
    """Return a connection's latest pull."""
    return (
        db.execute(
            text("""
                SELECT p.* FROM contact_pulls p
                JOIN connections c ON c.id = p.connection_id AND c.business_id = :business_id
                  AND c.deleted_at IS NULL
                WHERE p.connection_id = :id"""),
            {"business_id": business_id, "id": connection_id},
        )
        .mappings()
        .one_or_none()
    )


def ask_for(db: Connection, connection_id: ConnectionId, *, check_after: timedelta) -> int | None:
    """Begin a pull; return its attempt, None where one is under way already."""
    return db.execute(
        text(f"""
            INSERT INTO contact_pulls AS p (connection_id, status, next_check_at)
            VALUES (:id, 'queued', {_CHECK_AGAIN})
            ON CONFLICT (connection_id) DO UPDATE SET
              status = 'queued', cursor = '', seen = 0, made = 0, named = 0, linked = 0,
              skipped = 0, failure = NULL, asked_at = clock_timestamp(), finished_at = NULL,
              attempt = p.attempt + 1, refusals = 0, deaths = 0, is_running = false,
              next_check_at = {_CHECK_AGAIN}
            WHERE p.status IN ('done', 'failed')
            RETURNING attempt"""),
        {"id": connection_id, "check_after": check_after},
    ).scalar_one_or_none()


def start(
    db: Connection, connection_id: ConnectionId, attempt: int, *, lease: timedelta
) -> RowMapping | None:
    """Take up an attempt; None if it is done, another's, or the connection is gone."""
    return (
        db.execute(
            text(f"""
                UPDATE contact_pulls p SET status = 'running', is_running = true,
                  next_check_at = {_CHECK_AGAIN}
                FROM connections c JOIN businesses b ON b.id = c.business_id
                WHERE p.connection_id = :id AND p.attempt = :attempt
                  AND p.status IN ('queued', 'running') AND c.id = p.connection_id
                  AND c.deleted_at IS NULL AND b.erased_at IS NULL
                RETURNING p.cursor, p.refusals, c.business_id"""),
            {"id": connection_id, "attempt": attempt, "check_after": lease},
        )
        .mappings()
        .one_or_none()
    )


def turn_page(
    db: Connection,
    connection_id: ConnectionId,
    attempt: int,
    page: PulledPage,
    cursor: str | None,
    *,
    check_after: timedelta,
) -> int | None:
    """Note a page and where the next begins; return the attempt it is, None after the last.

    Also None where another attempt has taken over: its transaction is then given up by whoever
    reads it, as is this page, by the caller.
    """
    row = db.execute(
        text(f"""
            UPDATE contact_pulls SET seen = seen + :seen, made = made + :made,
              named = named + :named, linked = linked + :linked, skipped = skipped + :skipped,
              refusals = 0, is_running = false, cursor = coalesce(:cursor, ''),
              attempt = attempt + 1,
              status = CASE WHEN :is_last THEN 'done' ELSE 'queued' END,
              finished_at = CASE WHEN :is_last THEN clock_timestamp() END,
              next_check_at = CASE WHEN NOT :is_last THEN {_CHECK_AGAIN} END
            WHERE connection_id = :id AND attempt = :attempt AND status = 'running'
            RETURNING attempt"""),
        {
            "id": connection_id,
            "attempt": attempt,
            "seen": page.seen,
            "made": page.made,
            "named": page.named,
            "linked": page.linked,
            "skipped": page.skipped,
            "cursor": cursor,
            "is_last": cursor is None,
            "check_after": check_after,
        },
    ).one_or_none()
    return None if row is None or cursor is None else int(row.attempt)


def put_off(
    db: Connection, connection_id: ConnectionId, attempt: int, *, check_after: timedelta
) -> None:
    """Try a page again later: the sweep enqueues it then."""
    db.execute(
        text(f"""
            UPDATE contact_pulls SET status = 'queued', is_running = false,
              refusals = refusals + 1, next_check_at = {_CHECK_AGAIN}
            WHERE connection_id = :id AND attempt = :attempt AND status = 'running'"""),
        {"id": connection_id, "attempt": attempt, "check_after": check_after},
    )


def fail(db: Connection, connection_id: ConnectionId, attempt: int, failure: str) -> None:
    """Give a pull up; what it brought stays."""
    db.execute(
        text("""
            UPDATE contact_pulls SET status = 'failed', failure = :failure, is_running = false,
              finished_at = clock_timestamp(), next_check_at = NULL
            WHERE connection_id = :id AND attempt = :attempt AND status = 'running'"""),
        {"id": connection_id, "attempt": attempt, "failure": failure},
    )


def unfinished(db: Connection, *, limit: int) -> list[UnfinishedPull]:
    """Return pulls whose time to be looked at has come."""
    rows = db.execute(
        text("""
            SELECT connection_id, attempt FROM contact_pulls
            WHERE next_check_at <= clock_timestamp() ORDER BY next_check_at LIMIT :limit"""),
        {"limit": limit},
    )
    return [UnfinishedPull(row.connection_id, row.attempt) for row in rows]


def postpone(db: Connection, waiting: Sequence[UnfinishedPull], check_after: timedelta) -> None:
    """Look at these again later: their jobs are still queued."""
    _look_again(db, waiting, f"next_check_at = {_CHECK_AGAIN}", check_after=check_after)


def begin_again(
    db: Connection,
    lost: Sequence[UnfinishedPull],
    check_after: timedelta,
    *,
    most_deaths: int | None,
) -> list[UnfinishedPull]:
    """Give lost pulls a new attempt; those that moved meanwhile are left alone.

    One that was running has lost its worker; at the ``most_deaths``-th it fails instead. With None
    it is known that no worker died.
    """
    died = "(p.is_running AND CAST(:most_deaths AS int) IS NOT NULL)"
    is_over = f"({died} AND p.deaths + 1 >= :most_deaths)"
    changes = f"""
        attempt = p.attempt + 1, is_running = false, deaths = p.deaths + {died}::int,
        status = CASE WHEN {is_over} THEN 'failed' ELSE 'queued' END,
        failure = CASE WHEN {is_over} THEN 'worker_died' END,
        finished_at = CASE WHEN {is_over} THEN clock_timestamp() END,
        next_check_at = CASE WHEN NOT {is_over} THEN {_CHECK_AGAIN} END"""
    return _look_again(db, lost, changes, check_after=check_after, most_deaths=most_deaths)


def _look_again(
    db: Connection, found: Sequence[UnfinishedPull], changes: str, **values: object
) -> list[UnfinishedPull]:
    rows = db.execute(
        text(f"""
            UPDATE contact_pulls p SET {changes}
            FROM unnest(CAST(:connections AS uuid[]), CAST(:attempts AS int[]))
              AS old (connection_id, attempt)
            WHERE p.connection_id = old.connection_id AND p.attempt = old.attempt
              AND p.next_check_at <= clock_timestamp()
            RETURNING p.connection_id, p.attempt, p.next_check_at IS NULL AS is_parked"""),
        {
            "connections": [one.connection_id for one in found],
            "attempts": [one.attempt for one in found],
            **values,
        },
    )
    return [UnfinishedPull(row.connection_id, row.attempt, row.is_parked) for row in rows]
