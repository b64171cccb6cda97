"""Lets as many webhooks in at once as are answered soon, and refuses the others while it is soon.

Without it whoever comes too fast waits in the server's queue until the sender has long gone, and
is served then. A webhook's turn comes when its body is there, so slow senders hold up nobody.
"""

from __future__ import annotations

from threading import BoundedSemaphore, Lock

from flask import Flask, current_app, g
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
        self._lock = Lock()
        self._room = at_once + waiting
        self._wait_s = wait_s

    def enter(self) -> bool:
        """Wait for a turn; False where there is none in time, or no room to wait."""
        with self._lock:
            if self._room == 0:
                return False
            self._room -= 1
        if self._turns.acquire(timeout=self._wait_s):
            return True
        with self._lock:
            self._room += 1
        return False

    def leave(self) -> None:
        """Give the turn to the next."""
        self._turns.release()
        with self._lock:
            self._room += 1


def init_app(app: Flask, admission: Admission | None = None) -> None:
    """Let this application's webhooks wait for their turn."""
    app.extensions[_NAME] = admission or Admission()
    app.teardown_request(_leave)


def wait_for_turn() -> None:
    """Wait until this request may be worked on; its turn ends with it.

    Raises:
        ServiceUnavailable: too many came at once.
    """
    admission: Admission = current_app.extensions[_NAME]
    if not admission.enter():
        metrics.WEBHOOKS_SHED.inc()
        raise ServiceUnavailable("too many at once; try again in a moment")
    g.has_turn = True


def _leave(_error: BaseException | None) -> None:
    if g.pop("has_turn", False):
        current_app.extensions[_NAME].leave()
