"""What every test gets: a clean environment, real servers, and honest skips."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from typing import Any

import argon2
import pytest

for name in [name for name in os.environ if name.startswith(("TIMER_", "OPENAI_"))]:
    del os.environ[name]  # before anything reads settings: a developer's own must not leak in

from tests.support.chromium import find_chromium  # noqa: E402
from tests.support.pgbouncer import PgBouncer, find_pgbouncer  # noqa: E402
from tests.support.servers import PostgresServer, RedisServer  # noqa: E402
from timer_service import passwords  # noqa: E402

IN_CI = os.environ.get("CI", "").lower() in {"1", "true", "yes"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip, with the reason, what this machine cannot run; in CI everything runs or fails."""
    if IN_CI:
        return
    missing = {}
    if os.geteuid() != 0:
        missing["privileged"] = "needs root"
    if find_chromium() is None:
        missing["browser"] = "no Chromium on this machine: install the package chromium"
    if find_pgbouncer() is None:
        missing["pooler"] = "no PgBouncer on this machine: install the package pgbouncer"
    for item in items:
        for marker, reason in missing.items():
            if item.get_closest_marker(marker) is not None:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Spread the tests where several processes run them."""
    from tests.support.spreading import ByWhatTheyShare  # noqa: PLC0415 - one process needs none

    return ByWhatTheyShare(config, log)


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of the Chromium to drive, for tests marked ``browser``."""
    path = find_chromium()
    assert path is not None, "no Chromium on this machine: install the package chromium"
    return path


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """Serve all tests; those that stop or restart theirs take `own_redis_server`."""
    server = RedisServer()
    yield server
    server.destroy()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """Return the URL of an empty Redis, RQ's database being the next one."""
    redis_server.make_new()
    return redis_server.url


@pytest.fixture
def own_redis_server() -> Iterator[RedisServer]:
    """Serve one test, which may kill, restart and starve it; it remembers what it was told."""
    server = RedisServer("--appendonly", "yes", "--appendfsync", "always")
    yield server
    server.destroy()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """Serve all tests; those that stop or restart theirs take `own_postgres_server`."""
    server = PostgresServer()
    yield server
    server.destroy()


@pytest.fixture(scope="session")
def mortal_postgres_server() -> Iterator[PostgresServer]:
    """Hold a Postgres that tests may kill; they take `own_postgres_server`, which runs."""
    server = PostgresServer()
    yield server
    server.destroy()


@pytest.fixture
def own_postgres_server(mortal_postgres_server: PostgresServer) -> PostgresServer:
    """Serve one test, which may kill and restart it."""
    if not mortal_postgres_server.is_running:
        mortal_postgres_server.start()
    return mortal_postgres_server


@pytest.fixture
def pgbouncer(postgres_server: PostgresServer) -> Iterator[PgBouncer]:
    """Pool the tests' Postgres by transaction, with two connections to it; marked ``pooler``."""
    pooler = PgBouncer(postgres_server)
    yield pooler
    pooler.destroy()


@pytest.fixture
def database_url(postgres_server: PostgresServer) -> Iterator[str]:
    """Return the URL of a fresh, migrated database of the test's own."""
    url = postgres_server.make_database()
    yield url
    postgres_server.drop_database(url)


@pytest.fixture
def empty_database_url(postgres_server: PostgresServer) -> Iterator[str]:
    """Return the URL of a fresh database without tables."""
    url = postgres_server.make_empty_database()
    yield url
    postgres_server.drop_database(url)


@pytest.fixture
def quick_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash passwords at a thousandth of the cost; what is asked is never how long it takes."""
    quick = partial(argon2.PasswordHasher, time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr(passwords, "PasswordHasher", quick)
    monkeypatch.setattr(passwords, "STAND_IN", quick().hash("nobody's"))
