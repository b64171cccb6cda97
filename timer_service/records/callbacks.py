"""Callbacks a program registered for closed sessions, and which of them have been made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import Connection, RowMapping, text

from timer_service.ids import SessionId, new_id

_CHECK_AGAIN = "clock_timestamp() + CAST(:check_after AS interval)"


@dataclass(frozen=True, slots=True)
class UnfinishedCallback:
    """A callback whose job may be lost."""

    session_id: SessionId
    callback_id: UUID
    attempt: int
    is_parked: bool = False
    """Too many workers died over it: nobody begins it again by himself."""


def register(db: Connection, path: str) -> UUID:
    """Register a dotted path once; return its id."""
    callback_id: UUID = db.execute(
        text("""
            INSERT INTO close_callbacks (id, path) VALUES (:id, :path)
            ON CONFLICT (path) DO UPDATE SET path = excluded.path
            RETURNING id"""),
        {"id": new_id(), "path": path},
    ).scalar_one()
    return callback_id


def unregister(db: Connection, path: str) -> bool:
    """Forget a path and what is left to do for it; False if it was not registered."""
    result = db.execute(text("DELETE FROM close_callbacks WHERE path = :path"), {"path": path})
    return result.rowcount == 1


def start(
    db: Connection, session_id: SessionId, callback_id: UUID, attempt: int, *, lease: timedelta
) -> RowMapping | None:
    """Take up an attempt; None if it is done or a newer one exists. Answers path, business_id."""
    return (
        db.execute(
            text(f"""
                UPDATE callback_runs r SET is_running = true, next_check_at = {_CHECK_AGAIN}
                FROM close_callbacks c, sessions s, businesses b
                WHERE r.session_id = :session_id AND r.callback_id = :callback_id
                  AND r.attempt = :attempt AND r.done_at IS NULL
                  AND c.id = r.callback_id AND s.id = r.session_id
                  AND b.id = s.business_id AND b.erased_at IS NULL
                RETURNING c.path, s.business_id"""),
            {
                "session_id": session_id,
                "callback_id": callback_id,
                "attempt": attempt,
                "check_after": lease,
            },
        )
        .mappings()
        .one_or_none()
    )


def renew(
    db: Connection, session_id: SessionId, callback_id: UUID, attempt: int, *, lease: timedelta
) -> None:
    """Say that an attempt still runs."""
    _check_running(db, session_id, callback_id, attempt, lease, still_runs=True)


def let_go(
    db: Connection,
    session_id: SessionId,
    callback_id: UUID,
    attempt: int,
    *,
    check_after: timedelta,
) -> None:
    """Note that an attempt no longer runs, and its worker did not die of it; look again later."""
    _check_running(db, session_id, callback_id, attempt, check_after, still_runs=False)


def _check_running(
    db: Connection,
    session_id: SessionId,
    callback_id: UUID,
    attempt: int,
    check_after: timedelta,
    *,
    still_runs: bool,
) -> None:
    db.execute(
        text(f"""
            UPDATE callback_runs SET is_running = :still_runs, next_check_at = {_CHECK_AGAIN}
            WHERE session_id = :session_id AND callback_id = :callback_id
              AND attempt = :attempt AND is_running AND done_at IS NULL"""),
        {
            "session_id": session_id,
            "callback_id": callback_id,
            "attempt": attempt,
            "still_runs": still_runs,
            "check_after": check_after,
        },
    )


def finish(db: Connection, session_id: SessionId, callback_id: UUID) -> None:
    """Note that a callback was made."""
    db.execute(
        text("""
            UPDATE callback_runs SET done_at = clock_timestamp(), next_check_at = NULL,
              is_running = false
            WHERE session_id = :session_id AND callback_id = :callback_id"""),
        {"session_id": session_id, "callback_id": callback_id},
    )


def unfinished(db: Connection, *, limit: int) -> list[UnfinishedCallback]:
    """Return callbacks whose time to be looked at has come."""
    rows = db.execute(
        text("""
            SELECT session_id, callback_id, attempt FROM callback_runs
            WHERE next_check_at <= clock_timestamp() ORDER BY next_check_at LIMIT :limit"""),
        {"limit": limit},
    )
    return [UnfinishedCallback(row.session_id, row.callback_id, row.attempt) for row in rows]


def postpone(db: Connection, waiting: Sequence[UnfinishedCallback], check_after: timedelta) -> None:
    """Look at these again later: their jobs are still queued."""
    _look_again(db, waiting, f"next_check_at = {_CHECK_AGAIN}", check_after=check_after)


def begin_again(
    db: Connection,
    lost: Sequence[UnfinishedCallback],
    check_after: timedelta,
    *,
    most_deaths: int | None,
) -> list[UnfinishedCallback]:
    """Give lost callbacks a new attempt; those that moved meanwhile are left alone.

    One that was running has lost its worker; at the ``most_deaths``-th it is parked instead. With
    None it is known that no worker died.
    """
    died = "(r.is_running AND CAST(:most_deaths AS int) IS NOT NULL)"
    changes = f"""
        attempt = r.attempt + 1, is_running = false, deaths = r.deaths + {died}::int,
        next_check_at = CASE WHEN {died} AND r.deaths + 1 >= :most_deaths THEN NULL
          ELSE {_CHECK_AGAIN} END"""
    return _look_again(db, lost, changes, check_after=check_after, most_deaths=most_deaths)


def _look_again(
    db: Connection, found: Sequence[UnfinishedCallback], changes: str, **values: object
) -> list[UnfinishedCallback]:
    rows = db.execute(
        text(f"""
            UPDATE callback_runs r SET {changes}
            FROM unnest(CAST(:sessions AS uuid[]), CAST(:callbacks AS uuid[]),
              CAST(:attempts AS int[])) AS old (session_id, callback_id, attempt)
            WHERE r.session_id = old.session_id AND r.callback_id = old.callback_id
              AND r.attempt = old.attempt AND r.next_check_at <= clock_timestamp()
            RETURNING r.session_id, r.callback_id, r.attempt,
              r.next_check_at IS NULL AS is_parked"""),
        {
            "sessions": [one.session_id for one in found],
            "callbacks": [one.callback_id for one in found],
            "attempts": [one.attempt for one in found],
            **values,
        },
    )
    return [
        UnfinishedCallback(row.session_id, row.callback_id, row.attempt, row.is_parked)
        for row in rows
    ]
