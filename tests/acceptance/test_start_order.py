"""The whole box loses its power and its parts come back in any order: H1.

Postgres, Redis, the web process and the listener in each of their 24 orders, the worker before,
between or after them. One of them, drawn by the day, in every run; all of them with ``--slow``.
"""

from __future__ import annotations

import itertools
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.callers import Caller, customer
from tests.support.deployment import Parts, Process, is_alive
from tests.support.servers import PostgresServer, RedisServer
from tests.support.waiting import wait_until
from timer_service.child_process import kill_group
from timer_service.clock import utc_now
from timer_service.messages import ProviderName

IDLE_GAP_S = 2
ORDERS = list(itertools.permutations(("postgres", "redis", "web", "listen")))
TODAYS = random.Random(utc_now().date().toordinal()).sample(ORDERS, 1)


class Box:
    """One machine with everything on it."""

    def __init__(self, postgres: PostgresServer) -> None:
        self.parts = Parts(Path(tempfile.mkdtemp(prefix="timer-box-")), postgres)
        self.servers: dict[str, PostgresServer | RedisServer] = {
            "postgres": postgres,
            "redis": self.parts.redis,
        }
        self.processes: dict[str, Process] = {
            "web": self.parts.web,
            "listen": self.parts.listeners[0],
            "work": self.parts.work,
        }

    def cut_the_power(self) -> None:
        for process in self.processes.values():
            if process.is_running:
                kill_group(process.pid)
                process.end(9)
        for server in self.servers.values():
            server.kill()

    def start(self, part: str) -> None:
        if part in self.servers:
            self.servers[part].start()
            return
        process = self.processes[part]
        process.start()
        # Until it has looked around, or an order would be none.
        wait_until(
            lambda: process.said or self._is_there(part),
            within_s=60,
            what=f"{part} has found what is there",
        )

    def _is_there(self, part: str) -> bool:
        if part == "web":
            return is_alive(self.parts.base_url)
        return all(server._process is not None for server in self.servers.values())


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    postgres = PostgresServer()
    box = Box(postgres)
    box.parts.make_ready()
    yield box
    box.parts.destroy()
    postgres.destroy()


def come_back(box: Box, order: tuple[str, ...]) -> None:
    """Take a message in, cut the power, start in this order; look whether all is as it was."""
    caller = Caller(box.parts.base_url, box.parts.admin_key)
    shop = caller.add_business("Shop", idle_gap_s=IDLE_GAP_S)
    lasting = caller.add_business("Slow Shop", idle_gap_s=600)
    line = shop.connect(ProviderName.META)
    line.say(customer(1), "is the blue one in stock?")
    lasting.connect(ProviderName.META).say(customer(2), "are you open tomorrow?")
    box.cut_the_power()

    worker_comes = ORDERS.index(order) % (len(order) + 1)
    for part in (*order[:worker_comes], "work", *order[worker_comes:]):
        box.start(part)
    box.parts.make_ready()

    line.say(customer(3), "and the red one?")
    (first, second) = sorted(shop.wait_until_closed(), key=lambda one: one["started_at"])
    assert [one["close_reason"] for one in (first, second)] == ["idle", "idle"]
    assert [one["message_count"] for one in (first, second)] == [1, 1]
    wait_until(lambda: lasting.active_count == 1, what="what goes on is counted")
    assert len(shop.wait_until_summarised()) == 2
    assert lasting.session_of(customer(2))["is_open"]
    caller.close()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("order", TODAYS, ids=" ".join)
def test_after_a_power_cut_the_parts_may_come_back_in_an_order_of_the_day(
    box: Box, order: tuple[str, ...]
) -> None:
    come_back(box, order)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("order", ORDERS, ids=" ".join)
def test_after_a_power_cut_the_parts_may_come_back_in_every_order(
    box: Box, order: tuple[str, ...]
) -> None:
    come_back(box, order)
