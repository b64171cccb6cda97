"""Lets as many webhooks in at once as are answered soon, and refuses the others while it is soon.

Without it whoever comes too fast waits in the server's queue until the sender has long gone, and
is served then. Two waits, one after the other and bounded together:

- to be looked at, once the body is there, so that slow senders hold up nobody. Nobody knows yet
  who it is: what a request says of itself is worth nothing before it is proven.
- for a turn to be stored, which is what costs. The origin is proven by now, so turns are fair
  between businesses, and whoever sends more than its share is the first to be refused. What
  programs record takes turns with them: it is stored by the same transactions.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore

from flask import current_app, g
from werkzeug.exceptions import ServiceUnavailable

from timer_http.fair_turns import FairTurns
from timer_service import metrics
from timer_service.clock import monotonic_s
from timer_service.ids import BusinessId

AT_ONCE = 16
"""As many as connections in a worker's pool: none waits for another's connection. Fewer than one
transaction takes (`intake.MOST_IN_GROUP`): nobody who has a turn is left for the next one."""
WAITING = 128
"""As many more may wait, to be looked at and for a turn; the server has a thread for each."""
WAIT_S = 0.4
"""Of the second in which every webhook is answered."""

_NAME = "timer_http.admission"


class Admission:
    """The two waits of one process: `enter` and `leave` are the first, `turns` the second."""

    def __init__(
        self, *, at_once: int = AT_ONCE, waiting: int = WAITING, wait_s: float = WAIT_S
    ) -> None:
        self.wait_s = wait_s
        self.turns = FairTurns(at_once=at_once, waiting=waiting)
        self._looks = BoundedSemaphore(at_once)
        self._room = BoundedSemaphore(at_once + waiting)

    def enter(self) -> bool:
        """Wait to be looked at; False where it is not in time, or there is no room to wait."""
        if not self._room.acquire(blocking=False):
            return False
        if self._looks.acquire(timeout=self.wait_s):
            return True
        self._room.release()
        return False

    def leave(self) -> None:
        """Have the next looked at."""
        self._looks.release()
        self._room.release()


def wait_to_be_looked_at() -> None:
    """Wait until this request may be looked at; `end_look` has to follow.

    Raises:
        ServiceUnavailable: too many came at once.
    """
    admission = _admission()
    g.waits_until_s = monotonic_s() + admission.wait_s
    if not admission.enter():
        raise _too_many()
    g.is_looked_at = True


def end_look(_error: BaseException | None = None) -> None:
    """Stop looking at a request, if it is looked at: for ``teardown_request`` too."""
    if g.pop("is_looked_at", False):
        _admission().leave()


@contextmanager
def turn(business_id: BusinessId | None) -> Iterator[None]:
    """Have a turn of the business, or of nobody, for the block, once its request is looked at.

    Raises:
        ServiceUnavailable: none in time, or no room left to wait for it.
    """
    end_look()
    admission = _admission()
    waits_until_s = g.get("waits_until_s") or monotonic_s() + admission.wait_s
    if not admission.turns.take(business_id, waits_until_s - monotonic_s()):
        raise _too_many()
    try:
        yield
    finally:
        admission.turns.give_back()


def _admission() -> Admission:
    extensions = current_app.extensions
    admission: Admission = extensions.get(_NAME) or extensions.setdefault(_NAME, Admission())
    return admission


def _too_many() -> ServiceUnavailable:
    metrics.WEBHOOKS_SHED.inc()
    return ServiceUnavailable("too many at once; try again in a moment")
