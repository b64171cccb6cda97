"""Health and metrics."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from tests.support.servers import RedisServer
from tests.web.shop import Shop, close_late
from timer_service.errors import DatabaseUnavailable
from timer_service.ids import SessionId, new_id
from timer_service.job_queue import SummaryJob
from timer_service.wiring import WebServices


def metrics_of(client: FlaskClient) -> dict[str, dict[str, float]]:
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.mimetype == "text/plain"
    return {
        family.name: {",".join(one.labels.values()): one.value for one in family.samples}
        for family in text_string_to_metric_families(answer.text)
    }


def test_healthz_asks_nobody(client: FlaskClient, services: WebServices) -> None:
    services.database.close()
    assert client.get("/healthz").json == {"status": "ok"}


def test_readyz_is_ready_when_everything_answers(client: FlaskClient) -> None:
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json) == (200, {"status": "ready", "degraded": []})


def test_readyz_without_redis_is_ready_but_degraded(
    fragile_client: FlaskClient, own_redis_server: RedisServer
) -> None:
    assert fragile_client.get("/readyz").json["status"] == "ready"
    own_redis_server.kill()
    answer = fragile_client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json == {"status": "degraded", "degraded": ["redis", "queue_redis"]}


def test_readyz_without_postgres_is_503_and_says_so(
    client: FlaskClient, services: WebServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise DatabaseUnavailable("away")

    monkeypatch.setattr(services.database, "transaction", fail)
    answer = client.get("/readyz")
    assert (answer.status_code, answer.mimetype) == (503, "application/problem+json")
    assert [one["field"] for one in answer.json["errors"]] == ["postgres"]


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ("DROP TABLE alembic_version", 503),
        ("DELETE FROM alembic_version", 503),
        ("UPDATE alembic_version SET version_num = 'from the future'", 200),
    ],
)
def test_readyz_wants_the_schema_this_program_knows_or_a_newer_one(
    client: FlaskClient, database_url: str, change: str, status: int
) -> None:
    with psycopg.connect(database_url, autocommit=True) as db:
        db.execute(change.encode())
    answer = client.get("/readyz")
    assert answer.status_code == status
    if status == 200:
        assert answer.json["degraded"] == ["schema_is_newer"]
    else:
        assert [one["field"] for one in answer.json["errors"]] == ["migrations"]


def test_metrics_tell_what_is_active_and_waiting_now(
    client: FlaskClient, shop: Shop, other_shop: Shop, services: WebServices
) -> None:
    shop.record(shop.connect(), "hi")
    other_shop.record(other_shop.connect(), "hi")
    services.jobs.enqueue([SummaryJob(SessionId(new_id()), 1)])
    now = metrics_of(client)
    assert now["timer_active_chats"] == {"": 2}
    assert now["timer_jobs_waiting"] == {"summaries": 1, "callbacks": 0, "sends": 0}
    assert "timer_messages" in now


def test_metrics_tell_how_punctual_the_latest_closes_were(
    client: FlaskClient, shop: Shop, database_url: str
) -> None:
    assert "timer_recent_close_lateness_seconds" not in metrics_of(client)
    close_late(shop, database_url, late_ms=[3, 1, 40, 2])
    now = metrics_of(client)
    assert now["timer_recent_close_lateness_seconds"] == {"0.5": 0.002, "0.99": 0.04, "1": 0.04}
    assert now["timer_recent_closes_early"] == {"": 0}
    close_late(shop, database_url, late_ms=[-1])
    assert metrics_of(client)["timer_recent_closes_early"] == {"": 1}


def test_metrics_leave_out_what_redis_cannot_tell(
    fragile_client: FlaskClient, own_redis_server: RedisServer
) -> None:
    assert metrics_of(fragile_client)["timer_active_chats"] == {"": 0}
    own_redis_server.make_new()
    assert "timer_active_chats" not in metrics_of(fragile_client)
    own_redis_server.kill()
    now = metrics_of(fragile_client)
    assert "timer_active_chats" not in now
    assert "timer_jobs_waiting" not in now
    assert "timer_messages" in now


def test_metrics_add_up_what_all_processes_counted(client: FlaskClient, tmp_path: Path) -> None:
    count = "from timer_service import metrics; metrics.WEBHOOKS.labels('meta', 'accepted').inc(3)"
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    for _ in range(2):
        subprocess.run([sys.executable, "-c", count], env=environment, check=True)
    patch = pytest.MonkeyPatch()
    patch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    try:
        assert metrics_of(client)["timer_webhooks"] == {"meta,accepted": 6}
    finally:
        patch.undo()
