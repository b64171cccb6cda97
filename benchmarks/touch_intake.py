"""Messages of known customers through intake, in processes of their own.

`touch` runs it beside `intake_floor`. Nothing of HTTP is in it: that is `ingest`.
"""

from __future__ import annotations

import multiprocessing
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Self
from uuid import UUID

import psycopg

from benchmarks.rig import Rig
from benchmarks.tenants import add_tenants
from benchmarks.touch_redis import Step, rate_of
from timer_service.clock import monotonic_s, utc_now
from timer_service.errors import DatabaseUnavailable
from timer_service.ids import ConnectionId
from timer_service.messages import ContactIds, InboundMessage
from timer_service.settings import Settings
from timer_service.wiring import build_web


@dataclass(frozen=True, slots=True)
class Taken:
    """What intake took in, and how long each message took."""

    per_s: float
    took_ms: list[float]


class Takers:
    """Processes that take messages in, with threads as many as they are asked for."""

    def __init__(
        self, processes: int, settings: Settings, connections: Sequence[UUID], customers: int
    ) -> None:
        self.customers = customers
        self.tenants = len(connections)
        context = multiprocessing.get_context("spawn")
        self._pipes: list[Connection] = []
        self._processes = []
        for number in range(processes):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_serve, args=(theirs, settings, connections, customers, number), daemon=True
            )
            process.start()
            self._pipes.append(ours)
            self._processes.append(process)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.join()

    def take(self, threads: int, seconds: float) -> Taken:
        """Take messages in for some seconds, so many at one time in all."""
        used = self._pipes[: min(threads, len(self._pipes))]
        for place, pipe in enumerate(used):
            pipe.send((len(range(place, threads, len(used))), seconds))
        answers: list[tuple[float, list[float]]] = [pipe.recv() for pipe in used]
        return Taken(
            sum(per_s for per_s, _ in answers),
            [took_ms for _, theirs in answers for took_ms in theirs],
        )


def greet(rig: Rig, businesses: int, customers: int) -> list[UUID]:
    """Make businesses, and open a session for each customer; return their connections."""
    add_tenants(rig, businesses)
    with psycopg.connect(rig.database_url) as db:
        rows = db.execute("SELECT id FROM connections ORDER BY external_id").fetchall()
    connections = [row[0] for row in rows]
    services = build_web(rig.settings)
    for place, connection_id in enumerate(connections):
        own = range(place, customers, businesses)
        for first in range(0, len(own), 50):
            services.intake.record(
                ConnectionId(connection_id),
                [_message(f"greet{customer}", customer) for customer in own[first : first + 50]],
            )
    services.database.close()
    rig.analyze()
    return connections


def _message(name: str, customer: int) -> InboundMessage:
    return InboundMessage(
        provider_message_id=name,
        contact=ContactIds(phone=f"9725{customer:08d}", bsuid=f"IL.1{customer:019d}"),
        text="Is order 123456 on its way?",
        sent_at=utc_now().replace(microsecond=0),
        customer_name=f"Dana {customer}",
    )


def _serve(
    pipe: Connection, settings: Settings, connections: Sequence[UUID], customers: int, number: int
) -> None:
    """Be a process of `Takers` until its pipe ends."""
    services = build_web(settings)
    names = count()
    while True:
        try:
            threads, seconds = pipe.recv()
        except EOFError:
            break
        took_ms: list[list[float]] = [[] for _ in range(threads)]

        def step_of(own_ms: list[float]) -> Step:
            chosen = random.Random()

            def step() -> int:
                customer = chosen.randrange(customers)
                message = _message(f"touch{number}x{next(names)}", customer)
                connection_id = ConnectionId(connections[customer % len(connections)])
                began_s = monotonic_s()
                try:
                    services.intake.record(connection_id, [message])
                except DatabaseUnavailable:
                    return 0  # a gateway would be answered 503, and bring it again
                own_ms.append((monotonic_s() - began_s) * 1000)
                return 1

            return step

        per_s = rate_of([step_of(own) for own in took_ms], seconds)
        pipe.send((per_s, [one for own in took_ms for one in own]))
    services.database.close()
