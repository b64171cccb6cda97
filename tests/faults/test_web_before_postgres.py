"""The machine is up again and Postgres is not: web answers what it can, and serves by itself."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.support.callers import Caller, customer
from tests.support.deployment import START_WITHIN_S, Parts, is_alive, is_ready
from tests.support.front import Front
from tests.support.servers import PostgresServer
from tests.support.waiting import wait_until
from timer_http import create_app
from timer_http.start_gate import open_when_installed
from timer_service.messages import ProviderName
from timer_service.records import access


@pytest.fixture
def parts(own_postgres_server: PostgresServer) -> Iterator[Parts]:
    folder = Path(tempfile.mkdtemp(prefix="timer-late-"))
    parts = Parts(folder, own_postgres_server, TIMER_SPOOL_DIR=str(folder / "spool"))
    yield parts
    parts.destroy()


@pytest.fixture
def front(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Front]:
    with Front(database_url, redis_url, tmp_path / "spool") as front:
        front.app = create_app(front.services)  # that answered nobody yet
        yield front


def start_web(parts: Parts) -> None:
    parts.web.start()
    wait_until(lambda: is_alive(parts.base_url), within_s=START_WITHIN_S, what="web answers")


def ask(parts: Parts, path: str) -> int:
    return httpx2.get(f"{parts.base_url}{path}", timeout=5, trust_env=False).status_code


@pytest.mark.timeout(180)
def test_web_starts_without_postgres_says_so_and_serves_once_it_comes(
    parts: Parts, own_postgres_server: PostgresServer
) -> None:
    start_web(parts)
    wait_until(lambda: is_ready(parts.base_url), within_s=START_WITHIN_S, what="web is ready")
    caller = Caller(parts.base_url, parts.admin_key)
    shop = caller.add_business("Shop", idle_gap_s=600)
    line = shop.connect(ProviderName.META)
    assert parts.web.end() == 0
    own_postgres_server.kill()

    start_web(parts)
    assert [ask(parts, path) for path in ("/healthz", "/readyz", "/metrics")] == [200, 503, 200]
    message = line.webhook(customer(1), "are you there?")
    assert line.post_once(message) == 503
    assert ask(parts, "/api/businesses") == 503
    assert "waiting_to_serve" in parts.web.said

    own_postgres_server.start()
    wait_until(lambda: is_ready(parts.base_url), within_s=15, what="web is ready by itself")
    assert line.post(message) == 200
    assert shop.active_count == 1
    caller.close()


def test_web_that_does_not_fit_what_it_finds_never_serves(front: Front) -> None:
    made_with = front.services.settings.shards
    with front.services.database.transaction() as db:
        access.make_install(db, shards=made_with + 1)
    open_when_installed(front.app)
    assert front.services.installation.waits_for is not None
    assert "TIMER_SHARDS" in front.get("/readyz")
    assert front.post(front.meta("hello")).status == 503
    assert not front.services.spool_keeper._may_replay()


def test_web_that_fits_serves_at_once(front: Front) -> None:
    open_when_installed(front.app)
    assert front.services.installation.waits_for is None
    assert front.post(front.meta("hello")).status == 200
