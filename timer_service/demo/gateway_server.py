"""The four gateways' APIs on one loopback port: takes messages, and tells how far they got.

    with GatewayServer(course=as_in_life()) as server:
        server.serve(number, tell)   # tell(url or None, webhook) posts it
        …                            # the connection's base_url is server.url

`traffic` runs it beside the demo's conversations; the tests have theirs on top of it. A message, a
wrong key and too fast a sender are answered as the gateway answers them; afterwards, or before, a
message's echo and its statuses are told as webhooks of that gateway, each until it is acknowledged.
Who asks twice sends twice.
"""

from __future__ import annotations

import heapq
import hmac
import itertools
import threading
from collections import deque
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

MOST_PER_S = 80
"""What Meta takes of one number."""
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
    taken_at_s: deque[float] = field(default_factory=deque)

    def is_too_fast(self, most_per_s: int) -> bool:
        """Tell whether so many were taken within the last second; count this one if not."""
        now_s = clock.monotonic_s()
        while self.taken_at_s and self.taken_at_s[0] <= now_s - 1:
            self.taken_at_s.popleft()
        if len(self.taken_at_s) >= most_per_s:
            return True
        self.taken_at_s.append(now_s)
        return False


@dataclass(order=True, slots=True)
class _Due:
    at_s: float
    tie: int
    number: _Number = field(compare=False)
    sent: Sent = field(compare=False)
    step: Step = field(compare=False)
    tried: int = field(compare=False, default=0)


class GatewayServer(LoopbackServer):
    """The server, and a thread that tells. A number may send ``most_per_s``, then it must wait."""

    def __init__(
        self, port: int = 0, *, course: Sequence[Step] = (), most_per_s: int = MOST_PER_S
    ) -> None:
        super().__init__(port)
        self.course = course
        self.most_per_s = most_per_s
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
        if reply is None and number is not None:
            why = self._why_not(number, sent)
            reply = kind.refused(why) if why else None
        if reply is None or reply.status < _REFUSED:
            if number is not None:
                self._begin(number, sent)
            reply = reply or kind.accepted(sent)
        return reply

    def _why_not(self, number: _Number, sent: Sent) -> Refusal | None:
        known, offered = number.gateway.credential, sent.credential
        if not hmac.compare_digest(known.encode(), offered.encode()):
            return Refusal.AUTH
        return Refusal.RATE if number.is_too_fast(self.most_per_s) else None

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
