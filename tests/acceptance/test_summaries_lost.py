"""The work of summarising is lost: its worker is killed, its queue is wiped."""

from __future__ import annotations

import os
import signal

import psycopg
import pytest

from tests.support.callers import Business, Caller, customer
from tests.support.deployment import Parts
from tests.support.fake_model import FakeModel, hang
from tests.support.waiting import wait_until
from timer_service.job_queue import SUMMARIES_QUEUE
from timer_service.lease import LEASE
from timer_service.messages import ProviderName
from timer_service.sweeper import LOOK_AGAIN_AFTER

SESSIONS = 5


def test_a_worker_killed_while_the_model_thinks_costs_no_summary(
    parts: Parts, parts_caller: Caller, model: FakeModel
) -> None:
    shop = _shop_with_sessions(parts_caller, 1)
    asked_before = len(model.requests)
    model.will(hang())
    (session,) = shop.wait_until_closed()
    wait_until(lambda: len(model.requests) > asked_before, what="the model is asked")
    assert shop.sessions()[0]["summary"]["status"] == "running"

    os.kill(parts.worker_pid(SUMMARIES_QUEUE), signal.SIGKILL)
    parts.let_pass(LEASE.seconds + 1)

    # The dying worker may take the new job with it: then the sweep looks once more.
    (session,) = shop.wait_until_summarised(within_s=2 * LOOK_AGAIN_AFTER.seconds)
    assert session["summary"]["summarizer"] == "openai"
    (message,) = shop.messages(session["id"])
    assert session["summary"]["message_ids"] == [message["id"]]
    assert len(model.requests) == asked_before + 2


@pytest.mark.slow
def test_a_worker_stopped_while_the_model_thinks_has_not_died_over_it(
    parts: Parts, parts_caller: Caller, model: FakeModel
) -> None:
    shop = _shop_with_sessions(parts_caller, 1)
    asked_before = len(model.requests)
    model.will(hang())
    shop.wait_until_closed()
    wait_until(lambda: len(model.requests) > asked_before, what="the model is asked")

    assert parts.work.end(signal.SIGTERM) == 0  # it is killed in the end: the model never answers
    with psycopg.connect(parts.database_url) as db:
        row = db.execute(
            "SELECT summary_status, summary_deaths FROM sessions WHERE business_id = %s", [shop.id]
        ).fetchone()
    assert row == ("pending", 0)
    parts.work.start()

    parts.let_pass(LEASE.seconds + 1)
    (session,) = shop.wait_until_summarised()
    assert session["summary"]["summarizer"] == "openai"
    assert len(model.requests) == asked_before + 2


def test_summaries_survive_a_wiped_queue(parts: Parts, parts_caller: Caller) -> None:
    worker = parts.worker_pid(SUMMARIES_QUEUE)
    os.kill(worker, signal.SIGSTOP)  # so that the jobs are still in the queue when it goes
    try:
        shop = _shop_with_sessions(parts_caller, SESSIONS)
        shop.wait_until_closed()
        wait_until(
            lambda: _waiting(parts_caller) == SESSIONS - 1,
            what="one job is handed to the worker, the others wait",
        )
        with parts.queue_redis() as redis:
            redis.flushdb()
    finally:
        os.kill(worker, signal.SIGCONT)
    assert _waiting(parts_caller) == 0
    parts.let_pass(LOOK_AGAIN_AFTER.seconds + 1)

    assert {one["summary"]["status"] for one in shop.wait_until_summarised()} == {"done"}


def _waiting(caller: Caller) -> float:
    return caller.metric("timer_jobs_waiting", queue=SUMMARIES_QUEUE)


def _shop_with_sessions(caller: Caller, number: int) -> Business:
    shop = caller.add_business("Shop", idle_gap_s=1)
    line = shop.connect(ProviderName.META)
    line.record(map(customer, range(number)), "is the blue kettle in stock?")
    return shop
