"""What follows the commit of a transaction that opened, extended or closed sessions.

Intake, the closers and completion fill in an ``Outcome`` inside their transaction and run it here
afterwards: one Redis round trip, then the queue. Nothing here may fail the caller: Postgres has
decided, and whatever is not done now the sweep finds.
"""

from __future__ import annotations

from dataclasses import dataclass, field

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


@dataclass(slots=True)
class Outcome:
    """What one transaction did to sessions."""

    armed: dict[SessionId, tuple[Armable, float]] = field(default_factory=dict)
    """With the steady clock's time at which what is left of each was read."""
    forgotten: list[Member] = field(default_factory=list)
    closed: list[ClosedSession] = field(default_factory=list)
    jobs: dict[str, Job] = field(default_factory=dict)

    def arm(self, session: Armable) -> None:
        """Note a session whose deadline changed."""
        self.armed[session.session_id] = (session, monotonic_s())

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

    def want(self, job: Job) -> None:
        """Note a job to enqueue; a later attempt of the same work replaces an earlier one."""
        self.jobs[job.subject] = job


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
