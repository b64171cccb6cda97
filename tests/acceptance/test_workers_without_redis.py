"""The queue's Redis is away when the workers start."""

from __future__ import annotations

from tests.support.deployment import Parts
from tests.support.waiting import wait_until
from timer_service.job_queue import SUMMARIES_QUEUE


def test_workers_that_start_without_redis_wait_for_it_and_do_not_die(parts: Parts) -> None:
    assert parts.work.end() == 0

    with parts.dead_redis():
        parts.work.start()
        wait_until(
            lambda: "worker_without_redis" in parts.work.said,
            within_s=30,
            what="a worker misses Redis",
        )

    worker = parts.worker_pid(SUMMARIES_QUEUE)
    assert "starting it again" not in parts.work.said
    assert worker
