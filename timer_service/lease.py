"""Keeps a running job's lease alive for as long as its process lives and no longer.

Called by the job entry points. A lease can so be much shorter than the job may last: whoever waits
for it to end learns of a dead worker within seconds, and never takes a slow one for dead. A worker
that is told to stop hands its lease back, so that its end is no death.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from threading import Event, Thread

import structlog

from timer_service.clock import monotonic_s
from timer_service.errors import TimerServiceError

log = structlog.get_logger(__name__)

LEASE_S = 15
"""How long a job that tells nothing counts as running; a dead worker's job waits that long."""
LEASE = timedelta(seconds=LEASE_S)
RENEW_EVERY_S = 4.0
"""Three in one lease: a beat may be late, or meet a Postgres that restarts."""
GIVEN_BACK_FOR = timedelta(seconds=10)
"""How long a job may still end by itself in a worker that was told to stop."""

_LOOK_EVERY_S = 0.5
_stopping = Event()


def give_back_leases() -> None:
    """Have this process's running job give its lease back: it may not live to finish it."""
    _stopping.set()


@contextmanager
def kept_alive(
    renew: Callable[[], object], give_back: Callable[[], object], *, at_most_s: float
) -> Iterator[None]:
    """Call ``renew`` every few seconds until the block ends, from a thread of its own.

    Once the process is told to stop it calls ``give_back``, once, and nothing more. After
    ``at_most_s`` it stops: a job that hangs by then has lost its claim to be running.
    """
    over = Event()
    keeper = Thread(
        target=_keep, args=(renew, give_back, over, at_most_s), name="lease", daemon=True
    )
    keeper.start()
    try:
        yield
    finally:
        over.set()
        keeper.join()


def _keep(
    renew: Callable[[], object], give_back: Callable[[], object], over: Event, at_most_s: float
) -> None:
    now_s = monotonic_s()
    ends_s, renew_at_s = now_s + at_most_s, now_s + RENEW_EVERY_S
    while not over.wait(min(_LOOK_EVERY_S, RENEW_EVERY_S)):
        now_s = monotonic_s()
        if _stopping.is_set():
            _tell(give_back)
            return
        if now_s >= ends_s:
            return
        if now_s >= renew_at_s:
            _tell(renew)
            renew_at_s = now_s + RENEW_EVERY_S


def _tell(change: Callable[[], object]) -> None:
    try:
        change()
    except TimerServiceError as error:
        log.warning("lease_not_changed", cause=str(error))
    except Exception:
        # One beat that breaks must not end the others: the job would be taken for dead.
        log.exception("lease_change_broke")
