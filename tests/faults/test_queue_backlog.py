"""A hundred thousand jobs wait: closes go on as ever, and the backlog shows its age (D7)."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.support.builders import World
from timer_service.ids import SessionId, new_id
from timer_service.job_queue import CALLBACKS_QUEUE, SUMMARIES_QUEUE, SummaryJob

BATCH = 5_000


@pytest.mark.parametrize("backlog", [10_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_a_backlog_holds_up_no_close_and_tells_its_age(
    world: World, backlog: int, record_property: Callable[[str, object], None]
) -> None:
    began_s = time.monotonic()
    for _ in range(backlog // BATCH):
        world.jobs.enqueue([SummaryJob(SessionId(new_id()), 1) for _ in range(BATCH)])
    enqueued_s = time.monotonic() - began_s
    session_id = world.hear().session_id
    world.let_pass(901)
    began_s = time.monotonic()
    assert world.sweeper.sweep_once()["overdue"] == 1
    closed_s = time.monotonic() - began_s
    record_property("enqueued_s", round(enqueued_s, 1))
    record_property("sweep_ms", round(1000 * closed_s))
    assert world.session(session_id).close_reason == "idle"
    assert closed_s < 1
    assert world.jobs.depths()[SUMMARIES_QUEUE] == backlog + 1
    ages_s = world.jobs.oldest_ages_s()
    assert ages_s[CALLBACKS_QUEUE] == 0
    assert 0 < ages_s[SUMMARIES_QUEUE] < 120
    began_s = time.monotonic()
    assert world.jobs.still_waiting([SummaryJob(SessionId(session_id), 1)])
    assert time.monotonic() - began_s < 1


def test_the_age_is_of_the_job_that_is_next(world: World) -> None:
    first, second = (SummaryJob(SessionId(new_id()), 1) for _ in range(2))
    world.jobs.enqueue([first, second])
    world.queue_redis.hset(f"rq:job:{first.job_id}", "enqueued_at", "2026-01-01T00:00:00.000000Z")
    assert world.jobs.oldest_ages_s()[SUMMARIES_QUEUE] > 24 * 3600
    world.queue_redis.lpop(f"rq:queue:{SUMMARIES_QUEUE}")
    assert world.jobs.oldest_ages_s()[SUMMARIES_QUEUE] < 60


def test_a_job_that_tells_nothing_has_no_age_and_stays(world: World) -> None:
    for job_id, told in (("gone", None), ("junk", b"yesterday"), ("\xff", b"\xff")):
        world.queue_redis.delete(f"rq:queue:{SUMMARIES_QUEUE}")
        world.queue_redis.rpush(f"rq:queue:{SUMMARIES_QUEUE}", job_id.encode("latin-1"))
        if told is not None:
            world.queue_redis.hset(f"rq:job:{job_id}", "enqueued_at", told)
        assert SUMMARIES_QUEUE not in world.jobs.oldest_ages_s()
        assert world.queue_redis.llen(f"rq:queue:{SUMMARIES_QUEUE}") == 1
