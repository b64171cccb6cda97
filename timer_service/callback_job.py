"""RQ entry point: tell one registered function that a session closed, at least once.

A function that raises is tried again, every half minute at first; what it raised stands in RQ's own
failure record and in the log by its type only. One that kills its worker is parked by the sweep.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from uuid import UUID

import structlog

from timer_service.callbacks import load_callback
from timer_service.errors import DatabaseUnavailable
from timer_service.ids import SessionId
from timer_service.job_queue import CALLBACK_TIMEOUT_S, MOST_RUN_S
from timer_service.lease import GIVEN_BACK_FOR, LEASE, kept_alive
from timer_service.records import callbacks, session_views
from timer_service.resources import Session
from timer_service.wiring import job_services

log = structlog.get_logger(__name__)

PAUSE = timedelta(seconds=CALLBACK_TIMEOUT_S)
"""After the first attempt; after the second twice as long, and so on."""
MOST_ATTEMPTS = 10


def call_back(session_id: str, callback_id: str, attempt: int) -> None:
    """Call a callback with the closed session; called by RQ."""
    try:
        _call_back(SessionId(UUID(session_id)), UUID(callback_id), attempt)
    except DatabaseUnavailable as error:
        # Returned from, not raised: the queue then tells the sweep that no worker died of it.
        log.warning("callback_without_postgres", session_id=session_id, cause=str(error))


def _call_back(session: SessionId, callback: UUID, attempt: int) -> None:
    database = job_services().database
    with database.transaction() as db:
        run = callbacks.start(db, session, callback, attempt, lease=LEASE)
        row = session_views.get(db, run["business_id"], session) if run else None
    if run is None or row is None:
        return
    try:
        renew = partial(_renew, session, callback, attempt)
        give_back = partial(_look_again, session, callback, attempt, GIVEN_BACK_FOR)
        with kept_alive(renew, give_back, at_most_s=MOST_RUN_S):
            load_callback(run["path"])(Session.of(row).model_dump(mode="json"))
    except Exception as error:
        log.warning(
            "callback_failed",
            session_id=str(session),
            path=run["path"],
            attempt=attempt,
            cause=type(error).__name__,
        )
        if attempt < MOST_ATTEMPTS:
            _look_again(session, callback, attempt, PAUSE * attempt)
            raise
    with database.transaction() as db:
        callbacks.finish(db, session, callback)


def _renew(session_id: SessionId, callback_id: UUID, attempt: int) -> None:
    with job_services().database.transaction() as db:
        callbacks.renew(db, session_id, callback_id, attempt, lease=LEASE)


def _look_again(
    session_id: SessionId, callback_id: UUID, attempt: int, check_after: timedelta
) -> None:
    with job_services().database.transaction() as db:
        callbacks.let_go(db, session_id, callback_id, attempt, check_after=check_after)
