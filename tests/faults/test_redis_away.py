"""Without Redis nothing is lost and nothing is wrong: it is only slower."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import pytest

from tests.support.builders import DANA, NOAM, World
from tests.support.servers import RedisServer
from timer_service.errors import RedisUnavailable
from timer_service.messages import ContactIds, InboundMessage
from timer_service.service import NewMessage, TimerService
from timer_service.settings import load_settings
from timer_service.wiring import WebServices, build_web


@pytest.fixture
def web(redis_may_go: World) -> Iterator[WebServices]:
    """Give what a web process has, with its short time-outs."""
    services = build_web(
        load_settings(
            database_url=redis_may_go.database_url,
            redis_url=redis_may_go.redis_url,
            encryption_keys=redis_may_go.encryption_key,
        )
    )
    yield services
    services.database.close()
    services.live_chats._client.close()
    services.jobs._client.close()


@contextmanager
def within_one_second() -> Iterator[None]:
    began_s = time.monotonic()
    yield
    assert time.monotonic() - began_s < 1.0


@contextmanager
def hanging(server: RedisServer) -> Iterator[None]:
    """Let the server be there and say nothing, as one that swaps or is cut off does."""
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


def hear(services: WebServices, world: World, contact: ContactIds, name: str) -> object:
    message = InboundMessage(provider_message_id=name, contact=contact, text="hello")
    return services.intake.record(world.connection_id, [message])[0].session_id


def test_messages_are_taken_in_within_a_second_and_counted(
    redis_may_go: World, web: WebServices, own_redis_server: RedisServer
) -> None:
    world = redis_may_go
    hear(web, world, DANA, "before")
    own_redis_server.kill()
    with within_one_second():
        hear(web, world, NOAM, "a")
    with within_one_second():
        page = web.service.active_chats(world.business_id)
    assert (page.active_chats_count, len(page.chats)) == (2, 2)


def test_a_redis_that_hangs_costs_no_more_than_the_budget(
    redis_may_go: World, web: WebServices, own_redis_server: RedisServer
) -> None:
    world = redis_may_go
    first = hear(web, world, DANA, "before")
    world.let_pass(901)
    with hanging(own_redis_server):
        # The dearest case: it arms, forgets and enqueues.
        with within_one_second():
            assert hear(web, world, DANA, "a") != first
        with within_one_second():
            assert web.service.active_chats(world.business_id).active_chats_count == 1
        with within_one_second():
            web.service.complete(world.sessions()[1].id)
        with within_one_second():
            assert web.service.active_chats(world.business_id).active_chats_count == 0


def test_closes_go_on_by_the_sweep(redis_may_go: World, own_redis_server: RedisServer) -> None:
    world = redis_may_go
    session_id = world.hear().session_id
    own_redis_server.kill()
    world.let_pass(901)
    repaired = world.sweeper.sweep_once()
    assert repaired["overdue"] == 1
    assert "rebuild" not in repaired
    assert world.session(session_id).close_reason == "idle"


def test_when_it_comes_back_with_what_it_had_it_is_distrusted_and_rebuilt(
    redis_may_go: World, own_redis_server: RedisServer
) -> None:
    """Appending every write to disk, it still does not know what happened meanwhile."""
    world = redis_may_go
    closed = world.hear(contact=DANA).session_id
    own_redis_server.kill()
    world.service.complete(closed)
    opened = world.hear(contact=NOAM).session_id
    own_redis_server.start()
    assert world.redis.exists(*world.redis.keys("ts:*"))
    assert world.counted_by_redis() is None
    assert world.counted() == 1
    world.sweeper.sweep_once()
    assert world.counted_by_redis() == world.counted() == 1
    page = world.service.active_chats(world.business_id)
    assert [one.session_id for one in page.chats] == [opened]


def test_jobs_that_could_not_be_queued_are_made_by_the_sweep(
    redis_may_go: World, own_redis_server: RedisServer
) -> None:
    world = redis_may_go
    session_id = world.hear().session_id
    own_redis_server.kill()
    world.service.complete(session_id)
    own_redis_server.start()
    assert world.queued() == []
    world.let_pass(31)
    world.sweeper.sweep_once()
    assert world.queued() == [f"summarize_{session_id}_2"]


def test_the_listeners_edge_says_so_and_holds_no_claim(
    redis_may_go: World, own_redis_server: RedisServer
) -> None:
    own_redis_server.kill()
    with pytest.raises(RedisUnavailable):
        redis_may_go.live_chats.claim([redis_may_go.member(uuid4())], 1)


def test_in_process_recording_needs_no_redis_either(
    redis_may_go: World, own_redis_server: RedisServer, web: WebServices
) -> None:
    own_redis_server.kill()
    service: TimerService = web.service
    message = NewMessage(
        provider_message_id="a", customer_wa_id="972500000001", direction="in", text="hello"
    )
    recorded = service.record_messages(
        redis_may_go.business_id, redis_may_go.connection_id, [message]
    )
    assert recorded[0].opened
