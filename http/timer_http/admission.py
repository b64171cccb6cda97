"""Lets as many webhooks in at once as are answered soon, and refuses the others while it is soon.

Without it whoever comes too fast waits in the server's queue until the sender has long gone, and
is served then. A webhook's turn comes when its body is there, so slow senders hold up nobody.
"""

from __future__ import annotations

from threading import BoundedSemaphore

from flask import current_app, g
from werkzeug.exceptions import ServiceUnavailable

from timer_service import metrics

AT_ONCE = 16
"""As many as connections in a worker's pool: none waits for another's connection."""
WAITING = 128
"""As many more may wait for a turn; the server has a thread for each."""
WAIT_S = 0.4
"""Of the second in which every webhook is answered."""

_NAME = "timer_http.admission"


class Admission:
    """Turns of one process."""

    def __init__(
        self, *, at_once: int = AT_ONCE, waiting: int = WAITING, wait_s: float = WAIT_S
    ) -> None:
        self._turns = BoundedSemaphore(at_once)
        self._room = BoundedSemaphore(at_once + waiting)
        self._wait_s = wait_s

    def enter(self) -> bool:
        """Wait for a turn; False where there is none in time, or no room to wait."""
        if not self._room.acquire(blocking=False):
            return False
        if self._turns.acquire(timeout=self._wait_s):
            return True
        self._room.release()
        return False

    def leave(self) -> None:
        """Give the turn to the next."""
        self._turns.release()
        self._room.release()


def wait_for_turn() -> None:
    """Wait until this request may be worked on; `end_turn` has to follow.

    Raises:
        ServiceUnavailable: too many came at once.
    """
    turns = current_app.extensions
    admission: Admission = turns.get(_NAME) or turns.setdefault(_NAME, Admission())
    if not admission.enter():
        metrics.WEBHOOKS_SHED.inc()
        raise ServiceUnavailable("too many at once; try again in a moment")
    g.has_turn = True


def end_turn(_error: BaseException | None) -> None:
    """End the turn of a request that had one, however it ended: for ``teardown_request``."""
    if g.pop("has_turn", False):
        current_app.extensions[_NAME].leave()
