"""Posts what customers write as gateways do, again and again until it is acknowledged.

A gateway keeps the same body: what was refused or never answered it brings once more, after a pause
that grows, at the other web process. Runs in a thread of its own; nothing of the service is
imported but its demo's gateways.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from threading import Event, Thread

from benchmarks.soak.fakes import text_of
from benchmarks.soak.history import Answer, History, Sent, name_of
from benchmarks.soak.schedule import WEBS, Message, Schedule
from timer_service.clock import epoch_s
from timer_service.demo.conversations import Person, Turn
from timer_service.demo.gateway import Gateway, Webhook
from timer_service.embedded.server import HOST

PATIENCE_S = 5.0
"""How long a gateway waits for an answer; the hastiest real ones give up after five seconds."""
PAUSES_S = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Before each further try; the last one for ever. Real gateways wait longer, as stubbornly."""
_OK = 200
_COME_AGAIN = 503


@dataclass(frozen=True, slots=True)
class Line:
    """A shop's number, and where its gateway posts."""

    gateway: Gateway
    business_id: str
    connection_id: str
    path: str


def person(customer: int) -> Person:
    """Return one of a million people whose numbers belong to nobody."""
    return Person(name=f"Customer {customer}", phone=f"972500{customer:06}")


class Driver:
    """The gateways of all shops. ``lines[shop][line]`` is where a message comes from.

    ``give_up_after_s``: how long after the end of the schedule the last try is made.
    """

    def __init__(
        self,
        schedule: Schedule,
        lines: Sequence[Sequence[Line]],
        ports: Sequence[int],
        history: History,
        *,
        give_up_after_s: float,
    ) -> None:
        self._schedule = schedule
        self._lines = lines
        self._ports = ports
        self._history = history
        self._pauses = Random(schedule.plan.seed)
        self._give_up_after_s = give_up_after_s
        self._start_s = self._gives_up_s = 0.0
        self._is_stopped = Event()
        self._done = Event()
        self._error: BaseException | None = None
        self._thread = Thread(target=self._run, name="driver")

    def start(self, at_epoch_s: float) -> None:
        """Begin; the schedule's instants count from ``at_epoch_s``."""
        self._start_s = at_epoch_s
        self._gives_up_s = at_epoch_s + self._schedule.plan.seconds + self._give_up_after_s
        self._thread.start()

    @property
    def is_done(self) -> bool:
        """Whether everything is acknowledged, or given up."""
        if self._error is not None:
            raise self._error
        return self._done.is_set()

    def stop(self) -> None:
        """Bring nothing more, and wait for what is under way."""
        self._is_stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._send_all())
        except BaseException as error:  # noqa: BLE001 - raised again where it is asked for
            self._error = error
        self._done.set()

    async def _send_all(self) -> None:
        async with asyncio.TaskGroup() as group:
            for message in self._schedule.messages:
                await asyncio.sleep(self._start_s + message.at_s - epoch_s())
                if self._is_stopped.is_set():
                    return
                group.create_task(self._bring(message))

    async def _bring(self, message: Message) -> None:
        line = self._lines[message.shop][message.line]
        sent_at = datetime.fromtimestamp(int(epoch_s()), UTC) - timedelta(
            seconds=int(message.late_s)
        )
        turn = Turn(
            by="customer" if message.is_customers else "agent",
            after_s=0,
            text=text_of(message.number),
        )
        who = person(message.customer)
        webhook = line.gateway.webhook(who, turn, sent_at)
        assert webhook.message_id is not None
        one = Sent(
            number=message.number,
            message_id=webhook.message_id,
            connection_id=line.connection_id,
            phone=who.phone,
            is_customers=message.is_customers,
            sent_us=int(sent_at.timestamp()) * 1_000_000,
        )
        self._history.sent[name_of(line.connection_id, webhook.message_id)] = one
        if message.twin:
            await asyncio.gather(
                *(self._insist(one, line.path, webhook, web) for web in range(len(WEBS)))
            )
        else:
            await self._insist(one, line.path, webhook, message.web)
        if message.again_after_s is not None:
            await asyncio.sleep(message.again_after_s)
            await self._insist(one, line.path, webhook, 1 - message.web)

    async def _insist(self, one: Sent, path: str, webhook: Webhook, web: int) -> None:
        """Deliver until it is acknowledged, each time at the other web process."""
        for pause_s in _pauses():
            target = WEBS[web]
            invoked_us = self._history.invoked(one, target)
            answer, why = await self._post(self._ports[web], path, webhook)
            self._history.answered(one, target, invoked_us, answer, why)
            if answer is Answer.ACKNOWLEDGED:
                return
            if self._is_stopped.is_set() or epoch_s() > self._gives_up_s:
                return
            await asyncio.sleep(pause_s * self._pauses.uniform(0.7, 1.3))
            web = (web + 1) % len(WEBS)

    async def _post(self, port: int, path: str, webhook: Webhook) -> tuple[Answer, str]:
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await _exchange(port, path, webhook.body, webhook.headers)
        except ConnectionRefusedError:
            return Answer.REFUSED, "no connection"
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            return Answer.UNKNOWN, type(error).__name__


def _pauses() -> Iterator[float]:
    yield from PAUSES_S
    while True:
        yield PAUSES_S[-1]


async def _exchange(
    port: int, path: str, body: bytes, headers: Mapping[str, str]
) -> tuple[Answer, str]:
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        lines = [f"POST {path} HTTP/1.1", f"Host: {HOST}:{port}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines += [f"Content-Length: {len(body)}", "", ""]
        writer.write("\r\n".join(lines).encode("ascii") + body)
        await writer.drain()
        head = await reader.readuntil(b"\r\n")
        status = int(head.split()[1])
        # The status line is what a gateway goes by; a connection cut after it changes nothing.
        if status == _OK:
            return Answer.ACKNOWLEDGED, ""
        return (Answer.REFUSED if status == _COME_AGAIN else Answer.WRONG), str(status)
    finally:
        writer.transport.abort()
