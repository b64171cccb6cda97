"""Without Postgres nothing is acknowledged; when it is back everything goes on by itself."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text

from tests.support.builders import DANA, World
from tests.support.live_sessions import Held
from tests.support.servers import PostgresServer
from tests.support.waiting import wait_until
from timer_service.database import REQUEST_POOL_WAIT_S, Database, may_work_at_once
from timer_service.errors import DatabaseUnavailable


@pytest.fixture
def requests(world: World) -> Iterator[Database]:
    """Give the pool a request is answered from, with two connections."""
    database = Database.for_requests(world.database_url, size=2)
    yield database
    database.close()


def test_nothing_is_stored_and_nothing_acknowledged(
    postgres_may_go: World, own_postgres_server: PostgresServer
) -> None:
    world = postgres_may_go
    session_id = world.hear().session_id
    own_postgres_server.kill()
    for ask in (
        lambda: world.hear(contact=DANA),
        lambda: world.completion.complete(world.business_id, session_id),
        lambda: world.closer.close_claimed([world.member(session_id)]),
    ):
        with pytest.raises(DatabaseUnavailable) as caught:
            ask()
        assert caught.value.retryable
    assert world.counted() == 1  # Redis alone tells the number
    # Every other pass failed and was logged, or takes nobody for dead so soon after an outage.
    assert not any(world.sweeper.sweep_once().values())


def test_a_claim_stands_until_postgres_is_back(
    postgres_may_go: World, own_postgres_server: PostgresServer
) -> None:
    world = postgres_may_go
    session_id = world.hear().session_id
    world.let_pass(901)
    held = Held(world.redis, world.member(session_id))
    held.make_due()
    world.live_chats.claim([world.member(session_id)], 60_000)
    own_postgres_server.kill()
    with pytest.raises(DatabaseUnavailable):
        world.closer.close_claimed([world.member(session_id)])
    assert held.lease_end_ms is not None
    own_postgres_server.start()

    def close() -> int:
        try:
            return world.closer.close_claimed([world.member(session_id)])
        except DatabaseUnavailable:
            return 0  # a connection of before; the next is a new one

    assert wait_until(close, what="closed once Postgres is back") == 1
    assert held.lease_end_ms is None


def test_a_pool_that_is_used_up_is_not_waited_for_long(requests: Database) -> None:
    with requests.transaction(), requests.transaction():
        began_s = time.monotonic()
        with pytest.raises(DatabaseUnavailable, match="no free connection"), requests.transaction():
            pass
        assert REQUEST_POOL_WAIT_S <= time.monotonic() - began_s < 1


def test_a_statement_that_takes_too_long_is_given_up(requests: Database) -> None:
    began_s = time.monotonic()
    # By Postgres, or by us where its word of it is late.
    given_up = pytest.raises(DatabaseUnavailable, match=r"QueryCanceled|_Silent")
    with given_up, requests.transaction() as db:
        db.execute(text("SELECT pg_sleep(5)"))
    assert time.monotonic() - began_s < 1


def test_a_transaction_left_open_is_ended_by_postgres(world: World, requests: Database) -> None:
    with requests.transaction() as db:
        setting = db.execute(text("SHOW idle_in_transaction_session_timeout")).scalar_one()
    assert setting == "2s"
    with world.database.transaction() as db:
        assert db.execute(text("SHOW idle_in_transaction_session_timeout")).scalar_one() == "2s"


def test_a_data_error_is_not_taken_for_an_absence(requests: Database) -> None:
    with pytest.raises(Exception, match="division") as caught, requests.transaction() as db:
        db.execute(text("SELECT 1 / 0"))
    assert not isinstance(caught.value, DatabaseUnavailable)


def test_no_value_of_a_query_stands_in_an_error(requests: Database) -> None:
    with pytest.raises(Exception, match="uuid") as caught, requests.transaction() as db:
        db.execute(text("SELECT CAST(:x AS uuid), :y"), {"x": "b", "y": "their message"})
    assert "their message" not in str(caught.value)


def test_a_deadlocks_victim_is_known_as_one(world: World) -> None:
    world.hear()
    world.hear(contact=type(DANA)(phone="972500000009"))
    first, second = (row["id"] for row in world.read("SELECT id FROM contacts ORDER BY id"))
    lock = text("SELECT 1 FROM contacts WHERE id = :id FOR UPDATE")
    with ThreadPoolExecutor(1) as pool:

        def other_way_round() -> None:
            with world.database.transaction() as db:
                db.execute(lock, {"id": second})
                db.execute(lock, {"id": first})

        errors: list[BaseException | None] = []
        try:
            with world.database.transaction() as db:
                db.execute(lock, {"id": first})
                theirs = pool.submit(other_way_round)
                wait_until(lambda: world.waiting_for_locks() == 1, what="the other waits")
                db.execute(lock, {"id": second})
        except DatabaseUnavailable as error:
            errors.append(error)
        errors.append(theirs.exception())
    found = [one for one in errors if one is not None]
    assert len(found) == 1
    assert may_work_at_once(found[0])
    assert not may_work_at_once(DatabaseUnavailable("away"))
