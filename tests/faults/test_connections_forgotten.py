"""After a partition the old connections to Postgres may stay silent for good: they are given up."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from sqlalchemy import text

from tests.support.builders import World
from tests.support.listening import listening
from tests.support.tcp_proxy import TcpProxy
from tests.support.waiting import wait_until
from timer_service.clock_guard import ClockGuard
from timer_service.closing import Closer
from timer_service.database import ANSWER_WITHIN_S, SILENT_FOR_S, Database
from timer_service.errors import DatabaseUnavailable
from timer_service.messages import ContactIds
from timer_service.spool_announcements import SpoolAnnouncements

HEALS_WITHIN_S = 5.0


@pytest.fixture
def proxy(database_url: str) -> Iterator[TcpProxy]:
    with TcpProxy.before(database_url) as proxy:
        yield proxy


@pytest.fixture
def database(proxy: TcpProxy, database_url: str) -> Iterator[Database]:
    """Give a background pool whose connections the network may forget."""
    database = Database.for_workers(proxy.url(database_url))
    yield database
    proxy.pass_all()
    database.close()


def test_a_listener_closes_again_within_seconds_of_a_partitions_end(
    world: World, proxy: TcpProxy, database: Database
) -> None:
    world.set_rules(idle_gap_s=1)
    spools = SpoolAnnouncements(database, world.redis)
    closer = Closer(database, world.follow_up, ClockGuard(), spools)
    numbers = iter(range(10_000))

    def closed_since(instant: str) -> float | None:
        world.hear(contact=ContactIds(phone=f"97250{next(numbers):07}"))
        rows = world.read(
            "SELECT extract(epoch FROM min(closed_at) - CAST(:at AS timestamptz))::float8 AS after "
            "FROM sessions WHERE closed_at > CAST(:at AS timestamptz)",
            at=instant,
        )
        return rows[0]["after"]

    with listening(world, closer):
        wait_until(lambda: closed_since("epoch"), what="it closes")
        proxy.blackhole()
        cut_at = time.monotonic()
        wait_until(
            lambda: (
                closed_since("infinity") is not None or time.monotonic() - cut_at > 2 * SILENT_FOR_S
            ),
            every_s=0.1,
            what="it lasts",
        )
        proxy.lose_connections()
        healed_at = world.read("SELECT clock_timestamp()::text AS now")[0]["now"]
        after_s = wait_until(
            lambda: closed_since(healed_at),
            within_s=ANSWER_WITHIN_S + 20,
            every_s=0.1,
            what="again",
        )
    assert after_s < HEALS_WITHIN_S


def test_a_long_statement_has_its_time(database: Database) -> None:
    with database.transaction() as db:
        assert db.execute(text("SELECT 1 FROM pg_sleep(:s)"), {"s": 3 * SILENT_FOR_S}).scalar() == 1


def test_a_statement_whose_connection_is_forgotten_is_given_up(
    proxy: TcpProxy, database: Database
) -> None:
    with database.transaction() as db:
        db.execute(text("SELECT 1"))
    proxy.lose_connections()
    began_s = time.monotonic()
    with pytest.raises(DatabaseUnavailable), database.transaction() as db:
        db.execute(text("SELECT 1"))
    assert SILENT_FOR_S <= time.monotonic() - began_s < SILENT_FOR_S + 1
    with database.transaction() as db:
        db.execute(text("SELECT 1"))


def test_a_postgres_that_says_nothing_at_all_is_given_up_too(
    proxy: TcpProxy, database: Database
) -> None:
    with database.transaction() as db:
        db.execute(text("SELECT 1"))
    proxy.blackhole()
    began_s = time.monotonic()
    with pytest.raises(DatabaseUnavailable), database.transaction() as db:
        db.execute(text("SELECT 1"))
    assert time.monotonic() - began_s < HEALS_WITHIN_S
