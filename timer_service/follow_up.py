"""What follows the commit of a transaction that opened, extended or closed sessions.

Intake, the closers and completion fill in an ``Outcome`` inside their transaction and run it here
afterwards: one Redis round trip, then the queue. The listener's closer leaves that to a thread, so
that the next batch need not wait for it. Nothing here may fail the caller: Postgres has
decided, and whatever is not done now the sweep finds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Condition, Event
from typing import Protocol

import structlog

from timer_service import metrics
from timer_service.arming import Armer, arm_of
from timer_service.clock import monotonic_s
from timer_service.errors import DatabaseUnavailable, RedisUnavailable
from timer_service.ids import SessionId
from timer_service.job_queue import CallbackJob, Job, JobQueue, SummaryJob
from timer_service.keys import Member
from timer_service.messages import CloseReason
from timer_service.records.sessions import Armable, ClosedSession

log = structlog.get_logger(__name__)

DEFERRED_MAX = 5_000
"""Sessions whose follow-up may wait before those who close wait too."""

_GATHER_S = 0.003
"""How long a close's follow-up waits for that of others: a job may be there some ms later."""
_WAIT_S = 0.2


@dataclass(slots=True)
class Outcome:
    """What one transaction did to sessions."""

    armed: dict[SessionId, tuple[Armable, float]] = field(default_factory=dict)
    """With the steady clock's time at which what is left of each was read."""
    forgotten: list[Member] = field(default_factory=list)
    closed: list[ClosedSession] = field(default_factory=list)
    jobs: dict[str, Job] = field(default_factory=dict)

    def arm(self, session: Armable, read_at_s: float | None = None) -> None:
        """Note a session whose deadline changed, and when it was read; None: just now."""
        read_at_s = monotonic_s() if read_at_s is None else read_at_s
        self.armed[session.session_id] = (session, read_at_s)

    def forget(self, member: Member) -> None:
        """Note a session that is closed or gone, whatever was noted of it before."""
        self.armed.pop(member.session_id, None)
        self.forgotten.append(member)

    def close(self, closed: list[ClosedSession]) -> None:
        """Note closed sessions and the jobs their rows call for."""
        for one in closed:
            self.closed.append(one)
            self.forget(one.member)
            self.want(SummaryJob(one.session_id, one.attempt))
            for callback_id in one.callback_ids:
                self.want(CallbackJob(one.session_id, callback_id, 1))

    def absorb(self, later: Outcome) -> None:
        """Take over what a later transaction did."""
        self.armed.update(later.armed)
        for member in later.forgotten:
            self.forget(member)
        self.closed += later.closed
        self.jobs.update(later.jobs)

    def want(self, job: Job) -> None:
        """Note a job to enqueue; a later attempt of the same work replaces an earlier one."""
        self.jobs[job.subject] = job


class Follows(Protocol):
    """Sees to what follows a commit, at once or soon."""

    def run(self, outcome: Outcome) -> None:
        """Arm and forget in Redis, count, and enqueue. Never fails the caller."""


class FollowUp:
    """Carries out what a committed transaction calls for."""

    def __init__(self, armer: Armer, jobs: JobQueue) -> None:
        self._armer = armer
        self._jobs = jobs

    def run(self, outcome: Outcome) -> None:
        """Arm and forget in Redis, count, and enqueue. Faults are logged and left to the sweep."""
        if outcome.armed or outcome.forgotten:
            # What is left until a deadline was read some time ago: it is that much less by now.
            now_s = monotonic_s()
            arms = [
                arm_of(one, elapsed_ms=int((now_s - read_at_s) * 1000))
                for one, read_at_s in outcome.armed.values()
            ]
            try:
                self._armer.arm(arms, outcome.forgotten)
            except (RedisUnavailable, DatabaseUnavailable) as error:
                log.warning(
                    "live_chats_left_to_the_sweep",
                    armed=len(arms),
                    forgotten=len(outcome.forgotten),
                    cause=str(error),
                )
        for closed in outcome.closed:
            metrics.SESSIONS_CLOSED.labels(closed.reason.value).inc()
            if closed.reason is CloseReason.IDLE:
                metrics.CLOSE_LATENESS.observe(max(0.0, closed.lateness_s))
        if outcome.jobs:
            try:
                self._jobs.enqueue(list(outcome.jobs.values()))
            except RedisUnavailable as error:
                log.warning("jobs_left_to_the_sweep", jobs=len(outcome.jobs), cause=str(error))


class DeferredFollowUp:
    """Carries out many transactions' outcomes at once, in a thread of its own."""

    def __init__(self, follow_up: FollowUp) -> None:
        self._follow_up = follow_up
        self._pending = Outcome()
        self._changed = Condition()

    def run(self, outcome: Outcome) -> None:
        """Leave an outcome to the thread; waits only where very much is left to it already."""
        with self._changed:
            while len(self._pending.forgotten) > DEFERRED_MAX:
                self._changed.wait()
            self._pending.absorb(outcome)
            self._changed.notify_all()

    def run_thread(self, stop: Event) -> None:
        """Carry out what is left here until told to stop, and what is left then."""
        while True:
            is_last = stop.is_set()
            with self._changed:
                if not is_last and self._is_empty():
                    self._changed.wait(_WAIT_S)
            if not is_last and not self._is_empty():
                stop.wait(_GATHER_S)
            with self._changed:
                outcome, self._pending = self._pending, Outcome()
                self._changed.notify_all()
            try:
                self._follow_up.run(outcome)
            except Exception:
                # What one batch does, the next must still be followed up; the sweep finds the rest.
                log.exception("follow_up_failed")
            if is_last:
                return

    def _is_empty(self) -> bool:
        return not (self._pending.forgotten or self._pending.armed)
