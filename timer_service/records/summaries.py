"""Summaries: start, store, fail, and find those that got stuck. All by compare-and-set.

The attempt number fences: a job that runs twice, or an older one that comes late, changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, RowMapping, text
from sqlalchemy.dialects.postgresql import insert

from timer_service.ids import BusinessId, SessionId
from timer_service.messages import WORKER_DIED, SummaryStatus
from timer_service.records import journal, search
from timer_service.tables import summaries


@dataclass(frozen=True, slots=True)
class UnfinishedSummary:
    """A summary whose job may be lost."""

    business_id: BusinessId
    session_id: SessionId
    attempt: int
    is_parked: bool = False
    """Too many workers died over it: nobody begins it again by himself."""


def start(
    db: Connection, session_id: SessionId, attempt: int, *, lease: timedelta
) -> RowMapping | None:
    """Take up an attempt; None if it is over, done, or a newer one exists.

    The row answers ``business_id``, ``business_name`` and ``customer_name``, and what the business
    wishes of its summaries. This transaction's
    commit does not wait for the disk: a start that a crash of Postgres forgets is made again.
    """
    return (
        db.execute(
            text("""
                UPDATE sessions s SET summary_status = 'running',
                  next_check_at = clock_timestamp() + CAST(:lease AS interval)
                FROM businesses b, contacts k
                WHERE s.id = :id AND s.summary_attempt = :attempt AND s.state = 'closed'
                  AND s.summary_status IN ('pending', 'running', 'failed')
                  AND b.id = s.business_id AND b.erased_at IS NULL AND k.id = s.contact_id
                RETURNING s.business_id, b.name AS business_name, k.name AS customer_name,
                  b.summarizer, b.summary_model, b.summary_language, b.summary_instructions,
                  set_config('synchronous_commit', 'off', true)"""),
            {"id": session_id, "attempt": attempt, "lease": lease},
        )
        .mappings()
        .one_or_none()
    )


def renew(db: Connection, session_id: SessionId, attempt: int, *, lease: timedelta) -> None:
    """Say that an attempt still runs."""
    db.execute(
        text("""
            UPDATE sessions SET next_check_at = clock_timestamp() + CAST(:lease AS interval)
            WHERE id = :id AND summary_attempt = :attempt AND summary_status = 'running'"""),
        {"id": session_id, "attempt": attempt, "lease": lease},
    )


def give_back(
    db: Connection, session_id: SessionId, attempt: int, *, check_after: timedelta
) -> None:
    """Let an attempt be waiting again; whoever runs it may still finish it until it is begun again.

    Its worker is told to stop, and may be killed: that is not to count as a death.
    """
    db.execute(
        text("""
            UPDATE sessions SET summary_status = 'pending',
              next_check_at = clock_timestamp() + CAST(:check_after AS interval)
            WHERE id = :id AND summary_attempt = :attempt AND summary_status = 'running'"""),
        {"id": session_id, "attempt": attempt, "check_after": check_after},
    )


def finish(
    db: Connection,
    session_id: SessionId,
    attempt: int,
    status: SummaryStatus,
    *,
    reason: str | None = None,
    check_after: timedelta | None = None,
) -> bool:
    """Set how a running attempt ended; False if it is no longer this attempt's to say.

    ``check_after`` is given for an attempt that will be tried again. What the session is found by
    is written anew afterwards.
    """
    result = db.execute(
        text("""
            UPDATE sessions SET summary_status = :status, summary_reason = :reason,
              next_check_at = clock_timestamp() + CAST(:check_after AS interval)
            WHERE id = :id AND summary_attempt = :attempt
              AND summary_status IN ('running', 'pending')"""),
        {
            "id": session_id,
            "attempt": attempt,
            "status": status.value,
            "reason": reason,
            "check_after": check_after,
        },
    )
    is_this_attempts = result.rowcount == 1
    if is_this_attempts:
        search.mark_stale(db, session_id)
    return is_this_attempts


def store(db: Connection, values: dict[str, Any]) -> None:
    """Write the summary of a session, over an older attempt's. Call after ``finish`` said yes."""
    changes = {name: value for name, value in values.items() if name != "session_id"}
    db.execute(
        insert(summaries)
        .values(values)
        .on_conflict_do_update(
            index_elements=["session_id"], set_={**changes, "created_at": text("clock_timestamp()")}
        )
    )


def unfinished(db: Connection, *, limit: int) -> list[UnfinishedSummary]:
    """Return summaries whose time to be looked at has come."""
    rows = db.execute(
        text("""
            SELECT business_id, id, summary_attempt FROM sessions
            WHERE next_check_at <= clock_timestamp() AND state = 'closed'
            ORDER BY next_check_at LIMIT :limit"""),
        {"limit": limit},
    )
    return [UnfinishedSummary(row.business_id, row.id, row.summary_attempt) for row in rows]


def postpone(db: Connection, waiting: Sequence[UnfinishedSummary], check_after: timedelta) -> None:
    """Look at these again later: their jobs are still queued or running."""
    db.execute(
        text("""
            UPDATE sessions SET next_check_at = clock_timestamp() + CAST(:check_after AS interval)
            WHERE id = ANY(CAST(:ids AS uuid[])) AND next_check_at IS NOT NULL"""),
        {"ids": [one.session_id for one in waiting], "check_after": check_after},
    )


def begin_again(
    db: Connection,
    found: Sequence[UnfinishedSummary],
    check_after: timedelta,
    *,
    most_deaths: int | None,
) -> list[UnfinishedSummary]:
    """Give stuck summaries a new attempt; those that moved meanwhile are left alone.

    One that was running has lost its worker; at the ``most_deaths``-th it is parked instead. With
    None it is known that no worker died.
    """
    died = "(summary_status = 'running' AND CAST(:most_deaths AS int) IS NOT NULL)"
    is_parked = f"{died} AND summary_deaths + 1 >= :most_deaths"
    rows = db.execute(
        text(f"""
            UPDATE sessions SET summary_attempt = summary_attempt + 1,
              summary_deaths = summary_deaths + ({died})::int,
              summary_status = CASE WHEN {is_parked} THEN 'failed' ELSE 'pending' END,
              summary_reason = CASE WHEN {is_parked} THEN :worker_died ELSE summary_reason END,
              next_check_at = CASE WHEN {is_parked} THEN NULL
                ELSE clock_timestamp() + CAST(:check_after AS interval) END
            FROM unnest(CAST(:ids AS uuid[]), CAST(:attempts AS int[])) AS old (id, attempt)
            WHERE sessions.id = old.id AND sessions.summary_attempt = old.attempt
              AND sessions.next_check_at <= clock_timestamp()
            RETURNING sessions.business_id, sessions.id, sessions.summary_attempt,
              sessions.next_check_at IS NULL AS is_parked"""),
        {
            "ids": [one.session_id for one in found],
            "attempts": [one.attempt for one in found],
            "check_after": check_after,
            "most_deaths": most_deaths,
            "worker_died": WORKER_DIED,
        },
    )
    moved = [
        UnfinishedSummary(row.business_id, row.id, row.summary_attempt, row.is_parked)
        for row in rows
    ]
    for one in moved:
        if one.is_parked:
            journal.note(
                db,
                one.business_id,
                "summary_parked",
                actor_kind="service",
                subject_id=one.session_id,
            )
    return moved
