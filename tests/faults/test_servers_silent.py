"""Postgres or Redis is there and says nothing: every webhook is answered within a second.

Refused connections are easy; a stopped process and a network that drops are what blocks callers for
minutes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.support.builders import World
from tests.support.front import Answer, Front
from tests.support.servers import PostgresServer, RedisServer
from tests.support.tcp_proxy import Way
from tests.support.waiting import wait_until
from timer_service.database import PAUSE_S, REQUEST_WITHIN_S, Database
from timer_service.errors import DatabaseUnavailable
from timer_service.redis_clients import PAUSE_S as REDIS_PAUSE_S

AT_ONCE = 24
LONGEST_S = 1.0


@pytest.fixture
def front(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Front]:
    """Give a web process that a network lies before."""
    with Front(database_url, redis_url, tmp_path / "spool") as front:
        front.post_together([front.meta(f"more {n}") for n in range(8)])  # a pool of connections
        front.drain()
        yield front


@pytest.fixture
def own_front(
    own_postgres_server: PostgresServer, own_redis_server: RedisServer, tmp_path: Path
) -> Iterator[Front]:
    """Give a web process whose servers may be stopped."""
    url = own_postgres_server.make_database()
    with Front(url, own_redis_server.url, tmp_path / "spool") as front:
        yield front


@pytest.fixture
def front_without_spool(database_url: str, redis_url: str) -> Iterator[Front]:
    with Front(database_url, redis_url, None) as front:
        yield front


@contextmanager
def cut(front: Front, way: Way) -> Iterator[None]:
    front.postgres.blackhole(way)
    try:
        yield
    finally:
        front.postgres.pass_all()


def webhooks(front: Front, name: str) -> list[Answer]:
    """Deliver messages of known and new customers by both gateways, all at once."""
    posts = [
        make(f"{name} {number} {make.__name__}", sender=f"97250000{number % 7:04}")
        for number in range(AT_ONCE // 2)
        for make in (front.meta, front.baileys)
    ]
    return front.post_together(posts)


@pytest.mark.parametrize("way", [Way.BOTH, Way.TO_CLIENT])
def test_cut_off_from_postgres_every_webhook_is_answered_within_a_second_and_none_is_lost(
    front: Front, way: Way
) -> None:
    with cut(front, way):
        answer_all(front)
    check_all_is_stored(front)


def test_with_postgres_stopped_every_webhook_is_answered_within_a_second_and_none_is_lost(
    own_front: Front, own_postgres_server: PostgresServer
) -> None:
    with own_postgres_server.silent():
        answer_all(own_front)
    check_all_is_stored(own_front)


def answer_all(front: Front) -> None:
    answers = [*webhooks(front, "first"), *webhooks(front, "second")]
    forged = [front.post(front.meta("x", secret="guessed")) for _ in range(2)]
    forged.append(front.post(front.baileys("x", token="guessed")))
    stranger = front.post(front.baileys("x").to(f"/webhooks/baileys/{front.world.business_id}"))
    assert {one.status for one in answers} == {200}
    assert {one.status for one in forged} == {401}
    assert (stranger.status, stranger.retry_after) == (503, "1")
    assert max(one.seconds for one in (*answers, *forged, stranger)) <= LONGEST_S


def check_all_is_stored(front: Front) -> None:
    front.drain()
    stored = [one for one in front.texts() if one.startswith(("first", "second"))]
    assert len(stored) == len(set(stored)) == 2 * AT_ONCE


def test_without_a_spool_they_are_refused_within_a_second(front_without_spool: Front) -> None:
    front = front_without_spool
    front.postgres.blackhole()
    answers = [*webhooks(front, "first"), *webhooks(front, "second")]
    assert {(one.status, one.retry_after) for one in answers} == {(503, "1")}
    assert max(one.seconds for one in answers) <= LONGEST_S
    front.postgres.pass_all()
    wait_until(
        lambda: front.post(front.meta("again")).status == 200,
        within_s=PAUSE_S + 1,
        what="it is taken again",
    )


def test_cut_off_from_redis_every_webhook_is_stored_within_a_second(front: Front) -> None:
    front.world.let_pass(901)  # the dearest case: each closes a session and opens another
    front.redis.blackhole()
    store_all(front)


def test_with_redis_stopped_every_webhook_is_stored_within_a_second(
    own_front: Front, own_redis_server: RedisServer
) -> None:
    own_front.world.let_pass(901)
    with own_redis_server.silent():
        store_all(own_front)


def store_all(front: Front) -> None:
    answers = [*webhooks(front, "first"), *webhooks(front, "second")]
    assert {one.status for one in answers} == {200}
    assert max(one.seconds for one in answers) <= LONGEST_S
    front.redis.pass_all()
    check_all_is_stored(front)


def test_one_webhook_pays_for_a_silent_redis_and_the_next_do_not(front: Front) -> None:
    front.redis.blackhole()
    first = front.post(front.meta("first"))
    following = [front.post(front.meta(f"next {n}")) for n in range(3)]
    assert first.seconds >= 0.2
    assert max(one.seconds for one in following) < 0.2 < REDIS_PAUSE_S


def test_a_statement_without_an_answer_is_given_up_and_nobody_else_asks(front: Front) -> None:
    requests = front.services.database
    with requests.transaction() as db:
        db.execute(text("SELECT 1"))
    front.postgres.blackhole(Way.TO_CLIENT)
    for least_s, most_s in ((REQUEST_WITHIN_S, REQUEST_WITHIN_S + 0.2), (0, 0.05), (0, 0.05)):
        began_s = time.monotonic()
        with pytest.raises(DatabaseUnavailable), requests.transaction() as db:
            db.execute(text("SELECT 1"))
        assert least_s <= time.monotonic() - began_s < most_s


def test_a_connection_that_is_not_answered_is_given_up(front: Front) -> None:
    front.postgres.blackhole()
    fresh = Database.for_requests(front.postgres.url(front.world.database_url))
    began_s = time.monotonic()
    with pytest.raises(DatabaseUnavailable), fresh.transaction():
        pass
    assert time.monotonic() - began_s < REQUEST_WITHIN_S + 0.2
    fresh.close()


def test_what_is_done_in_the_background_does_not_wait_for_ever_either(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("timer_service.database.ANSWER_WITHIN_S", 0.3)
    with pytest.raises(DatabaseUnavailable), world.database.transaction() as db:
        db.execute(text("SELECT pg_sleep(5)"))
