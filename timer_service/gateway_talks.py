"""Performs flows of ``providers/*_control.py``: few at one time in a process, each with an end.

Called by `connection_control`. A gateway may hang for as long as it likes: it takes one of few
places, fewer of one business, so nobody else waits for it, and its time is over soon.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from timer_service.clock import monotonic_s
from timer_service.errors import GatewaysBusy
from timer_service.gateway_http import GatewayHttp, NoAnswer, NotReached
from timer_service.ids import BusinessId
from timer_service.messages import StatusReason
from timer_service.providers.control import Flow
from timer_service.providers.sending import CannotSend
from timer_service.status_reasons import gateway_failed

MOST_AT_ONCE = 8
MOST_OF_BUSINESS = 2

T = TypeVar("T")


class GatewayTalks:
    """Talks with gateways."""

    def __init__(self, gateways: GatewayHttp) -> None:
        self._gateways = gateways
        self.room = Room()

    def perform(
        self, business_id: BusinessId, flow: Flow[T], *, within_s: float, largest: int
    ) -> T:
        """Perform a flow: all its requests within a time, no answer larger than ``largest``.

        Raises:
            GatewayFailed: why the gateway did not do it, or could not be asked.
            GatewaysBusy: there is no place now.
        """
        try:
            with self.room.place(business_id):
                return self._converse(flow, monotonic_s() + within_s, largest)
        except CannotSend:
            raise gateway_failed(StatusReason.SECRET_MISSING) from None
        except NotReached:
            raise gateway_failed(StatusReason.UNREACHABLE) from None
        except NoAnswer:
            raise gateway_failed(StatusReason.NO_ANSWER) from None

    def _converse(self, flow: Flow[T], ends_at_s: float, largest: int) -> T:
        try:
            request = next(flow)
            while True:
                left_s = ends_at_s - monotonic_s()
                if left_s <= 0:
                    raise NoAnswer("the gateway took too long altogether")
                answer = self._gateways.ask(request, within_s=left_s, largest=largest)
                request = flow.send(answer)
        except StopIteration as done:
            result: T = done.value
            return result
        finally:
            flow.close()


class Room:
    """Places for conversations with gateways: few in a process, fewer of one business."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken: Counter[BusinessId] = Counter()

    @contextmanager
    def place(self, business_id: BusinessId) -> Iterator[None]:
        """Take a place.

        Raises:
            GatewaysBusy: there is none.
        """
        with self._lock:
            is_full = self._taken.total() >= MOST_AT_ONCE
            if is_full or self._taken[business_id] >= MOST_OF_BUSINESS:
                raise GatewaysBusy("as many gateways are being asked as may be at one time")
            self._taken[business_id] += 1
        try:
            yield
        finally:
            with self._lock:
                self._taken[business_id] -= 1
                if not self._taken[business_id]:
                    del self._taken[business_id]
