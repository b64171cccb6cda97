"""Behind PgBouncer in transaction mode everything holds: nothing is kept in a session.

Two server connections, shared by two businesses and by everything they do at one time.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from uuid import UUID

import psycopg
import pytest
from cryptography.fernet import Fernet
from flask.testing import FlaskClient
from sqlalchemy import Connection, text

from tests.support.builders import World, flush, work_off, working_environment
from tests.support.live_sessions import trust
from tests.support.pgbouncer import POOL_SIZE, PgBouncer
from tests.support.servers import PostgresServer
from tests.support.waiting import wait_until
from tests.web.shop import ADMIN_KEY, Shop, evolution_body, path_of
from timer_http import create_app
from timer_service.database import REQUEST_STATEMENT_MS, Database, _make_engine
from timer_service.errors import DatabaseUnavailable
from timer_service.job_queue import SUMMARIES_QUEUE
from timer_service.messages import ContactIds
from timer_service.migrate import migrate
from timer_service.settings import Settings
from timer_service.wiring import build_web

pytestmark = pytest.mark.pooler

LIMIT = f"{REQUEST_STATEMENT_MS}ms"


@pytest.fixture
def pooled_url(pgbouncer: PgBouncer, database_url: str) -> str:
    return pgbouncer.url_of(database_url)


@pytest.fixture
def pooled(pooled_url: str, redis_url: str) -> Iterator[World]:
    """Give a world that reaches Postgres by way of the pool."""
    with World(pooled_url, redis_url) as world:
        world.trust()
        yield world


@pytest.fixture
def requests(pooled_url: str) -> Iterator[Database]:
    """Give a pool whose statements end soon, and whose callers wait for Postgres to say so."""
    engine = _make_engine(pooled_url, size=2, wait_s=5, statement_ms=300)
    database = Database(engine, statement_ms=300)
    yield database
    database.close()


def people(count: int, *, first: int = 0) -> list[ContactIds]:
    return [ContactIds(phone=f"97250{first + i:07}") for i in range(count)]


def setting(url: str, name: str) -> str:
    """Read a setting as somebody else's session by way of the pool has it."""
    with psycopg.connect(url, autocommit=True, prepare_threshold=None) as db:
        return str(db.execute(f"SHOW {name}").fetchone()[0])


@pytest.mark.parametrize("way", ["transaction", "statements"])
def test_every_statement_has_its_time_out_and_leaves_none_behind(
    requests: Database, pooled_url: str, way: str
) -> None:
    for _ in range(POOL_SIZE + 1):
        began_s = time.monotonic()
        with (
            pytest.raises(DatabaseUnavailable, match="QueryCanceled"),
            getattr(requests, way)() as db,
        ):
            db.execute(text("SELECT pg_sleep(5)"))
        assert time.monotonic() - began_s < 4
        with getattr(requests, way)() as db:
            shown = "SELECT current_setting('idle_in_transaction_session_timeout')"
            assert db.execute(text(shown)).scalar_one() == "2s"
    for name in ("statement_timeout", "idle_in_transaction_session_timeout"):
        assert setting(pooled_url, name) == "0"


def test_a_pooler_that_drops_our_options_is_known_all_the_same(
    postgres_server: PostgresServer, database_url: str
) -> None:
    pooler = PgBouncer(postgres_server, ignore_startup_parameters="options")
    with (
        closing(Database.for_requests(pooler.url_of(database_url), size=1)) as database,
        database.statements() as db,
    ):
        assert db.execute(text("SHOW statement_timeout")).scalar_one() == LIMIT
    pooler.destroy()


def test_straight_to_postgres_the_session_keeps_the_limits(database_url: str) -> None:
    with closing(Database.for_requests(database_url, size=1)) as database:
        with database.statements() as db:
            driver = db.connection.dbapi_connection
            assert driver.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
            assert db.execute(text("SHOW statement_timeout")).scalar_one() == LIMIT
            assert driver.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
            assert driver.prepare_threshold == 5
        with database.transaction() as db:
            assert db.execute(text("SHOW statement_timeout")).scalar_one() == LIMIT


def test_what_a_block_did_is_committed_and_what_failed_is_not(pooled: World) -> None:
    with pooled.database.statements() as db:
        db.execute(text("UPDATE businesses SET name = 'New'"))

    def fail(db: Connection) -> None:
        db.execute(text("UPDATE businesses SET name = 'Never'"))
        db.execute(text("SELECT 1 / 0"))

    for way in (pooled.database.statements, pooled.database.transaction):
        with pytest.raises(Exception, match="division"), way() as db:
            fail(db)
    assert [row["name"] for row in pooled.read("SELECT name FROM businesses")] == ["New"]


def test_migrations_run_by_way_of_it(pgbouncer: PgBouncer, empty_database_url: str) -> None:
    url = pgbouncer.url_of(empty_database_url)
    migrate(url)
    migrate(url)
    with psycopg.connect(empty_database_url) as db:
        held = db.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").fetchone()
        assert held == (0,)
        assert db.execute("SELECT count(*) FROM businesses").fetchone() == (0,)


def test_a_conversation_from_its_first_message_to_its_summary(pooled: World) -> None:
    first = pooled.hear("is the blue one in stock?")
    for number in range(8):  # past the fifth time, at which psycopg would prepare a statement
        assert pooled.hear(f"and number {number}?").session_id == first.session_id
    pooled.say("yes, two are left, at 40 each")
    assert pooled.counted() == 1
    pooled.let_pass(901)
    assert pooled.closer.close_claimed([pooled.member(first.session_id)]) == 1
    with working_environment(pooled):
        work_off(pooled, SUMMARIES_QUEUE)
    session = pooled.session(first.session_id)
    assert (session.close_reason, session.message_count) == ("idle", 10)
    assert session.summary is not None
    assert session.summary.status == "done"
    assert pooled.counted() == 0


def test_the_sweep_and_the_rebuild_do_their_work(pooled: World) -> None:
    pooled.record(*[pooled.heard(contact=one) for one in people(30)])
    flush(pooled.redis_url)
    assert pooled.sweeper.sweep_once()["rebuild"] == 30
    assert pooled.counted_by_redis() == 30
    pooled.let_pass(902)
    assert pooled.sweeper.sweep_once()["overdue"] == 30
    pooled.administration.erase_business(pooled.business_id)
    assert pooled.read("SELECT 1 FROM sessions") == []


def hear(world: World, words: str, customer: ContactIds) -> UUID:
    """Take in a message; where two connections are too few for the moment, as a gateway does it."""
    message = world.heard(words, contact=customer)

    def bring() -> UUID | None:
        try:
            return world.record(message)[0].session_id
        except DatabaseUnavailable:
            return None

    return wait_until(bring, within_s=30, what="it is taken in")


def rounds(world: World, count: int, nth: int) -> None:
    """Do what a business does, checking after each step that all of it is its own."""
    customers = people(4, first=4 * nth)
    for number in range(count):
        customer = customers[number % 4]
        words = f"{world.business_id} {number}"
        session_id = hear(world, words, customer)
        assert hear(world, f"{words} more", customer) == session_id
        assert world.texts_of(session_id)[-2:] == [words, f"{words} more"]
        found = world.service.sessions(world.business_id)
        assert {one.business_id for one in found} == {world.business_id}
        if number % 5 == 4:
            assert world.service.complete(session_id).close_reason == "completed"
        world.sweeper.close_overdue_once()


def interleave(url: str, redis_url: str, count: int) -> tuple[World, World]:
    with World(url, redis_url) as one, World(url, redis_url) as other:
        one.trust()
        with ThreadPoolExecutor(8) as pool:
            doing = [
                pool.submit(rounds, world, count, nth) for nth in range(3) for world in (one, other)
            ]
            for done in doing:
                done.result()
        for world in (one, other):
            wrong = world.read(
                """SELECT 1 FROM messages m JOIN sessions s ON s.id = m.session_id
                   WHERE s.business_id <> m.business_id
                      OR m.text NOT LIKE s.business_id || ' %'"""
            )
            assert wrong == []
            (stored,) = world.read(
                "SELECT count(*) AS n FROM messages WHERE business_id = :id", id=world.business_id
            )
            assert stored["n"] == 3 * 2 * count
    return one, other


def test_two_businesses_at_one_time_never_meet(
    pgbouncer: PgBouncer, pooled_url: str, database_url: str, redis_url: str
) -> None:
    interleave(pooled_url, redis_url, 20)
    assert 1 <= pgbouncer.server_connections(database_url) <= POOL_SIZE


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_businesses_at_one_time_never_meet_in_many_thousands_of_calls(
    pooled_url: str, redis_url: str
) -> None:
    interleave(pooled_url, redis_url, 2_000)


def test_webhooks_and_the_api_by_way_of_it(pooled_url: str, redis_url: str) -> None:
    services = build_web(
        Settings(
            database_url=pooled_url,
            redis_url=redis_url,
            encryption_keys=Fernet.generate_key().decode(),
            admin_key=ADMIN_KEY,
            public_url="https://timer.example",
        )
    )
    trust(services.live_chats)
    client = create_app(services).test_client()
    shops = [Shop.make(client, name) for name in ("Carmel Shoes", "Toko Parang")]
    paths = [path_of(shop.connect(external_id=f"line-{n}")["webhook_url"])
             for n, shop in enumerate(shops)]  # fmt: skip

    def deliver(number: int) -> int:
        which = number % 2
        body = json.dumps(evolution_body(f"line-{which}", f"3EB0{number:012}"))
        return post(client, paths[which], body)

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(deliver, range(60))) == {200}
    for shop in shops:
        (session,) = shop.sessions
        assert (session["message_count"], session["business_id"]) == (30, shop.id)
        assert shop.active_count == 1
        assert shop.post(f"/api/sessions/{session['id']}/complete").status_code == 200
    services.database.close()
    services.live_chats._client.close()
    services.jobs._client.close()


def post(client: FlaskClient, path: str, body: str) -> int:
    for _ in range(20):  # a gateway tries again where it is told to
        status = (
            client.application.test_client()
            .post(path, data=body, content_type="application/json")
            .status_code
        )
        if status != 503:
            return status
    return 503


def test_a_restarted_pooler_costs_one_try_and_no_message(
    pooled: World, pgbouncer: PgBouncer
) -> None:
    """A connection the pooler closed is replaced, and the message taken in at the second try."""
    pooled.hear()
    pgbouncer.restart()
    pooled.hear("after")
    assert [one.message_count for one in pooled.sessions()] == [2]
