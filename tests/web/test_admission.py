"""Webhooks that come too many at once are refused while their senders still wait."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client import REGISTRY

from tests.support.waiting import wait_until
from tests.web.shop import Shop, evolution_body, path_of
from timer_http import admission
from timer_http.admission import Admission


def test_who_finds_no_room_to_wait_is_refused_at_once() -> None:
    gate = Admission(at_once=1, waiting=1, wait_s=30)
    assert gate.enter()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(gate.enter)
        wait_until(lambda: gate._room._value == 0)
        assert not gate.enter()
        gate.leave()
        assert waiting.result(10)
    gate.leave()
    assert gate._room._value == 2


def test_who_gets_no_turn_in_time_is_refused_and_leaves_its_room() -> None:
    gate = Admission(at_once=1, waiting=1, wait_s=0.01)
    assert gate.enter()
    assert not gate.enter()
    assert not gate.enter()
    gate.leave()
    assert gate.enter()


@pytest.fixture
def gate(app: Flask) -> Admission:
    gate = Admission(at_once=1, waiting=0)
    app.extensions[admission._NAME] = gate
    return gate


def test_a_webhook_too_many_is_503_and_counted_and_the_next_is_taken(
    client: FlaskClient, shop: Shop, gate: Admission
) -> None:
    path = path_of(shop.connect("baileys")["webhook_url"])
    name = "timer_webhooks_shed_total"
    before = REGISTRY.get_sample_value(name) or 0
    assert gate.enter()
    answer = client.post(path, json=evolution_body("carmel"))
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert REGISTRY.get_sample_value(name) == before + 1
    gate.leave()
    for _ in range(3):
        assert client.post(path, json=evolution_body("carmel")).status_code == 200


def test_a_turn_ends_with_its_webhook_however_that_ends(
    client: FlaskClient, shop: Shop, gate: Admission
) -> None:
    path = path_of(shop.connect("baileys")["webhook_url"])
    statuses = [
        client.post(path, data=b"no json").status_code,
        client.post("/webhooks/meta", json={}).status_code,
        client.post(path, json=evolution_body("carmel")).status_code,
    ]
    assert statuses == [400, 401, 200]
    assert gate._room._value == 1
