"""Worlds whose servers a test may take away."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.builders import World
from tests.support.servers import PostgresServer, RedisServer
from tests.support.web_processes import Web, web_processes


@pytest.fixture
def world(database_url: str, redis_url: str) -> Iterator[World]:
    """Give a business with one connection, and a Redis that can be trusted."""
    with World(database_url, redis_url) as world:
        world.trust()
        yield world


@pytest.fixture
def redis_may_go(database_url: str, own_redis_server: RedisServer) -> Iterator[World]:
    """Give a world whose Redis may be killed, restarted and stopped."""
    with World(database_url, own_redis_server.url) as world:
        world.trust()
        yield world


@pytest.fixture
def postgres_may_go(own_postgres_server: PostgresServer, redis_url: str) -> Iterator[World]:
    """Give a world whose Postgres may be killed and restarted."""
    with World(own_postgres_server.make_database(), redis_url) as world:
        world.trust()
        yield world


@pytest.fixture(scope="package")
def web_world(postgres_server: PostgresServer) -> Iterator[World]:
    """Give the world of `web`, which its tests share: each has customers of its own."""
    redis = RedisServer()
    with World(postgres_server.make_database(), redis.url) as world:
        world.trust()
        yield world
    redis.destroy()


@pytest.fixture(scope="package")
def web(web_world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """Serve webhooks with real processes."""
    environ = {
        "TIMER_DATABASE_URL": web_world.database_url,
        "TIMER_REDIS_URL": web_world.redis_url,
        "TIMER_ENCRYPTION_KEYS": web_world.encryption_key,
    }
    with web_processes(environ, tmp_path_factory.mktemp("web")) as web:
        yield web
