"""Jobs that kill their workers (D5): the others are done, each is parked after three deaths."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import poison
from tests.support.builders import World
from tests.support.deployment import Process
from tests.support.waiting import wait_until
from timer_service.job_queue import CALLBACKS_QUEUE, SUMMARIES_QUEUE
from timer_service.lease import LEASE_S
from timer_service.messages import ContactIds
from timer_service.sweeper import MOST_DEATHS


@pytest.fixture
def work(world: World, tmp_path: Path) -> Iterator[Process]:
    """Run the workers as `timer-service work` does, supervised."""
    env = {
        **os.environ,
        "TIMER_DATABASE_URL": world.database_url,
        "TIMER_REDIS_URL": world.redis_url,
        "TIMER_SUMMARIZER": "extractive",
    }
    process = Process("work", "work", "--workers", "1", env=env, log=tmp_path / "work.log")
    process.start()
    yield process
    process.end()


def close_some(world: World, harmless: int, *poisons: str) -> None:
    """Close conversations whose callbacks are harmless, the poisons spread among them."""
    world.service.on_closed(poison.PATH)
    every = max(1, harmless // len(poisons))
    kinds = [*poisons]
    for number in range(harmless + len(poisons)):
        is_poison = number % (every + 1) == 1 and bool(kinds)
        customer = ContactIds(phone=f"97250{number:07}")
        context = {"poison": kinds.pop(0)} if is_poison else {}
        opened = world.intake.open_session(world.connection_id, customer, json.dumps(context))
        world.service.complete(opened.session_id)
    assert kinds == []


def read_runs(world: World) -> tuple[int, int, list[int]]:
    """Return how many callbacks are done, how many parked, and how often each of these killed."""
    rows = world.read(
        "SELECT deaths, done_at IS NOT NULL AS done, next_check_at IS NULL AS over "
        "FROM callback_runs"
    )
    parked = [row["deaths"] for row in rows if row["over"] and not row["done"]]
    return sum(row["done"] for row in rows), len(parked), parked


def sweep_until_parked(world: World, poisons: int, *, within_s: float) -> None:
    def parked() -> bool:
        running = world.read("SELECT 1 FROM callback_runs WHERE is_running")
        waiting = world.queued()
        if running and not waiting:  # somebody died over it: nobody waits for the lease here
            world.let_pass(LEASE_S + 1)
        world.sweeper.restart_callbacks_once()
        return read_runs(world)[1] == poisons

    wait_until(parked, within_s=within_s, every_s=0.3, what="every poison is parked")


def test_a_job_that_kills_its_worker_is_parked_and_its_neighbours_are_done(
    world: World, work: Process
) -> None:
    harmless = 30
    close_some(world, harmless, "abort")
    sweep_until_parked(world, 1, within_s=60)
    wait_until(lambda: read_runs(world)[0] == harmless, within_s=30, what="the others are done")
    assert read_runs(world) == (harmless, 1, [MOST_DEATHS])
    assert work.is_running
    wait_until(lambda: world.queued() == [], what="the summaries are written")
    assert CALLBACKS_QUEUE in work.said
    assert f"{SUMMARIES_QUEUE}-1 was killed" not in work.said


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_one_in_a_hundred_kills_its_worker_and_the_other_ninety_nine_are_done(
    world: World, work: Process
) -> None:
    harmless = 990
    poisons = ("abort", "killed", "exit") * 3 + ("abort",)
    close_some(world, harmless, *poisons)
    sweep_until_parked(world, len(poisons), within_s=600)
    wait_until(lambda: read_runs(world)[0] == harmless, within_s=120, what="the others are done")
    assert read_runs(world) == (harmless, len(poisons), [MOST_DEATHS] * len(poisons))
    assert work.is_running


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_job_that_hangs_where_no_signal_is_seen_ends_its_worker(
    world: World, work: Process
) -> None:
    close_some(world, 3, "hang")
    wait_until(
        lambda: f"{CALLBACKS_QUEUE}-1 ended with exit code 1" in work.said,
        within_s=90,
        what="the watch ends it",
    )
    world.let_pass(LEASE_S + 1)
    world.sweeper.restart_callbacks_once()
    wait_until(lambda: read_runs(world)[0] == 3, within_s=60, what="the others are done")
