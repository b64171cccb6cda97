"""The application on real servers, and two shops that must never see each other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from flask import Flask
from flask.testing import FlaskClient
from pydantic import SecretStr

from tests.support.live_sessions import trust
from tests.support.servers import RedisServer
from tests.web.shop import Shop, settings_for
from timer_http import create_app
from timer_service import connection_directory, database, redis_clients
from timer_service.settings import Settings
from timer_service.wiring import WebServices, build_web


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask what is answered, not how soon: a machine that stalls for a second fails no test here.

    How soon a caller is answered when a server says nothing is asked in ``tests/faults``.
    """
    monkeypatch.setattr(database, "REQUEST_POOL_WAIT_S", 20.0)
    monkeypatch.setattr(database, "REQUEST_STATEMENT_MS", 20_000)
    monkeypatch.setattr(database, "REQUEST_WITHIN_S", 20.0)
    monkeypatch.setattr(database, "PATIENT_WITHIN_S", 20.0)
    monkeypatch.setattr(connection_directory, "_TURN_WITHIN_S", 20.0)
    monkeypatch.setattr(redis_clients, "REQUEST_TIMEOUT_S", 5.0)


@pytest.fixture
def settings(database_url: str, redis_url: str) -> Settings:
    return settings_for(database_url, redis_url)


@contextmanager
def running(settings: Settings) -> Iterator[WebServices]:
    services = build_web(settings)
    trust(services.live_chats)
    yield services
    services.database.close()
    services.live_chats._client.close()
    services.jobs._client.close()


@pytest.fixture
def services(settings: Settings) -> Iterator[WebServices]:
    with running(settings) as services:
        yield services


@pytest.fixture
def app(services: WebServices) -> Flask:
    return create_app(services)


@pytest.fixture
def fragile_client(settings: Settings, own_redis_server: RedisServer) -> Iterator[FlaskClient]:
    """A client of an application whose Redis the test may kill."""
    url = SecretStr(own_redis_server.url)
    with running(settings.model_copy(update={"redis_url": url})) as services:
        yield create_app(services).test_client()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def shop(client: FlaskClient) -> Shop:
    return Shop.make(client, "Carmel Shoes")


@pytest.fixture
def other_shop(client: FlaskClient) -> Shop:
    return Shop.make(client, "Toko Parang")
