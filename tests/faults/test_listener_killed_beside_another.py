"""Two listeners share the shards; one is killed, and the other looks after all within a second."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event

import pytest

from tests.support.builders import World
from tests.support.crowd import Crowd
from tests.support.deployment import Process
from tests.support.two_listeners import two_listeners
from tests.support.waiting import wait_until

SHARDS = 4
GAP_S = 1
CUSTOMERS = 60


@pytest.fixture
def world(database_url: str, redis_url: str) -> Iterator[World]:
    with World(database_url, redis_url, shards=SHARDS) as world:
        world.trust()
        yield world


@pytest.fixture
def listeners(world: World, tmp_path: Path) -> Iterator[list[Process]]:
    with two_listeners(world, tmp_path) as processes:
        yield processes


def test_what_a_killed_listener_looked_after_the_other_closes_within_a_second(
    world: World,
    listeners: list[Process],
    record_property: Callable[[str, object], None],
) -> None:
    crowd = Crowd(world, idle_gap_s=GAP_S)
    beat = Event()
    for customer in range(CUSTOMERS):
        crowd.hear(world.intake, customer)
        if customer == CUSTOMERS // 2:
            assert listeners[0].end(signal.SIGKILL) == -signal.SIGKILL
        beat.wait(0.02)
    wait_until(lambda: crowd.count_open() == 0, within_s=30, what="all closed")
    rows = world.read(
        "SELECT extract(epoch FROM closed_at - deadline_at) * 1000 AS late_ms, close_reason "
        "FROM sessions"
    )
    late_ms = sorted(float(row["late_ms"]) for row in rows)
    assert len(late_ms) == CUSTOMERS * SHARDS
    assert {row["close_reason"] for row in rows} == {"idle"}
    record_property("p50_late_ms", round(late_ms[len(late_ms) // 2]))
    record_property("p99_late_ms", round(late_ms[len(late_ms) * 99 // 100]))
    record_property("latest_ms", round(late_ms[-1]))
    assert late_ms[0] >= 0
    assert late_ms[len(late_ms) * 99 // 100] < 1000
