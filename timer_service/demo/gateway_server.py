"""The four gateways' APIs on one loopback port: takes messages, and tells how far they got.

    with GatewayServer(course=as_in_life()) as server:
        server.serve(number, tell)   # tell(url or None, webhook) posts it
        …                            # the connection's base_url is server.url

`traffic` runs it beside the demo's conversations; the tests have theirs on top of it. A message is
answered as its gateway answers, and afterwards, or before, its echo and its statuses are told as
webhooks of that gateway, each until it is acknowledged. Who asks twice sends twice.
"""

from __future__ import annotations

import heapq
import hmac
import itertools
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Self

from timer_service import clock
from timer_service.demo.gateway import Gateway, Refusal, Sent, Webhook
from timer_service.demo.gateways import KINDS
from timer_service.demo.loopback_server import LoopbackServer, Reply, Request
from timer_service.messages import Delivery

Tell = Callable[[str | None, Webhook], bool]
"""Posts a webhook to the address its message named, None: to where the number's go; tells whether
it was acknowledged."""

_TELL_AGAIN_AFTER_S = 0.5
_TOLD_OFTEN_ENOUGH = 20
_REFUSED = 400


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to tell of a message: a status, or None for its echo.

    ``after_s`` counts from when it was taken; None: it is told before the API answers.
    """

    status: Delivery | None
    after_s: float | None = 0.0


def as_in_life() -> tuple[Step, ...]:
    """Return what a gateway tells of a message to somebody who has the chat open."""
    return (
        Step(None, 0.1),
        Step(Delivery.SENT, 0.3),
        Step(Delivery.DELIVERED, 1.0),
        Step(Delivery.READ, 3.0),
    )


@dataclass(frozen=True, slots=True)
class _Number:
    gateway: Gateway
    tell: Tell


@dataclass(order=True, slots=True)
class _Due:
    at_s: float
    tie: int
    number: _Number = field(compare=False)
    sent: Sent = field(compare=False)
    step: Step = field(compare=False)
    tried: int = field(compare=False, default=0)


class GatewayServer(LoopbackServer):
    """The server, and a thread that tells."""

    def __init__(self, port: int = 0, *, course: Sequence[Step] = ()) -> None:
        super().__init__(port)
        self.course = course
        self._numbers: dict[str, _Number] = {}
        self._due: list[_Due] = []
        self._ties = itertools.count()
        self._changed = threading.Condition()
        self._is_over = False
        self._teller = threading.Thread(target=self._tell_what_is_due)

    def serve(self, gateway: Gateway, tell: Tell) -> None:
        """Let a number be sent by; calls with another credential are refused from now on."""
        self._numbers[gateway.external_id] = _Number(gateway, tell)

    def answer(self, request: Request) -> Reply:
        """Take a message, or say no, as the gateway would whose address was called."""
        for kind in KINDS:
            sent = kind.read_send(request)
            if sent is not None:
                return self._take(kind, request, sent)
        self.note(request, None)
        others = (kind.answer_other(request) for kind in KINDS)
        return self.told() or next(filter(None, others), Reply(404))

    def name(self, sent: Sent) -> str:
        """Return the id a message is taken under."""
        return sent.message_id

    def note(self, request: Request, sent: Sent | None) -> None:
        """Learn of a request before it is answered; ``sent`` is what it asks to send, if any."""

    def _take(self, kind: type[Gateway], request: Request, sent: Sent) -> Reply:
        sent = replace(sent, message_id=self.name(sent))
        self.note(request, sent)
        number = self._numbers.get(sent.account)
        reply = self.told()
        if reply is None and number is not None and not _may_send(number.gateway, sent):
            reply = kind.refused(Refusal.AUTH)
        if reply is None or reply.status < _REFUSED:
            if number is not None:
                self._begin(number, sent)
            reply = reply or kind.accepted(sent)
        return reply

    def _begin(self, number: _Number, sent: Sent) -> None:
        now_s = clock.monotonic_s()
        for step in self.course:
            if step.after_s is None:
                self._tell_one(_Due(now_s, 0, number, sent, step))
            else:
                self._add(_Due(now_s + step.after_s, next(self._ties), number, sent, step))

    def _add(self, due: _Due) -> None:
        with self._changed:
            heapq.heappush(self._due, due)
            self._changed.notify()

    def _tell_what_is_due(self) -> None:
        while True:
            with self._changed:
                if self._is_over:
                    return
                wait_s = self._due[0].at_s - clock.monotonic_s() if self._due else None
                if wait_s is None or wait_s > 0:
                    self._changed.wait(wait_s)
                    continue
                due = heapq.heappop(self._due)
            self._tell_one(due)

    def _tell_one(self, due: _Due) -> None:
        gateway, sent, at = due.number.gateway, due.sent, clock.utc_now()
        webhook = (
            gateway.echo_webhook(sent, at)
            if due.step.status is None
            else gateway.status_webhook(sent, due.step.status, at)
        )
        if webhook is None:
            return
        is_told = due.number.tell(sent.status_url, webhook)
        if not is_told and due.tried < _TOLD_OFTEN_ENOUGH:
            again_s = clock.monotonic_s() + _TELL_AGAIN_AFTER_S
            self._add(replace(due, at_s=again_s, tried=due.tried + 1))

    def __enter__(self) -> Self:
        self._teller.start()
        return super().__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._changed:
            self._is_over = True
            self._changed.notify()
        super().__exit__(kind, error, trace)
        self._teller.join()


def _may_send(gateway: Gateway, sent: Sent) -> bool:
    return hmac.compare_digest(gateway.credential.encode(), sent.credential.encode())
