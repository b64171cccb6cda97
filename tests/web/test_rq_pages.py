"""RQ's pages: whose they are, and that no other site can press their buttons."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from flask import Flask
from flask.testing import FlaskClient
from rq import Queue
from rq.registry import FailedJobRegistry
from rq.serializers import JSONSerializer

from tests.support.servers import RedisServer
from tests.web.shop import ADMIN_KEY, Shop, bearer
from timer_service.ids import SessionId, new_id
from timer_service.job_queue import SUMMARIES_QUEUE, SummaryJob
from timer_service.wiring import WebServices

ADMIN = bearer(ADMIN_KEY)
FROM_ELSEWHERE = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "https://["},
    {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"},
]
FROM_HERE: list[dict[str, str]] = [
    {},
    {"Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "none"},
    {"Origin": "http://localhost"},
    {"Origin": "https://timer.example"},
]


@pytest.fixture
def job(services: WebServices) -> SummaryJob:
    job = SummaryJob(SessionId(new_id()), 1)
    services.jobs.enqueue([job])
    return job


@pytest.fixture
def pages(app: Flask) -> list[tuple[str, str]]:
    """Every method and path below /rq, filled with harmless values."""
    values = {
        "filename": "css/main.css", "queue_name": SUMMARIES_QUEUE, "registry_name": "queued",
        "per_page": "8", "order": "asc", "page": "1", "instance_number": "0",
        "job_id": str(uuid4()),
    }  # fmt: skip
    found = [("GET", "/rq"), ("GET", "/rq/no/such/page")]
    for rule in app.url_map.iter_rules():
        if rule.rule.startswith("/rq"):
            path = rule.rule
            for name in rule.arguments:
                for kind in ("", "int:", "path:"):
                    path = path.replace(f"<{kind}{name}>", values[name])
            found += [(method, path) for method in rule.methods - {"HEAD", "OPTIONS"}]
    assert len(found) > 20
    return found


def test_without_a_key_every_page_and_file_is_401(
    client: FlaskClient, pages: list[tuple[str, str]]
) -> None:
    for method, path in pages:
        for headers in ({}, bearer("tsk_x")):
            answer = client.open(path, method=method, headers=headers)
            assert answer.status_code == 401, (method, path)
            assert answer.mimetype == "application/problem+json"


def test_a_browser_is_shown_where_to_sign_in(client: FlaskClient) -> None:
    accept = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
    answer = client.get("/rq/", headers={"Accept": accept})
    assert (answer.status_code, answer.mimetype) == (401, "text/html")
    assert 'href="/sign-in?next=/rq/"' in answer.text


def test_a_businesss_key_is_403_by_header_and_by_cookie(
    client: FlaskClient, shop: Shop, pages: list[tuple[str, str]]
) -> None:
    for method, path in pages:
        answer = client.open(path, method=method, headers=bearer(shop.keys["manager"]))
        assert answer.status_code == 403, (method, path)
    client.post("/sign-in", data={"key": shop.keys["manager"]})
    for method, path in pages:
        assert client.open(path, method=method).status_code == 403, (method, path)


def test_the_admin_sees_the_pages_by_key_and_by_cookie(
    client: FlaskClient, job: SummaryJob
) -> None:
    paths = [
        "/rq/",
        "/rq/0/view/workers",
        "/rq/0/view/jobs",
        f"/rq/0/view/job/{job.job_id}",
        f"/rq/0/data/job/{job.job_id}.json",
        "/rq/0/data/queues.json",
        f"/rq/0/data/jobs/{SUMMARIES_QUEUE}/queued/8/asc/1.json",
        "/rq/static/css/main.css",
    ]
    for headers in (ADMIN, {}):
        for path in paths:
            with client.get(path, headers=headers) as answer:
                assert answer.status_code == 200, path
        client.post("/sign-in", data={"key": ADMIN_KEY})
    assert client.get("/rq").status_code in {301, 302, 308}
    listed = client.get("/rq/0/data/queues.json").json["queues"]
    assert [(one["name"], one["count"]) for one in listed] == [(SUMMARIES_QUEUE, 1)]


def test_no_page_may_run_a_script_but_its_own(client: FlaskClient, job: SummaryJob) -> None:
    for path in ("/rq/", "/rq/0/view/jobs", f"/rq/0/view/job/{job.job_id}"):
        policy = client.get(path, headers=ADMIN).headers["Content-Security-Policy"]
        scripts = next(part for part in policy.split("; ") if part.startswith("script-src"))
        assert "'sha256-" in scripts
        assert "'unsafe-inline'" not in scripts
        assert "frame-ancestors 'self'" in policy


@pytest.mark.parametrize("headers", FROM_ELSEWHERE)
def test_another_site_cannot_press_a_button(
    client: FlaskClient, services: WebServices, job: SummaryJob, headers: dict[str, str]
) -> None:
    client.post("/sign-in", data={"key": ADMIN_KEY})
    for path in (
        f"/rq/job/{job.job_id}/delete",
        f"/rq/job/{job.job_id}/requeue",
        f"/rq/requeue/{SUMMARIES_QUEUE}",
        f"/rq/queue/{SUMMARIES_QUEUE}/queued/empty",
        f"/rq/queue/{SUMMARIES_QUEUE}/compact",
    ):
        assert client.post(path, headers=headers).status_code == 403, path
    assert services.jobs.depths()[SUMMARIES_QUEUE] == 1


@pytest.mark.parametrize("headers", FROM_HERE)
def test_the_pages_own_buttons_work(
    client: FlaskClient, services: WebServices, job: SummaryJob, headers: dict[str, str]
) -> None:
    client.post("/sign-in", data={"key": ADMIN_KEY})
    answer = client.post(f"/rq/queue/{SUMMARIES_QUEUE}/queued/empty", headers=headers)
    assert answer.status_code == 200
    assert services.jobs.depths()[SUMMARIES_QUEUE] == 0


def test_a_get_requeues_nothing(client: FlaskClient, services: WebServices) -> None:
    job = SummaryJob(SessionId(new_id()), 1)
    services.jobs.enqueue([job])
    connection = services.jobs._client
    queue = Queue(SUMMARIES_QUEUE, connection=connection, serializer=JSONSerializer)
    fetched: Any = queue.fetch_job(job.job_id)
    queue.empty()
    fetched.save()
    failed = FailedJobRegistry(queue=queue)
    failed.add(fetched, ttl=60)
    client.post("/sign-in", data={"key": ADMIN_KEY})
    assert client.get(f"/rq/requeue/{SUMMARIES_QUEUE}").status_code == 405
    assert (queue.count, failed.get_job_count(cleanup=False)) == (0, 1)
    assert client.post(f"/rq/requeue/{SUMMARIES_QUEUE}").json == {"status": "OK", "count": 1}
    assert (queue.count, failed.get_job_count(cleanup=False)) == (1, 0)


def test_what_is_not_there_is_404(client: FlaskClient) -> None:
    assert client.get(f"/rq/0/view/job/{uuid4()}", headers=ADMIN).status_code == 404
    assert client.get("/rq/1/view/queues", headers=ADMIN).status_code == 404


def test_without_the_queues_server_the_pages_are_503_at_once(
    fragile_client: FlaskClient, own_redis_server: RedisServer
) -> None:
    assert fragile_client.get("/rq/", headers=ADMIN).status_code == 200
    own_redis_server.kill()
    assert fragile_client.get("/rq/", headers=ADMIN).status_code == 503
