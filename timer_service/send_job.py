"""RQ entry point: send one message. Ids in, a row changed, nothing else.

The row is the job: it is taken up by compare-and-set, so a job that runs twice sends once, and one
that is lost is made again by the sweep.
"""

from __future__ import annotations

import math
from functools import lru_cache
from uuid import UUID

from rq import Retry

from timer_service.message_sender import MessageSender
from timer_service.wiring import build_sender, job_services

MOST_RETRIES = 1000
"""For RQ's own book-keeping: the row knows how often it was refused."""


@lru_cache(maxsize=1)
def _sender() -> MessageSender:
    return build_sender(job_services())


def send_message(message_id: str, attempt: int) -> Retry | None:
    """Send a message; called by RQ."""
    wait_s = _sender().send(UUID(message_id), attempt)
    return None if wait_s is None else Retry(max=MOST_RETRIES, interval=math.ceil(wait_s))
