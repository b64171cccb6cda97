"""RQ entry point: tell one registered function that a session closed, at least once.

A function that raises is tried again, every half minute at first; what it raised stands in RQ's own
failure record and in the log by its type only.
"""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import structlog

from timer_service.callbacks import load_callback
from timer_service.ids import SessionId
from timer_service.job_queue import CALLBACK_TIMEOUT_S
from timer_service.records import callbacks, session_views
from timer_service.resources import Session
from timer_service.wiring import job_services

log = structlog.get_logger(__name__)

LEASE = timedelta(seconds=CALLBACK_TIMEOUT_S)
MOST_ATTEMPTS = 10


def call_back(session_id: str, callback_id: str, attempt: int) -> None:
    """Call a callback with the closed session; called by RQ."""
    session, callback = SessionId(UUID(session_id)), UUID(callback_id)
    database = job_services().database
    with database.transaction() as db:
        run = callbacks.start(db, session, callback, attempt, lease=LEASE * attempt)
        row = session_views.get(db, run["business_id"], session) if run else None
    if run is None or row is None:
        return
    try:
        load_callback(run["path"])(Session.of(row).model_dump(mode="json"))
    except Exception as error:
        log.warning(
            "callback_failed",
            session_id=session_id,
            path=run["path"],
            attempt=attempt,
            cause=type(error).__name__,
        )
        if attempt < MOST_ATTEMPTS:
            raise
    with database.transaction() as db:
        callbacks.finish(db, session, callback)
