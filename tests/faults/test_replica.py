"""The console's lists come from a replica while it keeps up, and say so when they are old."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cryptography.fernet import Fernet
from flask import Flask

from tests.support.live_sessions import trust
from tests.support.replica import ReplicaServer
from tests.support.servers import PostgresServer
from tests.support.waiting import wait_until
from tests.web.reader import Reader, page_of, words_of
from tests.web.shop import ADMIN_KEY, Shop
from timer_http import create_app
from timer_service import metrics, stale_lists
from timer_service.settings import Settings
from timer_service.wiring import WebServices, build_web

AS_OF = {"en": "As of", "he": "נכון ל־", "id": "Per "}


@pytest.fixture(scope="module")
def primary() -> Iterator[PostgresServer]:
    server = PostgresServer()
    yield server
    server.destroy()


@pytest.fixture
def primary_url(primary: PostgresServer) -> Iterator[str]:
    url = primary.make_database()
    yield url
    primary.drop_database(url)


@pytest.fixture(scope="module")
def one_replica(primary: PostgresServer) -> Iterator[ReplicaServer]:
    """Hold the replica; tests take `replica`, which keeps up."""
    server = ReplicaServer(primary)
    yield server
    server.destroy()


@pytest.fixture
def replica(one_replica: ReplicaServer) -> ReplicaServer:
    one_replica.delay("0")
    return one_replica


@pytest.fixture
def services(primary_url: str, replica: ReplicaServer, redis_url: str) -> Iterator[WebServices]:
    wait_until(lambda: replica.has(primary_url), what="the replica has the new database")
    services = build_web(
        Settings(
            database_url=primary_url,
            database_replica_url=replica.url_of(primary_url),
            redis_url=redis_url,
            encryption_keys=Fernet.generate_key().decode(),
            admin_key=ADMIN_KEY,
            public_url="https://timer.example",
        )
    )
    trust(services.live_chats)
    yield services
    assert services.lists._replica is not None
    for database in (services.database, services.lists._replica):
        database.close()
    services.live_chats._client.close()
    services.jobs._client.close()


@pytest.fixture
def app(services: WebServices) -> Flask:
    return create_app(services)


@pytest.fixture
def shop(app: Flask) -> Shop:
    return Shop.make(app.test_client(), "Carmel Shoes")


def read_from(source: str) -> float:
    """Return how many lists were read from a source so far."""
    return metrics.LISTS_READ.labels(source)._value.get()


def lists_of(reader: Reader, shop: Shop, **query: str) -> str:
    return words_of(
        reader.read(f"{page_of(shop)}/conversations", query_string={"lang": "en", **query})
    )


def test_lists_come_from_the_replica_and_what_a_program_reads_does_not(
    app: Flask, shop: Shop, replica: ReplicaServer
) -> None:
    reader = Reader.signed_in(app, shop.keys["viewer"])
    shop.record(shop.connect(), "hello", customer_name="Dana")
    wait_until(lambda: "Dana" in lists_of(reader, shop), what="the replica has it")
    before = read_from("replica")
    assert "As of" not in lists_of(reader, shop)
    assert read_from("replica") == before + 2  # what is active, what is closed
    assert len(shop.sessions) == 1
    assert read_from("replica") == before + 2


def test_one_that_is_held_back_is_read_and_its_age_said_in_every_language(
    app: Flask, shop: Shop, replica: ReplicaServer
) -> None:
    reader = Reader.signed_in(app, shop.keys["viewer"])
    line = shop.connect()
    shop.record(line, "hello", customer_name="Dana")
    wait_until(lambda: "Dana" in lists_of(reader, shop), what="the replica has it")
    replica.delay("20s")
    shop.record(line, "hello", customer_wa_id="972500000002", customer_name="Noam")
    assert len(shop.sessions) == 2  # a program reads what it wrote
    shown = wait_until(
        lambda: (found := lists_of(reader, shop)) and "As of" in found and found,
        what="its age is said",
    )
    assert "Dana" in shown
    assert "Noam" not in shown
    for language, words in AS_OF.items():
        assert words in lists_of(reader, shop, lang=language)
    replica.delay("0")
    shown = wait_until(
        lambda: (found := lists_of(reader, shop)) and "Noam" in found and found,
        what="the delay is over",
    )


def test_one_that_lags_too_far_is_not_read(
    app: Flask, shop: Shop, replica: ReplicaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stale_lists, "MOST_LAG_S", 1.0)
    reader = Reader.signed_in(app, shop.keys["viewer"])
    lists_of(reader, shop)
    replica.delay("1h")
    shop.record(shop.connect(), "hello", customer_name="Dana")
    before = read_from("primary_replica_lags")
    shown = wait_until(
        lambda: (found := lists_of(reader, shop)) and "Dana" in found and found,
        what="the primary is read",
    )
    assert "As of" not in shown
    assert read_from("primary_replica_lags") > before


def test_one_that_is_away_is_not_read_and_comes_back_by_itself(
    app: Flask, shop: Shop, replica: ReplicaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stale_lists, "TRY_AGAIN_AFTER_S", 0.1)
    reader = Reader.signed_in(app, shop.keys["viewer"])
    shop.record(shop.connect(), "hello", customer_name="Dana")
    replica.kill()
    before = read_from("primary_replica_away")
    assert "Dana" in lists_of(reader, shop)
    assert read_from("primary_replica_away") > before
    replica.start()
    was = read_from("replica")
    wait_until(
        lambda: lists_of(reader, shop) and read_from("replica") > was, what="it is read again"
    )


def test_a_server_that_is_no_replica_is_not_taken_for_one(
    primary_url: str, services: WebServices, shop: Shop
) -> None:
    lists = stale_lists.StaleLists(services.database, services.database)
    before = read_from("primary_not_a_replica")
    assert lists.sessions(shop.id, stale_lists.Filter()).as_of is None
    assert read_from("primary_not_a_replica") == before + 1
