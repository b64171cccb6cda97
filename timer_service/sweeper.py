"""The safety net: finds in Postgres what events missed, and puts it right.

Runs at start, on every reconnect and every few seconds, in each listener process; two at once are
safe. Each pass costs what it finds, not what exists, and one that fails never stops the others.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

import structlog
from sqlalchemy import Connection

from timer_service import metrics
from timer_service.arming import Armer, arm_of
from timer_service.audit import Auditor
from timer_service.clock import monotonic_s
from timer_service.closing import Closer
from timer_service.database import Database, was_away
from timer_service.errors import DatabaseUnavailable, TimerServiceError
from timer_service.job_queue import (
    AskJob,
    CallbackJob,
    Job,
    JobQueue,
    PullJob,
    SendJob,
    SummaryJob,
)
from timer_service.lease import LEASE_S
from timer_service.live_chats import ArmOutcome, LiveChats
from timer_service.rebuild import Rebuilder
from timer_service.records import (
    callbacks,
    connections,
    contact_pulls,
    early_changes,
    early_statuses,
    messages,
    sends,
    session_sweeps,
    sessions,
    summaries,
)

log = structlog.get_logger(__name__)

PAGE = 500
OVERLAP = timedelta(seconds=60)
"""How far each pass reads back before its watermark: transactions commit out of order."""
OVERDUE_BY = timedelta(milliseconds=500)
"""What the listener has not closed by then is the sweep's."""
LOOK_AGAIN_AFTER = timedelta(seconds=30)
SETTLE_S = float(LEASE_S)
"""How long no worker counts as dead after Postgres was away; one that died then waits so long."""
MOST_DEATHS = 3
"""What killed so many workers is parked: the next would die of it too."""
MOST_ASKED = 20
"""Gateways asked after one sweep: their askings wait in the queue that messages go out by."""
_MOST_PAGES = 200
_WATERMARKS_SHARD = 0
_REPAIRS = {ArmOutcome.ARMED, ArmOutcome.ANEW}


class _Work(Protocol):
    @property
    def is_parked(self) -> bool:
        """Too many workers died over it."""


Row = TypeVar("Row", bound=_Work)


class _Unfinished(Protocol[Row]):
    """Records of work that a job does, and that is begun again where the job is lost."""

    def unfinished(self, db: Connection, /, *, limit: int) -> list[Row]:
        """Return what has to be looked at."""

    def postpone(self, db: Connection, kept: Sequence[Row], check_after: timedelta, /) -> None:
        """Look at these again later."""

    def begin_again(
        self,
        db: Connection,
        lost: Sequence[Row],
        check_after: timedelta,
        /,
        *,
        most_deaths: int | None,
    ) -> list[Row]:
        """Give these a new attempt, or park them; return those that had not moved meanwhile."""


class Sweeper:
    """Looks for what was missed."""

    def __init__(
        self,
        *,
        database: Database,
        live_chats: LiveChats,
        armer: Armer,
        jobs: JobQueue,
        closer: Closer,
        rebuilder: Rebuilder,
        auditor: Auditor,
        period_s: float,
    ) -> None:
        self._database = database
        self._live_chats = live_chats
        self._armer = armer
        self._jobs = jobs
        self._closer = closer
        self._rebuilder = rebuilder
        self._auditor = auditor
        self._period_s = period_s
        self._swept_at: dict[str, datetime] = {}
        self._changes_after: datetime | None = None
        self._statuses_after: datetime | None = None
        self._settled_at_s = 0.0
        self._wake = threading.Event()

    def wake(self) -> None:
        """Sweep now: events may have been lost, or Redis cannot be trusted."""
        self._wake.set()

    def postgres_was_away(self) -> None:
        """Take no worker for dead for a moment: those that live will now renew their leases."""
        self._settled_at_s = monotonic_s() + SETTLE_S

    def run(self, stop: threading.Event) -> None:
        """Sweep until told to stop."""
        while not stop.is_set():
            self._wake.clear()
            self.sweep_once()
            self._wake.wait(self._period_s)

    def sweep_once(self) -> dict[str, int]:
        """Run every pass once; return how many things each put right. Faults are logged."""
        passes: dict[str, Callable[[], int]] = {
            "rebuild": self.rebuild_once,
            "overdue": self.close_overdue_once,
            "opened": self.arm_opened_once,
            "closed": self.forget_closed_once,
            "summaries": self.restart_summaries_once,
            "callbacks": self.restart_callbacks_once,
            "early_changes": self.apply_early_changes_once,
            "settled_sends": self.settle_sends_once,
            "sends": self.restart_sends_once,
            "contact_pulls": self.restart_pulls_once,
            "silent_connections": self.ask_silent_once,
            "audit": self._auditor.audit_once,
        }
        repaired = {}
        for name, sweep in passes.items():
            try:
                repaired[name] = sweep()
            except TimerServiceError as error:
                log.warning("sweep_pass_failed", sweep=name, cause=str(error))
                if isinstance(error, DatabaseUnavailable) and was_away(error):
                    self.postgres_was_away()
            except Exception:
                log.exception("sweep_pass_broke", sweep=name)
            else:
                metrics.SWEEP_REPAIRS.labels(name).inc(repaired[name])
        if any(repaired.values()):
            log.info("swept", **{name: count for name, count in repaired.items() if count})
        return repaired

    def rebuild_once(self) -> int:
        """Rebuild the shards whose epoch is not right."""
        return self._rebuilder.rebuild_once()

    def close_overdue_once(self) -> int:
        """Close what is open and overdue, page by page."""
        closed = 0
        for _ in range(_MOST_PAGES):
            with self._database.transaction() as db:
                found = session_sweeps.look_for_overdue(db, by=OVERDUE_BY, limit=PAGE)
            closed_now = self._closer.close_claimed(found.overdue)
            closed += closed_now
            if len(found.overdue) + found.moved < PAGE or closed_now + found.moved == 0:
                break
        return closed

    def arm_opened_once(self) -> int:
        """Arm what opened since the watermark and is not armed; return how many were not."""
        repaired = 0
        for since in self._positions("opened"):
            with self._database.transaction() as db:
                found, since.last_at = session_sweeps.opened_since(db, since.at, limit=PAGE)
            missing = set(self._live_chats.not_held([one.member for one in found]))
            outcomes = self._armer.arm([arm_of(one) for one in found if one.member in missing])
            repaired += sum(one in _REPAIRS for one in outcomes)
        return repaired

    def forget_closed_once(self) -> int:
        """Forget what closed since the watermark and is still there; return how many were."""
        repaired = 0
        for since in self._positions("closed"):
            with self._database.transaction() as db:
                found, since.last_at = session_sweeps.closed_since(db, since.at, limit=PAGE)
            repaired += self._live_chats.forget(found)
        return repaired

    def restart_summaries_once(self) -> int:
        """Enqueue again the summaries whose jobs are lost; return how many."""
        return self._restart_lost(summaries, lambda one: SummaryJob(one.session_id, one.attempt))

    def restart_callbacks_once(self) -> int:
        """Enqueue again the callbacks whose jobs are lost; return how many."""
        return self._restart_lost(
            callbacks, lambda one: CallbackJob(one.session_id, one.callback_id, one.attempt)
        )

    def apply_early_changes_once(self) -> int:
        """Apply changes and statuses whose message is known since; return of how many messages.

        Found by their rows, so it does not matter which was stored first, or while which was.
        """
        with self._database.transaction() as db:
            page = early_changes.look(db, after=self._changes_after, limit=PAGE)
            self._changes_after = page.after
            if page.targets:
                for connection_id, change in early_changes.take(db, page.targets):
                    messages.apply_change(db, connection_id, change)
        with self._database.transaction() as db:
            told = early_statuses.look(db, after=self._statuses_after, limit=PAGE)
            self._statuses_after = told.after
            for connection_id, name in sorted(told.targets):
                early_statuses.apply_to(db, connection_id, name)
        return len(page.targets) + len(told.targets)

    def settle_sends_once(self) -> int:
        """Settle messages whose worker died, and find what came back of others; return how many."""
        if monotonic_s() < self._settled_at_s:
            return 0
        with self._database.transaction() as db:
            return sends.settle_due(db, limit=PAGE)

    def restart_sends_once(self) -> int:
        """Enqueue again the messages to be sent whose jobs are lost; return how many."""
        return self._restart_lost(sends, lambda one: SendJob(one.message_id, one.attempt))

    def restart_pulls_once(self) -> int:
        """Enqueue again the pulls of contacts whose jobs are lost; return how many."""
        return self._restart_lost(
            contact_pulls, lambda one: PullJob(one.connection_id, one.attempt)
        )

    def ask_silent_once(self) -> int:
        """Have gateways asked of which nothing was heard for long; return how many."""
        with self._database.transaction() as db:
            due = connections.take_due_asks(db, limit=MOST_ASKED)
        if due:
            self._jobs.enqueue([AskJob(connection_id, number) for connection_id, number in due])
        return len(due)

    def _restart_lost(self, records: _Unfinished[Row], job_of: Callable[[Row], Job]) -> int:
        if monotonic_s() < self._settled_at_s:
            return 0
        with self._database.transaction() as db:
            found = records.unfinished(db, limit=PAGE)
        if not found:
            return 0
        jobs = {job_of(one): one for one in found}
        waiting = self._jobs.still_waiting(jobs)
        lost = [one for job, one in jobs.items() if job.job_id not in waiting]
        kept = [one for job, one in jobs.items() if job.job_id in waiting]
        ended = self._jobs.came_to_an_end(job_of(one) for one in lost) if lost else set()
        moved: list[Row] = []
        with self._database.transaction() as db:
            if kept:
                records.postpone(db, kept, LOOK_AGAIN_AFTER)
            for has_ended, most_deaths in ((False, MOST_DEATHS), (True, None)):
                theirs = [one for one in lost if (job_of(one).job_id in ended) is has_ended]
                if theirs:
                    moved += records.begin_again(
                        db, theirs, LOOK_AGAIN_AFTER, most_deaths=most_deaths
                    )
        for one in moved:
            if one.is_parked:
                job = job_of(one)
                log.error("job_parked", subject=job.subject, deaths=MOST_DEATHS)
                metrics.JOBS_PARKED.labels(job.queue).inc()
        again = [job_of(one) for one in moved if not one.is_parked]
        if again:
            self._jobs.enqueue(again)
        return len(again)

    def _positions(self, watermark: str) -> Iterator[_Position]:
        """Yield where to read from, page by page; keep the watermark once all was read.

        The caller sets ``last_at`` to the instant of the last row it read, None for no row.
        """
        with self._database.transaction() as db:
            now = sessions.read_clock(db)
        kept_at = self._live_chats.read_swept(_WATERMARKS_SHARD).get(watermark, now)
        # A rebuild of the watermarks' own shard vouches for that shard only.
        kept_at = min(kept_at, self._swept_at.get(watermark, kept_at))
        position = _Position(kept_at - OVERLAP)
        for _ in range(_MOST_PAGES):
            yield position
            if position.last_at is None:
                self._live_chats.save_swept(_WATERMARKS_SHARD, {watermark: now})
                self._swept_at[watermark] = now
                return
            position = _Position(position.last_at)
        self._live_chats.save_swept(_WATERMARKS_SHARD, {watermark: position.at})


@dataclass(slots=True)
class _Position:
    at: datetime
    last_at: datetime | None = None
