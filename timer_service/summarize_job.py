"""RQ entry point: summarise one closed session. Ids in, a row out, nothing else.

The row is the job: start and store are compare-and-set on the attempt, so a job that runs twice
stores once, and one that is lost is made again by the sweep, which parks what kills its workers.
A failing model is tried again with growing pauses; then the extractive summarizer stands in, and
the failure's code is kept.
"""

from __future__ import annotations

from datetime import timedelta
from functools import lru_cache, partial
from typing import Any
from uuid import UUID

import structlog
from rq import Retry, get_current_job
from rq.timeouts import JobTimeoutException

from timer_service import metrics
from timer_service.database import Database
from timer_service.errors import DatabaseUnavailable, SummaryError, SummaryTemporarilyFailed
from timer_service.ids import BusinessId, SessionId
from timer_service.job_queue import MOST_RUN_S, SUMMARY_TIMEOUT_S
from timer_service.lease import GIVEN_BACK_FOR, LEASE, kept_alive
from timer_service.messages import Author, Delivery, SummarizerChoice, SummaryStatus
from timer_service.records import messages, summaries
from timer_service.summarizers import (
    Summarizer,
    SummaryResult,
    Transcript,
    Turn,
    Wishes,
    build_summarizers,
    skip_reason,
)
from timer_service.wiring import job_services

log = structlog.get_logger(__name__)

RETRY_AFTER_S = (5, 30, 120)
"""Pauses before the second, third and fourth try of one attempt."""
LONGEST_RETRY_AFTER_S = 600


class SummaryWorker:
    """Summarises sessions with the configured summarizers."""

    def __init__(
        self, database: Database, primary: Summarizer | None, fallback: Summarizer
    ) -> None:
        self._database = database
        self._primary = primary
        self._fallback = fallback

    def summarize(self, session_id: SessionId, attempt: int, tries: int) -> float | None:
        """Summarise a session, the ``tries``-th time (from 0) of this attempt.

        Returns the seconds to wait before the next try, None when there is nothing more to do.

        Raises:
            DatabaseUnavailable: the row is as it was; the sweep will make the job again.
        """
        with self._database.transaction() as db:
            started = summaries.start(db, session_id, attempt, lease=LEASE)
            if started is None:
                metrics.SUMMARIES.labels("superseded").inc()
                return None
            business_id = BusinessId(started["business_id"])
            rows = messages.of_session(db, session_id, business_id)
        transcript = Transcript(
            turns=tuple(
                Turn(
                    message_id=str(row["id"]),
                    author=Author(row["author"]),
                    type=row["type"],
                    text=row["text"],
                    sent_at=row["placed_at"],
                )
                for row in rows
                if row["revoked_at"] is None and row["status"] != Delivery.FAILED
            ),
            customer_name=started["customer_name"],
            business_name=started["business_name"],
            wishes=Wishes(
                model=started["summary_model"],
                language=started["summary_language"],
                instructions=started["summary_instructions"],
            ),
        )
        wants_model = started["summarizer"] != SummarizerChoice.EXTRACTIVE
        reason = skip_reason(transcript)
        if reason is not None:
            self._finish(session_id, attempt, SummaryStatus.SKIPPED, reason)
            return None
        renew = partial(self._renew, session_id, attempt)
        give_back = partial(self._give_back, session_id, attempt)
        with kept_alive(renew, give_back, at_most_s=MOST_RUN_S):
            return self._summarize(
                business_id,
                session_id,
                attempt,
                tries,
                transcript,
                primary=self._primary if wants_model else None,
            )

    def _renew(self, session_id: SessionId, attempt: int) -> None:
        with self._database.transaction() as db:
            summaries.renew(db, session_id, attempt, lease=LEASE)

    def _give_back(self, session_id: SessionId, attempt: int) -> None:
        with self._database.transaction() as db:
            summaries.give_back(db, session_id, attempt, check_after=GIVEN_BACK_FOR)

    def _summarize(
        self,
        business_id: BusinessId,
        session_id: SessionId,
        attempt: int,
        tries: int,
        transcript: Transcript,
        *,
        primary: Summarizer | None,
    ) -> float | None:
        failure: str | None = None
        if primary is not None:
            try:
                result = _within_time(primary, transcript)
            except SummaryError as error:
                failure = error.code
                log.warning("model_failed", session_id=str(session_id), code=failure, tries=tries)
                if isinstance(error, SummaryTemporarilyFailed) and tries < len(RETRY_AFTER_S):
                    pause_s = max(RETRY_AFTER_S[tries], error.retry_after_s or 0)
                    pause_s = min(pause_s, LONGEST_RETRY_AFTER_S)
                    self._finish(
                        session_id,
                        attempt,
                        SummaryStatus.FAILED,
                        failure,
                        check_after=timedelta(seconds=pause_s) + LEASE,
                    )
                    return pause_s
            else:
                self._store(business_id, session_id, attempt, result, None)
                return None
        self._store(business_id, session_id, attempt, self._fallback.summarize(transcript), failure)
        return None

    def _store(
        self,
        business_id: BusinessId,
        session_id: SessionId,
        attempt: int,
        result: SummaryResult,
        failure: str | None,
    ) -> None:
        values: dict[str, Any] = {
            "session_id": session_id,
            "business_id": business_id,
            "attempt": attempt,
            "summarizer": result.summarizer,
            "model": result.model,
            "message_ids": [UUID(one) for one in result.message_ids],
            "dropped_messages": result.dropped_turns,
            "tokens": result.tokens,
            **result.content.model_dump(),
        }
        with self._database.transaction() as db:
            stored = summaries.finish(db, session_id, attempt, SummaryStatus.DONE, reason=failure)
            if stored:
                summaries.store(db, values)
        metrics.SUMMARIES.labels(result.summarizer if stored else "superseded").inc()
        log.info("summarised", session_id=str(session_id), summarizer=result.summarizer)

    def _finish(
        self,
        session_id: SessionId,
        attempt: int,
        status: SummaryStatus,
        reason: str,
        *,
        check_after: timedelta | None = None,
    ) -> None:
        with self._database.transaction() as db:
            summaries.finish(
                db, session_id, attempt, status, reason=reason, check_after=check_after
            )
        metrics.SUMMARIES.labels(status.value).inc()


def _within_time(summarizer: Summarizer, transcript: Transcript) -> SummaryResult:
    """Summarise; a model that drips on past the job's time-out is one that timed out."""
    try:
        return summarizer.summarize(transcript)
    except JobTimeoutException:
        raise SummaryTemporarilyFailed(
            "model_timeout", f"the model did not end within {SUMMARY_TIMEOUT_S} s"
        ) from None


@lru_cache(maxsize=1)
def _worker() -> SummaryWorker:
    services = job_services()
    primary, fallback = build_summarizers(services.settings)
    return SummaryWorker(services.database, primary, fallback)


def summarize_session(session_id: str, attempt: int) -> Retry | None:
    """Summarise a session; called by RQ."""
    job = get_current_job()
    tries = job.number_of_retries or 0 if job is not None else 0
    try:
        pause_s = _worker().summarize(SessionId(UUID(session_id)), attempt, tries)
    except DatabaseUnavailable as error:
        # Returned from, not raised: the queue then tells the sweep that no worker died of it.
        log.warning("summary_without_postgres", session_id=session_id, cause=str(error))
        return None
    if pause_s is None:
        return None
    return Retry(max=len(RETRY_AFTER_S), interval=round(pause_s))
