"""Two listener processes on one world, for tests that hurt one of them, or both."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.builders import World
from tests.support.deployment import Process
from tests.support.waiting import wait_until

_TWO = '"listeners": 2'


@contextmanager
def two_listeners(
    world: World, folder: Path, *, sweep_period_s: float = 300
) -> Iterator[list[Process]]:
    """Run both until the block ends, from when they know of each other.

    The sweep looks so rarely that nothing but the other listener heals.
    """
    env = {
        **os.environ,
        "TIMER_DATABASE_URL": world.database_url,
        "TIMER_REDIS_URL": world.redis_url,
        "TIMER_SHARDS": str(world.shards),
        "TIMER_SWEEP_PERIOD_S": str(sweep_period_s),
    }
    names = ("listen-1", "listen-2")
    processes = [Process(one, "listen", env=env, log=folder / f"{one}.log") for one in names]
    try:
        for one in processes:
            one.start()
        wait_until(
            lambda: all(_TWO in one.said for one in processes),
            within_s=30,
            what="both know of each other",
        )
        yield processes
    finally:
        for one in processes:
            if one.is_running:
                one.end()
