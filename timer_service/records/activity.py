"""What went on in a business: counts over time, from the sessions themselves, so they are exact.

A chat was active from its start to its deadline or to its being closed, whichever came first; when
its row was closed does not matter, nor does an outage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

from timer_service.ids import BusinessId


@dataclass(frozen=True, slots=True)
class Today:
    """A business's day so far. Lateness is of the closes by silence; None where there was none."""

    started: int
    closed: int
    median_length_s: float | None
    summaries_waiting: int
    summaries_failed: int
    p50_ms: float | None
    p99_ms: float | None


def today(db: Connection, business_id: BusinessId, since: datetime) -> Today:
    """Count what began and ended since the day began."""
    row = db.execute(
        text("""
            SELECT
              (SELECT count(*) FROM sessions
               WHERE business_id = :business_id AND started_at >= :since) AS started,
              count(*) AS closed,
              percentile_disc(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM
                greatest(last_message_at - started_at, interval '0'))) AS median_length_s,
              count(*) FILTER (WHERE summary_status IN ('pending', 'running')) AS summaries_waiting,
              count(*) FILTER (WHERE summary_status = 'failed') AS summaries_failed,
              percentile_disc(0.5) WITHIN GROUP (ORDER BY late_ms) AS p50_ms,
              percentile_disc(0.99) WITHIN GROUP (ORDER BY late_ms) AS p99_ms
            FROM (
              SELECT started_at, last_message_at, summary_status,
                CASE WHEN close_reason = 'idle'
                  THEN 1000 * extract(epoch FROM closed_at - deadline_at) END AS late_ms
              FROM sessions
              WHERE business_id = :business_id AND state = 'closed' AND closed_at >= :since) AS c
            """),
        {"business_id": business_id, "since": since},
    ).one()
    return Today(
        started=row.started,
        closed=row.closed,
        median_length_s=_number(row.median_length_s),
        summaries_waiting=row.summaries_waiting,
        summaries_failed=row.summaries_failed,
        p50_ms=_number(row.p50_ms),
        p99_ms=_number(row.p99_ms),
    )


def active_at(db: Connection, business_id: BusinessId, instants: Sequence[datetime]) -> list[int]:
    """Return how many chats were active at each of these instants, which rise, the last being now.

    Counted back from what is active now: what began after an instant was not yet, what ended after
    it still was.
    """
    rows = db.execute(
        text("""
            SELECT bucket, sum(change) AS change FROM (
              SELECT width_bucket(started_at, CAST(:instants AS timestamptz[])) AS bucket,
                count(*) AS change
              FROM sessions WHERE business_id = :business_id AND started_at >= :first GROUP BY 1
              UNION ALL
              SELECT width_bucket(least(closed_at, deadline_at), CAST(:instants AS timestamptz[])),
                -count(*)
              FROM sessions
              WHERE business_id = :business_id AND state = 'closed' AND closed_at >= :first
                AND least(closed_at, deadline_at) >= :first
              GROUP BY 1
              UNION ALL
              SELECT width_bucket(deadline_at, CAST(:instants AS timestamptz[])), -count(*)
              FROM sessions
              WHERE business_id = :business_id AND state = 'open' AND due_not_before <= :last
                AND deadline_at BETWEEN :first AND :last
              GROUP BY 1
              UNION ALL
              SELECT NULL, count(*) FROM sessions
              WHERE business_id = :business_id AND state = 'open' AND deadline_at > :last
            ) AS changes GROUP BY bucket"""),
        {
            "business_id": business_id,
            "instants": list(instants),
            "first": instants[0],
            "last": instants[-1],
        },
    )
    changes = {row.bucket: int(row.change) for row in rows}
    active = changes.pop(None, 0) - changes.pop(len(instants), 0)
    counts = [active]
    for bucket in range(len(instants) - 1, 0, -1):
        counts.append(counts[-1] - changes.get(bucket, 0))
    return [max(0, count) for count in reversed(counts)]


def started_between(
    db: Connection, business_id: BusinessId, bounds: Sequence[datetime]
) -> list[int]:
    """Return how many sessions began between each two of these instants, which rise."""
    rows = db.execute(
        text("""
            SELECT (SELECT count(*) FROM sessions
              WHERE business_id = :business_id
                AND started_at >= bounds[n] AND started_at < bounds[n + 1]) AS started
            FROM (SELECT CAST(:bounds AS timestamptz[])) AS given (bounds),
              generate_series(1, :periods) AS n ORDER BY n"""),
        {"business_id": business_id, "bounds": list(bounds), "periods": len(bounds) - 1},
    )
    return [row.started for row in rows]


def _number(value: object) -> float | None:
    return None if value is None else float(value)  # type: ignore[arg-type]
