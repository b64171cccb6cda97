"""Sentinels name the primary: subscription, pacer, requests and the queue follow it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.builders import World, work_off, working_environment
from tests.support.crowd import Crowd, answering, listening, note
from tests.support.redis_topologies import Sentinels, ask
from tests.support.waiting import wait_until
from timer_service import keys
from timer_service.errors import RedisUnavailable
from timer_service.job_queue import SUMMARIES_QUEUE
from timer_service.redis_clients import primary_finder, redis_errors, request_client

SHARDS = 2
GAP_S = 2


@pytest.fixture
def sentinels() -> Iterator[Sentinels]:
    """Serve one test: a failover leaves other roles behind."""
    sentinels = Sentinels()
    yield sentinels
    sentinels.destroy()


@pytest.fixture
def world(sentinels: Sentinels, database_url: str) -> Iterator[World]:
    """Give a world whose live keys and queue are behind Sentinels."""
    with World(database_url, sentinels.url, shards=SHARDS) as world:
        yield world


def fail_over(
    sentinels: Sentinels,
    world: World,
    number: int,
    record_property: Callable[[str, object], None],
) -> None:
    """Take the primary away while chats go on, and see everything close once."""
    crowd = Crowd(world, idle_gap_s=GAP_S)
    victim = sentinels.primary
    with listening(world), answering(world) as web:
        talk = crowd.talk_through(web.intake, lambda: os.kill(victim.pid, number))
        late_ms = crowd.wait_until_closed()
        wait_until(crowd.are_counted, what="nobody is active any more")
        channel = keys.expired_channel(0)
        wait_until(
            lambda: channel in ask(sentinels.primary, "PUBSUB", "CHANNELS", channel),
            what="the new primary is listened to",
        )
        record_property("healed_s", round(talk.healed_s, 2))
        note(record_property, late_ms, talk.slowest_s)
        assert talk.slowest_s < 1
        assert talk.healed_s < 15
    assert sentinels.primary is not victim


def test_a_primary_killed_while_chats_go_on_is_followed_to_its_replacement(
    sentinels: Sentinels, world: World, record_property: Callable[[str, object], None]
) -> None:
    fail_over(sentinels, world, signal.SIGKILL, record_property)
    # The queue, behind the same Sentinels, is worked off at the new primary.
    wait_until(lambda: world.sweeper.restart_summaries_once() >= 0, what="the queue answers")
    world.let_pass(31)
    world.sweeper.sweep_once()
    with working_environment(
        world,
        TIMER_QUEUE_REDIS_URL=sentinels.queue_url,
        TIMER_SHARDS=str(SHARDS),
        TIMER_SUMMARIZER="extractive",
    ):
        work_off(world, SUMMARIES_QUEUE)
    assert world.read("SELECT 1 FROM sessions WHERE summary_status IN ('pending', 'running')") == []


@pytest.mark.slow
def test_a_primary_that_hangs_is_left_and_does_no_harm_when_it_comes_back(
    sentinels: Sentinels, world: World, record_property: Callable[[str, object], None]
) -> None:
    victim = sentinels.primary
    try:
        fail_over(sentinels, world, signal.SIGSTOP, record_property)
    finally:
        os.kill(victim.pid, signal.SIGCONT)
    wait_until(
        lambda: "role:slave" in ask(victim, "INFO", "replication", as_text=True),
        within_s=30,
        what="the former primary follows",
    )


@pytest.mark.slow
def test_sentinels_that_hang_cost_no_more_than_one_command(sentinels: Sentinels) -> None:
    stopped = []

    def hang(one: Any) -> None:
        os.kill(one.pid, signal.SIGSTOP)
        stopped.append(one)

    def ask_anew() -> float:
        primary_finder.cache_clear()
        began_s = time.monotonic()
        with redis_errors(), request_client(sentinels.url) as client:
            client.ping()
        return time.monotonic() - began_s

    try:
        hang(sentinels.sentinels[0])
        assert ask_anew() < 0.3, "the next one is asked"
        for one in sentinels.sentinels[1:]:
            hang(one)
        began_s = time.monotonic()
        with pytest.raises(RedisUnavailable):
            ask_anew()
        assert time.monotonic() - began_s < 0.5
    finally:
        for one in stopped:
            os.kill(one.pid, signal.SIGCONT)
