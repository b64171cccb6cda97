"""How punctual the latest closes were, by Postgres's own clock."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, text

LATEST = 1000


@dataclass(frozen=True, slots=True)
class Punctuality:
    """The lateness of the latest closes by silence, in ms, and how many came early (never any)."""

    closes: int
    early: int
    p50_ms: float
    p99_ms: float
    max_ms: float


def read(db: Connection) -> Punctuality | None:
    """Read the latest ``LATEST`` closes of the installation; None where silence closed none."""
    row = db.execute(
        text("""
            SELECT count(*) AS closes, count(*) FILTER (WHERE late_ms < 0) AS early,
              percentile_disc(0.5) WITHIN GROUP (ORDER BY late_ms) AS p50_ms,
              percentile_disc(0.99) WITHIN GROUP (ORDER BY late_ms) AS p99_ms,
              max(late_ms) AS max_ms
            FROM (
              SELECT close_reason, 1000 * extract(epoch FROM closed_at - deadline_at) AS late_ms
              FROM sessions WHERE state = 'closed' ORDER BY closed_at DESC LIMIT :latest) AS latest
            WHERE close_reason = 'idle'"""),
        {"latest": LATEST},
    ).one()
    if not row.closes:
        return None
    late_ms = (float(row.p50_ms), float(row.p99_ms), float(row.max_ms))
    return Punctuality(row.closes, row.early, *late_ms)
